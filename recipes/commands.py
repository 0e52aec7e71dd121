"""What the subcommands of `reasoner` do. Heavy libraries are imported by the stage that needs them.

The one module of `recipes` that dispatches to `eval`, too.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from reasoner.errors import UserError
from reasoner.layout import EXPORT_CHECK, GRPO, SFT, TRAINED, checkpoint
from reasoner.models import TINY
from reasoner.models.positions import check_positions
from reasoner.runtime import ranks, terminal
from reasoner.runtime.disk import replaced
from reasoner.runtime.memory import keep_freed_memory
from reasoner.runtime.threads import share_cores
from recipes import banner, dry_run, stages
from recipes.config import Recipe
from recipes.load import load_recipe, trainer_flags
from recipes.trainer_args import check_trainer_args

if TYPE_CHECKING:
    from eval.settings import Run


def run(args: Namespace, rest: Sequence[str], words: Sequence[str]) -> int:
    """Runs the command that was parsed from `words`; `rest` are flags of a trainer. Returns the exit code."""
    if getattr(args, "debug", False):
        os.environ[terminal.DEBUG] = "1"
    match args.command:
        case "score":
            from rewards.score import score_file

            print(json.dumps(score_file(args.input, args.output, args.workers, args.base_rates), indent=1))
        case "plan":
            from recipes import plan_command

            plan_command.run(args)
        case "summary":
            recipe = load_recipe(args.recipe, args.set)
            stages.settle_all(recipe)
            banner.summary(recipe)
        case "eval":
            from recipes import benchmark

            if args.benchmark:
                benchmark.evaluate(args)
            else:
                benchmark.refuse_without(args)
                _run_stage(args, rest)
        case "serve":
            from recipes.servers import serve

            overrides = [*args.set, *_overrides(args), *trainer_flags(rest, GRPO)]  # as the trainer's, who joins it
            serve(load_recipe(args.recipe, overrides), args.host, args.port, args.show)
        case "compare":
            from recipes import benchmark

            benchmark.compare(args)
        case "report":
            from eval.page import report

            print(report(args.folder))
        case "dashboard":
            from recipes import dashboard

            print(dashboard.save(args.entity, args.project, args.show))
        case "watch":
            from eval.watch import watch

            watch(args.folder, once=args.once)
        case "mine" if args.source or args.input or args.output:
            _mine_source(args)
        case _:
            if _check_processes(args):
                return _run_processes(args, rest, words)
            _run_stage(args, rest)
    return 0


def _run_stage(args: Namespace, rest: Sequence[str]) -> None:
    """Runs one stage of a recipe, or says why its result is reused."""
    stage = args.command
    share_cores()
    keep_freed_memory()
    overrides = _all_overrides(args, rest)
    recipe = load_recipe(args.recipe, overrides)
    options = [f"--{name.replace('_', '-')}" for name in vars(args)]
    if args.dry_run:
        check_settings(recipe, stage, options)
        if ranks.is_main():
            _tell_dry_run(recipe, stage)
        return
    wait_s = getattr(recipe, stage).trainer.get("ddp_timeout") if stage in TRAINED else None
    by_main = partial(ranks.by_main, code_of=_code_of, timeout_s=wait_s if isinstance(wait_s, int) else ranks.TIMEOUT_S)
    if by_main(lambda: _reused(args, recipe, overrides)):
        pass
    elif stage == "export" and args.output:
        from recipes import export

        stages.exported(recipe)
        with terminal.logged(recipe.output, stage), replaced(args.output, EXPORT_CHECK) as folder:
            export.run(recipe, folder)
    else:
        with terminal.logged(recipe.output, stage):
            by_main(lambda: _started(args, recipe, options))
            with stages.recorded(recipe, stage, overrides) if ranks.is_main() else nullcontext():
                _call(recipe, stage)
        if ranks.is_main():
            banner.finished(recipe, stage)
    if stage == "export" and args.push_to_hub:
        from recipes import export

        export.push(args.output or stages.result(recipe, stage), args.push_to_hub)
    if stage == "mine" and args.evaluate:
        _print_evaluation(stages.result(recipe, stage), args.evaluate)


def _run_processes(args: Namespace, rest: Sequence[str], words: Sequence[str]) -> int:
    """Trains in several processes, each of which runs the same command. Returns the exit code."""
    from recipes.launch import REASONER, launch

    overrides = _all_overrides(args, rest)
    recipe = load_recipe(args.recipe, overrides)  # what is misspelt is told before they start
    if args.if_needed and not args.force and _reused(args, recipe, overrides):
        return 0
    ended = launch([*REASONER, *words], args.processes)
    if ended.line:
        print(ended.line, file=sys.stderr)
    return ended.code


def _check_processes(args: Namespace) -> bool:
    """Whether this command is to start several processes.

    Raises:
        UserError: for a number that cannot be, or processes of a stage that has one.
    """
    wanted, there = getattr(args, "processes", None), ranks.count()
    if there > 1 and args.command not in TRAINED:
        raise UserError(f"{args.command}: runs in one process; only {' and '.join(TRAINED)} train in several")
    if wanted is None:
        return False
    if wanted < 1:
        raise UserError(f"--processes: must be 1 or more (got {wanted})")
    if there not in (1, wanted):
        raise UserError(f"--processes {wanted}: {there} have been started already; leave it out")
    return wanted > there


def _code_of(error: Exception) -> int:
    """The exit code that an error of a stage leads to (`cli.main`)."""
    return 1 if isinstance(error, terminal.Died) or not isinstance(error, UserError | OSError | ImportError) else 2


def _tell_dry_run(recipe: Recipe, stage: str) -> None:
    told = dry_run.inspect(recipe, stage)
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")  # else YAML's escapes
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=unicode).strip(), flush=True)
    for line in told:
        terminal.say(line)


def _reused(args: Namespace, recipe: Recipe, overrides: Sequence[str]) -> bool:
    """Whether the stage need not run, which is told; `UserError` when it must and cannot."""
    stages.settle_all(recipe)
    if args.command == "export" and args.output:
        return False
    if reason := _reuse(args, recipe, overrides):
        banner.reused(recipe, args.command, reason)
        return True
    _require_earlier(recipe, args.command)
    return False


def _started(args: Namespace, recipe: Recipe, options: Sequence[str]) -> None:
    """Checks the stage's settings and makes its folder ready."""
    check_settings(recipe, args.command, options)
    banner.started(recipe, args.command, stages.prepare(recipe, args.command, force=args.force))


