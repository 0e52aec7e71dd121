"""`reasoner score` on files: one row out per row in, in order, whatever the rows hold."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reasoner.errors import UserError
from reasoner.prompts import format_completion
from rewards import score
from rewards.radrscore.base_rates import BaseRates
from rewards.radrscore.skill import Rates
from rewards.registry import Deferred, Score, reward
from rewards.score import COLUMNS, score_file

pytestmark = pytest.mark.anywhere(to="system")

REPORT = "FINDINGS: Small left pleural effusion. No pneumothorax. The heart is normal in size."
CHAIN = "A small left pleural effusion is present. No pneumothorax. Heart size is normal."
GOOD = {
    "id": "a",
    "completion": format_completion(CHAIN, "Pleural Effusion"),
    "reasoning": CHAIN,
    "report": REPORT,
    "task": "abnormality_list",
    "question": "Which abnormalities are present?",
    "answer": "Pleural Effusion",
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(tmp_path: Path, *rows: object) -> tuple[dict, list[dict]]:
    output = tmp_path / "new" / "out.jsonl"
    summary = score_file(write(tmp_path / "in.jsonl", *rows), output)
    return summary, [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def test_a_full_row_gets_every_number_and_evidence(tmp_path):
    summary, (row,) = run(tmp_path, GOOD)
    assert {name: row[name] for name in COLUMNS if name != "skill"} == dict.fromkeys(set(COLUMNS) - {"skill"}, 1.0)
    assert row["skill"] > 0.5
    assert row["id"] == "a" and row["evidence"]["process"][0]["words"] in CHAIN
    assert summary["n"] == 1 and summary["mean"]["radrscore"] == 1.0 and summary["bad_rows"] == 0


def test_bad_rows_keep_their_place_and_are_counted(tmp_path):
    bad = [
        "{broken\n",
        "[1, 2]\n",
        {"id": "no completion", "report": REPORT},
        {**GOOD, "id": "number", "report": 7},
        {**GOOD, "id": "labels", "labels": "{"},
        {**GOOD, "id": "options", "options": "A) yes"},
    ]
    summary, rows = run(tmp_path, GOOD, *bad, {**GOOD, "id": "z"})
    assert [row["id"] for row in rows] == ["a", None, None, "no completion", "number", "labels", "options", "z"]
    for row in rows[1:-1]:
        assert row["error"] and all(row[name] is None for name in COLUMNS)
    assert summary["bad_rows"] == 6 and summary["null"]["format"] == 6 and summary["mean"]["format"] == 1.0
    assert summary["errors"][0]["line"] == 2


def test_columns_that_are_not_there_give_nulls(tmp_path):
    summary, (row,) = run(tmp_path, {"id": 1, "completion": "The lungs are clear.", "report": REPORT})
    assert row["radrscore"] is None and row["factuality"] is None and row["answer"] is None
    assert row["format"] == 0.0 and row["id"] == 1
    assert summary["mean"]["radrscore"] is None and summary["null"]["radrscore"] == 1


def test_the_spellings_of_chestx_reasoner_are_scored_alike(tmp_path):
    theirs = {
        "item_id": "a",
        "pred": f"system\nx\nuser\n{GOOD['question']} <answer></answer>\nassistant\n{GOOD['completion']}",
        "reason_steps": {"reason_steps": CHAIN.split(". ")},
        "original_report": REPORT,
        "task": GOOD["task"],
        "q": GOOD["question"],
        "a": "<answer>Pleural Effusion</answer>",
    }
    _, (ours, row) = run(tmp_path, GOOD, theirs)
    assert {name: row[name] for name in ("id", *COLUMNS)} == {name: ours[name] for name in ("id", *COLUMNS)}


@pytest.mark.parametrize("change", [{"reason_step": CHAIN}, {"gt_reasoning": CHAIN}, {"reason_steps": 5}])
def test_reasoning_that_cannot_be_read_is_never_silent(tmp_path, change):
    row = {name: value for name, value in GOOD.items() if name != "reasoning"} | change
    _, rows = run(tmp_path, GOOD, row)
    assert next(iter(change)) in rows[1]["error"] and "reason_steps" in rows[1]["error"]


def test_text_without_tags_is_scored_as_reasoning(tmp_path):
    _, (row,) = run(tmp_path, {**GOOD, "completion": CHAIN})
    assert row["format"] == 0.0 and row["radrscore"] == 1.0


def test_a_gold_answer_may_come_in_its_tags(tmp_path):
    _, (row,) = run(tmp_path, {**GOOD, "answer": "<answer> Pleural Effusion </answer>"})
    assert row["answer"] == 1.0


def test_verified_labels_are_heeded_as_object_and_as_text(tmp_path):
    labels = {"Pneumothorax": "present"}
    _, rows = run(tmp_path, GOOD, {**GOOD, "labels": labels}, {**GOOD, "labels": json.dumps(labels)})
    assert rows[0]["factuality"] == 1.0 and rows[1]["factuality"] == rows[2]["factuality"] < 1.0


def test_labels_called_mined_do_not_overrule_the_report(tmp_path):
    labeled = {**GOOD, "labels": {"Pneumothorax": "present"}}
    rows = [{**labeled, "label_source": owner} for owner in ("mined", "verified", None, "experts", ["mined"])]
    _, rows = run(tmp_path, *rows)
    assert rows[0]["factuality"] == 1.0 and rows[1]["factuality"] == rows[2]["factuality"] < 1.0
    assert all("'label_source' must be verified or mined" in row["error"] for row in rows[3:])


@pytest.mark.parametrize("content", ["", "\n\n", "nonsense\n", '{"id": 1}\n'])
def test_no_usable_row_is_an_error_and_leaves_no_file(tmp_path, content):
    source = tmp_path / "in.jsonl"
    source.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"in\.jsonl: no usable row"):
        score_file(source, tmp_path / "out.jsonl")
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.jsonl"):
        score_file(tmp_path / "none.jsonl", tmp_path / "out.jsonl")


def test_broken_utf8_is_a_bad_row(tmp_path):
    source = write(tmp_path / "in.jsonl", GOOD)
    source.write_bytes(b'{"id": "\xff"}\n' + source.read_bytes())
    assert score_file(source, tmp_path / "out.jsonl")["bad_rows"] == 1


#: JSON of one column -> what is said about it.
BAD = {
    '"completion": "a \\ud800"': "'completion' holds a lone surrogate",
    '"id": "\\udfff"': "'id' cannot be repeated|'id' holds a lone surrogate",
    '"id": NaN': "'id' cannot be repeated",
    '"id": [1e999]': "'id' cannot be repeated",
    '"options": [1, 2]': "'options' must hold texts, found int",
    '"options": ["A) x", "\\ud800"]': "'options' holds a lone surrogate",
    '"labels": {"Edema": ["present"]}': "'labels' holds 'Edema'",
    '"labels": {"Edema": 1}': "statuses are present, absent, uncertain or null",
    '"labels": [1]': "'labels' must be an object",
    '"labels": "' + "[" * 5000 + '"': "'labels' is text but not JSON",
    '"report": Infinity': "'report' must be text",
    '"task": {"a": 1}': "'task' must be text",
    '"x": ' + "[" * 100_000 + "]" * 100_000: "not JSON",
    '"x": ' + "9" * 5000: "not JSON",
}


@pytest.mark.parametrize("column", BAD)
def test_a_hostile_row_costs_itself(tmp_path, column):
    bad = json.dumps(GOOD)[:-1] + f", {column}}}\n"
    summary, rows = run(tmp_path, GOOD, bad, GOOD)
    assert summary["bad_rows"] == 1 and re.search(BAD[column], rows[1]["error"])
    assert rows[0] == rows[2] and rows[0]["radrscore"] == 1.0 and rows[1]["radrscore"] is None


def test_what_nobody_reads_may_be_anything(tmp_path):
    odd = json.dumps({**GOOD, "id": {"a": [1]}})[:-1] + ', "other": NaN, "more": "\\ud800"}\n'
    summary, (row,) = run(tmp_path, odd)
    assert summary["bad_rows"] == 0 and row["id"] == {"a": [1]} and row["radrscore"] == 1.0


@reward("raises_in_test")
def raises_in_test(completion: str, *, report: str) -> Score:
    if "bad" in report:
        raise RuntimeError("no such \ud800")
    return Score(float("nan") if "nan" in report else 1.0, Deferred(lambda: [{}["gone"]]) if "late" in report else ())


def test_a_reward_that_raises_costs_its_row(tmp_path, monkeypatch):
    monkeypatch.setitem(score.REWARDS, "raises_in_test", 1.0)
    summary, rows = run(tmp_path, GOOD, *({**GOOD, "report": f"{REPORT} {word}"} for word in ("bad", "nan", "late")))
    assert [row.get("error", "")[:40] for row in rows] == [
        "",
        "reward 'raises_in_test': RuntimeError: n",
        "reward 'raises_in_test': RewardError: re",
        "evidence: KeyError: 'gone'",
    ]
    assert summary["bad_rows"] == 3


@pytest.mark.parametrize("how", ["same", "relative", "symlink", "hardlink", "folder link"])
def test_the_input_is_never_the_output(tmp_path, how, monkeypatch):
    source = write(tmp_path / "in.jsonl", GOOD)
    output = tmp_path / "out.jsonl"
    match how:
        case "same":
            output = source
        case "relative":
            monkeypatch.chdir(tmp_path)
            output = Path("x/../in.jsonl")
            Path("x").mkdir()
        case "symlink":
            output.symlink_to(source)
        case "hardlink":
            output.hardlink_to(source)
        case "folder link":
            (tmp_path / "link").symlink_to(tmp_path)
            output = tmp_path / "link" / "in.jsonl"
    before = source.read_bytes()
    with pytest.raises(UserError, match="is the input, too"):
        score_file(source, output)
    assert source.read_bytes() == before


def test_the_output_changes_only_when_all_is_scored(tmp_path):
    output = write(tmp_path / "out.jsonl", "before")
    with pytest.raises(UserError, match="no usable row"):
        score_file(write(tmp_path / "in.jsonl", "nonsense"), output)
    assert output.read_text(encoding="utf-8") == "before" and len(os.listdir(tmp_path)) == 2


def test_a_link_to_the_output_is_followed(tmp_path):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    score_file(write(tmp_path / "in.jsonl", GOOD), tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink() and json.loads((tmp_path / "real.jsonl").read_text(encoding="utf-8"))[
        "id"
    ] == "a"


FULL = """
import resource, sys
from recipes.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1000,) * 2)
sys.exit(main(["score", "--input", sys.argv[1], "--output", sys.argv[2]]))
"""


def test_a_full_disk_is_one_line_and_keeps_the_old_output(tmp_path):
    source, output = write(tmp_path / "in.jsonl", *[GOOD] * 50), write(tmp_path / "out.jsonl", "before")
    result = subprocess.run(
        [sys.executable, "-c", FULL, source, output], capture_output=True, encoding="utf-8", timeout=300
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "cannot be written" in result.stderr
    assert output.read_text(encoding="utf-8") == "before" and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("output", [".", "in.jsonl/x", "/dev/full", "/proc/x", "y" * 300])
def test_an_output_that_cannot_be_written_is_an_error(tmp_path, output):
    source = write(tmp_path / "in.jsonl", GOOD)
    with pytest.raises(UserError, match=r"cannot be written|is a folder or a device"):
        score_file(source, tmp_path / output)
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_line_ends_marks_and_archives(tmp_path):
    _, (wanted,) = run(tmp_path, GOOD)
    line = json.dumps(GOOD).encode()
    for name, data in {
        "crlf.jsonl": line + b"\r\n\r\n" + line + b"\r\n",
        "mark.jsonl": b"\xef\xbb\xbf" + line + b"\n\n" + line,
        "packed.jsonl.gz": gzip.compress(line + b"\n" + line),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert score_file(tmp_path / name, tmp_path / "out.jsonl")["bad_rows"] == 0, name
        assert [json.loads(row) for row in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()] == [
            wanted
        ] * 2, name


def test_the_output_is_packed_as_its_name_says(tmp_path):
    source = write(tmp_path / "in.jsonl", GOOD, GOOD)
    score_file(source, tmp_path / "out.jsonl")
    score_file(source, tmp_path / "out.jsonl.gz")
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"no \.zip can be written"):
        score_file(source, tmp_path / "out.zip")


def test_no_more_workers_than_cores(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    source = write(tmp_path / "in.jsonl", GOOD)
    assert score_file(source, tmp_path / "out.jsonl", workers=64)["n"] == 1, "in this process: Ray would take seconds"
    assert "64 workers, but 1 cores: 1 are used" in capsys.readouterr().err
    for workers in (0, -1, 10**7):
        with pytest.raises(UserError, match=f"--workers {workers}: give 1 to 1000"):
            score_file(source, tmp_path / "out.jsonl", workers=workers)


def test_the_readable_part_of_a_truncated_archive_is_scored(tmp_path):
    noise = [json.dumps({**GOOD, "id": os.urandom(99).hex()}) for _ in range(2000)]
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress("\n".join(noise).encode())[:-9])
    summary = score_file(tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl")
    assert summary["bad_rows"] == 1 and summary["n"] > 1000 and "cannot be read" in summary["errors"][0]["error"]


def test_agrees_with_the_published_judge_on_real_reports(tmp_path, data_dir):
    """Spearman with GPT-4o's judgements on OpenI; the floors are a little below what was measured."""
    path = data_dir / "radrscore_dev" / "openi_judged.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not at hand")
    judged = [json.loads(line)["judge"] for line in path.read_text(encoding="utf-8").splitlines()]
    score_file(path, tmp_path / "out.jsonl")
    ours = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    floors = {"factuality": 0.38, "effectiveness": 0.38, "radrscore": 0.48}
    for name, floor in floors.items():
        assert spearman([row[name] for row in ours], [judge[name] for judge in judged]) >= floor, name


def spearman(a: list[float], b: list[float]) -> float:
    import numpy as np

    def ranks(values: list[float]) -> np.ndarray:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts + 1) / 2)[place]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def test_skill_goes_by_the_base_rates_that_are_named(tmp_path):
    source, rates = write(tmp_path / "in.jsonl", GOOD), tmp_path / "base_rates.json"
    BaseRates(1, {"film": Rates(scale=2.0)}).write(rates)
    score_file(source, tmp_path / "public.jsonl")
    score_file(source, tmp_path / "own.jsonl", base_rates=rates)
    public, own = (json.loads((tmp_path / f"{name}.jsonl").read_text("utf-8"))["skill"] for name in ("public", "own"))
    assert 0 < own < public
    with pytest.raises(UserError, match="no base rates"):
        score_file(source, tmp_path / "own.jsonl", base_rates=tmp_path / "none.json")
