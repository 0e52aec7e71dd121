import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.bootstrap import Statistics, differences, estimates, resample_weights


def mean_metric(totals):
    return {"mean": totals["sum"] / totals["n"]}


def sample(values) -> Statistics:
    values = np.atleast_2d(np.asarray(values, float))
    studies = tuple(map(str, range(values.shape[1])))
    return Statistics(studies, {"sum": values, "n": np.ones_like(values)})


def test_weights_resample_whole_studies():
    weights = resample_weights(40, 300, seed=1)
    assert weights.shape == (300, 40)
    assert (weights.sum(axis=1) == 40).all()
    # A study is left out of a resample with probability (1 - 1/n)^n, about 1/e.
    assert np.mean(weights == 0) == pytest.approx((1 - 1 / 40) ** 40, abs=0.02)
    assert np.array_equal(weights, resample_weights(40, 300, seed=1))


def test_interval_agrees_with_the_normal_one_for_a_mean():
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    found = estimates(sample(values), mean_metric, resamples=4000, seed=3)["mean"]
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_intervals_cover_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        found = estimates(sample(generator.random(120) < 0.3), mean_metric, resamples=400, seed=seed)["mean"]
        covered += found.low <= 0.3 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_paired_differences_cancel_what_the_studies_share():
    generator = np.random.default_rng(2)
    difficulty = generator.normal(0.0, 5.0, 300)
    better = difficulty + 0.1 + generator.normal(0, 0.05, 300)
    found = differences(sample(better), sample(difficulty), mean_metric, seed=0)["mean"]
    assert found.excludes_zero and found.low < 0.1 < found.high
    alone = estimates(sample(better), mean_metric, seed=0)["mean"]
    assert found.high - found.low < 0.1 * (alone.high - alone.low)


def test_a_model_does_not_differ_from_itself():
    ours = sample(np.random.default_rng(0).random((4, 50)))
    assert differences(ours, ours, mean_metric)["mean"] == (0.0, 0.0, 0.0)


def test_unpaired_studies_are_refused():
    with pytest.raises(ValueError, match="same studies"):
        differences(sample([1, 2]), sample([1, 2, 3]), mean_metric)


def test_samples_are_averaged_not_pooled():
    # Two samples of a ratio: (1/1 + 0/3) / 2 = 0.5, where pooling would give 1/4.
    found = Statistics(("a",), {"sum": np.array([[1.0], [0.0]]), "n": np.array([[1.0], [3.0]])})
    assert estimates(found, mean_metric, resamples=10)["mean"].value == 0.5


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_the_interval_stays_within_the_data(values, seed):
    found = estimates(sample(values), mean_metric, resamples=50, seed=seed)["mean"]
    assert min(values) - 1e-6 <= found.low <= found.high <= max(values) + 1e-6
