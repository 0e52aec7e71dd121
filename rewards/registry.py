"""Rewards by name: a decorated function per reward, and the set of them that a recipe asks for.

A reward is `(completion, *, columns and settings by name) -> Score`. The value None abstains: the row is not for it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from reasoner.errors import UserError, nearest

#: The modules whose import registers the built-in rewards.
BUILT_IN = ("rewards.format", "rewards.answers", "rewards.process", "rewards.shaping")
FORMAT = "format"
COMPLETION = "completion"


class RewardError(Exception):
    """A reward broke its contract: it returned no Score, or one whose value is no finite number."""


class Deferred(Sequence[dict[str, Any]]):
    """Evidence that is written once somebody reads it or sends it on; in training most of it never is."""

    def __init__(self, write: Callable[[], Iterable[dict[str, Any]]]):
        self._write = write

    @cached_property
    def _entries(self) -> tuple[dict[str, Any], ...]:
        return tuple(self._write())

    def __getitem__(self, index: Any) -> Any:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._entries == tuple(other)

    def __reduce__(self) -> tuple:
        return tuple, (self._entries,)


@dataclass(frozen=True)
class Score:
    """A reward's number with its reason. `value` None: abstained. `parts` are logged beside it, never summed."""

    value: float | None
    evidence: Sequence[dict[str, Any]] = ()
    parts: dict[str, float] = field(default_factory=dict)


RewardCallable = Callable[..., Score]


@dataclass(frozen=True)
class RewardFunction:
    """A registered reward. `columns` must be in every row; `defaults` are the columns it can do without;
    `settings` come from the recipe, each with its default."""

    name: str
    function: RewardCallable
    columns: tuple[str, ...]
    defaults: dict[str, Any]
    settings: dict[str, Any]
    prepare: Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], None] | None = None
    """Called with the rows of a chunk and the settings before they are scored one by one, to fetch what they need; and
    without rows before a run, to start what that takes."""


REGISTRY: dict[str, RewardFunction] = {}


def reward(
    name: str, *, settings: Sequence[str] = (), prepare: Callable[..., None] | None = None
) -> Callable[[RewardCallable], RewardCallable]:
    """Registers a function as the reward `name`.

    Its keyword-only parameters are data-set columns, required unless they have a default; those named in `settings`
    are set by the recipe (`grpo.reward_options.<name>`) instead. `prepare(rows, settings)` is called before a chunk of
    rows is scored one by one.

    Raises:
        UserError: a name that another file has taken, or a signature that cannot be called by name.
    """

    def register(function: RewardCallable) -> RewardCallable:
        code = function.__code__
        taken = REGISTRY.get(name)
        if taken is not None and taken.function.__code__.co_filename != code.co_filename:
            raise UserError(
                f"{code.co_filename}: the reward {name!r} exists in {taken.function.__code__.co_filename}; rename yours"
            )
        REGISTRY[name] = replace(_describe(name, function, settings), prepare=prepare)
        return function

    return register


def _describe(name: str, function: RewardCallable, settings: Sequence[str]) -> RewardFunction:
    first, *others = inspect.signature(function).parameters.values()
    wrong = [p.name for p in others if p.kind is not p.KEYWORD_ONLY]
    if wrong or first.name != COMPLETION:
        raise UserError(
            f"{function.__code__.co_filename}: write the reward {name!r} as "
            f"`def {function.__name__}(completion: str, *, column, ...) -> Score`"
        )
    by_name = {p.name: p for p in others}
    missing = [s for s in settings if s not in by_name or by_name[s].default is inspect.Parameter.empty]
    if missing:
        raise UserError(f"{function.__code__.co_filename}: the reward {name!r} needs `{missing[0]}=<default>`")
    given = {p.name: p.default for p in others if p.default is not p.empty}
    return RewardFunction(
        name=name,
        function=function,
        columns=tuple(p.name for p in others if p.default is p.empty),
        defaults={key: value for key, value in given.items() if key not in settings},
        settings={key: value for key, value in given.items() if key in settings},
    )


