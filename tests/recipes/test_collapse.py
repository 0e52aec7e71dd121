"""When a GRPO run stops by itself, from its log alone."""

from __future__ import annotations

import pytest

from recipes.collapse import Stop, collapsed
from recipes.load import load_recipe
from recipes.stages import fingerprint

STOP = Stop(steps=10)
HEALTHY = {
    "reward": 1.0,
    "entropy": 0.3,
    "completions/mean_length": 80.0,
    "completions/clipped_ratio": 0.1,
    "rewards/format/mean": 0.9,
    "frac_reward_zero_std": 0.4,
}


def history(*stretches: tuple[int, dict], every: int = 1) -> list[dict]:
    """So many steps with the healthy numbers but for these, logged every so many steps."""
    rows: list[dict] = []
    for steps, changed in stretches:
        start = rows[-1]["step"] if rows else 0
        rows += [{**HEALTHY, **changed, "step": step} for step in range(start + every, start + steps + 1, every)]
        rows.append({"eval_reward": 0.0, "eval_entropy": 0.0, "step": start + steps})  # counts for nothing
    return rows


CROSSED = {
    "entropy": ({"entropy": 0.001}, "the entropy of a token is 0.001 over 10 steps (it was 0.3)"),
    "length": ({"completions/mean_length": 8.0}, "the mean length of a completion is 8 over 10 steps (it was 80)"),
    "clipped": ({"completions/clipped_ratio": 1.0}, "the share of completions that were cut off is 1 over 10 steps"),
    "format": ({"rewards/format/mean": 0.1}, "the mean reward for the form is 0.1 over 10 steps (it was 0.9)"),
    "spread": ({"frac_reward_zero_std": 1.0}, "the share of groups whose completions earn the same is 1"),
}


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("key", CROSSED)
def test_each_threshold_is_told_once_its_mean_has_crossed_it(key, every):
    changed, words = CROSSED[key]
    found = collapsed(history((20, {}), (10, changed), every=every), STOP)
    assert found is not None and words in found.reason and f"grpo.stop.{key}=" in found.reason
    assert found.before == 20  # the last step before it
    assert collapsed(history((20, {}), (5, changed), every=every), STOP) is None  # half of the mean is healthy
    off = {"clipped": 1.0, "spread": 1.0}.get(key, 0.0)
    assert collapsed(history((20, {}), (10, changed), every=every), STOP.model_copy(update={key: off})) is None


def test_a_healthy_a_young_and_a_poor_run_go_on():
    assert collapsed([], STOP) is None
    assert collapsed(history((100, {})), STOP) is None
    assert collapsed(history((9, {"entropy": 0.0})), STOP) is None
    poor = {
        "rewards/format/mean": 0.0,
        "completions/mean_length": 2.0,
        "entropy": 4.0,
    }  # from the start, and on its way
    assert collapsed(history((30, poor), (10, HEALTHY)), STOP) is None
    assert collapsed([{**row, "entropy": None} for row in history((30, {}))], STOP) is None


def test_when_a_run_stops_makes_nothing_else_of_it(tmp_path):
    settings = [f"output={tmp_path}"]
    prints = [
        fingerprint(load_recipe("phantom", [*settings, *more]), "grpo")
        for more in ([], ["grpo.stop={}"], ["grpo.stop.steps=5"], ["grpo.held_out.every=5"])
    ]
    assert prints[0] == prints[1] == prints[2] != prints[3]
