"""Outcome-only GRPO against process rewards for the whole completion and for each step: equal budgets, several seeds.

    make ablation                                   # phantom recipe; about an hour on 2 cores
    python scripts/ablation.py --seeds 3 --steps 100 --limit 500

Every arm starts from the SFT checkpoint of `outputs/RECIPE` and sees the same prompts, steps and learning rate; a seed
fixes the order of the prompts and the sampling. Finished runs are reused. Prints the table of docs/results.md.
Intervals: paired bootstrap over studies of the metric averaged over seeds; the seeds' own values stand beside it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from eval.bootstrap import Estimate, Statistics, differences, estimates
from eval.metrics import metrics, statistics
from eval.predictions import read_predictions
from reasoner import layout
from reasoner.errors import UserError, one_line
from reasoner.layout import GRPO, PREDICTIONS, SFT
from reasoner.scores import GREEDY, HEADLINE, SAMPLED
from rewards.radrscore import PARTS
from rewards.registry import Score

ARMS = {
    "outcome": ["grpo.rewards={answer: 1.0, process: 0.0, format: 0.2}"],
    "outcome + process": ["grpo.rewards={answer: 1.0, process: 1.5, format: 0.2}"],
    "outcome + steps": ["grpo.rewards={answer: 1.0, process: 0.0, format: 0.2}", "grpo.step_credit=0.5"],
}
SHOWN = ("micro_f1", "radrscore", *PARTS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="phantom")
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--steps", type=count, default=100, help="GRPO steps of every run")
    parser.add_argument("--splits", nargs="+", default=["test", "site_b"])
    parser.add_argument("--limit", type=count, default=None, help="studies per split (default: all)")
    options = parser.parse_args()
    start = Path("outputs") / options.recipe
    try:
        runs = {
            (arm, seed): train(start, options.recipe, arm, seed, options.steps, options.splits, options.limit)
            for seed in range(options.seeds)
            for arm in ARMS
        }
        for split in options.splits:
            for mode in (GREEDY, SAMPLED):
                report(split, mode, options.seeds, {key: read(run, split, mode) for key, run in runs.items()})
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the runs that are missing", file=sys.stderr)
        return 130
    return 0


def count(text: str) -> int:
    """An argument that counts something."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no count: give 1 or more")
    return int(text)


def train(start: Path, recipe: str, arm: str, seed: int, steps: int, splits: list[str], limit: int | None) -> Path:
    """Trains and evaluates one arm with one seed, unless that was done; returns its output folder.

    Raises:
        UserError: there is no data or SFT checkpoint to start from, or a run failed, which has said why.
    """
    output = start.with_name(f"{start.name}-ablation") / f"{arm.replace(' ', '')}-{seed}"
    output.mkdir(parents=True, exist_ok=True)
    for place in (layout.data(start), layout.checkpoint(start, SFT)):
        if not place.is_dir():
            raise UserError(f"{place}: is missing; run `make sft RECIPE={recipe}` first")
        link = output / place.name
        if not link.exists():
            link.unlink(missing_ok=True)  # one to where nothing is any more
            link.symlink_to(place.resolve())
    settings = [f"output={output}", f"seed={seed}", f"grpo.trainer.max_steps={steps}", *ARMS[arm]]
    settings += [f"eval.models=[{GRPO}]", f"eval.splits=[{', '.join(splits)}]", f"eval.limit={limit or 'null'}"]
    for stage in (GRPO, "eval"):
        print(f"== {arm}, seed {seed}: {stage}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "recipes.cli", stage, "--recipe", recipe, "--if-needed"]
        done = subprocess.run([*command, *(f"--set={text}" for text in settings)], stdout=sys.stderr)
        if done.returncode:
            raise UserError(f"{stage} of {arm}, seed {seed} ended with exit code {done.returncode}: mend what it says")
    return output


def read(run: Path, split: str, mode: str) -> Statistics:
    rows = read_predictions(run / "eval" / PREDICTIONS / GRPO / f"{split}-{mode}.jsonl")
    scores = [
        {
            "format": Score(row["format"]),
            "answer": Score(row["answer_reward"]),
            "skill": Score(row["skill"]),
            "process": Score(row["radrscore"], parts={part: row[part] for part in PARTS}),
        }
        for row in rows
    ]
    return statistics(rows, scores)


def stacked(runs: list[Statistics]) -> Statistics:
    """Seeds as further samples: metrics are computed within each and averaged, studies are resampled together."""
    columns = {name: np.concatenate([run.columns[name] for run in runs]) for name in runs[0].columns}
    return Statistics(runs[0].studies, columns)


def report(split: str, mode: str, seeds: int, cells: dict[tuple[str, int], Statistics]) -> None:
    arms = {arm: stacked([cells[arm, seed] for seed in range(seeds)]) for arm in ARMS}
    base = next(iter(ARMS))
    print(f"\n### {split}, {mode}, {seeds} seeds, {len(arms[base].studies):,} studies\n")
    print("| metric | " + " | ".join(ARMS) + " | " + " | ".join(f"{arm} - {base}" for arm in list(ARMS)[1:]) + " |")
    print("|---" * (2 * len(ARMS)) + "|")
    levels = {arm: estimates(found, metrics) for arm, found in arms.items()}
    gains = {arm: differences(found, arms[base], metrics) for arm, found in arms.items() if arm != base}
    for name in SHOWN:
        row = [HEADLINE[name]]
        for arm in ARMS:
            own = [estimates(cells[arm, seed], metrics, resamples=1)[name].value for seed in range(seeds)]
            row.append(f"{levels[arm][name].value:.3f} ({', '.join(f'{value:.3f}' for value in own)})")
        row += [signed(found[name]) for found in gains.values()]
        print("| " + " | ".join(row) + " |")


def signed(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" + (" \\*" if found.excludes_zero else "")


if __name__ == "__main__":
    sys.exit(main())
