"""The published rule and the strict one, side by side, on the answers that they are known to differ on."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.eval.outside.runs import Run, evaluate, write_json

OPTIONS = "\nA) Edema\nB) Pneumonia\nC) Fracture\nD) No Finding"
SINGLE, BINARY, MULTI = f"Which finding is shown?{OPTIONS}", "Is there a pneumonia?", f"Which are shown?{OPTIONS}"
TEMPORAL = "How did the pneumonia change?\nA) improving\nB) stable\nC) worsening"


class Graded(NamedTuple):
    """A gold answer, what a model wrote, and the verdict of each rule (None leaves the denominator)."""

    name: str
    gold: str
    completion: str
    official: bool | None
    strict: bool | None
    question: str = SINGLE


CASES = [
    Graded("letter", "B", "<answer>B</answer>", True, True),
    Graded("lower_case_letter", "B", "<answer>b</answer>", True, True),
    Graded("lower_case_gold", "b", "<answer>B</answer>", True, True),
    Graded("spaces_and_line_ends", "B", "<answer> \n B \n</answer>", True, True),
    Graded("wrong_letter", "B", "<answer>A</answer>", False, False),
    Graded("letter_and_words", "B", "<answer>B) Pneumonia</answer>", False, True),
    Graded("words_for_a_letter", "B", "<answer>Pneumonia</answer>", False, True),
    Graded("letter_in_gold_with_words", "B) Pneumonia", "<answer>B</answer>", True, True),
    Graded("words_in_gold_with_words", "B) Pneumonia", "<answer>pneumonia</answer>", True, True),
    Graded("letter_beside_other_words", "B", "<answer>B) Edema</answer>", False, False),
    Graded("full_stop", "B", "<answer>B.</answer>", False, True),
    Graded("number_of_the_option", "B", "<answer>option 2</answer>", False, True),
    Graded("boxed", "B", r"<answer>\boxed{B}</answer>", False, True),
    Graded("part_of_a_word", "B) Pneumonia", "<answer>neum</answer>", True, False),
    Graded("denied", "B", "<answer>Not B</answer>", False, False),
    Graded("two_letters_for_one", "B", "<answer>A, B</answer>", False, False),
    Graded("prose_without_tags", "B", "The answer is B.", None, True),
    Graded("wrong_prose", "B", "The answer is A.", None, False),
    Graded("decided_in_the_last_paragraph", "B", "Edema would show lines.\n\nThe answer is B.", None, True),
    Graded("prose_that_stays_open", "B", "It is A or B.", None, False),
    Graded("unclosed", "B", "<think>x</think><answer>B", None, False),
    Graded("unopened", "B", "B</answer>", None, False),
    Graded("closed_before_opened", "B", "</answer>B<answer>", None, False),
    Graded("two_blocks_right_first", "B", "<answer>B</answer> <answer>A</answer>", True, False),
    Graded("two_blocks_wrong_first", "B", "<answer>A</answer> <answer>B</answer>", False, False),
    Graded("block_within_reasoning", "B", "<think><answer>A</answer></think><answer>B</answer>", False, False),
    Graded("empty_block", "B", "<answer></answer>", None, False),
    Graded("blank_block", "B", "<answer> \n </answer>", None, False),
    Graded("nothing", "B", "", None, False),
    Graded("only_reasoning", "B", "<think>There is a pneumonia.</think>", None, False),
    Graded("too_long", "B", f"<answer>B{' ' * 3}{'x ' * 6000}</answer>", False, False),
    Graded("yes", "Yes", "<answer>yes</answer>", True, True, BINARY),
    Graded("no_for_yes", "Yes", "<answer>No</answer>", False, False, BINARY),
    Graded("no", "No", "<answer>NO</answer>", True, True, BINARY),
    Graded("yes_explained", "Yes", "<answer>Yes, there is a pneumonia.</answer>", False, True, BINARY),
    Graded("yes_that_denies", "Yes", "<answer>Yes, there is no pneumonia.</answer>", False, False, BINARY),
    Graded("no_with_a_stop", "No", "<answer>No.</answer>", False, True, BINARY),
    Graded("yes_or_no", "Yes", "<answer>yes or no</answer>", False, False, BINARY),
    Graded("reported_instead_of_no", "No", "<answer>There is no pneumonia.</answer>", False, True, BINARY),
    Graded("yes_in_prose", "Yes", "Yes, there is a pneumonia.", None, True, BINARY),
    Graded("all_letters", "A, C", "<answer>A, C</answer>", True, True, MULTI),
    Graded("letters_without_space", "A, C", "<answer>A,C</answer>", False, True, MULTI),
    Graded("letters_in_other_order", "A, C", "<answer>C, A</answer>", False, True, MULTI),
    Graded("one_of_two_letters", "A, C", "<answer>A</answer>", True, False, MULTI),
    Graded("one_letter_too_many", "A, C", "<answer>A, B, C</answer>", False, False, MULTI),
    Graded("words_of_both", "A, C", "<answer>Edema and fracture</answer>", False, True, MULTI),
    Graded("change_by_letter", "C", "<answer>C</answer>", True, True, TEMPORAL),
    Graded("change_by_word", "C) worsening", "<answer>worsening</answer>", True, True, TEMPORAL),
    Graded("change_by_other_words", "C", "<answer>The pneumonia has increased</answer>", False, True, TEMPORAL),
    Graded("other_change", "C", "<answer>stable</answer>", False, False, TEMPORAL),
]
#: Which table each kind of question stands in: the task follows from its name.
TASKS = {SINGLE: "single", BINARY: "binary", MULTI: "multi", TEMPORAL: "temporal"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("rules")
    for question, task in TASKS.items():
        rows = [
            {"item_id": case.name, "question": case.question, "answer": case.gold, "pred": case.completion}
            for case in CASES
            if case.question == question
        ]
        write_json(folder / "released" / f"mimic_{task}.json", rows)
    return evaluate("radrbench", folder / "run", "--predictions", f"m={folder / 'released'}")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_both_verdicts(run: Run, case: Graded):
    (item,) = [item for item in run.items if item["id"] == case.name]
    assert (item["official"], item["strict"]) == (case.official, case.strict), item["note"]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_difference_is_explained(run: Run, case: Graded):
    (item,) = [item for item in run.items if item["id"] == case.name]
    assert bool(item["note"]) or item["official"] == item["strict"]


def test_unreadable_answers_leave_the_official_denominator_alone(run: Run):
    for question, task in TASKS.items():
        mine = [case for case in CASES if case.question == question]
        readable = [case for case in mine if case.official is not None]
        scores = run.scores["m"][f"mimic_{task}"]
        assert (scores["n"], scores["official_n"], scores["strict_n"]) == (len(mine), len(readable), len(mine))
        assert scores["official"] == pytest.approx(sum(case.official for case in readable) / len(readable))
        assert scores["strict"] == pytest.approx(sum(bool(case.strict) for case in mine) / len(mine))


#: Open lists: the names in the answer, whether all are right, and F1 = 2 TP / (2 TP + FP + FN) by hand.
OPEN = [
    ("all_names", "Edema, Pleural Effusion", "<answer>Edema, Pleural Effusion</answer>", True, 1.0),
    ("other_order_and_words", "Edema, Pleural Effusion", "<answer>pleural effusion and edema</answer>", True, 1.0),
    ("one_of_two", "Edema, Pleural Effusion", "<answer>Edema</answer>", False, 2 / 3),
    ("one_too_many", "Edema", "<answer>Edema, Fracture</answer>", False, 2 / 3),
    ("half_and_half", "Edema, Fracture", "<answer>Edema, Pneumothorax</answer>", False, 1 / 2),
    ("nothing_right", "Edema", "<answer>Fracture</answer>", False, 0.0),
    ("no_block", "Edema", "<answer>Edema", False, 0.0),
]


def test_open_lists(tmp_path):
    question = "What are the findings in this chest X-ray?"
    rows = [{"item_id": name, "q": question, "a": gold, "pred": pred} for name, gold, pred, _, _ in OPEN]
    path = write_json(tmp_path / "chexpert_multi_test_no_option.json", rows)
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    table = run.scores["m"]["chexpert_multi_test_no_option"]
    assert [item["strict"] for item in run.items] == [right for *_, right, _ in OPEN]
    assert [item["official"] for item in run.items] == [None] * len(OPEN)
    assert table["official"] is None and table["official_n"] == 0
    assert table["list_f1"] == pytest.approx(sum(f1 for *_, f1 in OPEN) / len(OPEN))
    assert all(item["note"] for item in run.items), "the missing RaTEScore is named"
