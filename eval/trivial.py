"""Policies that look at no image. A model that does not beat them has learned nothing about images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING, Example
from rewards.answers import gold_list

#: Draws of the label prior for each question, averaged like samples at temperature 1.
PRIOR_DRAWS = 8


class Guess(NamedTuple):
    """What a training study would have a policy write."""

    answer: str
    reasoning: str


def training_guesses(train: Sequence[Example]) -> list[Guess]:
    """The gold list and the chain of each training study that has one."""
    golds = [(gold_list(e.answer, e.labels, e.label_source), e.reasoning) for e in train]
    return [Guess(", ".join(gold.classes), reasoning) for gold, reasoning in golds if gold]


def trivial_guesses(train: Sequence[Guess], questions: int, seed: int) -> dict[str, list[list[Guess]]]:
    """Guesses by policy: `policy -> samples x questions`.

    - `always No Finding`, with the most frequent chain of normal training studies;
    - `every class` that occurs in training (naming the others too would only do worse), with no reasoning;
    - `majority`: the most frequent training answer, with its most frequent chain;
    - `label prior`: the labels and the chain of a training study drawn at random.
    """
    occurring = [name for name in CLASSES if name != NO_FINDING and any(name in r.answer.split(", ") for r in train)]
    draws = np.random.default_rng([seed, questions]).integers(0, len(train), size=(PRIOR_DRAWS, questions))
    majority = Counter(guess.answer for guess in train).most_common(1)[0][0]
    constant = {
        "always No Finding": Guess(NO_FINDING, _usual_chain(train, NO_FINDING)),
        "every class": Guess(", ".join(occurring) or NO_FINDING, ""),
        "majority": Guess(majority, _usual_chain(train, majority)),
    }
    policies = {policy: [[guess] * questions] for policy, guess in constant.items()}
    return policies | {"label prior": [[train[index] for index in draw] for draw in draws]}


def as_predictions(rows: Sequence[Mapping[str, Any]], samples: Sequence[Sequence[Guess]]) -> list[dict[str, Any]]:
    """Prediction rows whose completions are the guesses, `samples` [samples][rows]."""
    return [
        {**row, "sample": sample, "completion": format_completion(guess.reasoning, guess.answer)}
        for sample, guesses in enumerate(samples)
        for row, guess in zip(rows, guesses, strict=True)
    ]


def _usual_chain(train: Sequence[Guess], answer: str) -> str:
    """The most frequent chain behind an answer; empty if no study has it."""
    usual = Counter(guess.reasoning for guess in train if guess.answer == answer).most_common(1)
    return usual[0][0] if usual else ""
