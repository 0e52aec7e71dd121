"""How far the process reward agrees with a judge, beside token overlap: Spearman, whole and by model and task.

    python -m benchmarks.reward_judge [--rows openi_judged.jsonl] [--resamples 1000] [--json out.json]

Rows: JSON lines with `id` (model/task/row), `completion`, `reasoning`, `report` and `judge` (a number for each part and
`radrscore`). Token overlap: the share of the reference's words in the completion for completeness, of the completion's
in the report for factuality and in the reference for effectiveness, and their mean. The difference of the mean
correlations within model-and-task cells has a 95% interval from a bootstrap over reports.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import DATA
from reasoner.prompts import parse_completion
from rewards.radrscore import PARTS, radrscore

MEASURES = (*PARTS, "radrscore")
Floats = NDArray[np.float64]


def ranks(values: Floats) -> Floats:
    """Ranks from 0, ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: Floats = (2 * ends - counts - 1) / 2
    return middle[inverse]


def spearman(a: Floats, b: Floats) -> float:
    """0 where either is constant: it says nothing then."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def overlap(completion: str, reference: str, report: str) -> dict[str, float]:
    said, gold, found = (set(re.findall(r"[a-z]+", text.lower())) for text in (completion, reference, report))
    parts = {
        "factuality": len(said & found) / max(1, len(said)),
        "completeness": len(said & gold) / max(1, len(gold)),
        "effectiveness": len(said & gold) / max(1, len(said)),
    }
    return {**parts, "radrscore": sum(parts.values()) / len(parts)}


def ours(completion: str, reference: str, report: str) -> dict[str, float]:
    score = radrscore(completion, reference, report)
    assert score.value is not None
    return {**score.parts, "radrscore": score.value}


def in_cells(a: Floats, b: Floats, cells: Sequence[NDArray[np.int64]]) -> float:
    return float(np.mean([spearman(a[cell], b[cell]) for cell in cells]))


def measure(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int = 0) -> dict[str, Any]:
    texts = [(parse_completion(row["completion"]).reasoning, row["reasoning"], row["report"]) for row in rows]
    systems = {name: [score(*text) for text in texts] for name, score in (("ours", ours), ("overlap", overlap))}
    names = [row["id"].rsplit("/", 1)[0] for row in rows]
    members = {cell: np.array([i for i, name in enumerate(names) if name == cell]) for cell in sorted(set(names))}
    _, study = np.unique([row["report"] for row in rows], return_inverse=True)
    by_study = [np.flatnonzero(study == k) for k in range(study.max() + 1)]
    code = np.array([list(members).index(name) for name in names])
    result: dict[str, Any] = {"rows": len(rows), "reports": len(by_study), "cells": list(members)}
    for part in MEASURES:
        judge = np.array([row["judge"][part] for row in rows], dtype=float)
        value = {name: np.array([score[part] for score in scores]) for name, scores in systems.items()}
        rng = np.random.default_rng(seed)
        drawn = []
        for _ in range(resamples):
            take = np.concatenate([by_study[k] for k in rng.integers(len(by_study), size=len(by_study))])
            cells = [take[code[take] == k] for k in range(len(members))]
            drawn.append(in_cells(value["ours"], judge, cells) - in_cells(value["overlap"], judge, cells))
        every = list(members.values())
        low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (float("nan"), float("nan"))
        result[part] = {
            **{name: spearman(v, judge) for name, v in value.items()},
            **{f"{name}_cells": in_cells(v, judge, every) for name, v in value.items()},
            "by_cell": {cell: spearman(value["ours"][at], judge[at]) for cell, at in members.items()},
            "difference": in_cells(value["ours"], judge, every) - in_cells(value["overlap"], judge, every),
            "interval": [float(low), float(high)],
        }
    return result


def table(result: Mapping[str, Any]) -> str:
    lines = [
        f"{result['rows']} completions, {result['reports']} reports\n",
        "| part | ours | overlap | ours, mean of cells | overlap, mean of cells | difference (95%) |",
        "|---|---|---|---|---|---|",
    ]
    for part in MEASURES:
        r = result[part]
        low, high = r["interval"]
        lines.append(
            f"| {part} | {r['ours']:.3f} | {r['overlap']:.3f} | {r['ours_cells']:.3f} | {r['overlap_cells']:.3f} "
            f"| {r['difference']:+.3f} ({low:+.3f} to {high:+.3f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=DATA / "radrscore_dev" / "openi_judged.jsonl")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write every number here as well")
    args = parser.parse_args()
    if not args.rows.is_file():
        print(f"skipped: no judged rows in {args.rows}; give --rows, or set CXR_REASONER_DATA")
        return
    with args.rows.open(encoding="utf-8") as file:
        result = measure([json.loads(line) for line in file if line.strip()], args.resamples)
    print(table(result))
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
