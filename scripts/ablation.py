"""Trains arms of GRPO that differ in their rewards, from several seeds of SFT, at equal budgets, and compares them.

    make ablation                                                     # phantom, 5 seeds: 50 runs, about 9 hours
    make ablation ARGS="--jobs 2 --kernels default avx2 --publish"    # also writes docs/results.md and its plots
    make ablation ARGS="--arms outcome default --seeds 2 --splits val site_c"
    make ablation ARGS=--report-only

Arms and what is shown are in scripts/ablation.yaml. A seed fixes the model, the order of the data and all sampling;
the data are mined once per recipe. The arms of a seed start from the same SFT and take the same steps with the same
prompts. Every process has one thread. `--kernels avx2` sets ATEN_CPU_CAPABILITY, as on a machine without AVX-512;
`default` leaves the choice to torch.

What is finished is reused while its settings are the same, and what was cut short goes on. A run that fails is told,
and the others go on. Exit codes: 0 all there, 1 a run failed, 2 bad input, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from eval.arms import Place, publish, report
from reasoner import layout
from reasoner.errors import UserError, nearest, one_line
from reasoner.layout import GRPO, SFT, STATISTICS
from reasoner.runtime.disk import alone, read_object, write_whole
from reasoner.runtime.terminal import say
from reasoner.settings import Options, Section, explain
from recipes import stages
from recipes.config import Name
from recipes.load import load_recipe
from recipes.plain_yaml import parse_yaml

DESIGN = Path(__file__).with_suffix(".yaml")
#: What torch calls its kernels -> the environment that chooses them.
KERNELS = {"default": {}, "avx2": {"ATEN_CPU_CAPABILITY": "avx2"}}
#: Set by --steps and the recipe alone: arms with other values would have another budget.
BUDGET = (
    *("max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("generation_batch_size", "steps_per_generation", "num_iterations", "max_completion_length"),
)
COMMITS = "commits.json"


class Design(Section):
    """scripts/ablation.yaml."""

    metrics: list[str] = Field(min_length=1)
    modes: list[str] = Field(min_length=1)
    recipes: dict[str, Options] = {}
    arms: dict[Name, Options]


class Run(NamedTuple):
    """One model to train and evaluate in `folder`: SFT, or GRPO from the SFT in `start`."""

    recipe: str
    kernels: str
    arm: str
    seed: int
    folder: Path
    data: Path
    start: Path | None
    settings: tuple[str, ...]

    @property
    def model(self) -> str:
        return GRPO if self.start else SFT

    @property
    def name(self) -> str:
        """The recipe's name, where `recipe` may be its file."""
        return self.data.parent.name

    @property
    def shared(self) -> tuple[str, Path]:
        """The stage that it starts from, and where its result lies."""
        return (SFT, self.start) if self.start else ("mine", self.data)

    def statistics(self) -> Path | None:
        """The statistics of the model; None where it was not evaluated yet, or has other settings or another start."""
        recipe = load_recipe(self.recipe, [*self.settings, f"output={json.dumps(str(self.folder))}"])
        records, (stage, place) = stages.read_records(self.folder), self.shared
        started = records.get(stage) == stages.read_records(place.parent).get(stage)
        if not (started and "eval" in records and stages.reusable(recipe, self.model)):
            return None
        evaluated = records["eval"].made_from.get(self.model) == records[self.model].run
        return self.folder / "eval" / STATISTICS / self.model if evaluated else None

    def __str__(self) -> str:
        return f"{self.name}, {self.kernels} kernels, {self.arm}, seed {self.seed}"


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    failed = 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        design = read_design(options.design)
        runs = plan(options, design)
        failed = 0 if options.report_only else carry_out(runs, options, design)
        places = [Place(run.name, run.kernels, run.arm, run.seed, run.statistics()) for run in runs]
        meta = {"commit": commit(), "steps": options.steps, "set": options.set, "runs_commits": commits(runs)}
        shown = {"splits": options.splits, "modes": design.modes, "shown": design.metrics}
        results = report(places, options.output, **shown, meta=meta)
        if options.publish:
            publish(results, design.metrics, Path("docs"))
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1 if failed else 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is missing", file=sys.stderr)
        return 130
    return int(failed > 0)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--recipes", nargs="+", default=["phantom"], metavar="RECIPE")
    add("--arms", nargs="+", metavar="ARM", help="names in scripts/ablation.yaml (default: all)")
    add("--seeds", type=count, default=5, metavar="N", help="seeds 0 to N - 1 of SFT and of GRPO (default 5)")
    add("--kernels", nargs="+", default=["default"], choices=KERNELS)
    add("--jobs", type=count, default=1, metavar="N", help="runs side by side (default 1)")
    add("--steps", type=count, metavar="N", help="GRPO steps of every arm (default: the recipe's)")
    add("--splits", nargs="+", default=["test", "site_b"], help="default: test site_b; choose on val site_c")
    add("--limit", type=count, metavar="N", help="examples per split (default: all)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the recipe, the same for all runs")
    add("--sft-only", action="store_true", help="train and evaluate SFT alone")
    add("--report-only", action="store_true", help="train nothing, report what there is")
    add("--publish", action="store_true", help="write the tables to docs/results.md and the plots to docs/img")
    add("--output", type=Path, default=Path("outputs/ablation"), metavar="DIR")
    add("--design", type=Path, default=DESIGN, metavar="FILE.yaml", help="arms (default: scripts/ablation.yaml)")
    return parser.parse_args(argv)


