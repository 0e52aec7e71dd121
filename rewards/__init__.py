"""Rewards: a completion and its reference in, numbers with their reasons out.

    Score         a number, or none because the reward abstained or failed; its evidence, and parts to log beside it
    reward        makes a function a reward that recipes can name
    RewardSet     some rewards with weights and options, in this process
    RewardPool    the same on Ray workers, for batches
    gated_total   what GRPO optimises: the weighted sum, where a malformed completion earns nothing

The built-in rewards, with their formulas, columns and options, are in `docs/rewards.md`: `format` (0 or 1), `answer` (0
to 1), `process` (RadRScore, 0 to 1), and the penalties `length` and `repetition` (-1 to 0).

>>> from rewards import RewardSet, gated_total
>>> weights = {"format": 0.2, "answer": 1.0, "process": 1.5}
>>> rewards = RewardSet.build(weights, options={"answer": {"metric": "f1"}})
>>> report = "There is a small left pleural effusion. The heart is enlarged."
>>> scores = rewards.score({
...     "completion": f"<think>{report}</think><answer>Pleural Effusion</answer>",
...     "task": "abnormality_list",
...     "answer": "Pleural Effusion, Cardiomegaly",
...     "reasoning": report,
...     "report": report,
... })
>>> {name: score.value and round(score.value, 2) for name, score in scores.items()}
{'format': 1.0, 'answer': 0.67, 'process': 1.0}
>>> scores["answer"].evidence[0]["missed"]
['Cardiomegaly']
>>> round(gated_total(scores, weights), 2)
2.37
"""

from rewards.registry import RewardError, RewardSet, Score, gate, gated_total, reward
from rewards.workers import RewardPool

__all__ = ["RewardError", "RewardPool", "RewardSet", "Score", "gate", "gated_total", "reward"]