def _require_earlier(recipe: Recipe, stage: str) -> None:
    """Raises `UserError` when the stage lacks what it starts from; says so when that was not made from one another."""
    if stage == "eval":
        from eval.settings import find_checkpoints

        find_checkpoints(evaluated(recipe), recipe.eval.models)
    stages.require_earlier(recipe, stage)
    for later, earlier in stages.mismatches(recipe, stage):
        terminal.say(
            f"WARNING: {later} was trained from another {earlier} than the one that is there; "
            f"`reasoner {later}` trains it again"
        )


def _all_overrides(args: Namespace, rest: Sequence[str]) -> list[str]:
    return [*args.set, *_overrides(args), *(trainer_flags(rest, args.command) if rest else [])]


def _overrides(args: Namespace) -> list[str]:
    """A stage's own arguments that stand for a key of the recipe."""
    names = {
        "mine": {"llm": "data.llm", "llm_model": "data.llm_model"},
        "sft": {"profile": "model.profile"},
        "grpo": {"profile": "model.profile"},
        "serve": {"profile": "model.profile"},
        "eval": {"profile": "model.profile", "models": "eval.models", "limit": "eval.limit"},
        "export": {"profile": "model.profile", "source": "export.source"},
    }
    given = {key: vars(args)[name] for name, key in names.get(args.command, {}).items()}
    if args.command == "eval":  # with --benchmark there may be several
        if len(args.profile) > 1:
            raise UserError("--profile: a recipe has one; give one NAME")
        given["model.profile"] = args.profile[0] if args.profile else None
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def _reuse(args: Namespace, recipe: Recipe, overrides: Sequence[str]) -> str | None:
    """Why the stage need not run, in words; None when it must."""
    if args.force:
        return None
    if args.if_needed:
        return stages.reusable_as_made(recipe, args.command, args.recipe, overrides)
    return "same settings" if stages.reusable(recipe, args.command) else None


