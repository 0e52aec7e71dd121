"""Command lines that cannot be meant: one clear line, exit code 2, and nothing begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eval.outside.runs import evaluate, reasoner, write_json, write_lines

ROWS = [{"question": "Which? A) Edema B) Pneumonia", "answer": "B", "pred": "<answer>B</answer>"}]
QUESTIONS = [{"question": "Which? A) Edema B) Pneumonia", "answer": "B"}]

#: The arguments after `eval`, and a word of the message. FILE and FOLDER hold released rows, ASKED questions alone.
CASES = {
    "unknown_benchmark": ("--benchmark radrbnch --predictions m=FILE", "radrbench"),
    "no_model": ("--benchmark radrbench --input ASKED", "--predictions"),
    "model_without_input": ("--benchmark radrbench --model m=http://localhost:1", "--input"),
    "label_missing": ("--benchmark radrbench --predictions FILE", "LABEL"),
    "label_empty": ("--benchmark radrbench --predictions =FILE", ""),
    "label_twice": ("--benchmark radrbench --predictions m=FILE --predictions m=FOLDER", "m"),
    "label_of_a_model_and_predictions": (
        "--benchmark radrbench --input ASKED --model m=http://localhost:1 --predictions m=FILE",
        "m",
    ),
    "file_missing": ("--benchmark radrbench --predictions m=nowhere.json", "nowhere.json"),
    "input_missing": ("--benchmark radrbench --input nowhere --predictions m=FILE", "nowhere"),
    "images_missing": ("--benchmark radrbench --images nowhere --predictions m=FILE", "nowhere"),
    "folder_without_tables": ("--benchmark radrbench --predictions m=EMPTY", "empty"),
    "folder_of_other_files": ("--benchmark radrbench --predictions m=NOTES", "notes"),
    "questions_without_predictions": ("--benchmark radrbench --predictions m=ASKED", "asked"),
    "samples_with_predictions": ("--benchmark radrbench --predictions m=FILE --samples 4", "--samples"),
    "no_samples": ("--benchmark radrbench --input ASKED --model m=http://localhost:1 --samples 0", "--samples"),
    "temperature_below_zero": (
        "--benchmark radrbench --input ASKED --model m=http://localhost:1 --temperature -1",
        "temperature",
    ),
    "samples_at_temperature_zero": (
        "--benchmark radrbench --input ASKED --model m=http://localhost:1 --samples 4 --temperature 0",
        "temperature",
    ),
    "no_new_tokens": (
        "--benchmark radrbench --input ASKED --model m=http://localhost:1 --max-new-tokens 0",
        "max-new-tokens",
    ),
    "no_resamples": ("--benchmark radrbench --predictions m=FILE --bootstrap 0", "bootstrap"),
    "limit_zero": ("--benchmark radrbench --predictions m=FILE --limit 0", "limit"),
    "no_workers": ("--benchmark radrbench --predictions m=FILE --workers 0", "workers"),
    "unknown_profile": ("--benchmark radrbench --predictions m=FILE --profile nvreason", "nv_reason"),
    "profile_of_no_label": ("--benchmark radrbench --predictions m=FILE --profile x=ours", "x"),
    "unknown_context": ("--benchmark cxrtrek --predictions m=FILE --context mine", "reference"),
    "context_of_predictions": ("--benchmark radrbench --predictions m=FILE --context both", "--context"),
    "judge_that_is_no_url": ("--benchmark radrbench --predictions m=FILE --judge here --judge-model x", "here"),
    "judge_model_without_judge": ("--benchmark radrbench --predictions m=FILE --judge-model x", "--judge"),
    "base_rates_missing": ("--benchmark radrbench --predictions m=FILE --base-rates nowhere.json", "nowhere.json"),
    "number_is_text": ("--benchmark radrbench --predictions m=FILE --bootstrap many", "many"),
    "unknown_option": ("--benchmark radrbench --predictions m=FILE --sample 3", "--sample"),
    "predictions_without_benchmark": ("--predictions m=FILE", "--benchmark"),
    "model_without_benchmark": ("--model m=FILE", "--benchmark"),
    "models_with_benchmark": ("--benchmark radrbench --predictions m=FILE --models sft", "--models"),
    "dry_run_with_benchmark": ("--benchmark radrbench --predictions m=FILE --dry-run", "--dry-run"),
    "recipe_with_benchmark": ("--recipe qwen2_5_vl_3b --benchmark radrbench --predictions m=FILE", "--recipe"),
    "samples_without_benchmark": ("--samples 0", "--benchmark"),
    "seed_below_zero": ("--benchmark radrbench --predictions m=FILE --seed -1", "--seed"),
    "images_is_a_file": ("--benchmark radrbench --images FILE --predictions m=FILE", "--images"),
    "recipe_set_with_benchmark": ("--benchmark radrbench --predictions m=FILE --set eval.samples=2", "--set"),
    "rows_of_another_benchmark": ("--benchmark cxrtrek --predictions m=FILE", "released"),
    "labels_of_another_benchmark": ("--benchmark abnormality_list --predictions m=FILE", "released"),
    "output_is_a_file": ("--benchmark radrbench --predictions m=FILE --output FILE", "released"),
}


@pytest.mark.parametrize(("line", "word"), CASES.values(), ids=CASES)
def test_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, word: str):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "released" / "mimic_single_test_option.jsonl", ROWS)
    write_lines(tmp_path / "asked" / "mimic_single_test_option.jsonl", QUESTIONS)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("nothing", "utf-8")
    places = {
        **{"FILE": "released/mimic_single_test_option.jsonl", "ASKED": "asked/mimic_single_test_option.jsonl"},
        **{"FOLDER": "released", "EMPTY": "empty", "NOTES": "notes"},
    }
    arguments = line.split(" ")
    for name, place in places.items():
        arguments = [place if each == name else each.replace(f"={name}", f"={place}") for each in arguments]
    if "--output" not in arguments:
        arguments += ["--output", "run"]
    outcome = reasoner("eval", *arguments)
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert word.lower() in outcome.err.lower()
    assert not (tmp_path / "run" / "items.jsonl").exists()


@pytest.mark.parametrize("label", ["a/b", "..", "a b", "\u00e9\U0001fac1", "x" * 60])
def test_a_label_may_hold_any_sign(tmp_path: Path, label: str):
    """Files of a run lie below it all the same."""
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", ROWS)
    run = evaluate("radrbench", tmp_path / "runs" / "run", "--predictions", f"{label}={path}")
    assert list(run.scores) == [label]
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "runs"}
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["run"]
    assert len([*(run.folder / "predictions").iterdir()]) == 1


def test_a_second_run_in_a_folder_replaces_the_first(tmp_path: Path):
    path = write_json(tmp_path / "mimic_single_test_option.json", ROWS)
    for label in ("first", "second"):
        run = evaluate("radrbench", tmp_path / "run", "--predictions", f"{label}={path}")
    assert list(run.scores) == ["second"] and {item["label"] for item in run.items} == {"second"}


@pytest.mark.parametrize("arguments", [(), ("--output", "x"), ("RUN", "--bootstrap", "0"), ("RUN", "--unknown")])
def test_compare_says_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...]):
    outcome = reasoner("compare", *arguments)
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and outcome.err.startswith("error: ")


@pytest.mark.parametrize("arguments", [("--input", "nowhere.jsonl", "--output", "o.jsonl"), ("--input", "x"), ()])
def test_score_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]):
    monkeypatch.chdir(tmp_path)
    outcome = reasoner("score", *arguments)
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and outcome.err.startswith("error: ")
