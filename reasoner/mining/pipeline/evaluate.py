"""Mined labels against a gold file: F1 per class and the share of right sides."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from reasoner.errors import UserError
from reasoner.findings import concept_class
from reasoner.schema import CLASSES, NO_FINDING, Laterality
from reasoner.sources.io.csv_rows import csv_header, read_csv
from reasoner.sources.io.files import canonical, require

#: Classes with fewer positives in the gold file are listed, but left out of the means.
MIN_POSITIVES = 20


def evaluate_labels(studies: Path, gold: Path) -> dict[str, Any]:
    """Scores `studies.parquet` against a gold CSV (`uid`, one column per class with 1, 0 or -1 = not scored, `sides`).

    `present` counts as positive, everything else as negative. `No Finding` is reported in `per_class` and left out of
    the means, as are classes with fewer than `MIN_POSITIVES` positives. `side_accuracy` is over true positives whose
    side the gold file names (`Class:left|right|bilateral;...`).

    Raises:
        UserError: a file or a column is missing or damaged, a cell is wrong, or no study is in both files.
    """
    rows, mined = read_gold(gold), _read_studies(studies)
    missing = sum(row["uid"] not in mined for row in rows)
    if missing == len(rows):
        raise UserError(f"{gold}: none of its {len(rows)} uids is in {studies}; are they of the same collection?")
    empty: dict[str, Any] = {"labels": {}, "findings": []}
    pairs = [(row, mined.get(row["uid"], empty)) for row in rows]
    return {"studies": len(rows), "not_mined": missing, **score(pairs)}


def read_gold(path: Path) -> list[dict[str, str]]:
    """The rows of a gold file, with the columns `uid`, `sides` and those of `CLASSES` that it has.

    Raises:
        UserError: the file, a column or a cell is not as it should be.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file; check --evaluate")
    header = csv_header(path)
    require(path, header, ("uid",))
    known = {canonical(name): name for name in ("uid", "sides", *CLASSES)}
    if not {canonical(name) for name in header} & {canonical(name) for name in CLASSES}:
        raise UserError(f"{path}: no column is a CheXpert class; name the classes as in {', '.join(CLASSES[:3])}")
    rows = []
    for row in read_csv(path):
        if row.reason:
            raise UserError(f"{row.where}: {row.reason} ({row.detail}); mend the gold file")
        cells = {known[name]: cell for name, cell in row.value.items() if name in known}
        fault = _fault(cells)
        if fault:
            raise UserError(f"{row.where}: {fault}")
        rows.append(cells)
    if not rows:
        raise UserError(f"{path}: needs at least one row below its header")
    return rows


def _fault(cells: Mapping[str, str]) -> str:
    """What is wrong with a row's cells; empty when nothing is."""
    for name in CLASSES:
        if cells.get(name, "-1") not in ("1", "0", "-1"):
            return f"column '{name}' holds '{cells[name]}'; give 1, 0 or -1"
    for part in filter(None, cells.get("sides", "").split(";")):
        name, colon, side = part.partition(":")
        if not colon or name not in CLASSES or side not in get_args(Laterality):
            return f"column 'sides' holds '{part}'; give Class:left, right or bilateral, more than one with ; between"
    return ""


def _read_studies(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{path}: no such file; run `make mine` first")
    try:
        table = pq.read_table(path, columns=["study_id", "labels", "findings"])
        return {row["study_id"]: row for row in table.select(["study_id", "labels", "findings"]).to_pylist()}
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UserError(f"{path}: damaged, or no studies of a mining run ({error}); mine again") from error


def score(pairs: Iterable[tuple[Mapping[str, str], Mapping[str, Any]]]) -> dict[str, Any]:
    """The scores over (gold row, mined row with `labels` and `findings`)."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in CLASSES}
    sides: Counter[bool] = Counter()
    for gold, mined in pairs:
        named = dict(part.split(":") for part in gold.get("sides", "").split(";") if part)
        for name in CLASSES:
            truth = gold.get(name, "-1")
            if truth == "-1":
                continue
            positive = mined["labels"].get(name) == "present"
            counts[name][
                "tp" if truth == "1" and positive else "fn" if truth == "1" else "fp" if positive else "tn"
            ] += 1
            if truth == "1" and positive and name in named:
                sides[_side(mined["findings"], name) == named[name]] += 1
    per_class = {name: _scores(counter) for name, counter in counts.items()}
    big = [name for name in CLASSES if name != NO_FINDING and per_class[name]["positives"] >= MIN_POSITIVES]
    total = sum((counts[name] for name in big), Counter[str]())
    return {
        "micro_f1": _f1(total),
        "macro_f1": sum(per_class[name]["f1"] for name in big) / len(big) if big else 0.0,
        "per_class": per_class,
        "side_accuracy": sides[True] / sides.total() if sides else None,
    }


def _side(findings: Iterable[Mapping[str, Any]], name: str) -> str | None:
    found = {f["laterality"] for f in findings if f["status"] == "present" and concept_class(f["concept"]) == name}
    found.discard(None)
    return "bilateral" if len(found) > 1 else next(iter(found), None)


def _scores(counter: Counter[str]) -> dict[str, Any]:
    tp, fp, fn = counter["tp"], counter["fp"], counter["fn"]
    return {
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn) if tp + fn else 0.0,
        "f1": _f1(counter),
        "positives": tp + fn,
        "tp": tp,
        "fp": fp,
        "fn": fn,
    }


def _f1(counter: Counter[str]) -> float:
    wrong = counter["fp"] + counter["fn"]
    return 2 * counter["tp"] / (2 * counter["tp"] + wrong) if counter["tp"] else 0.0
