"""Paired percentile bootstrap over studies (Efron and Tibshirani 1993, chapter 13), in numpy.

Every metric here is a function of totals over studies, so a resample is a vector of study weights and all resamples
are one matrix product. Models that answered the same studies share the weights, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Totals by statistic, each of shape [...], to metrics of the same shape.
Metrics = Callable[[Mapping[str, Array]], dict[str, Array]]


class Estimate(NamedTuple):
    """A value and its two-sided 95% interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


class Statistics(NamedTuple):
    """Additive statistics: each of `columns` is [samples, studies]; `studies` are the ids, in that order."""

    studies: tuple[str, ...]
    columns: dict[str, Array]


def resample_weights(studies: int, resamples: int, seed: int) -> Array:
    """How often each study is drawn in each resample: [resamples, studies], rows summing to `studies`."""
    draws = np.random.default_rng([seed, studies]).integers(0, studies, size=(resamples, studies))
    offsets = studies * np.arange(resamples)[:, None]
    counts = np.bincount((draws + offsets).ravel(), minlength=resamples * studies)
    return counts.reshape(resamples, studies).astype(np.float64)


def evaluate(statistics: Statistics, metrics: Metrics, weights: Array) -> dict[str, Array]:
    """Each metric under each row of `weights` [resamples, studies], averaged over the samples: [resamples].

    The metric is computed within each sample and then averaged, so n samples at temperature 1 estimate the expected
    score of one sample, not the score of a vote. Undefined everywhere (no row of that kind) gives NaN.
    """
    totals = {name: column @ weights.T for name, column in statistics.columns.items()}
    return {name: values.mean(axis=0) for name, values in metrics(totals).items()}


def estimates(statistics: Statistics, metrics: Metrics, *, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """Each metric's value on the studies as they are, with its interval. Metrics without a row are left out."""
    return _summarise(*_values(statistics, metrics, resamples, seed))


def differences(
    ours: Statistics, theirs: Statistics, metrics: Metrics, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """`ours` minus `theirs`, paired by study. The two may differ in their number of samples.

    Raises:
        ValueError: when the two do not hold the same studies in the same order.
    """
    if ours.studies != theirs.studies:
        raise ValueError("a paired difference needs the same studies in the same order on both sides")
    ours_at, ours_drawn = _values(ours, metrics, resamples, seed)
    theirs_at, theirs_drawn = _values(theirs, metrics, resamples, seed)
    shared = [name for name in ours_at if name in theirs_at]
    return _summarise(
        {name: ours_at[name] - theirs_at[name] for name in shared},
        {name: ours_drawn[name] - theirs_drawn[name] for name in shared},
    )


def _values(
    statistics: Statistics, metrics: Metrics, resamples: int, seed: int
) -> tuple[dict[str, float], dict[str, Array]]:
    studies = len(statistics.studies)
    at = evaluate(statistics, metrics, np.ones((1, studies)))
    drawn = evaluate(statistics, metrics, resample_weights(studies, resamples, seed))
    return {name: float(value[0]) for name, value in at.items()}, drawn


def _summarise(at: dict[str, float], drawn: dict[str, Array]) -> dict[str, Estimate]:
    found = {}
    for name, value in at.items():
        if np.isnan(value):
            continue
        # A rare class can be missing from a resample; the interval is over the resamples that have it.
        low, high = np.nanpercentile(drawn[name], (2.5, 97.5))
        found[name] = Estimate(value, float(low), float(high))
    return found
