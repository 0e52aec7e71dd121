"""Policies that look at no image. A model that does not beat them has learned nothing about images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING, Example, present_classes

#: Draws of the label prior for each question, averaged like samples at temperature 1.
PRIOR_DRAWS = 8


class Reading(NamedTuple):
    """What a training study would have a policy write."""

    answer: str
    reasoning: str


def training_readings(train: Sequence[Example]) -> list[Reading]:
    """The present classes, verified where they are, and the chain of each labelled training study."""
    return [
        Reading(", ".join(present_classes(example.labels)), example.reasoning) for example in train if example.labels
    ]


def trivial_readings(train: Sequence[Reading], questions: int, seed: int) -> dict[str, list[list[Reading]]]:
    """Readings by policy: `policy -> samples x questions`.

    - `always No Finding`, with the most frequent chain of normal training studies;
    - `every class` that occurs in training (naming the others too would only do worse), with no reasoning;
    - `majority`: the most frequent training answer, with its most frequent chain;
    - `label prior`: the labels and the chain of a training study drawn at random.
    """
    occurring = [name for name in CLASSES if name != NO_FINDING and any(name in r.answer.split(", ") for r in train)]
    draws = np.random.default_rng([seed, questions]).integers(0, len(train), size=(PRIOR_DRAWS, questions))
    majority = Counter(reading.answer for reading in train).most_common(1)[0][0]
    constant = {
        "always No Finding": Reading(NO_FINDING, _usual_chain(train, NO_FINDING)),
        "every class": Reading(", ".join(occurring) or NO_FINDING, ""),
        "majority": Reading(majority, _usual_chain(train, majority)),
    }
    policies = {policy: [[reading] * questions] for policy, reading in constant.items()}
    return policies | {"label prior": [[train[index] for index in draw] for draw in draws]}


def as_predictions(rows: Sequence[Mapping[str, Any]], samples: Sequence[Sequence[Reading]]) -> list[dict[str, Any]]:
    """Prediction rows whose completions are the readings, `samples` [samples][rows]."""
    return [
        {**row, "sample": sample, "completion": format_completion(reading.reasoning, reading.answer)}
        for sample, readings in enumerate(samples)
        for row, reading in zip(rows, readings, strict=True)
    ]


def _usual_chain(train: Sequence[Reading], answer: str) -> str:
    """The most frequent chain behind an answer; empty if no study has it."""
    usual = Counter(reading.reasoning for reading in train if reading.answer == answer).most_common(1)
    return usual[0][0] if usual else ""
