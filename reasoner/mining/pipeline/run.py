"""The mining run: a source's partitions through Ray Data into Parquet that no scheduling changes.

A worker reads and mines one partition and leaves it as a shard on disk (`shards.py`); when all are there, this process
merges them in the order of the partitions. So memory holds a partition per worker, whatever the size of the source, and
a run that was killed goes on with the shards that are missing. On a cluster (`RAY_ADDRESS`) the output folder must be
shared by its machines.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reasoner.cluster import ensure_ray
from reasoner.errors import UserError
from reasoner.findings import extract_report, extract_text, labels_of
from reasoner.llm import Llm, check
from reasoner.mining import refine
from reasoner.mining.chains import STYLES, merge
from reasoner.mining.pipeline.balance import Balance
from reasoner.mining.pipeline.shards import Shards, fingerprint
from reasoner.mining.pipeline.summary import Counts, card
from reasoner.mining.pipeline.tables import EXAMPLE, STUDY, Tables, to_table
from reasoner.mining.questions import Read, build_examples, check_tasks
from reasoner.schema import Example, Rejected, Study
from reasoner.sources.base import Partition, Source
from reasoner.terminal import say, stream

#: Free space without which no run starts: text and Parquet for a few ten thousand studies.
NEEDED_BYTES = 500 * 2**20

Row = dict[str, Any]


@dataclass(frozen=True)
class MineSettings:
    """What is made of the studies; see `mine`."""

    tasks: dict[str, float]
    style: str = "concise"
    seed: int = 0
    llm: Llm | None = None


def mine(
    source: Source,
    output: Path,
    *,
    tasks: Mapping[str, float],
    style: str = "concise",
    seed: int = 0,
    workers: int | None = None,
    balance: float | None = None,
    llm: Llm | None = None,
) -> dict[str, Any]:
    """Mines a source into `output` and returns the summary that is also in `output/summary.json`.

    Args:
        source: where the studies come from.
        output: receives `studies.parquet`, `examples/{split}-00000.parquet`, `summary.json`, `quarantine.jsonl` and
            `README.md`; what an earlier run left there is replaced. `output/shards` holds the work of an unfinished
            run, which the same call goes on with.
        tasks: task -> expected number of examples per study; 0.25 takes a deterministic quarter of the studies.
        style: one of `chains.STYLES`.
        seed: fixes the words, the questions and the letters.
        workers: CPUs of a local Ray; None for all of them, 0 for this process without Ray. Ignored with `RAY_ADDRESS`.
        balance: keep no answer more than so many times as often as the median of its group (`balance.py`).
        llm: the server that rewrites the chains (`refine.py`).

    Raises:
        UserError: unknown task or style, missing input, no disk space, no such server, or nothing to mine.
    """
    output = output.resolve()
    check_tasks(tasks)
    if style not in STYLES:
        raise UserError(f"style '{style}' is unknown; choose among {', '.join(STYLES)}")
    if balance is not None and balance < 1:
        raise UserError(f"balance {balance}: give 1 (exact) or more, or leave it out")
    partitions = source.partitions()
    if not partitions:
        raise UserError(f"source '{source.name}' holds no studies; check its input and options")
    output.mkdir(parents=True, exist_ok=True)
    _check_disk(output)
    settings = MineSettings(dict(tasks), style, seed, llm)
    shards = Shards(output / "shards")
    shards.open(fingerprint(source, partitions, settings, output))
    missing = [number for number in range(len(partitions)) if not shards.done(number)]
    if llm is not None and missing:
        check(llm)
    if len(missing) < len(partitions):
        say(f"mining goes on: {len(partitions) - len(missing)} of {len(partitions)} parts are there")
    with _progress(f"mining {source.name}", len(partitions), len(partitions) - len(missing)) as advance:
        for _ in _mined(source, partitions, missing, output, settings, workers):
            advance()
    summary = _merge(shards, len(partitions), output, settings, source.name, balance)
    if not summary["studies"]["mined"]:
        reasons = ", ".join(f"{n} x {reason}" for reason, n in summary["quarantined"].items()) or "it is empty"
        raise UserError(f"source '{source.name}' gave no usable study ({reasons}); see {output / 'quarantine.jsonl'}")
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    (output / "README.md").write_text(card(summary), "utf-8")
    shards.remove()
    return summary


def mine_study(study: Study, tasks: Mapping[str, float], style: str, seed: int) -> Iterator[tuple[str, Row]]:
    """The rows of one study: (`study` | `example` | `rejected`, its fields); nested records are left as they are."""
    if study.given:
        yield from _given(study)
        return
    if not study.report.strip():
        yield "rejected", vars(Rejected(study.source, study.study_id, "empty report", "", study.study_id))
        return
    findings = extract_report(study.report)
    if not findings:
        detail = study.report[:80]
        yield "rejected", vars(Rejected(study.source, study.study_id, "no finding read", detail, study.study_id))
        return
    mined = labels_of(findings)
    yield "study", {**vars(study), "labels": mined, "verified_labels": study.labels, "findings": findings}
    for example in build_examples(Read(study, tuple(merge(findings)), mined, style, seed), tasks):
        boxes = {"boxes": study.boxes} if isinstance(example, Example) and example.images == study.images else {}
        yield ("example" if isinstance(example, Example) else "rejected"), {**vars(example), **boxes}


def _given(study: Study) -> Iterator[tuple[str, Row]]:
    """The rows of a study that brings its own questions; labels and findings are still read from its report."""
    findings = extract_report(study.report)
    mined = labels_of(findings)
    yield "study", {**vars(study), "labels": mined, "verified_labels": study.labels, "findings": findings}
    for example in study.given:
        gold = tuple(extract_text(example.reasoning))
        yield "example", {**vars(example), "labels": study.labels or mined, "gold_findings": gold}


def mine_partition(source: Source, partition: Partition, number: int, output: Path, settings: MineSettings) -> None:
    """Reads and mines one partition and leaves it as shard `number`."""
    counts, root = Counts(), str(output) + os.sep
    studies: list[Row] = []
    examples: list[Row] = []
    rejected: list[Row] = []
    for item in source.read(partition):
        rows: Iterable[tuple[str, Row]] = [("rejected", vars(item))]
        if isinstance(item, Study):
            rows = mine_study(item, settings.tasks, settings.style, settings.seed)
        for kind, record in rows:
            {"study": studies, "example": examples, "rejected": rejected}[kind].append(record)
    if settings.llm is not None:
        refined, outcome = refine.refine([Example(**row) for row in examples], settings.llm, output)
        examples = [dict(vars(example)) for example in refined]
        counts.refined.update(outcome)
    for record in studies:
        counts.add_study(record)
    for record in rejected:
        counts.add_rejected(record)
    tables = {"studies": to_table((_relative(row, root) for row in studies), STUDY)} if studies else {}
    by_split: dict[str, list[Row]] = {}
    for row in examples:
        by_split.setdefault(row["split"], []).append(_relative(row, root))
    tables |= {split: to_table(rows, EXAMPLE) for split, rows in by_split.items()}
    Shards(output / "shards").write(number, tables, {"counts": counts.state(), "rejected": rejected})


def _mined(
    source: Source, partitions: Any, missing: list[int], output: Path, settings: MineSettings, workers: int | None
) -> Iterator[int]:
    """Mines the missing partitions, on Ray or here; yields the number of each that is finished."""
    if workers == 0 or not missing:
        for number in missing:
            mine_partition(source, partitions[number], number, output, settings)
            yield number
        return
    with _ray(workers):
        import ray.data

        def work(row: Row) -> Row:
            mine_partition(source, json.loads(row["partition"]), row["number"], output, settings)
            return {"number": row["number"]}

        ray.data.DataContext.get_current().enable_progress_bars = False
        items = [{"number": number, "partition": json.dumps(partitions[number])} for number in missing]
        data = ray.data.from_items(items, override_num_blocks=min(len(items), 1000)).map(work)
        try:
            for row in data.iter_rows():
                yield row["number"]
        except UserError as error:  # Ray wraps it into a traceback of the worker
            raise getattr(error, "cause", error) from None


def _merge(
    shards: Shards, count: int, output: Path, settings: MineSettings, name: str, ratio: float | None
) -> dict[str, Any]:
    """Writes the shards' rows, in order, to the data set's files; returns the summary."""
    head: Row = {"source": name, "style": settings.style, "seed": settings.seed, "tasks": settings.tasks}
    if ratio is not None:
        head["balance"] = ratio
    if settings.llm is not None:
        head["llm"] = settings.llm.model
    counts, balance = Counts(head), None if ratio is None else Balance(ratio)
    for number in range(count) if balance is not None else ():
        for split, table in shards.read(number)[0].items():
            if split != "studies" and balance is not None:
                balance.count(table)
    with Tables(output) as tables:
        for number in range(count):
            mined, state = shards.read(number)
            counts.merge(state["counts"])
            for record in state["rejected"]:
                tables.reject(record)
            for split, table in mined.items():
                if split != "studies":
                    table = table if balance is None else balance.keep(table)
                    counts.add_examples(table)
                if table.num_rows:
                    tables.add(split, table)
    return counts.summary()


def _relative(record: Row, root: str) -> Row:
    """Image paths below the output folder become relative to it, so that the data set can be moved."""
    record = dict(record)
    for name in ("images", "prior_images"):
        if record.get(name):
            record[name] = [os.path.abspath(path).removeprefix(root) for path in record[name]]
    return record


def _check_disk(output: Path) -> None:
    free = shutil.disk_usage(output).free
    if free < NEEDED_BYTES:
        raise UserError(
            f"{output}: {free / 2**20:.0f} MiB free, mining needs {NEEDED_BYTES / 2**20:.0f}; free some space or "
            "choose another output"
        )


@contextmanager
def _ray(workers: int | None) -> Iterator[None]:
    """A running Ray: the one that is there, the cluster of `RAY_ADDRESS`, or a local one for the time of the run."""
    import ray
    import ray.data

    started = ensure_ray(workers)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _progress(title: str, total: int, done: int) -> Iterator[Callable[[], None]]:
    """A bar over the partitions on standard error, where that is a terminal; yields what advances it."""
    console = Console(file=stream())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield lambda: bar.advance(task)
