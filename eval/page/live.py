"""A page of a training run that goes on: panels of what its trainer logs, drawn anew while the page is open.

`write_live` writes `index.html`, its style and script, and `data.js`, which the page loads again every few seconds; it
opens from a disk, without a server or an account.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from reasoner.runtime.disk import write_whole

LIVE = "watch"
#: Points of a line, at most; more are averaged.
POINTS = 400
#: Title -> patterns of the names that trainers log; the first panel that takes a name has it.
PANELS: Mapping[str, tuple[str, ...]] = {
    "Total reward": ("reward", "reward_std"),
    "Held-out scores": ("eval_reward", "eval_rewards/*/mean", "eval_loss", "eval_mean_token_accuracy"),
    "Rewards by name": ("rewards/*/mean",),
    "Parts of the rewards": ("parts/*",),
    "Loss": ("loss",),
    "Token accuracy": ("mean_token_accuracy",),
    "Log-probability gap of vLLM and trainer (nats a token)": ("sampling/sampling_logp_difference/*",),
    "KL from the reference (nats a token)": ("kl",),
    "Entropy (nats a token)": ("entropy",),
    "Length of completions (tokens)": ("completions/m*_length",),
    "Share of completions cut off, and of groups that teach nothing": (
        "completions/clipped_ratio",
        "frac_reward_zero_std",
        "prompts/flat",
    ),
    "Reward workers (milliseconds a row)": ("reward_pool/latency_*",),
    "Reward workers: seconds a batch": ("reward_pool/batch_s",),
    "Reward workers: rows and workers lost": ("reward_pool/failed_rows", "reward_pool/restarts"),
    "Tokens a second": ("tokens_per_second",),
    "Seconds a step": ("seconds_per_step",),
    "Staleness of rollouts (steps)": ("staleness*",),
    "Gradient norm": ("grad_norm",),
    "Learning rate": ("learning_rate",),
}
#: Logged, but of the minimum and maximum lengths this much is enough.
_HIDDEN = ("completions/*_terminated_length",)

#: A logged row: `step`, `time` (seconds since 1970, where it is known), and numbers by name.
Row = Mapping[str, Any]


class Training(NamedTuple):
    """One training: its stage, the rows it has logged, and the step that it ends with (0: not known)."""

    name: str
    rows: Sequence[Row]
    steps: int = 0


def panels(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The panels that have something to show: `title`, and `lines` of a `name` and `points` (step, value)."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            shown = isinstance(value, int | float) and math.isfinite(value)  # JSON knows no others
            if shown and not any(fnmatchcase(name, hidden) for hidden in _HIDDEN):
                lines.setdefault(name, []).append((row["step"], float(value)))
    taken: set[str] = set()
    found = []
    for title, patterns in PANELS.items():
        names = [
            name
            for pattern in patterns
            for name in sorted(lines)
            if fnmatchcase(name, pattern) and name not in taken
        ]  # fmt: skip
        taken.update(names)
        if names:
            found.append({"title": title, "lines": [{"name": n, "points": thinned(lines[n])} for n in names]})
    return found


def thinned(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most so many points, each the mean of as many neighbours."""
    size = -(-len(points) // most)
    parts = [points[first : first + size] for first in range(0, len(points), size)] if size > 1 else []
    return [(part[-1][0], fmean(value for _, value in part)) for part in parts] if parts else list(points)


def write_live(folder: Path, title: str, trainings: Sequence[Training]) -> Path:
    """Writes the page below `folder`, or its data anew, and returns the path of its `index.html`."""
    static = resources.files("eval.page")
    for name, kind in (("page.css", "static"), ("live.js", "static"), ("index.html", "templates")):
        source = "live.html.j2" if name == "index.html" else name
        if not (folder / name).is_file():
            write_whole(folder / name, (static / kind / source).read_text(encoding="utf-8"))
    told = {
        "title": title,
        "trainings": [
            {
                "name": one.name,
                "step": max((row["step"] for row in one.rows), default=0),
                "steps": one.steps,
                "time": max((row.get("time", 0) for row in one.rows), default=0),
                "panels": panels(one.rows),
            }
            for one in trainings
        ],
    }
    words = json.dumps(told, allow_nan=False).replace("<", "\\u003c")
    write_whole(folder / "data.js", f"show({words});\n")
    return folder / "index.html"
