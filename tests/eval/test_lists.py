import numpy as np
import pytest

from eval.lists import CLASS_SETS, class_set_metrics, list_counts, list_metrics, precision_recall_by_class
from reasoner.schema import CLASSES

#: (named, gold), added up below by hand.
LISTS = [
    ({"Edema", "Fracture"}, {"Edema", "Cardiomegaly"}),
    ({"No Finding"}, {"No Finding"}),
    ({"Edema", "Cardiomegaly"}, {"Edema", "Cardiomegaly"}),
    ({"Edema"}, {"No Finding"}),
]


def totals(lists, unknown=0):
    counts = [list_counts(named, gold, unknown) for named, gold in lists]
    return {name: np.array([sum(count[name] for count in counts)]) for name in counts[0]}


def values(found):
    return {name: float(value[0]) for name, value in found.items()}


def test_class_sets_have_14_13_and_5_classes():
    assert [len(names) for names in CLASS_SETS.values()] == [14, 13, 5]


def test_micro_macro_and_weighted_f1_by_hand():
    # Edema 2 tp, 1 fp (0.8); Cardiomegaly 1 tp, 1 fn (2/3); Fracture 1 fp; No Finding 1 tp, 1 fn (2/3)
    found = values(class_set_metrics(totals(LISTS)))
    assert found["micro_f1"] == pytest.approx(2 * 4 / (2 * 4 + 2 + 2))
    assert found["micro_f1_13"] == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    assert found["micro_f1_5"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 2 / 3) / 3)
    assert found["macro_f1_13"] == found["macro_f1_5"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["weighted_f1"] == pytest.approx((2 * 0.8 + 2 * 2 / 3 + 2 * 2 / 3) / 6)
    assert found["weighted_f1_5"] == pytest.approx((2 * 0.8 + 2 * 2 / 3) / 4)


def test_what_both_share_is_the_same():
    both = values(list_metrics(totals(LISTS))), values(class_set_metrics(totals(LISTS)))
    assert all(both[0][name] == both[1][name] for name in ("micro_f1", "micro_f1_13", "macro_f1"))


def test_precision_and_recall_by_class_are_undefined_where_nothing_tells():
    found = values(precision_recall_by_class(totals(LISTS)))
    assert found["precision/Edema"] == pytest.approx(2 / 3) and found["recall/Edema"] == 1.0
    assert found["precision/Fracture"] == 0.0 and np.isnan(found["recall/Fracture"])
    assert np.isnan(found["precision/Pneumonia"])


def test_unknown_names_count_against_all_sets_but_the_five():
    plain, spoilt = values(class_set_metrics(totals(LISTS))), values(class_set_metrics(totals(LISTS, unknown=1)))
    assert spoilt["micro_f1"] < plain["micro_f1"] and spoilt["micro_f1_13"] < plain["micro_f1_13"]
    assert spoilt["micro_f1_5"] == plain["micro_f1_5"]


def test_as_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    truth, guess = random.random((2, 200, len(CLASSES))) < 0.3
    lists = [
        ({n for n, on in zip(CLASSES, g, strict=True) if on}, {n for n, on in zip(CLASSES, t, strict=True) if on})
        for t, g in zip(truth, guess, strict=True)
    ]
    found = values(class_set_metrics(totals(lists)))
    for ending, names in CLASS_SETS.items():
        columns = [CLASSES.index(name) for name in names]
        for average in ("micro", "macro", "weighted"):
            expected = metrics.f1_score(truth[:, columns], guess[:, columns], average=average)
            assert found[f"{average}_f1{ending}"] == pytest.approx(expected)
