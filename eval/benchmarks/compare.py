"""`reasoner compare RUN RUN...`: finished runs of one benchmark on the same items, side by side as one run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

from eval.benchmarks.registry import open_benchmark
from eval.benchmarks.run import write_run_page
from eval.benchmarks.tables import EVIDENCE, ITEMS, QUESTIONS, RUN, SAMPLES, rows_of, summarise_run
from reasoner.errors import UserError
from reasoner.runtime.disk import read_object, replacing, same_file, write_whole

#: What makes two runs' items the same; pictures may lie elsewhere.
_SAME = ("table", "index", "id", "question", "answer")
_FIX = "evaluate it again with `reasoner eval --benchmark`"


def compare(runs: Sequence[Path], output: Path, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Writes the files of a run into `output`, with the labels of all `runs`; returns what `scores.json` holds. A label
    that several runs have is followed by its run's name.

    Raises:
        UserError: fewer than two runs, one that is not finished, other benchmarks or items, or `output` is one of them.
    """
    if len(runs) < 2:
        raise UserError("compare: give two finished runs or more")
    if resamples < 1:
        raise UserError(f"--bootstrap {resamples}: give 1 or more")
    if any(same_file(run, output) for run in runs):
        raise UserError(f"{output} is one of the runs; choose another --output")
    described = [read_object(run / RUN, _FIX) for run in runs]
    names = {str(one.get("benchmark")) for one in described}
    if len(names) > 1:
        raise UserError(f"the runs are of other benchmarks ({', '.join(sorted(names))}); compare runs of one")
    for run in runs[1:]:
        _check_items(runs[0], run)
    renamed = unique_labels([(run, list(one.get("models", {}))) for run, one in zip(runs, described, strict=True)])
    with ExitStack() as stack:
        for name in (ITEMS, EVIDENCE, SAMPLES):
            file = stack.enter_context(replacing(output / name))
            for run, labels in zip(runs, renamed, strict=True):
                for row in rows_of(run / name):
                    row = {**row, "label": labels.get(row.get("label", ""), row.get("label"))}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file = stack.enter_context(replacing(output / QUESTIONS))
        for row in rows_of(runs[0] / QUESTIONS):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    scores = summarise_run(output, open_benchmark(names.pop()), resamples=resamples, seed=seed)
    merged = dict(described[0])
    for key in ("models", "profiles", "sampling", "failures"):
        merged[key] = {
            labels[label]: what
            for one, labels in zip(described, renamed, strict=True)
            for label, what in one.get(key, {}).items()
            if label in labels
        }
    merged |= {
        "bootstrap": {"resamples": resamples, "seed": seed},
        "malformed": _malformed(described),
        "runs": [str(run) for run in runs],
    }
    write_whole(output / RUN, json.dumps(merged, indent=1, ensure_ascii=False) + "\n")
    write_run_page(output)
    return scores


def unique_labels(runs: Sequence[tuple[Path, Sequence[str]]]) -> list[dict[str, str]]:
    """For each run its labels -> what they are called beside those of the others."""
    times = Counter(label for _, labels in runs for label in labels)
    taken: set[str] = set()
    found = []
    for run, labels in runs:
        names = {}
        for label in labels:
            base = label if times[label] == 1 else f"{label} ({run.resolve().name})"
            name, number = base, 2
            while name in taken:
                name, number = f"{base} {number}", number + 1
            taken.add(name)
            names[label] = name
        found.append(names)
    return found


def _malformed(described: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all runs, each file once."""
    counts: dict[str, int] = {}
    rows: list[Any] = []
    for one in described:
        malformed = one.get("malformed") or {}
        fresh = {file: count for file, count in malformed.get("counts", {}).items() if file not in counts}
        rows += [row for row in malformed.get("rows", []) if row["file"] in fresh]
        counts |= fresh
    return {"counts": counts, "rows": rows}


def _check_items(one: Path, other: Path) -> None:
    """Raises `UserError` at the first question that differs."""
    for ours, theirs in zip_longest(rows_of(one / QUESTIONS), rows_of(other / QUESTIONS)):
        if ours is None or theirs is None or any(ours.get(name) != theirs.get(name) for name in _SAME):
            row = ours or theirs or {}
            raise UserError(
                f"{one} and {other} have other items, first {row.get('table')} {row.get('index')}; "
                "evaluate both on the same input, with the same --limit"
            )
