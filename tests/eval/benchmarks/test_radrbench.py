"""RadRBench: every published spelling, both rules, wild rows, and the judge's protocol."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks.base import Item, Malformed
from eval.benchmarks.judge import judge
from eval.benchmarks.radrbench import TABLES, Radrbench, table_of
from eval.benchmarks.radrbench_rules import official, strict
from reasoner.errors import UserError
from reasoner.profiles import PROFILES
from reasoner.prompts import format_completion, parse_completion
from reasoner.schema import Example

BENCH = Radrbench()
QUESTION = "Which finding is in this chest X-ray? Options:\nA) edema\nB) pleural effusion\nC) normal\nD) nodule"
ROW: dict[str, Any] = {"question": QUESTION, "answer": "B", "completion": format_completion("Blunted.", "B")}
CHAT = "system\nYou help.\nuser\n{}\nEnclose the answer within <answer></answer>.\nassistant\n{}"


def read_answer(completion: str) -> str | None:
    return parse_completion(completion).answer


def read(folder: Path, *rows: Any, name: str = "mimic_single_test_option.json") -> list[Item | Malformed]:
    file = folder / name
    file.write_text(json.dumps(rows), encoding="utf-8")
    return list(BENCH.read(file, None))


def item(folder: Path, **row: Any) -> Item:
    (found,) = read(folder, row)
    assert isinstance(found, Item)
    return found


@pytest.mark.parametrize("question", ["question", "q"])
@pytest.mark.parametrize(
    "answer",
    [
        {"answer": "<answer> B </answer>"},
        {"a": "B"},
        {"answer_content": "B"},
        {"answer": {"answer_content": "B"}},
        {"answer": "B", "answer_content": "pleural effusion"},
        {"answer": ["B"]},
    ],
)
def test_question_and_answer_are_read_as_spelled(tmp_path: Path, question: str, answer: dict[str, Any]) -> None:
    found = item(tmp_path, **{question: f"<image>\n{QUESTION}\nLet's think step by step."}, **answer)
    assert (found.example.question, found.example.answer, found.completion) == (QUESTION, "B", None)


@pytest.mark.parametrize(
    "steps",
    [
        "Blunted angle. No edema.",
        ["Blunted angle.", "No edema"],
        {"reason_steps": ["Blunted angle", "No edema."]},
        {"reason_steps": {"reason_steps": "Blunted angle. No edema."}},
        '{"reason_steps": ["Blunted angle.", "No edema."]}',
        "<think>Blunted angle. No edema.</think>",
    ],
)
@pytest.mark.parametrize("name", ["reason_steps", "reasoning"])
def test_reasoning_is_read_however_it_is_nested(tmp_path: Path, name: str, steps: Any) -> None:
    assert item(tmp_path, **ROW, **{name: steps}).example.reasoning.rstrip(".") == "Blunted angle. No edema"


def test_reports_pictures_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    more = {
        "original_report_1": "First.",
        "original_report_2": "Second.",
        "images_path": ["a.png", "b.png"],
        "item_id": 7,
    }
    found = item(tmp_path, **ROW, **more, gender="F")
    assert found.example.report == "First.\n\nSecond." and found.example.id == "7" and found.about == {"sex": "F"}
    assert found.example.images == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert item(tmp_path, **ROW, original_report="One.", image_path="a.png").example.report == "One."


@pytest.mark.parametrize(
    "key, meant",
    [
        ("reason_step", "reason_steps"),
        ("Question", "question"),
        ("original_report_3", "original_report"),
        ("gt_reasoning", "reasoning"),
        ("images_pathes", "image_path"),
        ("preds", "pred"),
    ],
)
def test_a_look_alike_is_never_silent(tmp_path: Path, key: str, meant: str) -> None:
    _, bad = read(tmp_path, ROW, {**ROW, key: "x"})
    assert isinstance(bad, Malformed) and bad.line == 2 and f"'{key}'" in bad.problem and f"'{meant}'" in bad.problem
    with pytest.raises(UserError, match=key):
        read(tmp_path, {**ROW, key: "x"})


def test_the_prompt_of_a_released_prediction_is_cut_off(tmp_path: Path) -> None:
    written = "<think>Blunted.</think>\n<answer> B </answer>"
    row = {"q": QUESTION, "a": "<answer> B </answer>", "pred": CHAT.format(QUESTION, written)}
    found = item(tmp_path, **row)
    assert found.completion == written
    assert BENCH.grade(found, written, read_answer)[:2] == (True, True)
    assert item(tmp_path, **{**row, "pred": None}).completion == ""


@pytest.mark.parametrize("form", ["{}.json", "ours_{}.jsonl", "{}_results.json.gz", "x-{}/ours.json"])
@pytest.mark.parametrize("table", TABLES)
def test_tables_are_named_as_their_files(form: str, table: str) -> None:
    assert table_of(Path(form.format(table))) == table
    assert table_of(Path("openi_multi.json")) == "openi_multi"


#: A completion -> official and strict, for the gold answer B.
CASES: dict[str, tuple[bool | None, bool]] = {
    "<answer> b </answer>": (True, True),
    "<answer>A</answer>": (False, False),
    "<answer>B) pleural effusion</answer>": (False, True),
    "<answer></answer>": (None, False),
    "<think>x</think><answer>B": (None, False),
    "<answer>B</answer><answer>A</answer>": (True, False),
    "<ANSWER>B</ANSWER>": (None, True),
    "": (None, False),
    "<think>It never ends, B": (None, False),
    "A is unlikely, as is D.\n\nC) normal: there is an effusion.\n\nThe answer is **B) pleural effusion**.": (
        None,
        True,
    ),
    "A) edema fits.\n\nD) nodule fits.\n\nThe answer is C or D.": (None, False),
}


@pytest.mark.parametrize("completion", CASES)
@pytest.mark.parametrize("reader", [read_answer, PROFILES["ours"].read_answer])
def test_both_rules(tmp_path: Path, completion: str, reader: Callable[[str], str | None]) -> None:
    grade = BENCH.grade(item(tmp_path, **ROW), completion, reader)
    assert (grade.official, grade.strict) == CASES[completion]
    assert bool(grade.note) == (grade.official is not grade.strict) and "\n" not in grade.note


def test_contained_is_by_characters() -> None:
    assert official("<answer>EFFUSION</answer>", "Pleural Effusion") and official("<answer>e</answer>", "Edema")
    example = Example("", "", "single", QUESTION, "B")
    assert strict(example, "<answer>e</answer>", read_answer).value == 0.0


def test_open_lists_are_not_graded_by_containment(tmp_path: Path) -> None:
    row = {"q": "Which findings?", "a": "edema, nodule", "pred": "<answer>edema</answer>"}
    (found,) = read(tmp_path, row, name="mimic_multi_test_no_option.json")
    assert isinstance(found, Item) and found.completion
    grade = BENCH.grade(found, found.completion, read_answer)
    assert grade.official is None and not grade.strict and 0 < (grade.values["list_f1"] or 0) < 1
    assert "RaTEScore" in grade.note


def test_malformed_rows_are_named_by_line(tmp_path: Path) -> None:
    good = [{**ROW, "item_id": n, "image_path": ["a.png"]} for n in range(40)]
    bad: dict[str, dict[str, Any]] = {
        "'question' is missing": {"question": ""},
        "'answer' must be text": {"answer": 3},
        "'answer' holds one of": {"answer": "<answer> B"},
        "duplicate id '5', which line 6": {"item_id": 5},
        "2 pictures": {"image_path": ["a.png", "b.png"]},
        "'completion' must be text": {"completion": {"a": 1}},
        "'reason_steps' must be": {"reason_steps": [3]},
        "lone surrogate": {"original_report": "\ud800"},
        "differ": {"q": "Another?"},
    }
    rows = [*good, *({**good[0], "item_id": f"x{n}", **fault} for n, fault in enumerate(bad.values()))]
    file = tmp_path / "rsna_binary_test_option.jsonl.gz"
    lines = [*map(json.dumps, rows[:2]), "", "{broken", *map(json.dumps, rows[2:])]
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = list(BENCH.read(file, None))
    faults = [row for row in found if isinstance(row, Malformed)]
    assert [row.line for row in faults] == [4, *range(43, 52)]
    for row, problem in zip(faults[1:], bad, strict=True):
        assert problem.replace("line 6", "line 8") in row.problem and row.file == str(file)
    assert [row.index for row in found if isinstance(row, Item)][:4] == [0, 1, 3, 4]


def test_ids_of_studies_are_no_duplicates(tmp_path: Path) -> None:
    assert all(isinstance(row, Item) for row in read(tmp_path, *({**ROW, "item_id": n // 3} for n in range(30))))


def test_a_missing_picture_costs_a_question_and_not_a_prediction(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    ask = {"q": QUESTION, "a": "B"}
    rows = read(
        tmp_path,
        {**ask, "image_path": "a.png"},
        {**ask, "image_path": "b.png"},
        {**ask, "image_path": "b.png", "pred": "B"},
    )
    assert isinstance(rows[1], Malformed) and "missing image" in rows[1].problem
    assert isinstance(rows[2], Item) and rows[2].example.images == ()


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["B", "<answer>", "a.png"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["reason_steps", "answer", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "question",
        "q",
        "a",
        "answer_content",
        "pred",
        "reason_steps",
        "original_report",
        "image_path",
        "item_id",
        "options",
        "view",
        "reason_step",
    ]
)


@given(st.lists(st.dictionaries(KEYS, VALUE, max_size=5), max_size=4), st.text(max_size=80))
def test_wild_rows_cost_themselves(tmp_path_factory: Any, wild: list[dict[str, Any]], written: str) -> None:
    rows = read(tmp_path_factory.mktemp("wild"), ROW, *({"answer": "B", **row} for row in wild))
    assert len(rows) == len(wild) + 1
    for row in rows:
        if isinstance(row, Item):
            for completion in (written, f"<answer>{written}</answer>", row.completion or ""):
                grade = BENCH.grade(row, completion, read_answer)
                assert grade.strict in (True, False) and "\n" not in grade.note


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of its rows"):
        read(tmp_path, {"image": "a.png"})
    with pytest.raises(UserError, match="no such file"):
        list(BENCH.read(tmp_path / "gone.json", None))


def replies(prompt: str, number: int) -> tuple[int, str]:
    if prompt.startswith("TEXT:"):
        names = [sentence.strip() for sentence in prompt[5:].split(".") if sentence.strip()]
        return 200, json.dumps({"findings": [{"observation": name, "status": "present"} for name in names]})
    return 200, 'Sure: {"numbers": [1]}'


def case(text: str, reference: str = "Effusion. Edema.", report: str = "Effusion.") -> tuple[Item, str]:
    example = Example("", "", "single", QUESTION, "B", reasoning=reference, report=report)
    return Item("t", 0, example), format_completion(text, "B")


def test_the_judge_counts_by_the_authors_protocol(tmp_path: Path, openai_server: Callable[..., Any]) -> None:
    web = openai_server(replies)
    for _ in range(2):
        judged = judge(
            [case("Effusion. Nodule. Clear."), case("x", report="")], web.url, "model", tmp_path / "c.sqlite"
        )
    score, none = judged.scores
    assert score and none is None and judged.failures == {"no reference": 1}
    assert (score.completeness, score.factuality, score.effectiveness) == (1 / 2, 1 / 3, 1 / 3)
    assert score.radrscore == pytest.approx(7 / 18) and web.asked == 5  # the second time from the cache


@pytest.mark.parametrize("reply", ["no idea", '{"numbers": [9]}', '{"numbers": ["one"]}', '{"numbers": 1}'])
def test_what_the_judge_cannot_say_is_counted(tmp_path: Path, openai_server: Callable[..., Any], reply: str) -> None:
    web = openai_server(lambda prompt, number: replies(prompt, number) if prompt.startswith("TEXT:") else (200, reply))
    judged = judge([case("Effusion."), case("Nodule.")], web.url, "model", tmp_path / "c.sqlite")
    assert judged.scores == [None, None] and sum(judged.failures.values()) == 6


def test_the_dev_set_is_read_as_by_hand(data_dir: Path) -> None:
    """60 completions of each kind were read by hand: prose concludes in its last paragraphs, tags say the same."""
    file = data_dir / "radrscore_dev" / "openi_judged.jsonl"
    if not file.is_file():
        pytest.skip(f"no {file}")
    grades = {}
    for found in BENCH.read(file, None):
        assert isinstance(found, Item) and found.completion is not None
        grades[found.example.id] = BENCH.grade(found, found.completion, read_answer)
    tagged = [grade for name, grade in grades.items() if name.startswith("ours")]
    prose = [grade for name, grade in grades.items() if name.startswith("gpt4o/openi_single")]
    assert len(grades) == 1008 and sum(grade.official is None for grade in tagged) == 1
    assert all(grade.official is grade.strict for grade in tagged if grade.official is not None)
    assert sum(grade.strict is True for grade in prose) == 131 and all(grade.official is None for grade in prose)
