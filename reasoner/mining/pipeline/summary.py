"""What a mining run did: counts for `summary.json`, the data-set card, a table for the terminal."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reasoner.mining.questions import DISPUTED, LEAK, UNFAITHFUL, UNSEEABLE
from reasoner.schema import CLASSES, NO_FINDING
from reasoner.sources.cxrtrek import OFF_GRID

Row = dict[str, Any]
#: The heading of the card, by which a mined data set is known.
TITLE = "# Reasoning chains mined from chest X-ray reports"
#: Reasons that concern an example of a study that was itself read.
EXAMPLE_REASONS = (UNFAITHFUL, LEAK, UNSEEABLE, DISPUTED, OFF_GRID)


class Counts:
    """What happened, for `summary.json`: studies, reasons of quarantine, examples, agreement with verified labels.

    Shards are counted where they are made (`add_study`, `add_rejected`, `state`) and merged; examples are counted when
    they are written, as balancing leaves some out.
    """

    def __init__(self, head: dict[str, Any] | None = None) -> None:
        self.head = head or {}
        self.kinds: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.studies: Counter[str] = Counter()
        self.refined: Counter[str] = Counter()
        self.examples: dict[str, Counter[str]] = {}
        self.classes: dict[str, Counter[str]] = {}
        self.agreement: dict[str, Counter[str]] = {name: Counter() for name in CLASSES if name != NO_FINDING}
        self.words: Counter[int] = Counter()

    def state(self) -> Row:
        """What `merge` takes, as JSON."""
        names = ("kinds", "reasons", "studies", "refined", "classes", "agreement")
        return {name: getattr(self, name) for name in names}

    def merge(self, state: Row) -> None:
        for name in ("kinds", "reasons", "studies", "refined"):
            getattr(self, name).update(state[name])
        for name in ("classes", "agreement"):
            for key, counts in state[name].items():
                getattr(self, name).setdefault(key, Counter()).update(counts)

    def add_rejected(self, record: Row) -> None:
        self.kinds["rejected"] += 1
        self.reasons[record["reason"]] += 1

    def add_study(self, record: Row) -> None:
        self.kinds["study"] += 1
        split = record["split"]
        self.studies[split] += 1
        self.kinds["without images"] += not record["images"]
        for name, status in record["labels"].items():
            if status == "present":
                self.classes.setdefault(split, Counter())[name] += 1
        if record["verified_labels"]:
            self._agree(record["labels"], record["verified_labels"])

    def add_examples(self, table: pa.Table) -> None:
        """Counts questions: of a dialogue all of them."""
        turns = pc.list_value_length(table["turns"]).to_pylist()
        columns = (table[name].to_pylist() for name in ("task", "split", "reasoning"))
        for task, split, reasoning, asked in zip(*columns, turns, strict=True):
            self.examples.setdefault(task, Counter())[split] += asked or 1
            if task == "abnormality_list":
                self.words[len(reasoning.split())] += 1

    def _agree(self, mined: dict[str, str | None], verified: dict[str, str | None]) -> None:
        for name, counter in self.agreement.items():
            if verified.get(name) is not None:
                pair = (mined[name] == "present", verified[name] == "present")
                counter[{(True, True): "tp", (True, False): "fp", (False, True): "fn"}.get(pair, "tn")] += 1

    def summary(self) -> dict[str, Any]:
        words = np.repeat(list(self.words), list(self.words.values())) if self.words else np.zeros(1)
        checked = any(sum(counter.values()) for counter in self.agreement.values())
        return {
            **self.head,
            "studies": {"read": self.kinds["study"] + self._unread(), "mined": self.kinds["study"], **self.studies},
            "without_images": self.kinds["without images"],
            "quarantined": dict(self.reasons.most_common()),
            "examples": {task: dict(splits) for task, splits in self.examples.items()},
            "present": {s: {n: c[n] for n in CLASSES if c[n]} for s, c in self.classes.items()},
            "reasoning_words": {"mean": round(float(np.mean(words)), 1), "p95": float(np.percentile(words, 95))},
            **({"refined": dict(sorted(self.refined.items()))} if "llm" in self.head else {}),
            "agreement_with_verified": {n: dict(c) for n, c in self.agreement.items()} if checked else None,
        }

    def _unread(self) -> int:
        return sum(n for reason, n in self.reasons.items() if reason not in EXAMPLE_REASONS)


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
{TITLE}

Source `{summary["source"]}`, style `{summary["style"]}`, seed {summary["seed"]}. Each row of `examples/` is a question
about the images with its reasoning, its answer and the findings behind them; each step points at the words of the
report that support it, or at nothing when the report's silence is read as normal. A dialogue (task `stage`) is one row
with its questions in `turns`. `studies.parquet` has one row per
study with its findings and labels; `quarantine.jsonl` says what was left out, and why. For research, not for diagnosis.

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
    for task, short in summary.get("short_of_counts", {}).items():
        missing = ", ".join(f"{sum(units.values())} in {split}" for split, units in short.items() if units)
        lines += [f"short of counts: {task}, {missing}"] if missing else []
    lines += [f"quarantined: {n} x {reason}" for reason, n in summary["quarantined"].items()]
    return "\n".join(lines)
