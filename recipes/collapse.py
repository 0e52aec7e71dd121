"""When a GRPO run has collapsed, by its own log: what `grpo.stop` of a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from pydantic import Field

from reasoner.settings import Count, Float, Section


class Stop(Section):
    """When a run ends by itself: thresholds for the means over the last `steps` optimizer steps. They are lenient: what
    crosses one does not learn any more."""

    steps: Count = 20
    """Optimizer steps that the means are over."""
    entropy: Float = Field(0.002, ge=0)
    """Nats a token: with less, all completions of a prompt are one; 0 is off."""
    length: Float = Field(0.25, ge=0, le=1)
    """Share of the longest mean length so far that completions must keep; 0 is off."""
    clipped: Float = Field(0.98, gt=0, le=1)
    """Share of completions cut off at `max_completion_length` that is too many; 1 is off."""
    format: Float = Field(0.5, ge=0, le=1)
    """Share of the best mean `format` reward so far that must be kept, where there is this reward; 0 is off."""
    spread: Float = Field(0.98, gt=0, le=1)
    """Share of groups whose completions all earn the same that is too many, since these teach nothing; 1 is off."""


class Collapse(NamedTuple):
    """What crossed its threshold, and the last optimizer step before the means that tell."""

    reason: str
    before: int


def collapsed(history: Iterable[Mapping[str, Any]], stop: Stop) -> Collapse | None:
    """The first thing in a trainer's `log_history` that crosses a threshold, if the run is `stop.steps` old."""
    rows = [row for row in history if "reward" in row and "step" in row]
    last = rows[-1]["step"] if rows else 0
    if last < stop.steps:
        return None
    before = last - stop.steps

    def judged(name: str, crossed: Any, key: str, words: str) -> str | None:
        means = _means(rows, name, stop.steps)
        if not means or not crossed(means[-1], max(means)):
            return None
        was = f" (it was {max(means):.3g})" if max(means) > means[-1] else ""
        return f"{words} {means[-1]:.3g} over {stop.steps} steps{was}, see grpo.stop.{key}={getattr(stop, key):g}"

    found = (
        judged("entropy", lambda now, _: now < stop.entropy, "entropy", "the entropy of a token is"),
        judged(
            "completions/mean_length", lambda now, best: now < stop.length * best, "length",
            "the mean length of a completion is",
        ),
        judged(
            "completions/clipped_ratio", lambda now, _: stop.clipped < 1 and now >= stop.clipped, "clipped",
            "the share of completions that were cut off is",
        ),
        judged(
            "rewards/format/mean", lambda now, best: best > 0 and now < stop.format * best, "format",
            "the mean reward for the form is",
        ),
        judged(
            "frac_reward_zero_std", lambda now, _: stop.spread < 1 and now >= stop.spread, "spread",
            "the share of groups whose completions earn the same is",
        ),
    )  # fmt: skip
    reason = next(filter(None, found), None)
    return Collapse(reason, before) if reason else None


def _means(rows: Sequence[Mapping[str, Any]], name: str, steps: int) -> list[float]:
    """The means over stretches of so many steps, counted back from the last; the last one is the present."""
    last = rows[-1]["step"]
    stretches: dict[int, list[float]] = {}
    for row in rows:
        if row.get(name) is not None:
            stretches.setdefault((last - row["step"]) // steps, []).append(row[name])
    if 0 not in stretches:
        return []
    return [fmean(stretches[number]) for number in sorted(stretches, reverse=True)]