def count(text: str) -> int:
    """An argument that counts something."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no count: give 1 or more")
    return int(text)


def read_design(path: Path) -> Design:
    """The arms and what is shown of them.

    Raises:
        UserError: it cannot be read, or an arm changes more than its own GRPO, or its budget.
    """
    try:
        design = Design.model_validate(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name another --design") from error
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Design)}") from error
    for arm, overrides in design.arms.items():
        if arm == SFT:
            raise UserError(f"{path}: arms.{SFT}: is there by itself, without GRPO; take it out")
        for key in overrides:
            if not key.startswith("grpo."):
                raise UserError(f"{path}: arms.{arm}: '{key}' is not of grpo; arms share data, model and SFT")
            if key.removeprefix("grpo.trainer.") in BUDGET or key == "grpo.trainer":
                raise UserError(f"{path}: arms.{arm}: '{key}' changes the budget; take it out (--steps sets all arms')")
    return design


def plan(options: argparse.Namespace, design: Design) -> list[Run]:
    """All runs that were asked for: SFT first, then GRPO seed by seed. Arms with the same settings share a folder.

    Raises:
        UserError: an unknown recipe, arm or key.
    """
    for arm in options.arms or ():
        if arm not in (SFT, *design.arms):
            raise UserError(f"--arms: unknown arm '{arm}'; {nearest(arm, design.arms)}")
    arms = [] if options.sft_only else [arm for arm in design.arms if arm in (options.arms or design.arms)]
    begun, continued = [], []
    for source in options.recipes:
        shared = shared_settings(options, design, source)
        recipe = load_recipe(source, shared)
        owners = owned(source, shared, design)
        root = options.output / recipe.name
        for kernels in options.kernels:
            for seed in range(options.seeds):
                where = root / kernels
                common = (*shared, f"seed={seed}")
                first = where / f"{SFT}-{seed}"
                begun.append(Run(source, kernels, SFT, seed, first, root / "data", None, common))
                for arm in arms:
                    folder = where / f"{folder_name(owners[arm])}-{seed}"
                    settings = (*common, *assignments(design.arms[arm]))
                    continued.append(Run(source, kernels, arm, seed, folder, root / "data", first / SFT, settings))
    return begun + continued


def shared_settings(options: argparse.Namespace, design: Design, source: str) -> tuple[str, ...]:
    """What all runs of a recipe have in common."""
    steps = [f"grpo.trainer.max_steps={options.steps}"] if options.steps else []
    return (*assignments(design.recipes.get(source, {})), *options.set, *steps)


def assignments(overrides: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]


def owned(source: str, shared: Sequence[str], design: Design) -> dict[str, str]:
    """Arm -> the first arm with the same GRPO settings, whose run it shares."""
    grpo = {arm: load_recipe(source, [*shared, *assignments(own)]).grpo for arm, own in design.arms.items()}
    return {arm: next(other for other in grpo if grpo[other] == grpo[arm]) for arm in grpo}


def folder_name(arm: str) -> str:
    return arm.replace(" + ", "+").replace(" ", "-")


def carry_out(runs: Sequence[Run], options: argparse.Namespace, design: Design) -> int:
    """Mines, trains and evaluates what is missing, with a line for each run; returns how many failed."""
    distinct = list({run.folder: run for run in reversed(runs)}.values())[::-1]  # the first run of each folder
    broken: set[Path] = set()  # data and checkpoints that could not be made
    done = failed = 0
    with Workers(options.jobs) as workers:
        for run in {run.data: run for run in distinct}.values():
            settings = [f"output={json.dumps(str(run.data.parent))}", *shared_settings(options, design, run.recipe)]
            if why := workers.stage("mine", run.recipe, "default", run.data.parent, settings):
                say(f"{run.name}: {why}")
                broken.add(run.data)
        for model in (SFT, GRPO):
            waiting = {
                workers.pool.submit(workers.run, run, options, frozenset(broken)): run
                for run in distinct
                if run.model == model
            }
            for future in as_completed(waiting):
                run, outcome = waiting[future], future.result()
                done += 1
                failed += outcome.failed is not None
                told = f", failed: {outcome.failed}" if outcome.failed else ""
                say(f"[{done}/{len(distinct)}] {run}: {outcome.minutes:.1f} min{told}")
                if not outcome.trained:
                    broken.add(layout.checkpoint(run.folder, run.model))
    return failed


class Outcome(NamedTuple):
    """How a run ended: whether its model is there, and why it failed, if it did."""

    trained: bool
    failed: str | None
    minutes: float


class Workers:
    """Processes of the command line, so many side by side, that end when the block is left."""

    def __init__(self, jobs: int) -> None:
        self.pool = ThreadPoolExecutor(jobs)
        self.processes: set[subprocess.Popen[bytes]] = set()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self.processes):
            process.terminate()

    def run(self, run: Run, options: argparse.Namespace, broken: frozenset[Path]) -> Outcome:
        """Trains and evaluates what is missing; `broken` are data and checkpoints that could not be made."""
        began = time.monotonic()
        if missing := next((place for place in (run.data, run.start) if place in broken), None):
            return Outcome(False, f"{missing} could not be made", 0.0)
        settings = [f"output={json.dumps(str(run.folder))}", *run.settings, f"eval.models=[{run.model}]"]
        settings += [f"eval.splits={json.dumps(options.splits)}", f"eval.limit={options.limit or 'null'}"]
        settings += ["eval.trivial=false", "eval.best_of_n=false"]  # the same for all arms, or not compared
        trained, why = False, None
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            with alone(run.folder / ".running", f"at work in {run.folder}"):
                link(run.data, run.folder, "mine")
                if run.start:
                    link(run.start, run.folder, SFT)
                why = self.stage(run.model, run.recipe, run.kernels, run.folder, settings)
                trained = why is None
                why = why or self.stage("eval", run.recipe, run.kernels, run.folder, settings)
        except (UserError, OSError) as error:
            why = str(error)
        return Outcome(trained, why, (time.monotonic() - began) / 60)

    def stage(self, stage: str, recipe: str, kernels: str, folder: Path, settings: Sequence[str]) -> str | None:
        """Runs one stage, unless its result is current; returns why it failed, if it did."""
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "recipes.cli", stage, "--recipe", recipe]
        command += [f"--set={text}" for text in settings]
        inherited = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
        environment = {**inherited, "OMP_NUM_THREADS": "1", **KERNELS[kernels]}
        log = folder / "ablation.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
            self.processes.add(process)
            code = process.wait()
            self.processes.discard(process)
        if code == 0:
            note_commit(folder, stage)
            return None
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{stage} ended with exit code {code}: {lines[-1] if lines else 'no output'}"


def link(source: Path, folder: Path, stage: str) -> None:
    """Puts a finished stage of another run in place, with its record: what is made from it is made again when it is.

    Raises:
        UserError: there is none.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is missing")
    place = folder / source.name
    if place.is_symlink() or not place.exists():
        place.unlink(missing_ok=True)
        place.symlink_to(source.resolve())
    if record := stages.read_records(source.parent).get(stage):
        stages.write_record(folder, stage, record)


def note_commit(folder: Path, stage: str) -> None:
    """Keeps the commit that made the stage's result, beside the run that it was made in."""
    known = read_object(folder / COMMITS, "delete it") if (folder / COMMITS).exists() else {}
    made = stages.read_records(folder)[stage].run
    if known.get(stage, {}).get("run") != made:
        write_whole(folder / COMMITS, json.dumps({**known, stage: {"run": made, "commit": commit()}}, indent=1) + "\n")


def commits(runs: Sequence[Run]) -> list[str]:
    """The commits that the runs were trained and evaluated at."""
    files = [path for path in {run.folder / COMMITS for run in runs} if path.exists()]
    return sorted({stage["commit"] for path in files for stage in read_object(path, "delete it").values()})


def commit() -> str:
    """The checkout's commit, with `+` where tracked files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=DESIGN.parent, capture_output=True, encoding="utf-8")
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return (git("rev-parse", "--short", "HEAD") or "unknown") + "+" * bool(changed)
    except OSError:
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
