"""The `reasoner` command: its arguments, and how it ends. What a command does is in `commands.py`.

Exit codes: 0 done, 1 something to fix (`doctor`) or a stage died (one line `error: ...` names its log), 2 bad input
(one line `error: ...` says what, where and the fix), 130 stopped by Ctrl-C, 141 nobody reads the output any more. Only
the standard library is imported before a command is known, so that `reasoner doctor` runs where the rest cannot.
"""

from __future__ import annotations

import argparse
import locale
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from reasoner.errors import UserError, one_line
from reasoner.layout import TRAINED
from reasoner.runtime import ranks, terminal
from reasoner.runtime.disk import MENDABLE, output_path
from reasoner.runtime.tracking import PROJECT
from recipes import DEFAULT, known_recipes

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
  reasoner sft --recipe nv_reason_3b --processes 8                       (a process for each of 8 GPUs)
  reasoner sft --config my.yaml --set model.freeze_vision=true --dry-run""",
    "grpo": """\
  reasoner grpo --recipe phantom
  reasoner grpo --recipe phantom --max_steps 20                          (any field of trl.GRPOConfig)
  reasoner grpo --recipe phantom --set grpo.rewards.skill=1.0""",
    "eval": """\
  reasoner eval --recipe phantom
  reasoner eval --recipe phantom --models sft grpo --limit 100

  Any model, or none, by the rules of a published benchmark (docs/evaluation.md):
  reasoner eval --benchmark radrbench --input mimic_binary_test_option.json --images mimic-cxr-jpg/ \\
                --model theirs=HUB_ID --model mine=outputs/phantom/grpo --profile mine=ours
  reasoner eval --benchmark cxrtrek --input dialogues.json --model server=http://localhost:8000 --context both
  reasoner eval --benchmark radrbench --predictions theirs=released/ --output outputs/theirs""",
    "compare": """\
  reasoner compare outputs/radrbench outputs/theirs --output outputs/both""",
    "report": """\
  reasoner report outputs/benchmarks/radrbench
  reasoner report outputs/phantom/grpo""",
    "dashboard": """\
  reasoner dashboard --entity my-team
  reasoner dashboard --print > workspace.json""",
    "watch": """\
  reasoner watch outputs/phantom""",
    "export": """\
  reasoner export --recipe phantom
  reasoner export --recipe phantom --source sft --output my-model --push-to-hub me/my-model""",
    "score": """\
  reasoner score --input rows.jsonl --output scores.jsonl

  In:  one JSON object a line: id, completion, reasoning (reference chain), report;
       optionally question, answer, task, options, labels (verified, unless label_source is mined).
  Out: one line per input line, in order: id, factuality, completeness, effectiveness, radrscore, answer, format,
       skill (numbers or null) and evidence. A JSON summary goes to standard output.""",
    "plan": """\
  reasoner plan --recipe qwen3_vl_4b --gpus 4 --memory 40 --gpu a100-40
  reasoner plan --recipe my_hospital --accelerate recipes/accelerate/fsdp2.yaml --set model.max_pixels=401408
  reasoner plan --recipe all --markdown""",
    "doctor": """\
  reasoner doctor
  reasoner doctor --quick
  reasoner doctor --quick --server http://node2:8000 --recipe qwen3_vl_4b""",
    "serve": """\
  reasoner serve --recipe qwen3_vl_4b --port 8000
  reasoner serve --recipe qwen3_vl_4b --print""",
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything else does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit code; `argv` is that of the process unless given."""
    if argv is None:
        _insist_on_utf8()
        ranks.end_with_parent()
    try:
        try:
            return run(argv)
        finally:
            sys.stdout.flush()
    except UserError as error:
        return failed(error)
    except terminal.Died as error:
        return failed(error, 1)
    except ImportError as error:
        return failed(f"{error}; `reasoner doctor` says what to fix")
    except BrokenPipeError:
        if not output_is_closed():  # another pipe: a fault, not a reader who has seen enough
            raise
        abandon_output()
        return 141
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        if error.filename is None:  # standard output, most likely: what it still holds would fail again at the end
            abandon_output()
        return failed(f"{error.filename or 'writing failed'}: {error.strerror}; {MENDABLE[error.errno]}")
    except ranks.MainEnded as error:
        return error.code
    except KeyboardInterrupt:
        return ended("stopped; the same command goes on where checkpoints allow", 130)


def failed(message: object, code: int = 2) -> int:
    process = f" (process {ranks.rank()})" if ranks.rank() and ranks.LAST_WORDS not in os.environ else ""
    return ended(f"error{process}: {one_line(message)}", code)


def ended(line: str, code: int) -> int:
    """Prints the line, unless the command that started this process will; returns the code."""
    if not ranks.leave_words(line, code):
        print(line, file=sys.stderr)
    return code


def output_is_closed() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def abandon_output() -> None:
    """Lets what is still to be written to standard output go nowhere, so that Python ends without complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(argv: Sequence[str] | None) -> int:
    """Dispatches to the command."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command not in (*TRAINED, "serve"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if args.command == "doctor":
        from recipes import doctor, known_recipes

        if args.recipe not in known_recipes() and not os.path.isfile(args.recipe):
            parser.error(f"--recipe: '{args.recipe}' is no recipe; known: {', '.join(known_recipes())}, or a file")
        return doctor.run(quick=args.quick, servers=args.server, recipe=args.recipe)
    try:
        from recipes import commands
    except (Exception, SystemExit) as error:  # whatever a broken package does
        raise ImportError(f"a library does not load ({type(error).__name__}: {error})") from error
    return commands.run(args, rest, sys.argv[1:] if argv is None else argv)


def _insist_on_utf8() -> None:
    """Starts the process again in Python's UTF-8 mode where the locale is another: torch reads its own files by it."""
    if locale.getencoding().lower() in ("utf-8", "utf8") or sys.flags.utf8_mode or sys.flags.ignore_environment:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, sys.orig_argv)


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="reasoner",
        description="Reports -> reasoning chains -> SFT -> GRPO -> evaluation -> exported checkpoint.",
        epilog="Stages run in the order mine, sft, grpo, eval, export; `make demo` runs them all. "
        "`reasoner COMMAND --help` has examples.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    doctor = _command(commands, "doctor", "check this machine and say what to fix")
    doctor.add_argument("--quick", action="store_true", help="skip starting Ray and a vLLM engine")
    doctor.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a vLLM server that GRPO is to join; repeatable"
    )
    doctor.add_argument("--recipe", default=DEFAULT, help=f"for which the server is checked; default {DEFAULT}")

    serve = _command(commands, "serve", "start a vLLM server that GRPO can join, on another machine say")
    _add_recipe_arguments(serve)
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 is all: anyone there can use it"
    )
    serve.add_argument("--port", type=int, default=8000, help="default 8000")
    _add_profile(serve)
    serve.add_argument("--print", dest="show", action="store_true", help="only print its command line")

    for name, text in HELP.items():
        command = _command(commands, name, text)
        _add_recipe_arguments(command)
        if name == "mine":
            command.add_argument("--source", help="mine this source (docs/data.md), outside any recipe")
            command.add_argument("--input", help="file or folder that the source reads")
            command.add_argument("--output", type=output_path, help="folder for the data set")
            command.add_argument("--llm", metavar="URL", help="OpenAI-compatible server that rewrites the chains")
            command.add_argument("--llm-model", metavar="NAME", help="its model")
            command.add_argument(
                "--evaluate", type=Path, metavar="GOLD.csv", help="score the mined labels; JSON to stdout"
            )
        if name in (*TRAINED, "export"):
            _add_profile(command)
        if name in TRAINED:
            command.add_argument(
                "--processes",
                type=int,
                metavar="N",
                help="train in N processes, a GPU each (default 1); the recipe's batch sizes are those of each",
            )
        if name == "eval":
            command.add_argument(
                "--models", nargs="+", metavar="MODEL", help="base, sft, grpo (default: those there are)"
            )
            command.add_argument("--limit", type=int, help="use at most so many examples per split, or table")
            _add_benchmark_arguments(command)
        if name == "export":
            command.add_argument("--source", help="sft, grpo, or a checkpoint folder (default: export.source)")
            command.add_argument(
                "--output", type=output_path, help="empty folder, or an earlier export (default: OUTPUT/export)"
            )
            command.add_argument(
                "--push-to-hub", metavar="REPO", help="upload there, with the login of `hf auth login`"
            )

    score = _command(commands, "score", "score existing completions without any model")
    score.add_argument("--input", type=Path, required=True, metavar="IN.jsonl")
    score.add_argument("--output", type=output_path, required=True, metavar="OUT.jsonl")
    score.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    score.add_argument(
        "--base-rates", type=Path, metavar="DATA", help="for skill: a mined data folder, or a base_rates.json"
    )

    compare = _command(commands, "compare", "put finished benchmark runs side by side")
    compare.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of `eval --benchmark`")
    compare.add_argument("--output", type=output_path, metavar="DIR", help="default outputs/compare")
    compare.add_argument("--bootstrap", type=int, default=2000, metavar="B", help="resamples (default 2000)")
    compare.add_argument("--seed", type=int, default=0, help="of the resamples (default 0)")

    report = _command(commands, "report", "write the page of a benchmark run, or of what GRPO's policy wrote")
    report.add_argument("folder", type=Path, metavar="RUN", help="folder of `eval --benchmark`, or OUTPUT/grpo")

    plan = _command(commands, "plan", "say what SFT and GRPO take on given GPUs, before any is used")
    _add_recipe(plan)
    _add_plan_arguments(plan)

    watch = _command(commands, "watch", "draw what a training logs, while it goes on, as a page of this machine")
    watch.add_argument("folder", type=Path, metavar="OUTPUT", help="a recipe's output, outputs/phantom say")
    watch.add_argument("--once", action="store_true", help="write the page as things stand, and end")

    dashboard = _command(commands, "dashboard", "save a workspace with the panels of a training in your W&B project")
    dashboard.add_argument("--entity", help="user or team (default: WANDB_ENTITY, else your default entity)")
    dashboard.add_argument("--project", help=f"default: WANDB_PROJECT, else {PROJECT}")
    dashboard.add_argument("--print", dest="show", action="store_true", help="only print it, as JSON; needs no account")

    summary = _command(commands, "summary", "what was run, how long it took, where it lies")
    _add_recipe_arguments(summary)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    examples = EXAMPLES.get(name)
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_benchmark_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("with --benchmark, instead of a recipe").add_argument
    add("--benchmark", metavar="NAME", help="radrbench, abnormality_list, cxrtrek or phantom")
    add("--input", type=Path, metavar="FILE|FOLDER", help="its questions; not needed with --predictions alone")
    add("--images", type=Path, metavar="DIR", help="what names of pictures are relative to (default: beside the file)")
    add(
        "--model",
        action="append",
        default=[],
        metavar="LABEL=PLACE",
        help="a checkpoint, Hub id or URL of an OpenAI-compatible server (URL#NAME where it has several); repeatable",
    )
    add(
        "--predictions",
        action="append",
        default=[],
        metavar="LABEL=FILE|FOLDER",
        help="completions that are there already; repeatable",
    )
    add("--output", type=output_path, metavar="RUN", help="folder of the run (default outputs/benchmarks/NAME)")
    add(
        "--profile",
        action="append",
        default=[],
        metavar="[LABEL=]NAME",
        help="how models are asked and read: ours, chestx_reasoner, nv_reason, cxrtrek (default: the benchmark's own)",
    )
    add("--samples", type=int, metavar="N", help="completions per question (default 1)")
    add("--temperature", type=float, metavar="T", help="default 0, with several samples 1")
    add("--max-new-tokens", type=int, metavar="M", help="longest completion (default: the profile's, else 1024)")
    add("--judge", metavar="URL", help="OpenAI-compatible server that also judges the reasoning")
    add("--judge-model", metavar="NAME", help="its model")
    add(
        "--context",
        choices=("own", "reference", "both"),
        help="whose earlier answers a conversation shows (default own)",
    )
    add("--base-rates", type=Path, metavar="DATA", help="for skill, as for `reasoner score`")
    add("--workers", type=int, help="processes that score (default 1, of many completions 2)")
    add("--bootstrap", type=int, metavar="B", help="resamples behind each interval (default 2000)")
    add("--seed", type=int, help="of sampling and resamples (default 0)")


