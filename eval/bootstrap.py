"""Paired percentile bootstrap over studies (Efron and Tibshirani 1993, chapter 13), and over seeds with them, in numpy.

Every metric here is a function of totals over studies, so a resample is a vector of study weights and all resamples
are one matrix product. Models that answered the same studies share the weights, so their differences are paired.
`over_seeds` adds what another training seed would change; `holm` corrects a family of comparisons.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from reasoner.errors import UserError

Array = NDArray[np.float64]
#: Totals by statistic, each of shape [...], to metrics of the same shape.
Metrics = Callable[[Mapping[str, Array]], dict[str, Array]]
Key = TypeVar("Key")
#: Most weights in memory at once.
_BLOCK = 1 << 22


class Estimate(NamedTuple):
    """A value and its two-sided 95% interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


class SeedEstimate(NamedTuple):
    """A mean over training seeds with its two-sided 95% interval, and `p` of the hypothesis that it is 0."""

    value: float
    low: float
    high: float
    p: float
    #: The value of each seed.
    seeds: tuple[float, ...]

    @property
    def sd(self) -> float:
        """Standard deviation between seeds; 0 of one seed."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else 0.0


class Statistics(NamedTuple):
    """Additive statistics: each of `columns` is [samples, studies]; `studies` are the ids, in that order."""

    studies: tuple[str, ...]
    columns: dict[str, Array]


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Writes the statistics as a NumPy archive: `studies`, and an array a column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"studies": np.array(statistics.studies), **statistics.columns}
    np.savez_compressed(path, **arrays)


def read_statistics(path: Path) -> Statistics:
    """What `write_statistics` wrote.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with np.load(path) as archive:
            columns = {name: archive[name] for name in archive.files}
        return Statistics(tuple(columns.pop("studies").tolist()), columns)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged ({error}); evaluate again with --force") from error


class Replicates(NamedTuple):
    """Metrics of one model: `at` the studies as they are, and `drawn` in each resample of them [resamples]."""

    studies: tuple[str, ...]
    at: dict[str, float]
    drawn: dict[str, Array]


def resample_weights(studies: int, resamples: int, seed: int) -> Array:
    """How often each study is drawn in each resample: [resamples, studies], rows summing to `studies`."""
    return np.concatenate(list(weight_blocks(studies, resamples, seed)))


