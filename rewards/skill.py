"""The skill reward: RadRScore's question with a zero, so that blindness earns nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from reasoner.prompts import parse_completion
from reasoner.schema import Example, verified_labels
from reasoner.training.dataset import load_examples
from rewards.radrscore.skill import DEFAULT, BaseRates, learn_base_rates, read_base_rates, skill
from rewards.registry import Score, reward

#: Studies that base rates are learned from: beyond some thousands they hardly change.
MOST_STUDIES = 2000
#: Training examples that are looked at for them: several of a study are questions about it.
MOST_EXAMPLES = 10_000


@reward("skill", settings=("base_rates",))
def skill_reward(
    completion: str,
    *,
    reasoning: str | None,
    report: str | None,
    labels: Mapping[str, str | None] | None = None,
    label_source: str | None = None,
    base_rates: str = "",
) -> Score:
    """Skill of a completion (`rewards.radrscore.skill`); abstains on a row without reference chain or report.

    `base_rates` is a mined data folder, or a `base_rates.json` as GRPO and eval leave it; without it those of a public
    collection of reports count.

    Raises:
        UserError: the file cannot be read, or another `label_source`.
    """
    if not (reasoning and reasoning.strip() and report and report.strip()):
        return Score(None, ({"verdict": "abstained", "why": "the row has no reference reasoning or no report"},))
    text = parse_completion(completion).reasoning
    return skill(text, reasoning, report, verified_labels(labels, label_source), find_base_rates(base_rates))


@lru_cache(maxsize=8)
def find_base_rates(place: str = "") -> BaseRates:
    """The base rates of a file, or of the training split of a mined data folder; "" is the public ones.

    Raises:
        UserError: neither can be read.
    """
    path = Path(place) if place else DEFAULT
    if not path.is_dir():
        return read_base_rates(path)
    return base_rates_of(load_examples(path, "train", limit=MOST_EXAMPLES))


def base_rates_of(examples: Iterable[Example]) -> BaseRates:
    """The base rates of a training split, from one question of each study, of at most `MOST_STUDIES` studies.

    Raises:
        UserError: no example has a reference chain and a report.
    """
    studies: dict[str, Example] = {}
    for example in examples:
        if example.reasoning.strip() and example.report.strip():
            studies.setdefault(example.study_id, example)
    chosen = sorted(studies.values(), key=lambda e: hashlib.sha256(e.study_id.encode()).digest())[:MOST_STUDIES]
    return learn_base_rates([(e.reasoning, e.report, verified_labels(e.labels, e.label_source)) for e in chosen])
