"""Paired intervals, Holm's correction and repeated runs, on answers whose statistics follow by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.eval.outside.runs import Run, evaluate, read_run, reasoner, write_json, write_lines

TABLES = ["mimic_single_test_option", "chexpert_single_test_option", "temporal_cls_test_option"]
B = 50  # of `evaluate`
SURE = 2 / (B + 1)  # p where no resample lies on the other side: 2 (0 + 1) / (B + 1)


def rows(right: list[bool], start: int = 0) -> list[dict[str, Any]]:
    """Questions of as many studies, answered right or wrong."""
    return [
        {
            "item_id": f"i{start + n}",
            "question": "Which? A) Edema B) Pneumonia",
            "answer": "B",
            "original_report": f"Study number {start + n}.",
            "pred": f"<answer>{'B' if good else 'A'}</answer>",
        }
        for n, good in enumerate(right)
    ]


def write(folder: Path, label: str, right: dict[str, list[bool]]) -> str:
    for table, answers in right.items():
        write_json(folder / label / f"{table}.json", rows(answers))
    return f"{label}={folder / label}"


def comparisons(folder: Path, metric: str = "official") -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        (row["a"], row["b"], row["table"]): row
        for row in json.loads((folder / "comparisons.json").read_text("utf-8"))
        if row["metric"] == metric
    }


#: a beats b in the first table always, in the second in half of the studies; in the third they are the same.
RIGHT_A = {TABLES[0]: [True] * 8, TABLES[1]: [True] * 8, TABLES[2]: [True, False] * 4}
RIGHT_B = {TABLES[0]: [False] * 8, TABLES[1]: [True, False] * 4, TABLES[2]: [True, False] * 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("comparing")
    a, b = write(folder, "a", RIGHT_A), write(folder, "b", RIGHT_B)
    return evaluate("radrbench", folder / "run", "--predictions", a, "--predictions", b)


def test_differences_and_their_sign(run: Run):
    found = comparisons(run.folder)
    assert [found["a", "b", table]["difference"] for table in TABLES] == [1.0, 0.5, 0.0]


def test_degenerate_intervals(run: Run):
    found = comparisons(run.folder)
    assert (found["a", "b", TABLES[0]]["low"], found["a", "b", TABLES[0]]["high"]) == (1.0, 1.0)
    assert (found["a", "b", TABLES[2]]["low"], found["a", "b", TABLES[2]]["high"]) == (0.0, 0.0)
    middle = found["a", "b", TABLES[1]]
    assert 0 <= middle["low"] < 0.5 < middle["high"] <= 1


def test_p_values_by_hand(run: Run):
    found = comparisons(run.folder)
    assert found["a", "b", TABLES[0]]["p"] == pytest.approx(SURE)
    assert found["a", "b", TABLES[2]]["p"] == 1.0


def test_holm_by_hand(run: Run):
    """Sorted p times 3, 2, 1, each at least the one before, at most 1."""
    found = comparisons(run.folder)
    p = [found["a", "b", table]["p"] for table in TABLES]
    assert p[0] == pytest.approx(SURE) and p[1] <= p[2]
    least = min(p[0], p[1])
    expected = {0: min(1, 3 * least), 1: min(1, max(3 * least, 2 * max(p[0], p[1]))), 2: 1.0}
    assert p[0] <= p[1]
    assert [found["a", "b", table]["p_holm"] for table in TABLES] == pytest.approx(list(expected.values()))


def test_three_labels_are_three_pairs(tmp_path: Path):
    arguments: list[Any] = []
    for label in ("one", "two", "three"):
        arguments += ["--predictions", write(tmp_path, label, {TABLES[0]: [label != "two"] * 5})]
    run = evaluate("radrbench", tmp_path / "run", *arguments)
    found = comparisons(run.folder)
    assert {frozenset(pair[:2]) for pair in found} == {
        frozenset(pair) for pair in (("one", "two"), ("one", "three"), ("two", "three"))
    }
    assert len(found) == 3


def test_with_questions_all_labels_have_all_items(tmp_path: Path):
    questions = write_json(
        tmp_path / "questions" / f"{TABLES[0]}.json",
        [{key: value for key, value in row.items() if key != "pred"} for row in rows([True] * 6)],
    )
    a = write_lines(
        tmp_path / "a.jsonl",
        [{"table": TABLES[0], "index": n, "completion": f"<answer>{'B' if n < 3 else 'A'}</answer>"} for n in range(6)],
    )
    b = write_json(tmp_path / "b" / f"{TABLES[0]}.json", rows([False] * 4))
    c = write_lines(tmp_path / "c.jsonl", [{"table": TABLES[0], "index": 5, "completion": "<answer>B</answer>"}])
    run = evaluate("radrbench", tmp_path / "alone", "--predictions", f"b={b}")
    assert run.scores["b"][TABLES[0]]["n"] == 4
    whole = evaluate(
        "radrbench",
        tmp_path / "run",
        *("--input", questions, "--predictions", f"a={a}", "--predictions", f"b={b}", "--predictions", f"c={c}"),
    )
    assert {label: whole.scores[label][TABLES[0]]["n"] for label in "abc"} == {"a": 6, "b": 6, "c": 6}
    outcome = reasoner("compare", whole.folder, run.folder, "--output", tmp_path / "both", "--bootstrap", B)
    assert outcome.code == 2 and "other items" in outcome.err


def test_without_questions_the_items_are_those_of_all_labels(tmp_path: Path):
    """Six items are answered by a, three of them rightly, and the first four by b, all wrongly."""
    a = write_json(tmp_path / "a" / f"{TABLES[0]}.json", rows([True] * 3 + [False] * 3))
    b = write_json(tmp_path / "b" / f"{TABLES[0]}.json", rows([False] * 4))
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"a={a}", "--predictions", f"b={b}")
    cell = run.scores["b"][TABLES[0]]
    assert (cell["n"], cell["official_n"], cell["strict_n"]) == (6, 4, 6)
    assert [row["difference"] for row in comparisons(run.folder, "strict").values()] == [pytest.approx(3 / 6)]
    assert run.meta["failures"]["b"]["answers"] == 2


def test_compare_is_what_one_run_would_say(tmp_path: Path, run: Run):
    a, b = write(tmp_path, "a", RIGHT_A), write(tmp_path, "b", RIGHT_B)
    evaluate("radrbench", tmp_path / "ra", "--predictions", a)
    evaluate("radrbench", tmp_path / "rb", "--predictions", b)
    outcome = reasoner(
        "compare", tmp_path / "ra", tmp_path / "rb", "--output", tmp_path / "both", "--bootstrap", B, page=True
    )
    assert outcome.code == 0, outcome.err
    assert comparisons(tmp_path / "both") == comparisons(run.folder)
    both = read_run(tmp_path / "both")
    assert {label: both.scores[label][TABLES[1]]["official"] for label in both.scores} == {"a": 1.0, "b": 0.5}
    assert (tmp_path / "both" / "page" / "index.html").is_file()


@pytest.mark.parametrize("again", ["elsewhere", "in_place", pytest.param("workers", marks=pytest.mark.slow)])
def test_repeated_runs_are_equal(tmp_path: Path, run: Run, again: str):
    names = ("items.jsonl", "scores.json", "comparisons.json", "questions.jsonl", "evidence.jsonl")
    a, b = write(tmp_path, "a", RIGHT_A), write(tmp_path, "b", RIGHT_B)
    if again == "in_place":
        evaluate("radrbench", tmp_path / "run", "--predictions", a, "--predictions", b)
    more = ("--workers", "2") if again == "workers" else ()
    second = evaluate("radrbench", tmp_path / "run", "--predictions", a, "--predictions", b, *more)
    for name in names:
        assert (second.folder / name).read_bytes() == (run.folder / name).read_bytes(), name


def test_another_seed_moves_the_intervals_and_nothing_else(tmp_path: Path, run: Run):
    a, b = write(tmp_path, "a", RIGHT_A), write(tmp_path, "b", RIGHT_B)
    other = evaluate("radrbench", tmp_path / "run", "--predictions", a, "--predictions", b, "--seed", 5)
    assert (other.folder / "items.jsonl").read_bytes() == (run.folder / "items.jsonl").read_bytes()
    assert [row["difference"] for row in comparisons(other.folder).values()] == [
        row["difference"] for row in comparisons(run.folder).values()
    ]


def test_compare_refuses_a_folder_that_is_no_run(tmp_path: Path, run: Run):
    outcome = reasoner("compare", run.folder, tmp_path / "nowhere", "--output", tmp_path / "both")
    assert outcome.code == 2 and "nowhere" in outcome.err and outcome.err.count("\n") == 1


def test_changed_predictions_are_graded_again(tmp_path: Path):
    label = write(tmp_path, "m", {TABLES[0]: [True] * 4})
    before = evaluate("radrbench", tmp_path / "run", "--predictions", label)
    write(tmp_path, "m", {TABLES[0]: [False] * 4})
    after = evaluate("radrbench", tmp_path / "run", "--predictions", label)
    assert before.scores["m"][TABLES[0]]["official"] == 1.0
    assert after.scores["m"][TABLES[0]]["official"] == 0.0


def test_labels_are_compared_on_the_tables_that_both_have(tmp_path: Path):
    a = write(tmp_path, "a", {TABLES[0]: [True] * 4, TABLES[1]: [True] * 4})
    b = write(tmp_path, "b", {TABLES[1]: [False] * 4, TABLES[2]: [True] * 4})
    run = evaluate("radrbench", tmp_path / "run", "--predictions", a, "--predictions", b)
    assert list(comparisons(run.folder)) == [("a", "b", TABLES[1])]
    assert comparisons(run.folder)["a", "b", TABLES[1]]["p_holm"] == pytest.approx(SURE)  # a family of one