def load_rewards(files: Iterable[str | Path] = ()) -> None:
    """Registers the built-in rewards and those of the user's Python files.

    Raises:
        UserError: a file that is missing or does not run.
    """
    for module in BUILT_IN:
        importlib.import_module(module)
    for file in files:
        path = Path(file).resolve()
        spec = importlib.util.spec_from_file_location(f"user_rewards_{path.stem}", path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise UserError(f"reward file {path} is missing or no .py file; mend `grpo.reward_files`")
        try:
            with redirect_stdout(sys.stderr):  # standard output is for results
                spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(f"reward file {path} does not run: {type(error).__name__}: {error}") from error


class RewardSet:
    """The rewards of a recipe with their weights and settings; scores one row at a time, in this process."""

    def __init__(self, weights: Mapping[str, float], settings: Mapping[str, Mapping[str, Any]]):
        self.weights = dict(weights)
        self._functions = {name: REGISTRY[name] for name in weights}
        self._settings = {name: {**f.settings, **settings.get(name, {})} for name, f in self._functions.items()}

    @classmethod
    def build(
        cls,
        spec: Mapping[str, float],
        files: Sequence[str | Path] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> RewardSet:
        """The rewards of `spec` (name -> weight), built in or registered by `files`, with `options` (name -> settings).

        Raises:
            UserError: an unknown reward or setting, a weight that is no number, or a file that does not load.
        """
        load_rewards(files)
        for name, weight in spec.items():
            check_known(name, REGISTRY, "reward")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
                raise UserError(f"the weight of reward {name!r} must be a finite number, found {weight!r}")
        for name, settings in (options or {}).items():
            check_known(name, spec, "reward with options")
            for setting in settings:
                check_known(setting, REGISTRY[name].settings, f"option of reward {name!r}:")
        return cls(spec, options or {})

    def columns(self) -> frozenset[str]:
        """Every column that a reward of the set reads, required or not, without `completion`."""
        return frozenset(c for f in self._functions.values() for c in (*f.columns, *f.defaults))

    def check_columns(self, columns: Iterable[str]) -> None:
        """Checks a data set before the run.

        Raises:
            UserError: naming the reward and the column that is not there.
        """
        there = set(columns)
        for name, function in self._functions.items():
            missing = [column for column in function.columns if column not in there]
            if missing:
                raise UserError(
                    f"reward {name!r} needs the column {missing[0]!r}, the data has {', '.join(sorted(there))}; "
                    f"add it or take {name!r} out of `grpo.rewards`"
                )

    def prepare(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Lets each reward fetch what it needs for the rows that are scored next."""
        for name, function in self._functions.items():
            if function.prepare is not None:
                function.prepare(rows, self._settings[name])

    def score(self, row: Mapping[str, Any]) -> dict[str, Score]:
        """Every reward of the row, which holds `completion` and the columns.

        Raises:
            UserError: a required column is missing.
            RewardError: a reward returned no Score or a value that is not finite.
        """
        self.prepare([row])
        return {name: self.score_one(name, row) for name in self.weights}

    def score_one(self, name: str, row: Mapping[str, Any]) -> Score:
        """One reward of the row; raises as `score` does, or what the reward raises."""
        function = self._functions[name]
        if any(column not in row for column in (COMPLETION, *function.columns)):
            self.check_columns(row)
            raise UserError(f"reward {name!r}: the row has no {COMPLETION!r}")
        values = {column: row[column] for column in function.columns}
        values |= {column: row[column] for column in function.defaults if column in row}
        score = function.function(row[COMPLETION], **values, **self._settings[name])
        where = f"reward {name!r}, row {row.get('id', '?')!r}"
        if not isinstance(score, Score):
            raise RewardError(f"{where}: returned {type(score).__name__}, not a Score")
        for part, value in (("value", score.value), *score.parts.items()):
            if value is not None and not math.isfinite(value):
                raise RewardError(f"{where}: {part} is {value}")
        return score


def gate(name: str, scores: Mapping[str, Score]) -> float | None:
    """What the component adds to the GRPO total: its value, or 0 where a malformed completion would earn something.

    Penalties (negative values) and `format` itself pass as they are; None stays None.
    """
    value = scores[name].value
    malformed = FORMAT in scores and scores[FORMAT].value == 0
    if value is not None and value > 0 and name != FORMAT and malformed:
        return 0.0
    return value


def gated_total(scores: Mapping[str, Score], weights: Mapping[str, float]) -> float:
    """The GRPO total: the weighted sum of the gated components, without those that abstain."""
    values = {name: gate(name, scores) for name in scores}
    return sum(weights.get(name, 0.0) * value for name, value in values.items() if value is not None)


def check_known(name: str, names: Iterable[str], what: str) -> None:
    """Raises `UserError` with the nearest of `names` where `name` is none of them."""
    names = sorted(names)
    if name not in names:
        raise UserError(f"unknown {what} {name!r}; {nearest(name, names)}")
