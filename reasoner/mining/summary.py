"""What a mining run did: counts for `summary.json`, the data-set card, a table for the terminal."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from reasoner.schema import CLASSES, NO_FINDING

Row = dict[str, Any]


class Counts:
    """What happened, for `summary.json`: studies, reasons of quarantine, examples, agreement with verified labels."""

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
            self.kinds["without images"] += not record["images"]
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
            "without_images": self.kinds["without images"],
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

Source `{summary["source"]}`, style `{summary["style"]}`, seed {summary["seed"]}. Each row of `examples/` is a question
about the images with its reasoning, its answer and the findings behind them; each step points at the words of the
report that support it, or at nothing when the report's silence is read as normal. `studies.parquet` has one row per
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
    lines += [f"quarantined: {n} x {reason}" for reason, n in summary["quarantined"].items()]
    return "\n".join(lines)
