"""From the shards of a run to one data set: in order, each study once, balanced, counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from reasoner.mining.pipeline.balance import Balance
from reasoner.mining.pipeline.shards import Shards
from reasoner.mining.pipeline.summary import EXAMPLE_REASONS, Counts, card
from reasoner.mining.pipeline.tables import STUDY, Tables
from reasoner.schema import Rejected

Row = dict[str, Any]


def merge(shards: Shards, count: int, head: Row, balance: Balance | None) -> Row:
    """Writes the rows of `count` shards, in order, as a data set into `shards.draft`; returns its summary.

    Args:
        head: how the run was made; it opens the summary.
        balance: thins out the examples; None keeps all.
    """
    survey = _survey(shards, count)
    if balance is not None:
        for shard in _kept(shards, count, survey):
            for table in shard.examples.values():
                balance.count(table)
    counts = Counts(head)
    with Tables(shards.draft) as tables:
        for shard in _kept(shards, count, survey):
            counts.merge(shard.counts)
            for record in shard.rejected:
                tables.reject(record)
            if shard.studies is not None and shard.studies.num_rows:
                tables.add("studies", shard.studies.select(STUDY.names))
            for split, table in shard.examples.items():
                table = table if balance is None else balance.keep(table)
                counts.add_examples(table)
                if table.num_rows:
                    tables.add(split, table)
    summary = counts.summary()
    if balance is not None and balance.rule.counts:
        summary["short_of_counts"] = balance.short()
    if survey.patients:
        summary["patients_in_several_splits"] = survey.patients
    (shards.draft / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    (shards.draft / "README.md").write_text(card(summary), "utf-8")
    return summary


class _Survey(NamedTuple):
    """What only a look at all shards tells: of each shard the duplicate studies, with the place of the first of their
    name, and how many patients are in more than one split."""

    duplicates: dict[int, dict[str, str]]
    patients: int


def _survey(shards: Shards, count: int) -> _Survey:
    """Takes about 0.2 kB of memory per study, however long the identifiers."""
    seen: set[bytes] = set()
    splits: dict[bytes, str] = {}
    several: set[bytes] = set()
    again: dict[int, dict[str, str]] = {}
    for number in range(count):
        for study, patient, split in shards.studies(number, "study_id", "patient_id", "split"):
            if (name := _digest(study)) in seen:
                again.setdefault(number, {})[study] = ""
                continue
            seen.add(name)
            if splits.setdefault(patient_ := _digest(patient), split) != split:
                several.add(patient_)
    wanted: dict[str, str] = {study: "" for found in again.values() for study in found}
    for number in range(count) if wanted else ():
        for study, where in shards.studies(number, "study_id", "where"):
            if wanted.get(study) == "":
                wanted[study] = where or study
    return _Survey({number: {study: wanted[study] for study in found} for number, found in again.items()}, len(several))


def _digest(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=16).digest()


class _Shard(NamedTuple):
    studies: pa.Table | None
    examples: dict[str, pa.Table]
    rejected: list[Row]
    counts: Row


def _kept(shards: Shards, count: int, survey: _Survey) -> Iterator[_Shard]:
    """The shards in order, without duplicate studies and what was made of them."""
    for number in range(count):
        tables, state = shards.tables(number), shards.counts(number)
        shard = _Shard(tables.pop("studies", None), tables, state["rejected"], state["counts"])
        yield _without(shard, survey.duplicates[number]) if number in survey.duplicates else shard


def _without(shard: _Shard, again: dict[str, str]) -> _Shard:
    """The shard with the studies `again` (and the places of those before) quarantined, and counted anew."""
    assert shard.studies is not None
    names = pa.array(list(again), pa.string())

    def rest(table: pa.Table) -> pa.Table:
        return table.filter(pc.invert(pc.is_in(table["study_id"], names)))

    gone = shard.studies.filter(pc.is_in(shard.studies["study_id"], names))
    studies = rest(shard.studies)
    rejected = [r for r in shard.rejected if not (r["study_id"] in again and r["reason"] in EXAMPLE_REASONS)]
    rejected += [_duplicate(row, again) for row in gone.select(["source", "where", "study_id"]).to_pylist()]
    counts = Counts()
    counts.refined = Counter(shard.counts["refined"])
    for row in studies.to_pylist():
        counts.add_study(row)
    for record in rejected:
        counts.add_rejected(record)
    examples = {split: rest(table) for split, table in shard.examples.items()}
    return _Shard(studies, examples, rejected, counts.state())


def _duplicate(row: Row, again: dict[str, str]) -> Row:
    study = row["study_id"]
    return vars(Rejected(row["source"], row["where"] or study, "duplicate", f"as {again[study]}", study))