def _add_plan_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--gpus", type=int, metavar="N", help="GPUs (default 8; 1 for the tiny model)")
    add("--memory", type=float, metavar="GIB", help="memory of each, in GiB (default: the GPU's)")
    add("--gpu", metavar="KIND", help="h100 (default), h200, a100, ..., or cpu (default for the tiny model)")
    add("--mfu", type=float, default=0.4, metavar="SHARE", help="of its FLOP/s that training reaches (default 0.4)")
    add("--accelerate", type=Path, metavar="FILE", help="as `make` takes it (default: the first shipped one that fits)")
    given = command.add_argument_group("what the data are, where they are not mined yet").add_argument
    given("--rows", type=int, metavar="N", help="rows of SFT")
    given("--prompts", type=int, metavar="N", help="prompts of GRPO")
    given("--asked-tokens", type=int, metavar="N", help="tokens of a question with its template, images left out")
    given("--written-tokens", type=int, metavar="N", help="tokens of a completion")
    given("--images", type=int, metavar="N", help="images a row")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="for machines")
    how.add_argument("--markdown", action="store_true", help="one row of a table")
    command.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_recipe(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group()
    known = ", ".join(known_recipes())
    which.add_argument("--recipe", default=DEFAULT, help=f"folder under recipes/ ({known}); default {DEFAULT}")
    which.add_argument("--config", dest="recipe", metavar="FILE.yaml", help="a recipe file of your own")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. grpo.rewards.skill=1.0"
    )


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", metavar="NAME", help="prompt profile instead of the recipe's model.profile")


def _add_recipe_arguments(command: argparse.ArgumentParser) -> None:
    _add_recipe(command)
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="check the stage's settings and a sample of its rows, print the full recipe and one row, stop",
    )
    command.add_argument("--force", action="store_true", help="run even if the result is there, and from the beginning")
    command.add_argument("--debug", action="store_true", help="show what libraries print, and tracebacks")
    command.add_argument(
        "--if-needed", action="store_true", help="keep what an earlier call made from this recipe, with its arguments"
    )


if __name__ == "__main__":
    sys.exit(main())