def weight_blocks(studies: int, resamples: int, seed: int) -> Iterator[Array]:
    """`resample_weights`, some rows at a time: all of many studies do not fit into memory."""
    generator = np.random.default_rng([seed, studies])
    rows = max(1, _BLOCK // studies)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        draws = generator.integers(0, studies, size=(count, studies)) + studies * np.arange(count)[:, None]
        counts = np.bincount(draws.ravel(), minlength=count * studies)
        yield counts.reshape(count, studies).astype(np.float64)


def evaluate(statistics: Statistics, metrics: Metrics, weights: Array) -> dict[str, Array]:
    """Each metric under each row of `weights` [resamples, studies], averaged over the samples: [resamples].

    The metric is computed within each sample and then averaged, so n samples at temperature 1 estimate the expected
    score of one sample, not the score of a vote. Undefined everywhere (no row of that kind) gives NaN.
    """
    totals = {name: column @ weights.T for name, column in statistics.columns.items()}
    return {name: values.mean(axis=0) for name, values in metrics(totals).items()}


def replicates(statistics: Statistics, metrics: Metrics, *, resamples: int = 2000, seed: int = 0) -> Replicates:
    """Each metric on the studies as they are and in each resample. Models that answered the same studies get the same
    resamples, so that differences of their replicates are paired."""
    studies = len(statistics.studies)
    at = evaluate(statistics, metrics, np.ones((1, studies)))
    parts = [evaluate(statistics, metrics, weights) for weights in weight_blocks(studies, resamples, seed)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in at}
    return Replicates(statistics.studies, {name: float(value[0]) for name, value in at.items()}, drawn)


def estimates(statistics: Statistics, metrics: Metrics, *, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """Each metric's value on the studies as they are, with its interval. Metrics without a row are left out."""
    return summarise(replicates(statistics, metrics, resamples=resamples, seed=seed))


def differences(
    ours: Statistics, theirs: Statistics, metrics: Metrics, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """`ours` minus `theirs`, paired by study. The two may differ in their number of samples.

    Raises:
        ValueError: when the two do not hold the same studies in the same order.
    """
    how = {"resamples": resamples, "seed": seed}
    return summarise(_minus(replicates(ours, metrics, **how), replicates(theirs, metrics, **how)))


def over_seeds(
    ours: Sequence[Replicates], theirs: Sequence[Replicates] = (), *, seed: int = 0
) -> dict[str, SeedEstimate]:
    """Each metric's mean over the training seeds of `ours`; minus that of `theirs`, if given, paired by seed and study.

    Seeds and studies are crossed: every seed answers the same studies. So both are drawn, independently (the pigeonhole
    bootstrap; Owen 2007, Annals of Applied Statistics 1(2)). Studies are resampled, the same for all seeds. Resampling
    n seeds as well would be too narrow for few: it loses 1/n of the variance and draws a normal's tails. What is drawn
    for them instead is sd / sqrt(n) times Student's t of n - 1 degrees, as if the seeds' values were normal. The
    interval is the percentile one of the sums of both; `p` is twice the smaller share of sums on one side of 0, 1 added
    to both counts (Davison and Hinkley 1997, 4.2). One seed says nothing of others: its interval is the whole line.
    Metrics that a seed does not have are left out.

    Raises:
        ValueError: no seeds, other studies in one of them, or arms that differ in their number of seeds.
    """
    if theirs:
        ours = [_minus(one, other) for one, other in zip(ours, theirs, strict=True)]
    if len({one.studies for one in ours}) != 1:
        raise ValueError("a mean over seeds needs at least one, and the same studies in the same order in all")
    generator = np.random.default_rng([seed, len(ours)])
    found = {}
    for name in ours[0].at:
        at = np.array([one.at.get(name, np.nan) for one in ours])
        if not np.isnan(at).any():
            found[name] = _over_seeds(at, np.mean([one.drawn[name] for one in ours], axis=0), generator)
    return found


def _over_seeds(at: Array, drawn: Array, generator: np.random.Generator) -> SeedEstimate:
    """From each seed's value [seeds] and the resampled means over seeds [resamples]."""
    count, mean, own = len(at), float(at.mean()), tuple(map(float, at))
    if count == 1:
        return SeedEstimate(mean, -np.inf, np.inf, 1.0, own)
    sums = drawn + at.std(ddof=1) / np.sqrt(count) * generator.standard_t(count - 1, len(drawn))
    low, high = np.nanpercentile(sums, (2.5, 97.5))  # a rare class can be missing from a resample
    return SeedEstimate(mean, float(low), float(high), _p(sums), own)


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusted p-values of a family (Holm 1979): those up to a level are significant, with that chance of any error."""
    adjusted, largest = {}, 0.0
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[key]))
        adjusted[key] = largest
    return adjusted


def _minus(ours: Replicates, theirs: Replicates) -> Replicates:
    if ours.studies != theirs.studies:
        raise ValueError("a paired difference needs the same studies in the same order on both sides")
    shared = [name for name in ours.at if name in theirs.at]
    return Replicates(
        ours.studies,
        {name: ours.at[name] - theirs.at[name] for name in shared},
        {name: ours.drawn[name] - theirs.drawn[name] for name in shared},
    )


def paired(ours: Replicates, theirs: Replicates) -> dict[str, tuple[Estimate, float]]:
    """Each metric of `ours` minus that of `theirs`, paired by study, with p of the hypothesis that it is 0: twice the
    smaller share of resamples on one side of 0, 1 added to both counts (Davison and Hinkley 1997, 4.2).

    Raises:
        ValueError: when the two do not hold the same studies in the same order.
    """
    minus = _minus(ours, theirs)
    return {name: (estimate, _p(minus.drawn[name])) for name, estimate in summarise(minus).items()}


def _p(drawn: Array) -> float:
    known = drawn[~np.isnan(drawn)]  # a rare class can be missing from a resample
    beyond = min((known <= 0).sum(), (known >= 0).sum())
    return min(1.0, 2 * float(1 + beyond) / (1 + len(known)))


def summarise(found: Replicates) -> dict[str, Estimate]:
    """Each metric with its interval. Metrics without a row are left out."""
    summary = {}
    for name, value in found.at.items():
        if np.isnan(value):
            continue
        # A rare class can be missing from a resample; the interval is over the resamples that have it.
        low, high = np.nanpercentile(found.drawn[name], (2.5, 97.5))
        summary[name] = Estimate(value, float(low), float(high))
    return summary
