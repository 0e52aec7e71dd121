"""Every spelling in which ChestX-Reasoner publishes questions, references and predictions is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.eval.outside.runs import Run, evaluate, write_json, write_lines

QUESTION = "Which finding is shown?\nA) Edema\nB) Pneumonia"
REASONED = "<think>There is a pneumonia.</think> <answer>B</answer>"
STEPS, REPORT = ["No effusion.", "There is pneumonia."], {"original_report": "Pneumonia."}
PROMPT = (
    "system\nYou are a helpful assistant.\nuser\nWhich finding is shown? A) Edema B) Pneumonia\n"
    "Let's think step by step. Enclose the reasoning within <think></think> and the answer within <answer></answer>.\n"
)


class Spelled(NamedTuple):
    """A published row, and fields of the question or the item that it must come out as."""

    name: str
    row: dict[str, Any]
    question: dict[str, Any] = {}
    item: dict[str, Any] = {}


def row(**columns: Any) -> dict[str, Any]:
    return {"question": QUESTION, "answer": "B", "pred": REASONED} | columns


def without(name: str, **columns: Any) -> dict[str, Any]:
    whole = row(**columns)
    del whole[name]
    return whole


CASES = [
    Spelled("question_answer_pred", row(), {"question": QUESTION, "answer": "B"}, {"strict": True, "official": True}),
    Spelled("q", without("question", q=QUESTION), {"question": QUESTION}, {"official": True}),
    Spelled("a", without("answer", a="B"), {"answer": "B"}, {"official": True}),
    Spelled("answer_content", without("answer", answer_content="A"), {"answer": "A"}, {"official": False}),
    Spelled("answer_in_tags", row(answer="<answer>B</answer>"), {"answer": "B"}, {"official": True, "strict": True}),
    Spelled("answer_in_tags_with_space", row(answer="<answer> B </answer>\n"), {"answer": "B"}, {"official": True}),
    Spelled("a_in_tags", without("answer", a="<answer>A</answer>"), {"answer": "A"}, {"official": False}),
    Spelled("steps_as_text", row(reason_steps="There is pneumonia."), {"reasoning": "There is pneumonia."}),
    Spelled("steps_as_list", row(reason_steps=STEPS, **REPORT)),
    Spelled(
        "steps_nested",
        row(reason_steps={"reason_steps": ["No effusion.", "There is pneumonia."]}, original_report="Pneumonia."),
    ),
    Spelled(
        "steps_nested_text",
        row(reason_steps={"reason_steps": "No effusion. There is pneumonia."}, original_report="Pneumonia."),
    ),
    Spelled("original_report", row(original_report="Pneumonia is present."), {"report": "Pneumonia is present."}),
    Spelled("two_reports", row(original_report_1="Clear lungs.", original_report_2="New pneumonia.")),
    Spelled("image_path", row(image_path="here.png")),
    Spelled("images_path", row(images_path=["here.png", "there.png"])),
    Spelled("item_id_text", row(item_id="mimic-7"), {"id": "mimic-7"}, {"id": "mimic-7"}),
    Spelled("item_id_number", row(item_id=17), {"id": "17"}, {"id": "17"}),
    Spelled("dataset_name", row(dataset_name="mimic_single_test_option"), {"task": "single"}),
    Spelled("same_question_twice", row(q=QUESTION), {"question": QUESTION}),
    Spelled("same_answer_twice", row(a="B", answer_content="B"), {"answer": "B"}),
    Spelled(
        "pred_repeats_prompt",
        row(pred=f"{PROMPT}assistant\n{REASONED}", reason_steps="Pneumonia."),
        {},
        {"official": True, "strict": True},
    ),
    Spelled(
        "pred_after_two_turns",
        row(pred=f"{PROMPT}assistant\n<answer>A</answer>\nuser\nSure?\nassistant\n{REASONED}"),
        {},
        {"official": True, "strict": True},
    ),
    Spelled(
        "assistant_within_a_sentence",
        row(pred="<think>As an\tassistant I see pneumonia.</think> <answer>B</answer>"),
        {},
        {"official": True, "strict": True, "factuality": None},
    ),
    Spelled("prompt_without_answer", row(pred=f"{PROMPT}assistant\n"), {}, {"official": None, "strict": False}),
    Spelled("null_report", row(original_report=None), {"report": ""}, {"strict": True}),
    Spelled("null_steps", row(reason_steps=None), {"reasoning": ""}, {"strict": True}),
    Spelled("accents", row(question="¿Qué se ve? 🫁\nA) Edema\nB) Pneumonia"), {}, {"strict": True}),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All cases, each a table of its own, graded without pictures."""
    folder = tmp_path_factory.mktemp("spellings")
    for case in CASES:
        write_json(folder / "released" / f"{case.name}_single.json", [case.row])
    return evaluate("radrbench", folder / "run", "--predictions", f"theirs={folder / 'released'}")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_row_is_read(run: Run, case: Spelled):
    table = f"{case.name}_single"
    question, item = run.question(table), run.item(table)
    assert {name: question[name] for name in case.question} == case.question
    assert {name: item[name] for name in case.item} == case.item
    assert not run.malformed(f"{table}.json")


