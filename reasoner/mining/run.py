"""The mining run: a source's partitions through Ray Data into Parquet, in an order that no scheduling can change.

Each partition is read and mined in one task, blocks stream to this process in partition order, and rows are written as
they come, so memory stays flat. `RAY_ADDRESS` selects an existing cluster; otherwise Ray starts here with `workers` CPUs.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from reasoner.errors import UserError
from reasoner.findings import extract_report, labels_of
from reasoner.mining.chains import STYLES, merge
from reasoner.mining.questions import Read, build_examples, check_tasks
from reasoner.mining.tables import Tables
from reasoner.schema import CLASSES, NO_FINDING, Example, Rejected, Study
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
    check_tasks(tasks)
    if style not in STYLES:
        raise UserError(f"style '{style}' is unknown; choose among {', '.join(STYLES)}")
    partitions = source.partitions()
    if not partitions:
        raise UserError(f"source '{source.name}' holds no studies; check its input and options")
    output.mkdir(parents=True, exist_ok=True)
    _check_disk(output)
    with _ray(workers), Tables(output) as tables:
        counts = Counts(source.name, style, seed, dict(tasks))
        for row in _stream(source, partitions, output, dict(tasks), style, seed):
            record = json.loads(row["json"])
            tables.write(row["kind"], record)
            counts.add(row["kind"], record)
    summary = counts.summary()
    if not summary["studies"]["mined"]:
        reasons = ", ".join(f"{n} x {reason}" for reason, n in summary["quarantined"].items()) or "it is empty"
        raise UserError(f"source '{source.name}' gave no usable study ({reasons}); see {output / 'quarantine.jsonl'}")
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    (output / "README.md").write_text(card(summary), "utf-8")
    return summary


def mine_study(study: Study, tasks: Mapping[str, float], style: str, seed: int) -> Iterator[tuple[str, Row]]:
    """The rows of one study: (`study` | `example` | `rejected`, record)."""
    if not study.report.strip():
        yield "rejected", Rejected(study.source, study.study_id, "empty report", "", study.study_id).to_dict()
        return
    findings = extract_report(study.report)
    if not findings:
        rejected = Rejected(study.source, study.study_id, "no finding read", study.report[:80], study.study_id)
        yield "rejected", rejected.to_dict()
        return
    mined = labels_of(findings)
    yield (
        "study",
        study.to_dict()
        | {"labels": mined, "verified_labels": study.labels, "findings": [asdict(finding) for finding in findings]},
    )
    for example in build_examples(Read(study, tuple(merge(findings)), mined, style, seed), tasks):
        yield ("example" if isinstance(example, Example) else "rejected"), example.to_dict()


def _stream(
    source: Source, partitions: Any, output: Path, tasks: dict[str, float], style: str, seed: int
) -> Iterator[Row]:
    import ray.data

    def read(row: Row) -> Iterator[Row]:
        partition: Partition = json.loads(row["partition"])
        for item in source.read(partition):
            kind = "study" if isinstance(item, Study) else "rejected"
            yield {"kind": kind, "json": json.dumps(item.to_dict())}

    def mine_batch(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kinds: list[str] = []
        records: list[str] = []
        for kind, text in zip(batch["kind"], batch["json"], strict=True):
            rows: Any = [(kind, None)]
            if kind == "study":
                rows = mine_study(Study.from_dict(json.loads(text)), tasks, style, seed)
            for name, record in rows:
                kinds.append(name)
                records.append(text if record is None else json.dumps(_relative(record, output)))
        return {"kind": np.array(kinds, dtype=object), "json": np.array(records, dtype=object)}

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    items = [{"partition": json.dumps(partition)} for partition in partitions]
    data = ray.data.from_items(items, override_num_blocks=min(len(items), 1000))
    yield from data.flat_map(read).map_batches(mine_batch, batch_size=BATCH).iter_rows()


def _relative(record: Row, output: Path) -> Row:
    """Image paths below `output` become relative to it, so that the data set can be moved."""
    root = str(output.resolve()) + os.sep
    for name in ("images", "prior_images"):
        if record.get(name):
            record[name] = [p[len(root) :] if (p := str(Path(path).resolve())).startswith(root) else p
                            for path in record[name]]  # fmt: skip
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
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, **quiet)
    else:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=workers, include_dashboard=False, **quiet)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()


class Counts:
    """What happened, for `summary.json`: studies, reasons of quarantine, examples, and agreement with verified labels."""

    def __init__(self, source: str, style: str, seed: int, tasks: dict[str, float]) -> None:
        self.head = {"source": source, "style": style, "seed": seed, "tasks": tasks}
        self.kinds: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.studies: Counter[str] = Counter()
        self.examples: dict[str, Counter[str]] = {}
        self.classes: dict[str, Counter[str]] = {}
        self.agreement: dict[str, Counter[str]] = {name: Counter() for name in CLASSES if name != NO_FINDING}
        self.words: list[int] = []

    def add(self, kind: str, record: Row) -> None:
        self.kinds[kind] += 1
        if kind == "rejected":
            self.reasons[record["reason"]] += 1
        elif kind == "study":
            split = record["split"]
            self.studies[split] += 1
            for name, status in record["labels"].items():
                if status == "present":
                    self.classes.setdefault(split, Counter())[name] += 1
            if record["verified_labels"]:
                self._agree(record["labels"], record["verified_labels"])
        else:
            self.examples.setdefault(record["task"], Counter())[record["split"]] += 1
            if record["task"] == "abnormality_list":
                self.words.append(len(record["reasoning"].split()))

    def _agree(self, mined: dict[str, str | None], verified: dict[str, str | None]) -> None:
        for name, counter in self.agreement.items():
            if verified.get(name) is not None:
                pair = (mined[name] == "present", verified[name] == "present")
                counter[{(True, True): "tp", (True, False): "fp", (False, True): "fn"}.get(pair, "tn")] += 1

    def summary(self) -> dict[str, Any]:
        words = self.words or [0]
        checked = any(sum(counter.values()) for counter in self.agreement.values())
        return {
            **self.head,
            "studies": {"read": self.kinds["study"] + self._unread(), "mined": self.kinds["study"], **self.studies},
            "quarantined": dict(self.reasons.most_common()),
            "examples": {task: dict(splits) for task, splits in self.examples.items()},
            "present": {s: {n: c[n] for n in CLASSES if c[n]} for s, c in self.classes.items()},
            "reasoning_words": {"mean": round(float(np.mean(words)), 1), "p95": float(np.percentile(words, 95))},
            "agreement_with_verified": {n: dict(c) for n, c in self.agreement.items()} if checked else None,
        }

    def _unread(self) -> int:
        return sum(n for reason, n in self.reasons.items() if reason != "unfaithful chain")


def card(summary: dict[str, Any]) -> str:
    """The data-set card, with the header that Hugging Face `datasets` reads."""
    splits = sorted({split for counts in summary["examples"].values() for split in counts})
    files = "\n".join(f"  - split: {split}\n    path: examples/{split}-*.parquet" for split in splits)
    tasks = sorted(summary["examples"])
    rows = "\n".join(
        f"| {split} | {summary['studies'].get(split, 0)} | "
        + " | ".join(str(summary["examples"][task].get(split, 0)) for task in tasks)
        + " |"
        for split in splits
    )
    return f"""---
