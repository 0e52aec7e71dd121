"""Abnormality lists: what a list gets right, class by class, and the ratios of these counts. Pure functions.

Counts are `tp:CLASS`, `fp:CLASS`, `fn:CLASS` of the 14 CheXpert classes as answered, `No Finding` among them, and
`fp:unknown`, names that are no class. Macro and weighted F1 are over the classes that occur in the references: the
others have no recall. Definitions in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from eval.bootstrap import Array
from reasoner.schema import CLASSES, NO_FINDING

UNKNOWN = "unknown"
#: The classes of CheXpert's competition (Irvin et al. 2019, arXiv 1901.07031).
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
#: What metrics are stated over, by the ending of their names.
CLASS_SETS: Mapping[str, tuple[str, ...]] = {
    "": CLASSES,
    "_13": tuple(name for name in CLASSES if name != NO_FINDING),
    "_5": FIVE,
}


def list_counts(named: Collection[str], gold: Collection[str], unknown: int = 0) -> dict[str, float]:
    """The counts of one list; `named` without the classes that count neither way. Each class has its column, even where
    it is 0."""
    found = {f"fp:{UNKNOWN}": float(unknown)}
    for name in CLASSES:
        found[f"tp:{name}"] = float(name in named and name in gold)
        found[f"fp:{name}"] = float(name in named and name not in gold)
        found[f"fn:{name}"] = float(name not in named and name in gold)
    return found


def list_metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
    """Added counts, each [...], to `micro_f1`, `micro_f1_13`, `micro_precision`, `micro_recall`, `macro_f1` and
    `f1/CLASS`, each [...]; NaN where a class does not occur."""
    per_class = f1_by_class(totals)
    return {
        "micro_f1": f1(totals, CLASSES, unknown=True),
        "micro_f1_13": f1(totals, CLASS_SETS["_13"], unknown=True),
        "micro_precision": precision(totals, CLASSES, unknown=True),
        "micro_recall": recall(totals, CLASSES),
        "macro_f1": mean_defined(list(per_class.values())),
        **{f"f1/{name}": value for name, value in per_class.items()},
    }


def class_set_metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
    """Micro, macro and weighted F1 over each of `CLASS_SETS` (`micro_f1_5`): weighted by how often the references hold
    a class. Names that are no class count against the two sets that are of everything."""
    per_class = f1_by_class(totals)
    found = {}
    for ending, names in CLASS_SETS.items():
        values = [per_class[name] for name in names]
        found[f"micro_f1{ending}"] = f1(totals, names, unknown=len(names) > len(FIVE))
        found[f"macro_f1{ending}"] = mean_defined(values)
        found[f"weighted_f1{ending}"] = mean_defined(values, [_support(totals, name) for name in names])
    return found


def precision_recall_by_class(totals: Mapping[str, Array]) -> dict[str, Array]:
    """`precision/CLASS`, NaN where nobody names it, and `recall/CLASS`, NaN where the references do not hold it."""
    return {f"precision/{name}": precision(totals, [name]) for name in CLASSES} | {
        f"recall/{name}": recall(totals, [name]) for name in CLASSES
    }


def f1_by_class(totals: Mapping[str, Array]) -> dict[str, Array]:
    """The F1 of each class, NaN where the references never hold it."""
    return {name: np.where(_support(totals, name) > 0, f1(totals, [name]), np.nan) for name in CLASSES}


def f1(totals: Mapping[str, Array], names: Sequence[str], unknown: bool = False) -> Array:
    """2 TP / (2 TP + FP + FN) of the added counts; with `unknown`, names that are no class are false positives."""
    twice = 2 * _sum(totals, "tp", names)
    wrong = _sum(totals, "fp", names) + _sum(totals, "fn", names) + (totals[f"fp:{UNKNOWN}"] if unknown else 0)
    return ratio(twice, twice + wrong)


def precision(totals: Mapping[str, Array], names: Sequence[str], unknown: bool = False) -> Array:
    right = _sum(totals, "tp", names)
    return ratio(right, right + _sum(totals, "fp", names) + (totals[f"fp:{UNKNOWN}"] if unknown else 0))


def recall(totals: Mapping[str, Array], names: Sequence[str]) -> Array:
    right = _sum(totals, "tp", names)
    return ratio(right, right + _sum(totals, "fn", names))


def ratio(numerator: Array, denominator: Array) -> Array:
    """NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def mean_defined(values: Sequence[Array], weights: Sequence[Array] | None = None) -> Array:
    """The mean of those that are not NaN, by weight; NaN where none is."""
    stacked = np.stack(values)
    weight = np.where(np.isnan(stacked), 0.0, 1.0 if weights is None else np.stack(weights))
    return ratio((np.nan_to_num(stacked) * weight).sum(axis=0), weight.sum(axis=0))


def _support(totals: Mapping[str, Array], name: str) -> Array:
    return totals[f"tp:{name}"] + totals[f"fn:{name}"]


def _sum(totals: Mapping[str, Array], kind: str, names: Sequence[str]) -> Array:
    return np.sum([totals[f"{kind}:{name}"] for name in names], axis=0)
