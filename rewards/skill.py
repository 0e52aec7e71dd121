"""The skill reward: RadRScore's claims with a zero, so that blindness earns nothing."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from reasoner.mining.grounding import DETECTION
from reasoner.prompts import parse_completion
from reasoner.schema import Example, verified_labels
from reasoner.training.dataset import load_examples
from rewards.radrscore.base_rates import BaseRates, Row, default_base_rates, learn_base_rates, read_base_rates
from rewards.radrscore.skill import skill
from rewards.registry import Score, reward

#: Rows that base rates are learned from: beyond some thousands they hardly change.
MOST_ROWS = 4000


@lru_cache(maxsize=8)
def find_base_rates(place: str = "") -> BaseRates:
    """The base rates of a file, or of the training split of a mined data folder; "" is the public ones.

    Raises:
        UserError: neither can be read.
    """
    if not place:
        return default_base_rates()
    path = Path(place)
    return base_rates_of(load_examples(path, "train")) if path.is_dir() else read_base_rates(path)


def base_rates_of(examples: Iterable[Example]) -> BaseRates:
    """The base rates of a training split, from at most `MOST_ROWS` of its rows, the same ones each time.

    Raises:
        UserError: no example has a reference chain and a report.
    """
    usable = (e for e in examples if e.reasoning.strip() and e.report.strip())
    chosen = heapq.nsmallest(MOST_ROWS, usable, key=lambda e: hashlib.sha256(e.id.encode()).digest())
    return learn_base_rates(
        [
            Row(
                e.reasoning,
                e.report,
                tuple(verified_labels(e.labels, e.label_source).items()),
                e.task,
                e.question,
                e.options,
            )
            for e in chosen
        ]
    )


def _start(settings: Any) -> None:
    find_base_rates(settings.base_rates)


@reward(
    "skill",
    settings=("base_rates",),
    start=_start,
    step_verdicts=lambda settings: True,
)
def skill_reward(
    completion: str,
    *,
    reasoning: str | None,
    report: str | None,
    labels: Mapping[str, str | None] | None = None,
    label_source: str | None = None,
    task: str | None = None,
    question: str | None = None,
    options: Sequence[str] | None = None,
    base_rates: str = "",
) -> Score:
    """Skill of a completion (`rewards.radrscore.skill`); abstains on a row without reference chain or report, and where
    the question says what is there (`detection`), so that finding it is no skill.

    `base_rates` is a mined data folder, or a `base_rates.json` as GRPO and eval leave it; without it those of a public
    collection of reports count.

    Raises:
        UserError: the base rates cannot be read; another `label_source`.
    """
    if not (reasoning and reasoning.strip() and report and report.strip()):
        return Score.abstained("the row has no reference reasoning or no report")
    if task == DETECTION:
        return Score.abstained("the question says what is there")
    known = tuple(verified_labels(labels, label_source).items())
    row = Row(reasoning, report, known, task, question or "", tuple(options or ()))
    return skill(parse_completion(completion).reasoning, row.truth, find_base_rates(base_rates).of(row))