@pytest.mark.parametrize("name", ["steps_as_list", "steps_nested", "steps_nested_text"])
def test_all_steps_are_the_reference_chain(run: Run, name: str):
    reasoning = run.question(f"{name}_single")["reasoning"]
    assert "No effusion." in reasoning and "There is pneumonia." in reasoning
    assert run.item(f"{name}_single")["completeness"] is not None


def test_two_reports_are_one_reference(run: Run):
    report = run.question("two_reports_single")["report"]
    assert "Clear lungs." in report and "New pneumonia." in report


def test_prompt_is_no_part_of_the_reasoning(run: Run):
    assert run.item("pred_repeats_prompt_single")["read"] == "B"
    assert run.item("pred_repeats_prompt_single")["values"]["format"] == 1.0


@pytest.mark.parametrize(
    "shape",
    [
        "list",
        "lines",
        "object_of_records",
        "object_of_one_list",
        "bom",
        "windows_lines",
        "blank_lines",
        "jsonl_in_json",
    ],
)
def test_file_shapes(tmp_path: Path, shape: str):
    rows = [row(item_id=f"i{n}", answer="B" if n else "A") for n in range(3)]
    path = tmp_path / "mimic_single_test_option.json"
    if shape == "list":
        write_json(path, rows)
    elif shape == "object_of_records":
        write_json(path, {f"k{n}": each for n, each in enumerate(rows)})
    elif shape == "object_of_one_list":
        write_json(path, {"data": rows})
    elif shape == "bom":
        write_json(path, rows)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    else:
        path = path if shape == "jsonl_in_json" else path.with_suffix(".jsonl")
        lines = write_lines(path, rows).read_bytes()
        if shape == "windows_lines":
            path.write_bytes(lines.replace(b"\n", b"\r\n"))
        if shape == "blank_lines":
            path.write_bytes(b"\n" + lines.replace(b"\n", b"\n\n"))
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert [(item["id"], item["official"]) for item in run.items] == [("i0", False), ("i1", True), ("i2", True)]
    assert run.meta["malformed"]["rows"] == []


def test_pictures_are_found_below_images(tmp_path: Path):
    from PIL import Image

    for name in ("one.png", "two.png"):
        (tmp_path / "pictures" / "p1").mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / "pictures" / "p1" / name)
    write_json(tmp_path / "a_single.json", [row(image_path="p1/one.png")])
    write_json(tmp_path / "b_single.json", [row(images_path=["p1/one.png", "p1/two.png"])])
    run = evaluate(
        "radrbench",
        tmp_path / "run",
        *("--images", tmp_path / "pictures"),
        *("--predictions", f"m={tmp_path / 'a_single.json'}"),
        *("--predictions", f"n={tmp_path / 'b_single.json'}"),
    )
    assert len(run.question("a_single")["images"]) == 1
    assert len(run.question("b_single")["images"]) == 2
