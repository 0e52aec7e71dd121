"""What a worker does: reads one partition, mines its studies, and leaves their rows as a shard."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from reasoner.dialogues import STAGE, packed, relinked
from reasoner.errors import UserError
from reasoner.findings import extract_report, extract_text, labels_of
from reasoner.layout import UNFINISHED
from reasoner.llm import Llm
from reasoner.mining.chains import merge
from reasoner.mining.drafts import Design
from reasoner.mining.grounding import PLACED
from reasoner.mining.pipeline.shards import Shards
from reasoner.mining.pipeline.summary import Counts
from reasoner.mining.pipeline.tables import EXAMPLE, PLACED_STUDY, to_table
from reasoner.mining.questions import Read, build_examples
from reasoner.mining.refine import refine
from reasoner.mining.three_calls import mine_by_calls
from reasoner.runtime.disk import unwritable
from reasoner.schema import Example, Rejected, Study
from reasoner.sources.base import Partition, Source

Row = dict[str, Any]
#: What a language model is asked for, and by what.
LLM_CALLS = {"reword": refine, "three": mine_by_calls}


@dataclass(frozen=True)
class MineSettings:
    """What is made of the studies; see `run.mine`."""

    tasks: dict[str, float]
    style: str = "concise"
    seed: int = 0
    llm: Llm | None = None
    design: Design = field(default_factory=Design)
    llm_calls: str = "reword"

    def fingerprint(self) -> dict[str, Any]:
        """All that decides the rows of a study."""
        llm = [self.llm.fingerprint(), self.llm_calls] if self.llm else None
        own = {"tasks": self.tasks, "style": self.style, "seed": self.seed, "llm": llm}
        return own | {"design": asdict(self.design)}


@dataclass(frozen=True)
class Mined:
    """The rows of one study."""

    study: Row
    examples: list[Row]


def mine_partition(source: Source, partition: Partition, number: int, output: Path, settings: MineSettings) -> None:
    """Reads and mines one partition and leaves it as shard `number` of `output`.

    Raises:
        UserError: no model server answers, or the shard cannot be written.
    """
    shards, counts = Shards(output / UNFINISHED), Counts()
    try:
        mined, rejected = _mined(source, partition, settings)
        mined, unfit, tables = _fitting(mined, shards)
        rejected += unfit
        if settings.llm is not None:
            examples = [Example(**row) for one in mined for row in one.examples]
            sent = [example for example in examples if example.task not in PLACED]  # other words would lose the boxes
            replies, outcome = LLM_CALLS[settings.llm_calls](sent, settings.llm, output)
            counts.refined.update(outcome)
            reworded = iter(replies)
            examples = [example if example.task in PLACED else next(reworded) for example in examples]
            tables = _tables(_with(mined, examples), shards)
        for one in mined:
            counts.add_study(one.study)
        for record in rejected:
            counts.add_rejected(record)
        shards.write(number, tables, {"counts": counts.state(), "rejected": rejected})
    except OSError as error:  # of writing: what cannot be read, sources tell of row by row
        raise unwritable(Path(error.filename or output), error) from error


def _mined(source: Source, partition: Partition, settings: MineSettings) -> tuple[list[Mined], list[Row]]:
    """The studies of a partition and the records of what was left out of it; of two with one id the first is taken."""
    mined: dict[str, Mined] = {}
    rejected: list[Row] = []
    for item in source.read(partition):
        if isinstance(item, Rejected):
            rejected.append(vars(item))
        elif item.study_id in mined:
            rejected.append(_rejected(vars(item), "duplicate", f"as {mined[item.study_id].study['where']}"))
        else:
            rows: dict[str, list[Row]] = {"study": [], "example": [], "rejected": rejected}
            try:
                made = mine_study(item, settings.tasks, settings.style, settings.seed, settings.design)
                for kind, record in list(made):
                    rows[kind].append(record)
            except UserError:
                raise
            except Exception as error:  # whatever it is, it costs this study alone
                rejected.append(_rejected(vars(item), "failed", f"{type(error).__name__}: {error}"))
            if rows["study"]:
                mined[item.study_id] = Mined(rows["study"][0], rows["example"])
    return list(mined.values()), rejected


def _fitting(mined: list[Mined], shards: Shards) -> tuple[list[Mined], list[Row], dict[str, pa.Table]]:
    """The studies that tables can hold, the records of the others, and the tables."""
    try:
        return mined, [], _tables(mined, shards)
    except Exception:  # find who is to blame
        faults = [_fault(one, shards) for one in mined]
    pairs = list(zip(mined, faults, strict=True))
    fit = [one for one, fault in pairs if not fault]
    unfit = [_rejected(one.study, "bad row", fault) for one, fault in pairs if fault]
    return fit, unfit, _tables(fit, shards)


def _with(mined: Sequence[Mined], examples: Sequence[Example]) -> list[Mined]:
    """The same studies with these examples in the place of theirs, in order."""
    rows = iter(examples)
    new = (relinked(list(islice(rows, len(one.examples)))) for one in mined)
    return [Mined(one.study, [dict(vars(row)) for row in own]) for one, own in zip(mined, new, strict=True)]


def _rejected(study: Row, reason: str, detail: str) -> Row:
    where = study["where"] or study["study_id"]
    return vars(Rejected(study["source"], where, reason, detail, study["study_id"]))


def _tables(mined: Sequence[Mined], shards: Shards) -> dict[str, pa.Table]:
    """`studies` and the examples of each split, as far as there are any."""
    roots = (f"{shards.draft}{os.sep}", f"{shards.folder.parent}{os.sep}")
    tables = {"studies": to_table((_relative(one.study, roots) for one in mined), PLACED_STUDY)} if mined else {}
    by_split: dict[str, list[Row]] = {}
    for one in mined:
        for row in _packed(one.examples):
            by_split.setdefault(row["split"], []).append(_relative(row, roots))
    return tables | {split: to_table(rows, EXAMPLE) for split, rows in by_split.items()}


def _packed(rows: Sequence[Row]) -> list[Row]:
    """The rows of one study, its dialogue as one."""
    if not any(row["task"] == STAGE for row in rows):
        return list(rows)
    return [dict(vars(example)) for example in packed([Example(**row) for row in rows])]


def _fault(one: Mined, shards: Shards) -> str:
    """Why a study cannot be written; empty when it can."""
    try:
        _tables([one], shards)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def mine_study(
    study: Study, tasks: Mapping[str, float], style: str, seed: int, design: Design | None = None
) -> Iterator[tuple[str, Row]]:
    """The rows of one study: (`study` | `example` | `rejected`, its fields); nested records are left as they are. One
    that brings its own questions is asked no others, but for places where it has boxes."""
    if not study.report.strip() and not study.given:
        yield "rejected", _rejected(vars(study), "empty report", "")
        return
    findings = extract_report(study.report)
    if not findings and not study.given:
        yield "rejected", _rejected(vars(study), "no finding read", study.report[:80])
        return
    mined = labels_of(findings)
    yield "study", {**vars(study), "labels": mined, "verified_labels": study.labels, "findings": findings}
    if study.given:
        yield from _given(study, mined)
        tasks = {task: rate for task, rate in tasks.items() if task in PLACED and study.boxes}
    read = Read(study, tuple(merge(findings)), mined, style, seed, design or Design())
    for example in build_examples(read, tasks):
        shown = isinstance(example, Example) and example.images[:1] == study.images[:1]
        boxes = {"boxes": study.boxes} if shown else {}
        yield ("example" if isinstance(example, Example) else "rejected"), {**vars(example), **boxes}


def _given(study: Study, mined: dict[str, str | None]) -> Iterator[tuple[str, Row]]:
    """The questions that a study brings; labels are still those of its report."""
    for example in study.given:
        gold = tuple(extract_text(example.reasoning))
        labels = {"labels": study.rewarded_labels(mined), "label_source": study.label_source}
        yield "example", {**vars(example), **labels, "gold_findings": gold}


def _relative(record: Row, roots: Sequence[str]) -> Row:
    """Image paths below the output folder become relative to it, so that the data set can be moved."""
    record = dict(record)
    for name in ("images", "prior_images"):
        if record.get(name):
            record[name] = [_below(os.path.abspath(path), roots) for path in record[name]]
    return record


def _below(path: str, roots: Sequence[str]) -> str:
    root = next((root for root in roots if path.startswith(root)), "")
    return path.removeprefix(root)
