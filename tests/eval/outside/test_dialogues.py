"""CXRTrek's eight stages: each kind of question by its rule, boxes by hand, dialogues in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.eval.outside.runs import Run, evaluate, write_json

PLACES = ["Left lung", "Right lung", "Heart", "Mediastinum"]


class Asked(NamedTuple):
    """A question of a dialogue, what was answered, and the two verdicts."""

    name: str
    question: dict[str, Any]
    completion: str | None
    official: bool | None
    strict: bool | None


def yes_no(answer: str) -> dict[str, Any]:
    return {"task_type": "yes_no", "qtype": "yes_no", "question": "Is there an effusion?", "answer": answer}


def single(answer: list[str], options: list[str] = PLACES) -> dict[str, Any]:
    return {
        **{"task_type": "single-choice", "qtype": "single-choice", "question": "Where is the lesion?"},
        **{"answer": ", ".join(answer), "option_list": options, "answer_list": answer},
    }


def multi(answer: list[str], options: list[str] = PLACES, count: str = "") -> dict[str, Any]:
    kind = f"multi-choice{count}"
    return single(answer, options) | {"task_type": kind, "qtype": kind, "question": "Where are lesions?"}


NUMBERED = [f"{number}. {place}" for number, place in enumerate(PLACES, 1)]
LETTERED = [f"{letter}. {place}" for letter, place in zip("ABCD", PLACES, strict=True)]
CASES = [
    Asked("yes", yes_no("Yes, on the left."), "Yes", True, True),
    Asked("yes_in_lower_case", yes_no("Yes"), "yes.", True, True),
    Asked("yes_explained", yes_no("Yes"), "Yes, there is a left effusion.", True, True),
    Asked("no_for_yes", yes_no("Yes"), "No", False, False),
    Asked("no", yes_no("No, there is none."), "No, there is no effusion.", True, True),
    Asked("neither", yes_no("No"), "I cannot tell.", False, False),
    Asked("words", single(["Heart"]), "Heart", True, True),
    Asked("letter", single(["Heart"]), "C", True, True),
    Asked("lettered_options_by_letter", single(["C. Heart"], LETTERED), "C", True, True),
    Asked("lettered_options_by_words", single(["C. Heart"], LETTERED), "Heart", True, True),
    Asked("lettered_options_in_full", single(["C. Heart"], LETTERED), "C. Heart", True, True),
    Asked("gold_by_letter_alone", single(["C"], LETTERED), "heart", True, True),
    Asked("place_without_numbers", single(["Heart"]), "3", False, True),
    Asked("numbered_options_by_number", single(["3. Heart"], NUMBERED), "3", True, True),
    Asked("numbered_options_by_words", single(["3. Heart"], NUMBERED), "heart", True, True),
    Asked("wrong_words", single(["Heart"]), "Left lung", False, False),
    Asked("wrong_letter", single(["Heart"]), "A", False, False),
    Asked("two_for_one", single(["Heart"]), "Heart, Left lung", False, False),
    Asked("sentence", single(["Heart"]), "The lesion is in the heart.", None, True),
    Asked("case", single(["Heart"]), "HEART", True, True),
    Asked("both_words", multi(["Left lung", "Heart"]), "Left lung, Heart", True, True),
    Asked("both_letters", multi(["Left lung", "Heart"]), "A, C", True, True),
    Asked("other_order", multi(["Left lung", "Heart"]), "Heart, Left lung", True, True),
    Asked("letters_of_lettered", multi(["A. Left lung", "C. Heart"], LETTERED, "-2"), "C, A", True, True),
    Asked("words_of_lettered", multi(["A. Left lung", "C. Heart"], LETTERED, "-2"), "Left lung, Heart", True, True),
    Asked("one_of_two", multi(["Left lung", "Heart"], count="-2"), "Heart", False, False),
    Asked("one_too_many", multi(["Left lung", "Heart"]), "A, B, C", False, False),
    Asked("empty", multi(["Left lung"]), "", False, False),
    Asked("no_text", multi(["Left lung"]), None, False, False),
    Asked("option_none", single(["None"], ["Mild", "None", "Severe"]), "None", True, True),
    Asked("letter_of_none", single(["None"], ["Mild", "None", "Severe"]), "B", True, True),
    Asked("letter_after_none", single(["Severe"], ["Mild", "None", "Severe"]), "C", True, True),
    Asked("half_a_character", single(["Heart"]), "Heart \ud83e", False, None),
]


def study(name: str, *content: dict[str, Any], images: int = 1) -> dict[str, Any]:
    pictures = [f"{name}-{n}.jpg" for n in range(images)]
    return {"pat_id": f"p-{name}", "study_id": name, "ref_study_id": None, "image": pictures, "content": list(content)}


def turn(question: dict[str, Any], stage: int = 2, **more: Any) -> dict[str, Any]:
    return {"stage": stage, "image_input_count": 1, "option_list": [], **question, **more}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("dialogues")
    studies = [study(case.name, turn(case.question, completion=case.completion)) for case in CASES]
    path = write_json(folder / "answered.json", studies)
    return evaluate("cxrtrek", folder / "run", "--predictions", f"m={path}")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_choice(run: Run, case: Asked):
    (item,) = [item for item in run.items if item["study"] == case.name]
    if case.strict is not None:
        assert item["strict"] is case.strict, item["note"]
    if case.official is not None:
        assert item["official"] is case.official, item["note"]


def test_a_table_is_a_stage_and_a_kind(run: Run):
    assert set(run.scores["m"]) == {"stage2-yes_no", "stage2-single-choice", "stage2-multi-choice"}
    of_kind = [case for case in CASES if case.question["task_type"] == "yes_no"]
    assert run.scores["m"]["stage2-yes_no"]["n"] == len(of_kind)
    assert run.scores["m"]["stage2-yes_no"]["official"] == sum(bool(c.official) for c in of_kind) / len(of_kind)


DETECTION = {"task_type": "detection", "qtype": "detection", "question": "Where?", "answer": "Here."}
#: Boxes on the 0-100 grid: reference, answer, mean IoU over the larger number, F1 at 0.5, strict. By hand.
BOXES = [
    ("exact", [[0, 0, 10, 10]], "[0, 0, 10, 10]", 1.0, 1.0, True),
    ("eight_tenths", [[0, 0, 10, 10]], "[0, 0, 10, 8]", 0.8, 1.0, True),
    ("a_third", [[0, 0, 20, 10]], "[10, 0, 30, 10]", 1 / 3, 0.0, False),
    ("apart", [[0, 0, 10, 10]], "[50, 50, 60, 60]", 0.0, 0.0, False),
    ("one_of_two", [[0, 0, 10, 10], [50, 50, 60, 60]], "[0, 0, 10, 10]", 0.5, 2 / 3, False),
    ("one_too_many", [[0, 0, 10, 10]], "[[0, 0, 10, 10], [50, 50, 60, 60]]", 0.5, 2 / 3, False),
    ("two_in_other_order", [[0, 0, 10, 10], [50, 50, 60, 60]], "[50, 50, 60, 60] and [0, 0, 10, 10]", 1.0, 1.0, True),
    ("no_box", [[0, 0, 10, 10]], "There is none.", 0.0, 0.0, False),
    ("in_a_sentence", [[20, 30, 40, 50]], "The lesion is at [20, 30, 40, 50].", 1.0, 1.0, True),
]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("boxes")
    studies = [
        study(
            name,
            turn(
                DETECTION | {"answer": str(gold)},
                stage=4,
                bbox_list=gold,
                completion=text,
            ),
        )
        for name, gold, text, *_ in BOXES
    ]
    path = write_json(folder / "answered.json", studies)
    return evaluate("cxrtrek", folder / "run", "--predictions", f"m={path}")


@pytest.mark.parametrize(("name", "iou", "strict"), [(case[0], case[3], case[5]) for case in BOXES])
def test_boxes(boxes: Run, name: str, iou: float, strict: bool):
    (item,) = [item for item in boxes.items if item["study"] == name]
    assert item["values"]["iou"] == pytest.approx(iou)
    assert (item["official"], item["strict"]) == (None, strict)


def test_boxes_of_the_table(boxes: Run):
    scores = boxes.scores["m"]["stage4-detection"]
    assert scores["iou"] == pytest.approx(sum(case[3] for case in BOXES) / len(BOXES))
    # TP 1 1 0 0 1 1 2 0 1 = 7; boxes answered 1 1 1 1 1 2 2 0 1 = 10; reference boxes 1 1 1 1 2 1 2 1 1 = 11
    assert scores["detection_f1"] == pytest.approx(2 * 7 / (10 + 11))


def test_a_single_box_is_a_list_of_one(tmp_path: Path):
    path = write_json(
        tmp_path / "answered.json", [study("s1", turn(DETECTION, bbox_list=[0, 0, 10, 10], completion="[0, 0, 10, 8]"))]
    )
    run = evaluate("cxrtrek", tmp_path / "run", "--predictions", f"m={path}")
    assert [item["values"]["iou"] for item in run.items] == [pytest.approx(0.8)]


def caption(answer: str, completion: str, **more: Any) -> dict[str, Any]:
    question = {"task_type": "captioning", "qtype": "captioning", "question": "Describe.", "answer": answer}
    return turn(question, stage=8, completion=completion) | more


def test_captions(tmp_path: Path):
    path = write_json(
        tmp_path / "answered.json",
        [
            study(
                "same", caption("There is a small left pleural effusion.", "There is a small left pleural effusion.")
            ),
            study("other", caption("There is a small left pleural effusion.", "Bones unremarkable throughout")),
            study("half", caption("one two three four", "one two five six")),
        ],
    )
    run = evaluate("cxrtrek", tmp_path / "run", "--predictions", f"m={path}")
    rouge = {item["study"]: item["values"]["rouge_l"] for item in run.items}
    assert rouge == {"same": pytest.approx(1), "other": pytest.approx(0), "half": pytest.approx(0.5)}
    scores = run.scores["m"]["stage8-captioning"]
    assert scores["official"] is None and scores["strict"] is None
    assert 0 < scores["claim_f1"] <= 1 and "bleu" in scores


def test_dialogue_is_in_order_and_indices_are_of_the_file(tmp_path: Path):
    first = study("s1", *(turn(yes_no("Yes"), stage=n, completion="Yes") for n in (1, 2, 8)))
    second = study("s2", *(turn(yes_no("No"), stage=n, completion="Yes") for n in (1, 2)))
    path = write_json(tmp_path / "answered.json", [{"data_dict": {"cxrtrek_data": each}} for each in (first, second)])
    run = evaluate("cxrtrek", tmp_path / "run", "--predictions", f"m={path}")
    assert [item["index"] for item in run.items if item["table"] == "stage1-yes_no"] == [0, 3]
    assert sorted(item["index"] for item in run.items) == [0, 1, 2, 3, 4]
    assert {item["study"] for item in run.items} == {"s1", "s2"}
    assert run.scores["m"]["stage1-yes_no"]["official"] == 0.5


#: Turns of a study that are wrong, each beside one that is not.
WILD = [
    ("stage_nine", turn(yes_no("Yes"), stage=9, completion="Yes")),
    ("stage_text", turn(yes_no("Yes"), stage="last", completion="Yes")),  # type: ignore[arg-type]
    ("no_question", turn({**yes_no("Yes"), "question": ""}, completion="Yes")),
    ("no_answer", turn({**yes_no("Yes"), "answer": None}, completion="Yes")),
    ("too_many_pictures", turn(yes_no("Yes"), image_input_count=5, completion="Yes")),
    ("count_is_text", turn(yes_no("Yes"), image_input_count="x", completion="Yes")),
    ("turn_is_no_object", "Yes"),
    ("boxes_are_text", turn(DETECTION, bbox_list="[0, 0, 10, 10]", completion="[0, 0, 10, 10]")),
    ("box_of_three_numbers", turn(DETECTION, bbox_list=[[0, 0, 10]], completion="[0, 0, 10, 10]")),
]


@pytest.mark.parametrize("bad", [bad for _, bad in WILD], ids=[name for name, _ in WILD])
def test_wild_turns_are_listed(tmp_path: Path, bad: Any):
    good = turn(yes_no("Yes"), stage=1, completion="Yes")
    path = write_json(tmp_path / "answered.json", [study("whole", good), study("wild", good, bad)])
    run = evaluate("cxrtrek", tmp_path / "run", "--predictions", f"m={path}")
    assert run.meta["malformed"]["rows"], "in silence"
    assert all(row["file"].endswith("answered.json") and row["line"] for row in run.meta["malformed"]["rows"])
    assert any(item["study"] == "whole" and item["strict"] for item in run.items)


def test_a_dialogue_that_is_there_twice(tmp_path: Path):
    good = study("whole", turn(yes_no("Yes"), stage=1, completion="Yes"))
    path = write_json(tmp_path / "answered.json", [good, study("other", *good["content"]), good])
    run = evaluate("cxrtrek", tmp_path / "run", "--predictions", f"m={path}")
    assert len(run.meta["malformed"]["rows"]) == 1 and len(run.items) == 2


def test_own_and_reference_context_from_two_files(tmp_path: Path):
    """A model that errs in stage 1, and with its own errors before it in stage 2 as well."""
    turns = [yes_no("Yes"), yes_no("No")]
    for label, answers in (("own", ("No", "Yes")), ("reference", ("No", "No"))):
        content = [turn(asked, stage=n + 1, completion=answers[n]) for n, asked in enumerate(turns)]
        write_json(tmp_path / f"{label}.json", [study(f"s{number}", *content) for number in range(4)])
    run = evaluate(
        "cxrtrek",
        tmp_path / "run",
        *("--predictions", f"own={tmp_path / 'own.json'}", "--predictions", f"reference={tmp_path / 'reference.json'}"),
    )
    stage2 = {label: run.scores[label]["stage2-yes_no"]["official"] for label in run.scores}
    assert stage2 == {"own": 0.0, "reference": 1.0}
    assert {run.scores[label]["stage1-yes_no"]["official"] for label in run.scores} == {0.0}
