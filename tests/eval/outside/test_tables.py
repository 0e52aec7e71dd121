"""Eleven files are eleven tables, however their folders and names are dressed; plain rows find their items."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eval.outside.runs import evaluate, write_json, write_lines

TABLES = [
    *(f"{site}_{kind}_test_option" for site in ("chexpert", "mimic") for kind in ("binary", "single", "multi")),
    *(f"{site}_multi_test_no_option" for site in ("chexpert", "mimic")),
    *("rsna_binary_test_option", "siim_binary_test_option", "temporal_cls_test_option"),
]
OPTIONS = "\nA) Edema\nB) Pneumonia\nC) Fracture"


def rows(table: str, right: int, count: int = 4) -> list[dict[str, str]]:
    """Questions as the table has them, of which `right` are answered right."""
    if "binary" in table:
        question, gold, wrong = "Is there a pneumonia?", "Yes", "No"
    elif "no_option" in table:
        question, gold, wrong = "What are the findings?", "Edema, Fracture", "Pneumothorax"
    elif "temporal" in table:
        question, gold, wrong = "How did it change?\nA) improving\nB) stable\nC) worsening", "C", "A"
    else:
        question, wrong = f"Which?{OPTIONS}", "A"
        gold = "B, C" if "multi" in table else "B"
    return [
        {"item_id": f"{table}-{n}", "question": question, "answer": gold, "pred": f"<answer>{answer}</answer>"}
        for n, answer in enumerate([gold] * right + [wrong] * (count - right))
    ]


def test_eleven_tables(tmp_path: Path):
    for place, table in enumerate(TABLES):
        write_json(tmp_path / "released" / f"{table}.json", rows(table, place % 5))
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"theirs={tmp_path / 'released'}")
    assert len(TABLES) == 11
    assert sorted(run.scores["theirs"]) == sorted(TABLES)
    for place, table in enumerate(TABLES):
        scores = run.scores["theirs"][table]
        assert scores["n"] == 4 and scores["strict"] == (place % 5) / 4, table
        assert scores["official"] == (None if "no_option" in table else (place % 5) / 4), table
        tasks = {question["task"] for question in run.questions if question["table"] == table}
        assert tasks == {next(task for word, task in TASKS if word in table)}


TASKS = [("binary", "binary"), ("single", "single"), ("multi", "multiple"), ("temporal", "temporal")]


@pytest.mark.parametrize(
    "name",
    [
        "mimic_single_test_option_qwen2vl.json",
        "res_mimic_single_test_option.jsonl",
        "MIMIC_Single_Test_Option.json",
        "mimic_single_test_option/part.json",
    ],
)
def test_table_is_told_by_name_or_folder(tmp_path: Path, name: str):
    write = write_lines if name.endswith("l") else write_json
    path = write(tmp_path / "released" / name, rows("mimic_single_test_option", 3))
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path.parent}")
    assert list(run.scores["m"]) == ["mimic_single_test_option"]


def test_open_lists_are_not_the_table_with_options(tmp_path: Path):
    path = write_json(tmp_path / "mimic_multi_test_no_option.json", rows("mimic_multi_test_no_option", 2))
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert list(run.scores["m"]) == ["mimic_multi_test_no_option"]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    for table in ("mimic_single_test_option", "rsna_binary_test_option"):
        asked = [{key: value for key, value in row.items() if key != "pred"} for row in rows(table, 0)]
        write_json(tmp_path / "questions" / f"{table}.json", asked)
    return tmp_path / "questions"


def test_plain_rows_by_index_or_id(tmp_path: Path, questions: Path):
    single, binary = "mimic_single_test_option", "rsna_binary_test_option"
    path = write_lines(
        tmp_path / "plain.jsonl",
        [
            {"table": single, "index": 2, "completion": "<answer>B</answer>"},
            {"table": single, "index": 0, "completion": "<answer>A</answer>"},
            {"table": binary, "id": f"{binary}-3", "completion": "<answer>Yes</answer>"},
            {"table": binary, "index": 1, "completion": None},
        ],
    )
    run = evaluate("radrbench", tmp_path / "run", "--input", questions, "--predictions", f"m={path}")
    assert [item["strict"] for item in run.items if item["table"] == single] == [False, False, True, False]
    assert [item["strict"] for item in run.items if item["table"] == binary] == [False, False, False, True]
    assert run.meta["failures"]["m"]["answers"] == 5 and not run.meta["malformed"]["rows"]
    assert all(item["note"] for item in run.items if not item["completion"])


def test_a_table_without_predictions_is_left_out(tmp_path: Path, questions: Path):
    path = write_lines(
        tmp_path / "plain.jsonl",
        [{"table": "rsna_binary_test_option", "index": 0, "completion": "<answer>Yes</answer>"}],
    )
    run = evaluate("radrbench", tmp_path / "run", "--input", questions, "--predictions", f"m={path}")
    assert list(run.scores["m"]) == ["rsna_binary_test_option"]
    assert run.scores["m"]["rsna_binary_test_option"]["n"] == 4


def test_two_labels_stand_side_by_side(tmp_path: Path, questions: Path):
    for label, right in (("good", 4), ("bad", 1)):
        for table in ("mimic_single_test_option", "rsna_binary_test_option"):
            write_json(tmp_path / label / f"{table}.json", rows(table, right))
    run = evaluate(
        "radrbench",
        tmp_path / "run",
        *(
            "--input",
            questions,
            "--predictions",
            f"good={tmp_path / 'good'}",
            "--predictions",
            f"bad={tmp_path / 'bad'}",
        ),
    )
    assert {label: run.scores[label]["mimic_single_test_option"]["strict"] for label in run.scores} == {
        "good": 1.0,
        "bad": 0.25,
    }


def test_rows_of_no_item_are_named(tmp_path: Path, questions: Path):
    path = write_lines(
        tmp_path / "plain.jsonl",
        [
            {"table": "rsna_binary_test_option", "index": 0, "completion": "<answer>Yes</answer>"},
            {"table": "rsna_binary_test_option", "index": 99, "completion": "<answer>Yes</answer>"},
            {"table": "no_such_table", "index": 0, "completion": "<answer>Yes</answer>"},
        ],
    )
    run = evaluate("radrbench", tmp_path / "run", "--input", questions, "--predictions", f"m={path}")
    bad = run.malformed("plain.jsonl")
    assert [row["line"] for row in bad] == [2, 3]
    assert "99" in bad[0]["problem"] and "no_such_table" in bad[1]["problem"]
