"""Rewards by name: a decorated function per reward, and the set of them that a recipe asks for.

A reward is `(completion, *, columns and settings by name) -> Score`; one whose first parameter is `completions` scores
a chunk of rows at once.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from reasoner.errors import UserError, nearest
from rewards.settings import declare, parse

#: The modules whose import registers the built-in rewards.
BUILT_IN = (
    *("rewards.format", "rewards.answers", "rewards.process", "rewards.skill", "rewards.shaping"),
    "rewards.stage",
)
FORMAT = "format"
COMPLETION = "completion"
#: First parameter and settings parameter of a reward that scores a chunk, or declares its settings as a data class.
COMPLETIONS, SETTINGS = "completions", "settings"

Row = Mapping[str, Any]
Outcome = Literal["scored", "abstained", "failed"]


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
    """A reward's number with its reason.

    `value` None means that there is no number: `outcome` says whether the reward abstained (the row is not for it) or
    failed, and `failure` why it failed. `evidence` explains the value, entry by entry; `parts` are logged beside it,
    never summed.

    >>> Score(0.5, ({"verdict": "short", "words": 7},), {"length": 0.7}).outcome
    'scored'
    >>> Score.abstained("the row has no report").outcome
    'abstained'
    >>> score = Score.failed("no answer within 10 s")
    >>> score.value, score.outcome, score.failure
    (None, 'failed', 'no answer within 10 s')
    """

    value: float | None
    evidence: Sequence[dict[str, Any]] = ()
    parts: dict[str, float] = field(default_factory=dict)
    failure: str = ""

    @classmethod
    def abstained(cls, why: str) -> Score:
        """Of a row that the reward has nothing to say about; it drops out of this component only."""
        return cls(None, ({"verdict": "abstained", "why": why},))

    @classmethod
    def failed(cls, why: str) -> Score:
        """Of a row that the reward could not score; the workers count it."""
        return cls(None, ({"verdict": "failed", "why": why},), failure=why)

    @property
    def outcome(self) -> Outcome:
        if self.value is not None:
            return "scored"
        return "failed" if self.failure else "abstained"


@dataclass(frozen=True)
class RewardFunction:
    """A registered reward. `columns` must be in every row; `defaults` are the columns it can do without; `settings` is
    the data class of what a recipe sets, handed over whole, or field by field where it is `spread`."""

    name: str
    function: Callable[..., Any]
    columns: tuple[str, ...]
    defaults: dict[str, Any]
    settings: type[Any]
    spread: bool
    by_chunk: bool
    """Whether it scores a chunk of rows at once."""
    start: Callable[[Any], None] | None = None
    step_verdicts: Callable[[Any], bool] | None = None

    def bind(self, settings: Any) -> dict[str, Any]:
        """The settings as keyword arguments."""
        return {f.name: getattr(settings, f.name) for f in fields(settings)} if self.spread else {SETTINGS: settings}


REGISTRY: dict[str, RewardFunction] = {}


def reward(
    name: str,
    *,
    settings: Sequence[str] | type[Any] = (),
    start: Callable[[Any], None] | None = None,
    step_verdicts: Callable[[Any], bool] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function as the reward `name`.

    The function is `(completion, *, column, ..., setting=default, ...) -> Score`: its keyword-only parameters are
    data-set columns, required unless they have a default, and settings, which a recipe gives in
    `grpo.reward_options.<name>`. Where the first parameter is `completions`, it scores a chunk at once: columns are
    lists in the order of the completions (of one with a default, None stands for a row without it), and so is what it
    returns, or yields.

    Args:
        settings: the parameters that are settings, checked against their annotations; or a data class, whose instance
            the function then takes as `settings`.
        start: called with the settings before a run, to load or check what the reward needs; raises `UserError`.
        step_verdicts: whether, with these settings, the evidence has an entry for each step, as step credit needs.

    Raises:
        UserError: a name that another file has taken, or a signature that cannot be called by name.

    >>> @reward("brevity", settings=("words",))
    ... def brevity(completion: str, *, question: str, words: int = 120) -> Score:
    ...     return Score(float(len(completion.split()) <= words))
    >>> rewards = RewardSet.build({"brevity": 1.0}, options={"brevity": {"words": 3}})
    >>> rewards.score({"question": "?", "completion": "more than three words"})["brevity"].value
    0.0
    >>> RewardSet.build({"brevity": 1.0}, options={"brevity": {"words": "few"}})
    Traceback (most recent call last):
    reasoner.errors.UserError: reward 'brevity', option 'words': input should be a valid integer, ... (got 'few')
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        code = function.__code__
        taken = REGISTRY.get(name)
        if taken is not None and taken.function.__code__.co_filename != code.co_filename:
            raise UserError(
                f"{code.co_filename}: the reward {name!r} exists in {taken.function.__code__.co_filename}; rename yours"
            )
        REGISTRY[name] = replace(_describe(name, function, settings), start=start, step_verdicts=step_verdicts)
        return function

    return register


def _describe(name: str, function: Callable[..., Any], settings: Sequence[str] | type[Any]) -> RewardFunction:
    file = function.__code__.co_filename
    first, *others = inspect.signature(function).parameters.values()
    by_name = {p.name: p for p in others}
    by_chunk, spread = first.name == COMPLETIONS, not isinstance(settings, type)
    if any(p.kind is not p.KEYWORD_ONLY for p in others) or not (by_chunk or first.name == COMPLETION):
        raise UserError(
            f"{file}: write the reward {name!r} as `def {function.__name__}(completion: str, *, column, ...) -> Score`"
        )
    if isinstance(settings, type):
        if not is_dataclass(settings) or SETTINGS not in by_name:
            raise UserError(f"{file}: the reward {name!r} needs a data class as settings, and `{SETTINGS}` by name")
        kind: type[Any] = settings
    else:
        missing = [s for s in settings if s not in by_name or by_name[s].default is inspect.Parameter.empty]
        if missing:
            raise UserError(f"{file}: the reward {name!r} needs `{missing[0]}=<default>`")
        kind = declare(function, settings)
    columns = [p for p in others if p.name not in ([f.name for f in fields(kind)] if spread else [SETTINGS])]
    defaults = {p.name: None if by_chunk else p.default for p in columns if p.default is not p.empty}
    needed = tuple(p.name for p in columns if p.name not in defaults)
    return RewardFunction(name, function, needed, defaults, kind, spread, by_chunk)


def load_rewards(files: Iterable[str | Path] = ()) -> None:
    """Registers the built-in rewards and those of the user's Python files.

    Raises:
        UserError: a file that is missing or does not run.
    """
    for module in BUILT_IN:
        importlib.import_module(module)
    for file in files:
        path = Path(file).resolve()
        name = f"user_rewards_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise UserError(f"reward file {path} is missing or no .py file; mend `grpo.reward_files`")
        # Data classes look up the module that they are defined in.
        sys.modules[name] = module_of_file = importlib.util.module_from_spec(spec)
        try:
            with redirect_stdout(sys.stderr):  # standard output is for results
                spec.loader.exec_module(module_of_file)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(f"reward file {path} does not run: {type(error).__name__}: {error}") from error


class RewardSet:
    """The rewards of a recipe with their weights and settings, in this process.

    >>> rewards = RewardSet.build({"format": 0.2, "answer": 1.0})
    >>> scores = rewards.score({"completion": "<think>Wide heart.</think><answer>B</answer>", "answer": "B"})
    >>> {name: score.value for name, score in scores.items()}
    {'format': 1.0, 'answer': 1.0}
    """

    def __init__(self, weights: Mapping[str, float], settings: Mapping[str, Any]):
        self.weights = dict(weights)
        self.settings = dict(settings)
        self._functions = {name: REGISTRY[name] for name in weights}
        self._arguments = {name: f.bind(settings[name]) for name, f in self._functions.items()}
        self._started = False

    @classmethod
    def build(
        cls,
        spec: Mapping[str, float],
        files: Sequence[str | Path] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> RewardSet:
        """The rewards of `spec` (name -> weight), built in or registered by `files`, with `options` (name -> settings).

        Raises:
            UserError: an unknown reward, an option that is unknown or has no allowed value, a weight that is no number,
                or a file that does not load.
        """
        load_rewards(files)
        options = options or {}
        for name, weight in spec.items():
            check_known(name, REGISTRY, "reward")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
                raise UserError(f"the weight of reward {name!r} must be a finite number, found {weight!r}")
        for name, given in options.items():
            check_known(name, spec, "reward with options")
            if not isinstance(given, Mapping):
                raise UserError(f"the options of reward {name!r} must be a mapping of name to value, found {given!r}")
        return cls(spec, {name: parse(REGISTRY[name].settings, options.get(name, {}), name) for name in spec})

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

    def by_chunk(self, name: str) -> bool:
        """Whether the reward scores a chunk of rows at once."""
        return self._functions[name].by_chunk

    def needs_start(self, name: str) -> bool:
        """Whether the reward has something to load or to look for before a run."""
        return self._functions[name].start is not None

    def gives_step_verdicts(self, name: str) -> bool:
        """Whether the reward's evidence has an entry for each step, as step credit needs."""
        ask = self._functions[name].step_verdicts
        return ask is not None and ask(self.settings[name])

    def start(self) -> None:
        """Loads and checks what the rewards need, before a run; `score` does so where nobody has.

        Raises:
            UserError: what cannot be had.
        """
        for name, function in self._functions.items():
            if function.start is not None:
                function.start(self.settings[name])
        self._started = True

    def score(self, row: Row) -> dict[str, Score]:
        """Every reward of the row, which holds `completion` and the columns.

        Raises:
            UserError: a required column is missing.
            RewardError: a reward returned no Score or a value that is not finite.
        """
        if not self._started:
            self.start()
        return {name: self.score_one(name, row) for name in self.weights}

    def score_one(self, name: str, row: Row) -> Score:
        """One reward of the row; raises as `score` does, or what the reward raises."""
        function = self._functions[name]
        if function.by_chunk:
            (score,) = self.score_chunk(name, [row])
            return score
        self._check_row(function, row)
        values = {column: row[column] for column in function.columns}
        values |= {column: row[column] for column in function.defaults if column in row}
        return _checked(name, row, function.function(row[COMPLETION], **values, **self._arguments[name]))

    def score_chunk(self, name: str, rows: Sequence[Row]) -> Iterator[Score]:
        """A reward that scores by chunk, of these rows, in order; raises as `score_one` does."""
        function = self._functions[name]
        for row in rows:
            self._check_row(function, row)
        values = {column: [row[column] for row in rows] for column in function.columns}
        values |= {column: [row.get(column) for row in rows] for column in function.defaults}
        given = function.function([row[COMPLETION] for row in rows], **values, **self._arguments[name])
        if not isinstance(given, Iterable):
            raise RewardError(f"reward {name!r}: returned {type(given).__name__}, not a Score for each completion")
        scores = iter(given)
        for row in rows:
            try:
                score = next(scores)
            except StopIteration:
                raise RewardError(f"reward {name!r}, row {row.get('id', '?')!r}: no Score for this row") from None
            yield _checked(name, row, score)
        if next(scores, None) is not None:
            raise RewardError(f"reward {name!r}: more Scores than its {len(rows)} completions")

    def _check_row(self, function: RewardFunction, row: Row) -> None:
        if any(column not in row for column in (COMPLETION, *function.columns)):
            self.check_columns(row)
            raise UserError(f"reward {function.name!r}: the row has no {COMPLETION!r}")


def _checked(name: str, row: Row, score: Any) -> Score:
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
    """The GRPO total: the weighted sum of the gated components, without those that have no value.

    >>> weights = {"format": 0.2, "answer": 1.0, "length": 0.1}
    >>> gated_total({"format": Score(1.0), "answer": Score(0.5), "length": Score(None)}, weights)
    0.7
    >>> gated_total({"format": Score(0.0), "answer": Score(0.5), "length": Score(-1.0)}, weights)
    -0.1
    """
    values = {name: gate(name, scores) for name in scores}
    return sum(weights.get(name, 0.0) * value for name, value in values.items() if value is not None)


def check_known(name: str, names: Iterable[str], what: str) -> None:
    """Raises `UserError` with the nearest of `names` where `name` is none of them."""
    names = sorted(names)
    if name not in names:
        raise UserError(f"unknown {what} {name!r}; {nearest(name, names)}")
