import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.bootstrap import Statistics, differences, estimates, holm, over_seeds, replicates, resample_weights


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


TRUTH = 0.3


def crossed(generator, *, seeds: int, between: float, studies: float, noise: float, count: int = 60) -> np.ndarray:
    """Values of every seed on every study [seeds, count], whose mean is `TRUTH` but for luck of seeds and studies."""
    return (
        TRUTH
        + generator.normal(0, between, (seeds, 1))
        + generator.normal(0, studies, (1, count))
        + generator.normal(0, noise, (seeds, count))
    )


def drawn(values: np.ndarray, seed: int = 0, resamples: int = 600) -> list:
    return [replicates(sample(row), mean_metric, resamples=resamples, seed=seed) for row in values]


@pytest.mark.parametrize(
    ("seeds", "between", "studies", "least", "most"),
    [
        (5, 1.0, 0.0, 0.92, 0.98),  # seeds decide
        (5, 1.0, 5.0, 0.92, 0.98),  # both
        (5, 0.0, 5.0, 0.92, 0.98),  # studies decide
        (3, 1.0, 2.0, 0.92, 0.98),
        (5, 0.0, 0.0, 0.95, 1.00),  # noise of seed and study together is counted on both sides: wider than it need be
    ],
)
def test_intervals_over_seeds_cover_the_truth_in_95_of_100_whatever_the_luck_is_of(
    seeds, between, studies, least, most
):
    generator = np.random.default_rng(7)
    found = []
    for run in range(300):
        values = crossed(generator, seeds=seeds, between=between, studies=studies, noise=1.0)
        found.append(over_seeds(drawn(values, run), seed=run)["mean"])
    assert least <= np.mean([one.low <= TRUTH <= one.high for one in found]) <= most


def test_p_is_below_a_level_as_often_as_the_level_where_nothing_differs():
    generator = np.random.default_rng(11)
    p = []
    for run in range(300):
        values = crossed(generator, seeds=5, between=1.0, studies=2.0, noise=1.0) - TRUTH
        p.append(over_seeds(drawn(values, run), seed=run)["mean"].p)
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08
    assert 0.43 <= np.mean(np.array(p) < 0.5) <= 0.57


def test_arms_are_paired_by_seed_and_study():
    generator = np.random.default_rng(3)
    base = crossed(generator, seeds=5, between=3.0, studies=3.0, noise=0.0)
    better = base + 0.1 + generator.normal(0, 0.02, base.shape)
    found = over_seeds(drawn(better), drawn(base))["mean"]
    assert found.seeds == pytest.approx(better.mean(axis=1) - base.mean(axis=1))
    assert 0.08 < found.low < 0.1 < found.high < 0.12 and found.p < 0.01
    shuffled = over_seeds(drawn(better), drawn(base[::-1]))["mean"]
    assert shuffled.high - shuffled.low > 1


def test_one_seed_says_nothing_of_others():
    found = over_seeds(drawn(np.full((1, 8), 0.5)))["mean"]
    assert found == (0.5, -np.inf, np.inf, 1.0, (0.5,)) and found.sd == 0


def test_equal_arms_differ_by_nothing():
    values = drawn(crossed(np.random.default_rng(0), seeds=4, between=1.0, studies=1.0, noise=1.0))
    assert over_seeds(values, values)["mean"][:4] == (0.0, 0.0, 0.0, 1.0)


def test_seeds_on_other_studies_and_unequal_arms_are_refused():
    short, long = drawn(np.ones((2, 5))), drawn(np.ones((3, 6)))
    with pytest.raises(ValueError, match="same studies"):
        over_seeds([*short, *long])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        over_seeds(long, long[:2])
    with pytest.raises(ValueError, match="at least one"):
        over_seeds([])


def test_holm_as_in_a_worked_example():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"one": 0.2}) == {"one": 0.2} and holm({"x": 0.6, "y": 0.9}) == {"x": 1.0, "y": 1.0} and holm({}) == {}


def test_holm_keeps_the_chance_of_any_false_mark():
    generator = np.random.default_rng(1)
    marked = [min(holm(dict(enumerate(generator.random(6)))).values()) < 0.05 for _ in range(2000)]
    assert 0.035 < np.mean(marked) < 0.065


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_the_interval_stays_within_the_data(values, seed):
    found = estimates(sample(values), mean_metric, resamples=50, seed=seed)["mean"]
    assert min(values) - 1e-6 <= found.low <= found.high <= max(values) + 1e-6