configs:
- config_name: default
  data_files:
{files}
task_categories: [visual-question-answering]
language: [en]
tags: [medical, radiology, chest-x-ray, reasoning]
---
# Reasoning chains mined from chest X-ray reports

Source `{summary["source"]}`, style `{summary["style"]}`, seed {summary["seed"]}. Each row of `examples/` is a question about
the images with its reasoning, its answer and the findings behind them; each step points at the words of the report that
support it, or at nothing when the report's silence is read as normal. `studies.parquet` has one row per study with its
findings and labels; `quarantine.jsonl` says what was left out, and why. For research, not for diagnosis.

| split | studies | {" | ".join(tasks)} |
|---|---|{"---|" * len(tasks)}
{rows}
"""


def table(summary: dict[str, Any]) -> str:
    """The summary for a terminal."""
    studies, examples = summary["studies"], summary["examples"]
    lines = [f"{studies['read']} studies read, {studies['mined']} mined"]
    splits = list(dict.fromkeys(split for counts in examples.values() for split in counts))
    lines.append(f"{'examples':18s}" + "".join(f"{split:>9s}" for split in splits))
    lines += [f"{task:18s}" + "".join(f"{n.get(split, 0):9d}" for split in splits) for task, n in examples.items()]
    lines += [f"quarantined: {n} x {reason}" for reason, n in summary["quarantined"].items()]
    return "\n".join(lines)
