"""The answer reward: what stands in the answer block against the reference, read as a person reads it."""

from rewards.answers.boxes import iou
from rewards.answers.grading import LIST_TASK, LONGEST, answer_reward, grade_list
from rewards.answers.lists import ClassList, GoldList, gold_list, parse_class_list

__all__ = [
    "LIST_TASK",
    "LONGEST",
    "ClassList",
    "GoldList",
    "answer_reward",
    "gold_list",
    "grade_list",
    "iou",
    "parse_class_list",
]
