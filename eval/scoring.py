"""Rewards of predictions: the same functions that GRPO optimises, through the same pool of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasoner.profiles import OURS, Profile
from reasoner.runtime.terminal import stream
from rewards.registry import Score
from rewards.score import REWARDS
from rewards.workers import RewardPool

_CHUNK = 2000


def score_rows(
    rows: Sequence[Mapping[str, Any]],
    base_rates: Path,
    *,
    workers: int = 2,
    timeout_s: float = 120.0,
    profile: Profile = OURS,
) -> list[dict[str, Score]]:
    """One score per reward for each row, in order; `base_rates` is a file for the reward `skill`. Equal completions of
    one example are scored once.

    Raises:
        RuntimeError: when a row could not be scored. The mean of the others would be another metric.
    """
    from rich.console import Console
    from rich.progress import track

    distinct: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        distinct.setdefault((row["id"], row["completion"]), dict(row))
    unique = list(distinct.values())
    scored: list[dict[str, Score]] = []
    options: dict[str, dict[str, Any]] = {"skill": {"base_rates": str(base_rates.resolve())}}
    if profile.form != OURS.form:
        options["format"] = {"form": profile.form}
    with RewardPool(REWARDS, workers=workers, timeout_s=timeout_s, options=options, name="evaluation") as pool:
        chunks = range(0, len(unique), _CHUNK)
        for start in track(chunks, f"scoring {len(rows):,} completions", console=Console(file=stream())):
            scored += pool.score(unique[start : start + _CHUNK])
    for row, scores in zip(unique, scored, strict=True):
        for name, score in scores.items():
            if score.failure:
                raise RuntimeError(f"row {row['id']!r}: {name} could not be scored: {score.failure}")
    by_key = dict(zip(distinct, scored, strict=True))
    return [by_key[row["id"], row["completion"]] for row in rows]


def with_rewards(row: Mapping[str, Any], scores: Mapping[str, Score]) -> dict[str, Any]:
    """The prediction row with one column per reward and per part of the process reward."""
    process = scores["process"]
    return {
        **row,
        "format": scores["format"].value,
        "answer_reward": scores["answer"].value,
        "skill": scores["skill"].value,
        "radrscore": process.value,
        **process.parts,
    }
