"""Policies that look at no image. A model that does not beat them has learned nothing about images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN
from reasoner.schema import CLASSES, NO_FINDING, present_classes

#: Draws of the label prior for each question, averaged like samples at temperature 1.
PRIOR_DRAWS = 8


def label_sets(labels: Sequence[Mapping[str, str | None] | None]) -> list[tuple[str, ...]]:
    """The present classes of each labelled study."""
    return [present_classes(dict(row)) for row in labels if row]


def trivial_answers(train: Sequence[tuple[str, ...]], questions: int, seed: int) -> dict[str, list[list[str]]]:
    """Answers by policy: `policy -> samples x questions`. `train` are the training studies' label sets.

    - `always No Finding`;
    - `every class`: each class that occurs in training (naming the others too would only do worse);
    - `majority`: the most frequent training answer;
    - `label prior`: the labels of a training study drawn at random.
    """
    joined = [", ".join(names) for names in train]
    occurring = [name for name in CLASSES if name != NO_FINDING and any(name in names for names in train)]
    draws = np.random.default_rng([seed, questions]).integers(0, len(joined), size=(PRIOR_DRAWS, questions))
    return {
        "always No Finding": [[NO_FINDING] * questions],
        "every class": [[", ".join(occurring) or NO_FINDING] * questions],
        "majority": [[Counter(joined).most_common(1)[0][0]] * questions],
        "label prior": [[joined[index] for index in draw] for draw in draws],
    }


def as_predictions(rows: Sequence[Mapping[str, Any]], samples: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Prediction rows in which `samples` [samples][rows] are the answers; they reason about nothing."""
    return [
        {**row, "sample": sample, "completion": f"{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"}
        for sample, answers in enumerate(samples)
        for row, answer in zip(rows, answers, strict=True)
    ]
