"""The `reasoner` command. Heavy libraries are imported by the stage that needs them.

Exit codes: 0 done, 1 something to fix (`doctor`) or a stage died (one line `error: ...` names its log), 2 bad input
(one line `error: ...` says what, where and the fix).
"""

from __future__ import annotations

import argparse
import json
import locale
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from reasoner import terminal
from reasoner.errors import UserError
from reasoner.threads import share_cores
from recipes import banner, stages
from recipes.config import Recipe, check_trainer_args, known_recipes, load_recipe, trainer_flags

HELP = {
    "mine": "mine reports into reasoning chains, questions and answers",
    "sft": "supervised warm-up on the mined examples (TRL)",
    "grpo": "reinforcement learning with vLLM rollouts and verifiable rewards (TRL)",
    "eval": "compare base, SFT and GRPO on held-out images",
    "export": "write a Hugging Face checkpoint with its card, proven in transformers and vLLM",
}
EXAMPLES = {
    "mine": """\
  reasoner mine --recipe phantom
  reasoner mine --source jsonl --input reports.jsonl --output data/mine
  reasoner mine --source iu_xray --input iu/ --output data/iu --evaluate gold.csv
  reasoner mine --source mimic_cxr --input mimic-cxr/ --output data/mimic --set data.options.images=mimic-cxr-jpg/
  reasoner mine --source jsonl --input reports.jsonl --output data/mine --llm http://localhost:8000 --llm-model NAME""",
    "sft": """\
  reasoner sft --recipe phantom
  reasoner sft --recipe phantom --learning_rate 1e-4 --max_steps 200     (any field of trl.SFTConfig)
  reasoner sft --config my.yaml --set model.freeze_vision=true --dry-run""",
    "grpo": """\
  reasoner grpo --recipe phantom
  reasoner grpo --recipe phantom --max_steps 20                          (any field of trl.GRPOConfig)
  reasoner grpo --recipe phantom --set grpo.rewards.process=1.0""",
    "eval": """\
  reasoner eval --recipe phantom
  reasoner eval --recipe phantom --models sft grpo --limit 100""",
    "export": """\
  reasoner export --recipe phantom
  reasoner export --recipe phantom --source sft --output my-model --push-to-hub me/my-model""",
    "score": """\
  reasoner score --input rows.jsonl --output scores.jsonl

  In:  one JSON object a line: id, completion, reasoning (reference chain), report;
       optionally question, answer, task, options, labels.
  Out: one line per input line, in order: id, factuality, completeness, effectiveness, radrscore, answer, format
       (numbers or null) and evidence. A JSON summary goes to standard output.""",
    "doctor": """\
  reasoner doctor
  reasoner doctor --quick""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit code; `argv` is that of the process unless given."""
    if argv is None:
        _insist_on_utf8()
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command not in ("sft", "grpo"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return args.run(args, rest)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except terminal.Died as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where checkpoints allow", file=sys.stderr)
        return 130


def _insist_on_utf8() -> None:
    """Starts the process again in Python's UTF-8 mode where the locale is another: torch reads its own files by it."""
    if locale.getencoding().lower() in ("utf-8", "utf8") or sys.flags.utf8_mode or sys.flags.ignore_environment:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, sys.orig_argv)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reasoner",
        description="Reports -> reasoning chains -> SFT -> GRPO -> evaluation -> exported checkpoint.",
        epilog="Stages run in the order mine, sft, grpo, eval, export; `make demo` runs them all. "
        "`reasoner COMMAND --help` has examples.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    doctor = _command(commands, "doctor", "check this machine and say what to fix", run_doctor)
    doctor.add_argument("--quick", action="store_true", help="skip starting Ray and a vLLM engine")

    for name, text in HELP.items():
        command = _command(commands, name, text, run_stage)
        _add_recipe_arguments(command)
        if name == "mine":
            command.add_argument("--source", help="mine this source (docs/data.md), outside any recipe")
            command.add_argument("--input", help="file or folder that the source reads")
            command.add_argument("--output", type=Path, help="folder for the data set")
            command.add_argument("--llm", metavar="URL", help="OpenAI-compatible server that rewrites the chains")
            command.add_argument("--llm-model", metavar="NAME", help="its model")
            command.add_argument(
                "--evaluate", type=Path, metavar="GOLD.csv", help="score the mined labels; JSON to stdout"
            )
        if name == "eval":
            command.add_argument(
                "--models", nargs="+", metavar="MODEL", help="base, sft, grpo (default: those there are)"
            )
            command.add_argument("--limit", type=int, help="use at most so many examples per split")
        if name == "export":
            command.add_argument("--source", help="sft, grpo, or a checkpoint folder (default: export.source)")
            command.add_argument("--output", type=Path, help="folder (default: OUTPUT/export)")
            command.add_argument(
                "--push-to-hub", metavar="REPO", help="upload there, with the login of `hf auth login`"
            )

    score = _command(commands, "score", "score existing completions without any model", run_score)
    score.add_argument("--input", type=Path, required=True, metavar="IN.jsonl")
    score.add_argument("--output", type=Path, required=True, metavar="OUT.jsonl")
    score.add_argument("--workers", type=int, default=1, help="processes (default 1)")

    summary = _command(commands, "summary", "what was run, how long it took, where it lies", run_summary)
    _add_recipe_arguments(summary)
    return parser


def _command(commands: Any, name: str, text: str, run: Callable[..., int]) -> argparse.ArgumentParser:
    examples = EXAMPLES.get(name)
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_recipe_arguments(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group()
    known = ", ".join(known_recipes())
    which.add_argument("--recipe", default="phantom", help=f"folder under recipes/ ({known}); default phantom")
    which.add_argument("--config", dest="recipe", metavar="FILE.yaml", help="a recipe file of your own")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. grpo.rewards.process=1.0"
    )
    command.add_argument("--dry-run", action="store_true", help="check everything, print the full recipe, stop")
    command.add_argument("--force", action="store_true", help="run even if the result is there already")
    command.add_argument("--debug", action="store_true", help="show what libraries print, and tracebacks")
    command.add_argument(
        "--if-needed", action="store_true", help="keep what an earlier call made from this recipe, with its arguments"
    )


def run_stage(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Runs one stage of a recipe, or says why its result is reused."""
    stage = args.command
    share_cores()
    if args.debug:
        os.environ[terminal.DEBUG] = "1"
    if stage == "mine" and (args.source or args.input or args.output):
        return _mine_source(args)
    overrides = [*args.set, *_overrides(args), *(trainer_flags(rest, stage) if rest else [])]
    recipe = load_recipe(args.recipe, overrides)
    if args.dry_run:
        check_settings(recipe, stage)
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")  # else YAML's escapes
        print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=unicode).strip())
    elif stage == "export" and (args.output or args.push_to_hub):
        with terminal.logged(recipe.output, stage):
            _call(recipe, stage, output=args.output, push_to_hub=args.push_to_hub)
    elif not (reason := _reuse(args, recipe, overrides)):
        _run(args, recipe, overrides)
    elif stages.is_main_process():
        banner.reused(recipe, stage, reason)
    if stage == "mine" and args.evaluate:
        _print_evaluation(recipe.output / "data", args.evaluate)
    return 0


def _overrides(args: argparse.Namespace) -> list[str]:
    """A stage's own arguments that stand for a key of the recipe."""
    names = {
        "mine": {"llm": "data.llm", "llm_model": "data.llm_model"},
        "eval": {"models": "eval.models", "limit": "eval.limit"},
        "export": {"source": "export.source"},
    }
    given = {key: vars(args)[name] for name, key in names.get(args.command, {}).items()}
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def _reuse(args: argparse.Namespace, recipe: Recipe, overrides: Sequence[str]) -> str | None:
    """Why the stage need not run, in words; None when it must."""
    if args.force:
        return None
    if args.if_needed:
        return stages.reusable_as_made(recipe, args.command, args.recipe, overrides)
    return "same settings" if stages.reusable(recipe, args.command) else None


def _run(args: argparse.Namespace, recipe: Recipe, overrides: Sequence[str]) -> None:
    stage = args.command
    if not stages.is_main_process():
        with terminal.logged(recipe.output, stage):
            _call(recipe, stage)
        return
    stages.require_earlier(recipe, stage)
    with terminal.logged(recipe.output, stage):
        check_settings(recipe, stage)
        resumes = stages.prepare(recipe, stage, force=args.force)
        banner.started(recipe, stage, resumes)
        with stages.recorded(recipe, stage, overrides):
            _call(recipe, stage)
    banner.finished(recipe, stage)


def _call(recipe: Recipe, stage: str, **export_options: Any) -> None:
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

            evaluation.run(_evaluation_settings(recipe))
        case "export":
            from recipes import export

            export.run(recipe, recipe.export.source, **export_options)


def _evaluation_settings(recipe: Recipe) -> Any:
    """The recipe as `eval` sees it, which does not import from `recipes`."""
    from eval.run import Settings

    model = recipe.model
    return Settings(
        name=recipe.name,
        source=recipe.data.source,
        output=recipe.output,
        base=model.base,
        seed=recipe.seed,
        workers=recipe.grpo.reward_workers,
        max_length=model.max_length,
        dtype=model.dtype,
        min_pixels=model.min_pixels,
        max_pixels=model.max_pixels,
        **recipe.eval.model_dump(),
    )


def check_settings(recipe: Recipe, stage: str) -> None:
    """What can be found wrong in a recipe without running it: trainer keys, the source and its input, rewards.

    Raises:
        UserError: naming the key or file.
    """
    if stage == "mine":
        from reasoner.sources import open_source

        open_source(recipe.data.source, recipe.data.input, recipe.output / "data", recipe.data.options).partitions()
    if stage in ("sft", "grpo"):
        import trl

        config = {"sft": trl.SFTConfig, "grpo": trl.GRPOConfig}[stage]
        check_trainer_args(config, getattr(recipe, stage).trainer, f"{stage}.trainer")
    if stage == "grpo":
        from reasoner.training.dataset import REWARD_COLUMNS
        from rewards.registry import RewardSet

        grpo = recipe.grpo
        RewardSet.build(grpo.rewards, grpo.reward_files, grpo.reward_options).check_columns(REWARD_COLUMNS)


def _mine_source(args: argparse.Namespace) -> int:
    """`mine --source NAME --input PATH --output DIR`: a data set of its own, with a recipe's tasks and style."""
    from reasoner.sources import open_source
    from recipes.mine import mine_as

    if not args.source or not args.output:
        raise UserError("mine: give --source NAME, --input PATH and --output DIR together, or a --recipe alone")
    recipe = load_recipe(args.recipe, [*args.set, *_overrides(args)])
    if recipe.data.source != args.source:  # a recipe's source options belong to its own source
        recipe = load_recipe(args.recipe, ["data.options={}", *args.set, *_overrides(args)])
    source = open_source(args.source, args.input, args.output, recipe.data.options)
    if args.dry_run:
        source.partitions()
        return 0
    with terminal.logged(args.output, "mine"):
        mine_as(recipe, source, args.output)
    if args.evaluate:
        _print_evaluation(args.output, args.evaluate)
    return 0


def _print_evaluation(data: Path, gold: Path) -> None:
    from reasoner.mining.pipeline.evaluate import evaluate_labels

    print(json.dumps(evaluate_labels(data / "studies.parquet", gold), indent=1))


def run_score(args: argparse.Namespace, rest: Sequence[str]) -> int:
    from rewards.score import score_file

    print(json.dumps(score_file(args.input, args.output, workers=args.workers), indent=1))
    return 0


def run_doctor(args: argparse.Namespace, rest: Sequence[str]) -> int:
    from recipes import doctor

    return doctor.run(quick=args.quick)


def run_summary(args: argparse.Namespace, rest: Sequence[str]) -> int:
    banner.summary(load_recipe(args.recipe, args.set))
    return 0


if __name__ == "__main__":
    sys.exit(main())