def _call(recipe: Recipe, stage: str) -> None:
    """Runs the stage, which writes in `stages.working(recipe, stage)`."""
    match stage:
        case "mine":
            from recipes import mine

            mine.run(recipe)
        case "sft":
            from recipes import sft

            sft.run(recipe)
        case "grpo":
            from recipes import grpo

            grpo.run(recipe)
        case "eval":
            from eval import run as evaluation

            evaluation.run(evaluated(recipe), recipe.eval)
        case "export":
            from recipes import export

            export.run(recipe, stages.working(recipe, stage))


def evaluated(recipe: Recipe) -> Run:
    """The recipe as `eval` sees it, which does not import from `recipes`."""
    from eval.settings import Run

    model = recipe.model
    return Run(
        name=recipe.name,
        source=recipe.data.source,
        output=recipe.output,
        folder=stages.working(recipe, "eval"),
        base=model.base,
        seed=recipe.seed,
        workers=recipe.grpo.reward_workers,
        max_length=model.max_length,
        dtype=model.dtype,
        min_pixels=model.min_pixels,
        max_pixels=model.max_pixels,
        profile=model.prompts,
    )


def check_settings(recipe: Recipe, stage: str, options: Sequence[str] = ()) -> None:
    """Finds what is wrong with a stage without running it: trainer values, the source and its input, rewards, lengths.

    `options` are the command's own, which a misspelt trainer flag may have meant.

    Raises:
        UserError: naming the key or file.
    """
    if stage == "mine":
        from reasoner.sources import open_source

        folder = stages.working(recipe, stage)
        open_source(recipe.data.source, recipe.data.input, folder, recipe.data.options).partitions()
    if stage in TRAINED:
        _check_trainer(recipe, stage, options)
    if stage in (SFT, GRPO, "eval"):
        check_lengths(recipe, stage)


def _check_trainer(recipe: Recipe, stage: str, options: Sequence[str]) -> None:
    """Builds what TRL is told, as the stage will."""
    try:
        import trl

        from recipes import grpo, sft

        config = {SFT: trl.SFTConfig, GRPO: trl.GRPOConfig}[stage]
    except (Exception, SystemExit) as error:  # whatever a broken package does
        raise ImportError(f"a library does not load ({type(error).__name__}: {error})") from error
    check_trainer_args(config, getattr(recipe, stage).trainer, f"{stage}.trainer", options)
    {SFT: sft.check, GRPO: grpo.check}[stage](recipe)


def check_lengths(recipe: Recipe, stage: str) -> None:
    """Checks that the stage's rows fit the positions of the model that reads them, where that model is known.

    Raises:
        UserError: naming the keys and the numbers.
    """
    rows = {"model.max_length": recipe.model.max_length}
    if stage == GRPO and isinstance(longest := recipe.grpo.trainer.get("max_completion_length"), int):
        rows["grpo.trainer.max_completion_length"] = longest
    if stage == "eval":
        rows["eval.max_new_tokens"] = recipe.eval.max_new_tokens
    trained = checkpoint(recipe.output, SFT)
    start = trained if stage != SFT and trained.is_dir() else recipe.model.base
    if start != TINY:
        check_positions(start, rows)


def _mine_source(args: Namespace) -> None:
    """`mine --source NAME --input PATH --output DIR`: a data set of its own, with a recipe's tasks and style."""
    from reasoner.mining.pipeline.publish import claimed
    from reasoner.sources import open_source
    from recipes.mine import mine_as

    if not args.source or not args.output:
        raise UserError("mine: give --source NAME, --input PATH and --output DIR together, or a --recipe alone")
    own = ["sft={}", "grpo={}"]  # how the recipe trains is no matter here
    recipe = load_recipe(args.recipe, [*own, *args.set, *_overrides(args)])
    if recipe.data.source != args.source:  # a recipe's source options belong to its own source
        recipe = load_recipe(args.recipe, [*own, "data.options={}", *args.set, *_overrides(args)])
    source = open_source(args.source, args.input, args.output, recipe.data.options)
    if args.dry_run:
        for line in dry_run.inspect(recipe, "mine", source):
            terminal.say(line)
        return
    with claimed(args.output, draws=source.draws):
        pass  # a folder that is refused gets no log either
    with terminal.logged(args.output, "mine"):
        mine_as(recipe, source, args.output)
    if args.evaluate:
        _print_evaluation(args.output, args.evaluate)


def _print_evaluation(data: Path, gold: Path) -> None:
    from reasoner.mining.pipeline.evaluate import evaluate_labels

    print(json.dumps(evaluate_labels(data / "studies.parquet", gold), indent=1))
