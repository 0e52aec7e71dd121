"""An attacker: what pays without being earned? A search per task, beside a mediocre reader and the reference.

    python -m benchmarks.reward_attack --data outputs/phantom/data [--minutes 10] [--balanced] [--json]

First the best completions that need no image, found on the training split and measured on the others; then the edits
that make a reading less true and still gain. Texts of real reports are printed: keep the output.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.reward_attack.blind import Blind
from benchmarks.reward_attack.edits import EDITS
from benchmarks.reward_attack.gains import Editor, Gain, is_spared, is_value, pays
from benchmarks.reward_attack.rows import TOTAL, Budget, Reader, Scorer, draw, is_normal
from reasoner.errors import UserError
from reasoner.prompts import format_completion
from reasoner.runtime.terminal import say
from reasoner.schema import TASKS, Example
from reasoner.training.dataset import load_examples
from recipes.load import load_recipe

#: Of a task's time, what the search for blind policies takes; the rest is for edits.
BLIND = 0.75
#: Times that the mediocre reader reads each row.
READINGS = 3
#: Rows that edits are tried on.
EDITED = 60


@dataclass
class Result:
    """The best blind policy of one task for one objective, on rows that the search has not seen."""

    task: str
    objective: str
    blind: float
    error: float  # the standard error of `blind`
    mediocre: float
    reference: float
    searched: float
    texts: list[str]

    @property
    def ratio(self) -> float:
        return self.blind / self.mediocre if self.mediocre > 0 else float("nan")


@dataclass
class Attack:
    """One task of a data set under attack."""

    task: str
    train: list[Example]
    seen: list[Example]
    unseen: list[Example]
    scorer: Scorer
    seed: int = 0

    def __post_init__(self) -> None:
        self.reader = Reader(self.train)

    def blindly(self, objective: str, budget: Budget) -> Result:
        """The best policy that needs no image, found on the rows `seen`, measured on those `unseen`."""
        blind = Blind(objective, self.scorer, self.train, self.seen, budget, random.Random(self.seed))
        rng = random.Random(self.seed)

        def mean(rows: Sequence[Example], write: Callable[[Example], str]) -> float:
            return fmean(self.scorer.value(objective, row, write(row)) for row in rows)

        earned = [self.scorer.value(objective, row, blind.write(row)) for row in self.unseen]
        return Result(
            self.task,
            objective,
            fmean(earned),
            stdev(earned) / len(earned) ** 0.5 if len(earned) > 1 else 0.0,
            fmean(mean(self.unseen, lambda row: self.reader.write(row, rng)) for _ in range(READINGS)),
            mean(self.unseen, lambda row: format_completion(row.reasoning, row.answer)),
            mean(self.seen, blind.write),
            list(blind.texts()),
        )

    def by_edits(self, objectives: Sequence[str], budget: Budget) -> list[Gain]:
        """The gain of every edit by itself, and of the best that are made one after another."""
        editor = Editor(self.scorer, self.reader, self.train, self.unseen[:EDITED], self.seed)
        gains = [gain for base in editor.bases for name in EDITS for gain in editor.gains(base, (name,))]
        left = max(0.1, 1 - budget.spent) / len(editor.bases) / len(objectives)
        for base in editor.bases:
            for objective in objectives:
                gains += editor.search(objective, base, budget.part(left), random.Random(self.seed))
        return gains


def short(text: str, most: int = 160) -> str:
    text = text.replace("|", "/").replace("\n", "\\n")
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def show(results: Sequence[Result], gains: Sequence[Gain], scorer: Scorer) -> None:
    print("\n| objective | best blind | mediocre | reference | blind / mediocre | (searched) |")
    print("|---|---|---|---|---|---|")
    for r in results:
        blind = f"{r.blind:.3f} ± {r.error:.3f}"
        print(f"| {r.objective} | {blind} | {r.mediocre:.3f} | {r.reference:.3f} | {r.ratio:.0%} | {r.searched:.3f} |")
    for r in results:
        print(f"\n{r.objective}:")
        for text in r.texts[:6]:
            print(f"  {short(text, 300)}")
    ranked = sorted(filter(pays, gains), key=lambda gain: -gain.mean)
    values = [gain for gain in ranked if is_value(gain, scorer)]
    show_gains("Less true, and paid", [gain for gain in values if gain.lowers], texts=5)
    show_gains("As true, and paid", [gain for gain in values if not gain.lowers], texts=5)
    for base in ("reference", "mediocre"):
        spared = [gain.edits[0] for gain in gains if is_spared(gain) and gain.base == base]
        print(f"\nLess true than the {base}, and not punished: {', '.join(spared) or 'none'}")
    show_gains("Parts that less truth raises", [gain for gain in ranked if gain.lowers and gain not in values])


def show_gains(title: str, gains: Sequence[Gain], *, texts: int = 0, most: int = 25) -> None:
    if not gains:
        return
    print(f"\n### {title}\n\n| edits | of | in | mean gain | worst row | rows |\n|---|---|---|---|---|---|")
    for gain in gains[:most]:
        edits = ", ".join(gain.edits)
        print(f"| {edits} | {gain.base} | {gain.what} | {gain.mean:+.3f} | {gain.worst:+.3f} | {gain.rows} |")
    for gain in gains[:texts]:
        print(f"\n  {gain.what} {gain.worst:+.3f}: {short(gain.before, 500)}\n   -> {short(gain.after, 500)}")


def as_dict(results: Sequence[Result], gains: Sequence[Gain]) -> dict[str, Any]:
    return {
        "blind": [{**asdict(result), "ratio": result.ratio} for result in results],
        "edits": [{**gain._asdict(), "lowers": gain.lowers} for gain in gains if pays(gain)],
        "spared": [gain._asdict() for gain in filter(is_spared, gains)],
    }


def weights_of(text: str | None, recipe: str) -> dict[str, float]:
    if not text:
        return dict(load_recipe(recipe, []).grpo.rewards)
    return {name: float(weight) for name, _, weight in (part.partition("=") for part in text.split(","))}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("outputs/phantom/data"), help="a mined data folder")
    parser.add_argument("--tasks", help="comma-separated; default all that the folder has")
    parser.add_argument("--recipe", default="phantom", help="whose reward weights")
    parser.add_argument("--rewards", help="weights instead: answer=1,process=1.5,format=0.2")
    parser.add_argument("--base-rates", type=Path, help="of skill; default those of the task's training rows")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each task")
    parser.add_argument("--rows", type=int, default=240, help="training rows that the search sees")
    parser.add_argument("--unseen", type=int, default=400, help="most rows of the other splits to measure on")
    parser.add_argument("--balanced", action="store_true", help="half of the rows normal")
    parser.add_argument("--objectives", help="total, process rewards; default the total and those that it pays for")
    parser.add_argument("--no-edits", action="store_true", help="look for blind policies alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    examples = {split: load_examples(args.data, split) for split in ("train", "val", "test")}
    tasks = args.tasks.split(",") if args.tasks else [t for t in TASKS if any(e.task == t for e in examples["train"])]
    out: dict[str, Any] = {}
    for task in tasks:
        rows = {split: [e for e in part if e.task == task] for split, part in examples.items()}
        train = draw(rows["train"], len(rows["train"]), balanced=args.balanced, seed=args.seed)
        unseen = draw([*rows["val"], *rows["test"]], args.unseen, balanced=args.balanced, seed=args.seed)
        if not train or not unseen:
            say(f"{task}: {len(train)} rows to search on and {len(unseen)} to measure on are too few")
            continue
        with tempfile.TemporaryDirectory() as folder:
            scorer = Scorer(weights_of(args.rewards, args.recipe), train, Path(folder), args.base_rates)
            attack = Attack(task, train, train[: args.rows], unseen, scorer, args.seed)
            objectives = args.objectives.split(",") if args.objectives else scorer.objectives
            if unknown := set(objectives) - {TOTAL, *scorer.alone}:
                raise UserError(f"no objective {unknown.pop()!r}; choose among {', '.join((TOTAL, *scorer.alone))}")
            budget = Budget(60 * args.minutes)
            results, gains = [], []
            for objective in objectives:
                share = (1.0 if args.no_edits else BLIND) / len(objectives)
                results.append(attack.blindly(objective, budget.part(share)))
                say(f"{task}, {objective}: blind {results[-1].blind:.3f}, mediocre {results[-1].mediocre:.3f}")
            if not args.no_edits:
                gains = attack.by_edits(objectives, budget.part(1 - BLIND))
                say(f"{task}: {sum(g.lowers and is_value(g, scorer) and pays(g) for g in gains)} edits pay")
        out[task] = as_dict(results, gains)
        if not args.json:
            normal = fmean(map(is_normal, unseen))
            print(f"\n## {task}\n\n{args.data}: {len(unseen)} rows, {normal:.0%} normal; {scorer.weights}")
            show(results, gains, scorer)
            sys.stdout.flush()
    if args.json:
        print(json.dumps(out, indent=2))


if __name__ == "__main__":
    main()
