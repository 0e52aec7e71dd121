"""`reasoner eval --benchmark` and `reasoner compare`: arguments in the words of `eval`, and what is printed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.runtime import terminal
from reasoner.runtime.memory import keep_freed_memory
from reasoner.runtime.threads import share_cores
from recipes import DEFAULT

#: Options that need no other words -> the fields of `Wanted`; those that are not given are left to its defaults.
_FIELDS = {
    **{name: name for name in ("input", "images", "samples", "temperature", "max_new_tokens", "context", "base_rates")},
    **{"workers": "workers", "bootstrap": "resamples", "seed": "seed"},
}
#: Options of a recipe's evaluation alone, and of a benchmark's.
_OF_RECIPES = ("models", "set", "dry_run", "force", "if_needed")
_OF_BENCHMARKS = (*_FIELDS, "model", "predictions", "output", "judge", "judge_model")
#: Columns of the table that is printed; all others are in `scores.json`.
_SHOWN = ("n", "official", "strict", "radrscore", "skill")


def evaluate(args: Namespace) -> None:
    """Raises `UserError` for what `eval.benchmarks.run.run` refuses, and for options that are not a pair."""
    from eval.benchmarks.registry import open_benchmark
    from eval.benchmarks.run import Wanted, run

    open_benchmark(args.benchmark)
    _refuse(args, _OF_RECIPES, "of a recipe's evaluation; leave out --benchmark, or these")
    if args.recipe != DEFAULT:
        raise UserError(f"--recipe {args.recipe}: a benchmark has none; give its checkpoint as --model LABEL=FOLDER")
    if bool(args.judge) != bool(args.judge_model):
        raise UserError("give --judge URL and --judge-model NAME together, or neither")
    wanted = Wanted(
        benchmark=args.benchmark,
        output=args.output or Path("outputs") / "benchmarks" / args.benchmark,
        models=pairs(args.model, "--model LABEL=CHECKPOINT|HUB_ID|URL"),
        predictions={
            label: Path(path) for label, path in pairs(args.predictions, "--predictions LABEL=FILE|FOLDER").items()
        },
        profiles=pairs([name if "=" in name else f"={name}" for name in args.profile], "--profile [LABEL=]NAME", ""),
        limit=args.limit,
        judge=(args.judge, args.judge_model) if args.judge else None,
        **{name: getattr(args, option) for option, name in _FIELDS.items() if getattr(args, option) is not None},
    )
    wanted.check()
    share_cores()
    keep_freed_memory()
    with terminal.logged(wanted.output, "eval"):
        scores = run(wanted)
    _print(scores)


def refuse_without(args: Namespace) -> None:
    """Raises `UserError` for options of a benchmark that are given to the evaluation of a recipe."""
    _refuse(args, _OF_BENCHMARKS, "of a benchmark's evaluation; give --benchmark NAME with it")


def _refuse(args: Namespace, names: Sequence[str], why: str) -> None:
    values = {name: getattr(args, name) for name in names}
    given = [name for name, value in values.items() if not (value is None or value is False or value == [])]
    if given:
        raise UserError(f"{', '.join('--' + name.replace('_', '-') for name in given)}: {why}")


def compare(args: Namespace) -> None:
    """Raises `UserError` for what `eval.benchmarks.compare.compare` refuses."""
    from eval.benchmarks import compare as comparison

    output = args.output or Path("outputs") / "compare"
    _print(comparison.compare(args.runs, output, resamples=args.bootstrap, seed=args.seed))


def pairs(given: Sequence[str], usage: str, default: str | None = None) -> dict[str, str]:
    """`LABEL=VALUE` arguments by label.

    Raises:
        UserError: one is no pair, or a label comes twice.
    """
    found: dict[str, str] = {}
    for text in given:
        label, equals, value = text.partition("=")
        if not equals or not value.strip() or (not label.strip() and default is None):
            raise UserError(f"{text!r}: give {usage}")
        if label in found:
            raise UserError(f"{text!r}: the label {label!r} is given twice; {usage}")
        found[label] = value
    return found


def _print(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    rows: list[tuple[str, ...]] = [("label", "table", *_SHOWN)]
    for label, tables in scores.items():
        for table, cell in tables.items():
            rows.append((label, table, *(_number(cell.get(name)) for name in _SHOWN)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
