"""The mining run: a source's partitions through Ray Data into Parquet, in an order that no scheduling changes.

Each partition is read and mined in one task, blocks stream to this process in partition order, and rows are written
as they come, so memory stays flat. `RAY_ADDRESS` selects an existing cluster; otherwise Ray starts with `workers` CPUs.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from reasoner.errors import UserError
from reasoner.findings import extract_report, extract_text, labels_of
from reasoner.mining.chains import STYLES, merge
from reasoner.mining.questions import Read, build_examples, check_tasks
from reasoner.mining.summary import Counts, card
from reasoner.mining.tables import Tables
from reasoner.schema import Example, Rejected, Study
from reasoner.sources.base import Partition, Source

#: Free space without which no run starts: text and Parquet for a few ten thousand studies.
NEEDED_BYTES = 500 * 2**20
BATCH = 256

Row = dict[str, Any]


def mine(
    source: Source,
    output: Path,
    *,
    tasks: Mapping[str, float],
    style: str = "concise",
    seed: int = 0,
    workers: int | None = None,
) -> dict[str, Any]:
    """Mines a source into `output` and returns the summary that is also in `output/summary.json`.

    Args:
        source: where the studies come from.
        output: receives `studies.parquet`, `examples/{split}-00000.parquet`, `summary.json`, `quarantine.jsonl` and
            `README.md`; what an earlier run left there is replaced.
        tasks: task -> expected number of examples per study; 0.25 takes a deterministic quarter of the studies.
        style: one of `chains.STYLES`.
        seed: fixes the words, the questions and the letters.
        workers: CPUs of a local Ray; None for all of them. Ignored with `RAY_ADDRESS`.

    Raises:
        UserError: unknown task or style, missing input, no disk space, or nothing to mine.
    """
    output = output.resolve()
    check_tasks(tasks)
    if style not in STYLES:
        raise UserError(f"style '{style}' is unknown; choose among {', '.join(STYLES)}")
    partitions = source.partitions()
    if not partitions:
        raise UserError(f"source '{source.name}' holds no studies; check its input and options")
    output.mkdir(parents=True, exist_ok=True)
    _check_disk(output)
    counts = Counts(source.name, style, seed, dict(tasks))
    with _ray(workers), Tables(output) as tables, _progress(source.name, len(partitions)) as advance:
        for block in _stream(source, partitions, output, dict(tasks), style, seed):
            for kind, record in block:
                tables.write(kind, record)
                counts.add(kind, record)
            advance()
    summary = counts.summary()
    if not summary["studies"]["mined"]:
        reasons = ", ".join(f"{n} x {reason}" for reason, n in summary["quarantined"].items()) or "it is empty"
        raise UserError(f"source '{source.name}' gave no usable study ({reasons}); see {output / 'quarantine.jsonl'}")
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    (output / "README.md").write_text(card(summary), "utf-8")
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


def _stream(
    source: Source, partitions: Any, output: Path, tasks: dict[str, float], style: str, seed: int
) -> Iterator[Iterator[tuple[str, Row]]]:
    """The mined rows, block by block, in the order of the partitions."""
    import pyarrow as pa
    import ray.data

    root = str(output) + os.sep

    def read(row: Row) -> Iterator[Row]:
        partition: Partition = json.loads(row["partition"])
        for item in source.read(partition):
            kind = "study" if isinstance(item, Study) else "rejected"
            yield {"kind": kind, "json": json.dumps(vars(item), default=vars)}

    def mine_batch(batch: pa.Table) -> pa.Table:
        kinds: list[str] = []
        records: list[str] = []
        for kind, text in zip(batch["kind"].to_pylist(), batch["json"].to_pylist(), strict=True):
            rows: Any = [(kind, None)]
            if kind == "study":
                rows = mine_study(Study.from_dict(json.loads(text)), tasks, style, seed)
            for name, record in rows:
                kinds.append(name)
                records.append(text if record is None else json.dumps(_relative(record, root), default=vars))
        return pa.table({"kind": kinds, "json": records})

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    items = [{"partition": json.dumps(partition)} for partition in partitions]
    data = ray.data.from_items(items, override_num_blocks=min(len(items), 1000))
    mined = data.flat_map(read).map_batches(mine_batch, batch_size=BATCH, batch_format="pyarrow")
    for batch in mined.iter_batches(batch_size=None, batch_format="pyarrow"):
        columns: Any = batch
        yield zip(columns["kind"].to_pylist(), map(json.loads, columns["json"].to_pylist()), strict=True)


def _relative(record: Row, root: str) -> Row:
    """Image paths below the output folder become relative to it, so that the data set can be moved."""
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

    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, **quiet)
    else:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=workers, include_dashboard=False, **quiet)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar over the partitions on standard error, where that is a terminal; yields what advances it."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"mining {name}", total=total)
        yield lambda: bar.advance(task)
