"""Wild rows: each is listed with its file and line, none ends the run, and the others keep their positions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.eval.outside.runs import Run, evaluate, reasoner, write_json, write_lines

QUESTION = "Which finding is shown?\nA) Edema\nB) Pneumonia"


def good(number: int, **columns: Any) -> dict[str, Any]:
    row = {"item_id": f"i{number}", "question": QUESTION, "answer": "B", "pred": "<answer>B</answer>"}
    return {name: value for name, value in (row | columns).items() if value != "absent"}


class Wild(NamedTuple):
    """Lines of a file, the numbers of those that are malformed (from 1), and the positions that remain (from 0)."""

    name: str
    lines: list[Any]
    bad: list[int]
    indices: list[int]


CASES = [
    Wild("question_missing", [good(0), good(1, question="absent"), good(2)], [2], [0, 2]),
    Wild("question_null", [good(0), good(1, question=None)], [2], [0]),
    Wild("question_blank", [good(0), good(1, question="  ")], [2], [0]),
    Wild("question_number", [good(0, question=5), good(1)], [1], [1]),
    Wild("question_list", [good(0, question=["a"]), good(1)], [1], [1]),
    Wild("answer_missing", [good(0), good(1, answer="absent"), good(2)], [2], [0, 2]),
    Wild("answer_null", [good(0, answer=None), good(1)], [1], [1]),
    Wild("answer_empty_tags", [good(0, answer="<answer></answer>"), good(1)], [1], [1]),
    Wild("answer_object", [good(0), good(1, answer={"x": 1})], [2], [0]),
    Wild("gold_unclosed", [good(0), good(1, answer="<answer>B"), good(2)], [2], [0, 2]),
    Wild("gold_unopened", [good(0), good(1, answer="B</answer>")], [2], [0]),
    Wild("spellings_differ", [good(0), good(1, q="Another question? A) x B) y")], [2], [0]),
    Wild("answers_differ", [good(0), good(1, a="A")], [2], [0]),
    Wild("report_number", [good(0), good(1, original_report=7)], [2], [0]),
    Wild("steps_number", [good(0), good(1, reason_steps=7)], [2], [0]),
    Wild("picture_number", [good(0), good(1, image_path=3)], [2], [0]),
    Wild("id_list", [good(0), good(1, item_id=["x"])], [2], [0]),
    Wild("broken_line", [good(0), b'{"question": "Which', good(2)], [2], [0, 2]),
    Wild("two_broken_lines", [b"{", good(1), b"}", good(3)], [1, 3], [1, 3]),
    Wild("not_an_object", [good(0), b"5", b"null", b'"text"', b"[1]", good(5)], [2, 3, 4, 5], [0, 5]),
    Wild("nul_byte_and_bad_utf8", [good(0), b'{"question": "\xff\xfe"}', good(2)], [2], [0, 2]),
    Wild("deep_nesting", [good(0), b"[" * 5000 + b"]" * 5000, good(2)], [2], [0, 2]),
    Wild(
        "two_pictures",
        [good(n, images_path=["a.png"] * (2 if n == 7 else 1)) for n in range(12)],
        [8],
        [*range(7), *range(8, 12)],
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("malformed")
    for case in CASES:
        write_raw(folder / "released" / f"{case.name}_single.jsonl", case.lines)
    return evaluate("radrbench", folder / "run", "--predictions", f"m={folder / 'released'}", page=True)


def write_raw(path: Path, lines: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n"
    )
    return path


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_rows_are_listed_by_line(run: Run, case: Wild):
    listed = run.malformed(f"{case.name}_single.jsonl")
    assert [row["line"] for row in listed] == case.bad
    assert all(row["problem"] for row in listed)
    assert sum(
        n for file, n in run.meta["malformed"]["counts"].items() if Path(file).name == f"{case.name}_single.jsonl"
    ) == len(case.bad)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_other_rows_keep_their_positions(run: Run, case: Wild):
    kept = [item for item in run.items if item["table"] == f"{case.name}_single"]
    assert [item["index"] for item in kept] == case.indices
    assert all(item["official"] is True for item in kept)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_page_counts_them(run: Run, case: Wild):
    page = (run.folder / "page" / "index.html").read_text("utf-8")
    data = (run.folder / "page" / "data" / "index.js").read_text("utf-8")
    assert f"{case.name}_single.jsonl" in page + data


#: What a model wrote is graded, whatever it is.
WRITTEN = [
    ("null", None, None, False),
    ("empty", "", None, False),
    ("babble", "a" * 30_000, None, False),
    ("open_tags", "<think><think><answer>", None, False),
    ("half_a_character", "<answer>B\ud800</answer>", False, None),
]


@pytest.mark.parametrize(
    ("pred", "official", "strict"), [case[1:] for case in WRITTEN], ids=[case[0] for case in WRITTEN]
)
def test_what_a_model_wrote_is_never_malformed(tmp_path: Path, pred: Any, official: bool | None, strict: bool | None):
    path = write_json(tmp_path / "mimic_single_test_option.json", [good(0), good(1, pred=pred)])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert run.meta["malformed"]["rows"] == []
    item = run.item("mimic_single_test_option", 1)
    assert item["official"] is official
    if strict is not None:
        assert item["strict"] is strict


@pytest.mark.parametrize(
    "pred", [5, ["<answer>B</answer>", "B"], {"text": "B"}, True], ids=["number", "list", "object", "bool"]
)
def test_a_prediction_of_another_kind_does_not_end_the_run(tmp_path: Path, pred: Any):
    path = write_json(tmp_path / "mimic_single_test_option.json", [good(0), good(1, pred=pred)])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert run.item("mimic_single_test_option", 0)["official"] is True
    noted = [item["note"] for item in run.items if item["index"] == 1]
    assert run.meta["malformed"]["rows"] or any(noted), "in silence"


@pytest.mark.parametrize("first", ["x", "[1]", "null", '{"question": "Whi'])
def test_a_file_whose_first_line_is_broken(tmp_path: Path, first: str):
    path = write_raw(tmp_path / "mimic_single_test_option.jsonl", [first.encode(), good(1), good(2)])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert [row["line"] for row in run.meta["malformed"]["rows"]] == [1]
    assert [item["index"] for item in run.items] == [1, 2]


def test_an_id_that_stands_twice(tmp_path: Path):
    rows = [good(n, item_id="same" if n in (2, 4) else f"i{n}") for n in range(8)]
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", rows)
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    (bad,) = run.meta["malformed"]["rows"]
    assert bad["line"] == 5 and "same" in bad["problem"]
    assert [item["index"] for item in run.items] == [0, 1, 2, 3, 5, 6, 7]


def test_ids_that_repeat_all_over_name_studies(tmp_path: Path):
    rows = [good(n, item_id=f"study{n // 2}", question=f"{n}: {QUESTION}") for n in range(8)]
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", rows)
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert run.meta["malformed"]["rows"] == [] and len(run.items) == 8
    assert len({item["study"] for item in run.items}) == 4


def test_row_of_a_list_has_its_number_for_a_line(tmp_path: Path):
    path = write_json(tmp_path / "mimic_single_test_option.json", [good(0), good(1, question="absent"), good(2)])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert [row["line"] for row in run.meta["malformed"]["rows"]] == [2]


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"[]", b"{}", b"\xef\xbb\xbf"], ids=["empty", "blank", "list", "object", "mark"]
)
def test_a_file_without_rows(tmp_path: Path, content: bytes):
    """By itself it is an error of one line; among others it does not end the run."""
    path = tmp_path / "released" / "rsna_binary_test_option.json"
    path.parent.mkdir()
    path.write_bytes(content)
    outcome = reasoner("eval", "--benchmark", "radrbench", "--predictions", f"m={path}", "--output", tmp_path / "alone")
    assert outcome.code == 2 and path.name in outcome.err and outcome.err.count("\n") == 1
    write_json(path.with_name("mimic_single_test_option.json"), [good(0)])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path.parent}")
    assert list(run.scores["m"]) == ["mimic_single_test_option"]


def test_json_that_breaks_off(tmp_path: Path):
    path = write_json(tmp_path / "mimic_single_test_option.json", [good(n) for n in range(5)])
    path.write_bytes(path.read_bytes()[:-60])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert [item["index"] for item in run.items] == [0, 1, 2, 3]
    assert len(run.meta["malformed"]["rows"]) == 1


def test_an_archive_that_breaks_off(tmp_path: Path):
    """What can be read of it is graded, and that there was more is listed."""
    rows = [good(n, original_report=f"Film {n}: {hash((n, 7))}") for n in range(2000)]
    path = tmp_path / "mimic_single_test_option.jsonl.gz"
    path.write_bytes(gzip.compress(write_lines(tmp_path / "rows.jsonl", rows).read_bytes())[:-500])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert 1000 < len(run.items) < 2000 and len(run.meta["malformed"]["rows"]) == 1


def test_limit_takes_the_first_rows_of_each_table(tmp_path: Path):
    rows = [good(0), good(1, question=None), good(2), good(3)]
    for name in ("mimic_single_test_option", "rsna_binary_test_option"):
        write_lines(tmp_path / "released" / f"{name}.jsonl", rows)
    run = evaluate("radrbench", tmp_path / "run", "--limit", 2, "--predictions", f"m={tmp_path / 'released'}")
    assert sorted((item["table"], item["index"]) for item in run.items) == [
        ("mimic_single_test_option", 0),
        ("mimic_single_test_option", 2),
        ("rsna_binary_test_option", 0),
        ("rsna_binary_test_option", 2),
    ]
