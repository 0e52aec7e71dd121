"""The mining run: check, partitions, shards, merge. No scheduling changes what comes out.

A worker reads and mines one partition (`partition.py`) and leaves it as a shard on disk (`shards.py`); when all are
there, this process merges them in the order of the partitions (`merge.py`) and puts the result in the place of the one
before (`publish.py`). So memory holds a partition per worker, whatever the size of the source, and a run that was
killed goes on with the shards that are missing. On a cluster (`RAY_ADDRESS`) the output folder must be shared by its
machines.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.layout import UNFINISHED
from reasoner.llm import Llm, check
from reasoner.mining.chains import PLANNED, STYLES
from reasoner.mining.drafts import Design, check_design
from reasoner.mining.pipeline.balance import Balance, check_counts
from reasoner.mining.pipeline.merge import merge
from reasoner.mining.pipeline.partition import LLM_CALLS, MineSettings, mine_partition
from reasoner.mining.pipeline.publish import claimed, publish
from reasoner.mining.pipeline.shards import Shards, fingerprint
from reasoner.mining.questions import check_tasks
from reasoner.runtime.cluster import ensure_ray
from reasoner.runtime.progress import progress
from reasoner.runtime.terminal import say
from reasoner.sources.base import Partition, Source

#: Free space without which no run starts: text and Parquet for a few ten thousand studies.
NEEDED_BYTES = 500 * 2**20

Row = dict[str, Any]


def mine(
    source: Source,
    output: Path,
    *,
    tasks: Mapping[str, float],
    style: str = "concise",
    seed: int = 0,
    workers: int | None = None,
    balance: float | None = None,
    counts: Mapping[str, int] | None = None,
    design: Design | None = None,
    llm: Llm | None = None,
    llm_calls: str = "reword",
) -> dict[str, Any]:
    """Mines a source into `output` and returns the summary that is also in `output/summary.json`.

    Args:
        source: where the studies come from.
        output: receives `studies.parquet`, `examples/{split}-00000.parquet`, `summary.json`, `quarantine.jsonl` and
            `README.md`, in the place of those of an earlier run, all at once and at the end. `output/shards` holds
            the work of an unfinished run, which the same call goes on with.
        tasks: task -> expected number of examples per study; 0.25 takes a deterministic quarter of the studies.
        style: one of `chains.STYLES`.
        seed: fixes the words, the questions and the letters.
        workers: CPUs of a local Ray; None for all of them, 0 for this process without Ray. Ignored with `RAY_ADDRESS`.
        balance: keep no answer more than so many times as often as the median of its group (`balance.py`).
        counts: task -> at most so many of each class and answer, in each split (`balance.py`); needs `level` choices.
        design: how questions and chains are made beside that.
        llm: the server that rewrites the chains (`refine.py`).
        llm_calls: `reword` asks for other words; `three` for plan, evidence and then other words (`three_calls.py`).

    Raises:
        UserError: unknown task, style or other setting, missing input, no disk space, no such server, nothing to mine,
            or something of another making where the run would write. What was in `output` is as it was.
    """
    design = design or Design()
    settings = MineSettings(dict(tasks), style, seed, llm, design, llm_calls)
    _check(settings, balance, counts)
    partitions = _partitions(source)
    with claimed(output, draws=source.draws) as output:
        shards = Shards(output / UNFINISHED)
        _check_disk(output)
        if source.draws:
            source = source.drawing_into(shards.draft)
        _make_shards(shards, source, partitions, output, settings, workers)
        thinned = balance is not None or counts
        evened = Balance(balance, counts, level=design.choices == "level") if thinned else None
        summary = merge(shards, len(partitions), _head(source, settings, balance, counts), evened)
        if not summary["studies"]["mined"]:
            reasons = ", ".join(f"{n} x {reason}" for reason, n in summary["quarantined"].items()) or "it is empty"
            where = shards.draft / "quarantine.jsonl"
            raise UserError(f"source '{source.name}' gave no usable study ({reasons}); see {where}")
        publish(shards.draft, output, shards.folder)
        shards.remove()
    return summary


def _check(settings: MineSettings, balance: float | None, counts: Mapping[str, int] | None) -> None:
    """Raises `UserError` for a wrong setting."""
    check_tasks(settings.tasks)
    check_design(settings.design)
    check_counts(counts, settings.design.choices)
    if settings.llm_calls not in LLM_CALLS:
        raise UserError(f"llm_calls '{settings.llm_calls}' is unknown; choose among {', '.join(LLM_CALLS)}")
    if settings.style not in STYLES:
        raise UserError(f"style '{settings.style}' is unknown; choose among {', '.join(STYLES)}")
    if settings.llm_calls == "three" and settings.style not in PLANNED:
        raise UserError(f"data.llm_calls: three plans a chain, data.style must be {' or '.join(PLANNED)}")
    if settings.design.steps and settings.style != "systematic":
        raise UserError("data.steps are those of data.style: systematic; take that, or leave them out")
    if balance is not None and balance < 1:
        raise UserError(f"balance {balance}: give 1 (exact) or more, or leave it out")


def _partitions(source: Source) -> Sequence[Partition]:
    partitions = source.partitions()
    if not partitions:
        raise UserError(f"source '{source.name}' holds no studies; check its input and options")
    return partitions


def _head(source: Source, settings: MineSettings, balance: float | None, counts: Mapping[str, int] | None) -> Row:
    """How a run was made, as its summary begins."""
    head: Row = {"source": source.name, "style": settings.style, "seed": settings.seed, "tasks": settings.tasks}
    if balance is not None:
        head["balance"] = balance
    if counts:
        head["counts"] = dict(counts)
    head |= {name: value for name, value in vars(settings.design).items() if value != getattr(Design(), name)}
    if settings.llm is not None:
        head["llm"] = settings.llm.model
        if settings.llm_calls != "reword":
            head["llm_calls"] = settings.llm_calls
    return head


def _make_shards(
    shards: Shards,
    source: Source,
    partitions: Sequence[Partition],
    output: Path,
    settings: MineSettings,
    workers: int | None,
) -> None:
    """Mines the partitions that have no shard yet."""
    count = len(partitions)
    missing = shards.open(fingerprint(source, partitions, settings.fingerprint()), count)
    if settings.llm is not None and missing:
        check(settings.llm)
    done = count - len(missing)
    if done:
        say(f"mining goes on: {done} of {count} parts are there")
    with progress(f"mining {source.name}", count, done) as advance:
        for _ in _mined(source, partitions, missing, output, settings, workers):
            advance(1)


def _mined(
    source: Source,
    partitions: Sequence[Partition],
    missing: Sequence[int],
    output: Path,
    settings: MineSettings,
    workers: int | None,
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
