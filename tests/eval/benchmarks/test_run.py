"""The run, without any model: files of predictions to scores, intervals, comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks import run as runs
from eval.benchmarks.base import Item
from eval.benchmarks.compare import compare
from eval.benchmarks.grading import pass_at
from eval.benchmarks.run import Wanted, run, shown
from eval.benchmarks.tables import rows_of
from reasoner.errors import UserError
from reasoner.schema import Example, Turn

RIGHT = "<think>The heart is enlarged.</think><answer>Yes</answer>"
WRONG = "<think>The heart is normal in size.</think><answer>No</answer>"


@pytest.fixture(autouse=True)
def without_page(monkeypatch):
    monkeypatch.setattr(runs, "write_run_page", lambda folder: None)
    monkeypatch.setattr("eval.benchmarks.compare.write_run_page", lambda folder: None)


def question(number: int, **more) -> dict:
    return {
        "id": f"q{number}",
        "study_id": f"s{number // 2}",
        "task": "binary",
        "split": "test",
        "question": "Is there cardiomegaly?",
        "answer": "Yes",
        "reasoning": "The heart is enlarged.",
        "report": "The heart is enlarged.",
        "images": [],
        **more,
    }


def write(path: Path, rows: list[dict | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


@pytest.fixture
def files(tmp_path):
    """Questions, and the plain predictions of a model that is right and one that is wrong in every second."""
    write(tmp_path / "questions.jsonl", [question(n) for n in range(20)])
    write(tmp_path / "good.jsonl", [{"id": f"q{n}", "completion": RIGHT} for n in range(20)])
    write(tmp_path / "half.jsonl", [{"index": n, "completion": RIGHT if n % 2 else WRONG} for n in range(20)])
    predictions = {"good": tmp_path / "good.jsonl", "half": tmp_path / "half.jsonl"}
    return Wanted("phantom", tmp_path / "run", tmp_path / "questions.jsonl", predictions=predictions, resamples=200)


def items(folder: Path) -> list[dict]:
    return list(rows_of(folder / "items.jsonl"))


def test_predictions_become_items_scores_and_paired_comparisons(files):
    scores = run(files)
    assert {label: tables["test_binary"]["strict"] for label, tables in scores.items()} == {"good": 1.0, "half": 0.5}
    cell = scores["half"]["test_binary"]
    assert (cell["n"], cell["official"], cell["official_n"], cell["strict_n"]) == (20, None, 0, 20)
    # Two questions a study, one of them right: no resample of studies changes the mean.
    assert cell["intervals"]["strict"] == [0.5, 0.5]
    rows = items(files.output)
    assert len(rows) == 40 and rows[1]["id"] == "q1" and rows[1]["index"] == 1
    assert rows[0]["radrscore"] > rows[20]["radrscore"]
    compared = {
        row["metric"]: row for row in json.loads((files.output / "comparisons.json").read_text(encoding="utf-8"))
    }
    assert compared["strict"]["difference"] == 0.5 and compared["strict"]["p"] < 0.05
    assert len(list(rows_of(files.output / "questions.jsonl"))) == 20
    assert len(list(rows_of(files.output / "evidence.jsonl"))) == 40


def test_repeated_runs_are_equal(files):
    run(files)
    names = ("items.jsonl", "scores.json", "comparisons.json", "run.json", "evidence.jsonl", "questions.jsonl")
    before = {name: (files.output / name).read_bytes() for name in names}
    run(files)
    assert before == {name: (files.output / name).read_bytes() for name in names}


def test_rows_of_predictions_can_be_the_items(files, tmp_path):
    write(tmp_path / "rows.jsonl", [question(n, completion=RIGHT) for n in range(4)])
    scores = run(replace(files, input=None, predictions={"a": tmp_path / "rows.jsonl"}))
    assert scores["a"]["test_binary"]["strict"] == 1.0


def test_a_fault_of_a_given_row_is_told_by_its_line(tmp_path):
    rows = [question(0, completion=RIGHT), "", "not JSON", question(1), question(0, completion=RIGHT)]
    folder = tmp_path / "run"
    run(Wanted("phantom", folder, None, predictions={"a": write(tmp_path / "a.jsonl", rows)}, resamples=50))
    malformed = json.loads((folder / "run.json").read_text(encoding="utf-8"))["malformed"]
    told = {row["line"]: row["problem"] for row in malformed["rows"]}
    assert told.keys() == {3, 4, 5} and told[4] == "no completion", told


def test_wild_rows_are_listed_with_file_and_line_and_kill_nothing(files, tmp_path):
    good = {"id": "q0", "completion": RIGHT}
    wild = ["{broken", "[1]", {"completion": RIGHT}, {"id": "q1"}, {"id": "nobody", "completion": "x"}, good]
    write(tmp_path / "wild.jsonl", [good, *wild, {"id": "q2", "completion": "<think>open"}])
    scores = run(replace(files, predictions={"wild": tmp_path / "wild.jsonl"}))
    malformed = json.loads((files.output / "run.json").read_text(encoding="utf-8"))["malformed"]
    assert [row["line"] for row in malformed["rows"]] == [2, 3, 4, 5, 6, 7]
    assert malformed["counts"] == {str(tmp_path / "wild.jsonl"): 6}
    # What was not predicted stays in the denominator.
    cell = scores["wild"]["test_binary"]
    assert cell["n"] == 20 and cell["strict"] == 1 / 20
    assert json.loads((files.output / "run.json").read_text(encoding="utf-8"))["failures"]["wild"]["answers"] == 18
    assert "no prediction" in items(files.output)[1]["note"]


def test_a_table_without_any_prediction_is_left_out(files, tmp_path):
    more = [question(n) for n in range(3)] + [question(n, task="anomaly") for n in range(3)]
    write(tmp_path / "two.jsonl", more)
    write(tmp_path / "one.jsonl", [{"table": "test_binary", "index": n, "completion": RIGHT} for n in range(3)])
    scores = run(replace(files, input=tmp_path / "two.jsonl", predictions={"a": tmp_path / "one.jsonl"}))
    assert list(scores["a"]) == ["test_binary"]


def test_samples_give_pass_at_k_votes_and_best_of_n_with_their_cost(files, tmp_path):
    samples = [RIGHT, WRONG, WRONG, WRONG]
    rows = [{"id": f"q{n}", "completions": samples, "tokens": [10, 20, 30, 40]} for n in range(20)]
    write(tmp_path / "many.jsonl", rows)
    cell = run(replace(files, predictions={"many": tmp_path / "many.jsonl"}))["many"]["test_binary"]
    assert (cell["pass@1"], cell["pass@2"], cell["pass@4"]) == (0.25, 0.5, 1.0)
    assert (cell["best_by_vote"], cell["best_by_reward"]) == (0.0, 1.0)
    assert (cell["tokens@1"], cell["tokens@4"], cell["tokens"]) == (25.0, 100.0, 10.0)
    assert next(rows_of(files.output / "samples.jsonl"))["strict"] == [True, False, False, False]


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_the_mean_over_all_choices_of_k(n, data):
    from itertools import combinations
    from statistics import fmean

    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    drawn = [any(index < right for index in chosen) for chosen in combinations(range(n), k)]
    assert pass_at(k, n, right) == pytest.approx(fmean(drawn))


def test_finished_runs_are_compared_with_labels_made_unique(files, tmp_path):
    first = replace(files, output=tmp_path / "one", predictions={"m": tmp_path / "good.jsonl"})
    second = replace(files, output=tmp_path / "two", predictions={"m": tmp_path / "half.jsonl"})
    run(first), run(second)
    scores = compare([first.output, second.output], tmp_path / "both", resamples=200)
    assert list(scores) == ["m (one)", "m (two)"]
    rows = json.loads((tmp_path / "both" / "comparisons.json").read_text(encoding="utf-8"))
    assert next(row for row in rows if row["metric"] == "strict")["difference"] == 0.5
    assert set(json.loads((tmp_path / "both" / "run.json").read_text(encoding="utf-8"))["models"]) == set(scores)


def test_runs_on_other_items_are_not_compared(files, tmp_path):
    run(replace(files, output=tmp_path / "one"))
    run(replace(files, output=tmp_path / "two", limit=5))
    with pytest.raises(UserError, match="other items, first test_binary 5"):
        compare([tmp_path / "one", tmp_path / "two"], tmp_path / "both")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"predictions": {}}, "--model"),
        ({"benchmark": "nih"}, "unknown"),
        ({"models": {"m": "x"}, "input": None}, "needs --input"),
        ({"models": {"good": "x"}}, "given once"),
        ({"profiles": {"": "oars"}}, "did you mean 'ours'"),
        ({"profiles": {"x": "ours"}}, "no such label"),
        ({"samples": 4, "temperature": 0.0}, "all alike"),
        ({"input": Path("/nowhere")}, "no such file"),
    ],
)
def test_wrong_options_are_named_before_anything_is_asked(files, more, message):
    with pytest.raises(UserError, match=message):
        run(replace(files, **more))


def test_a_conversation_shows_what_the_model_itself_said():
    context = (Turn("A?", "ref a"), Turn("B?", "ref b"), Turn("C?", "ref c"))
    item = Item("t", 0, Example("i", "s", "stage", "D?", "d", context=context), conversation="s")
    turns = shown(item, [Turn("A?", "own a"), Turn("C?", "own c")])
    assert [turn.answer for turn in turns] == ["own a", "ref b", "own c"]
    assert [turn.reasoning for turn in turns] == [None] * 3, "as the data set shows them"


def test_where_the_reasoning_is_shown_it_is_the_models_own_too():
    context = (Turn("A?", "ref a", reasoning="ref"), Turn("B?", "ref b", reasoning="ref"))
    item = Item("t", 0, Example("i", "s", "stage", "D?", "d", context=context), conversation="s")
    turns = shown(item, [Turn("A?", "own a", reasoning="own")])
    assert [(turn.answer, turn.reasoning) for turn in turns] == [("own a", "own"), ("ref b", "ref")]
