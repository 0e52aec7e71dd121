"""What policies that do not read the image earn, beside an honest mediocre reader: the table in docs/rewards.md.

python -m benchmarks.reward_policies --data outputs/phantom/data [--recipe phantom] [--split test]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from reasoner.findings import labels_of
from reasoner.layout import BASE_RATES
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING, Example, Step, present_classes
from reasoner.training.dataset import load_examples
from recipes.load import load_recipe
from rewards.registry import RewardSet, gated_total
from rewards.skill import base_rates_of

#: The share of reference steps that the mediocre reader gets to, and of those the share where he sees what another
#: patient has there.
READ, MISTAKEN = 0.7, 0.15
NAMES = [name for name in CLASSES if name != NO_FINDING]
DENY_ALL = " ".join(f"No {name.lower()}." for name in NAMES)
LIST_ALL = " ".join(f"There is {name.lower()}." for name in NAMES)
HEDGE_ALL = " ".join(f"There may be {name.lower()}." for name in NAMES)

Policy = Callable[[Example, random.Random], str]


def policies(train: list[Example]) -> Mapping[str, Policy]:
    elsewhere: dict[str, list[Step]] = {}
    for example in train:
        for step in example.steps:
            elsewhere.setdefault(step.stage, []).append(step)

    def mediocre(example: Example, rng: random.Random) -> str:
        steps = [step for step in example.steps if rng.random() < READ]
        steps = [rng.choice(elsewhere[step.stage]) if rng.random() < MISTAKEN else step for step in steps]
        found = labels_of(finding for step in steps for finding in step.findings)
        return format_completion(" ".join(step.text for step in steps) or "-", ", ".join(present_classes(found)))

    def prior(example: Example, rng: random.Random) -> str:
        other = rng.choice(train)
        return format_completion(other.reasoning, other.answer)

    return {
        "the reference itself": lambda e, rng: format_completion(e.reasoning, e.answer),
        f"honest, reads {READ:.0%} of the steps, {MISTAKEN:.0%} of them another patient's": mediocre,
        "label prior: another study's chain and answer": prior,
        "denies everything, `No Finding`": lambda e, rng: format_completion(DENY_ALL, NO_FINDING),
        "hedges everything, `No Finding`": lambda e, rng: format_completion(HEDGE_ALL, NO_FINDING),
        "asserts and lists everything": lambda e, rng: format_completion(LIST_ALL, ", ".join(NAMES)),
        "one normal sentence, `No Finding`": lambda e, rng: format_completion("No acute abnormality.", NO_FINDING),
        "a dot as reasoning, `No Finding`": lambda e, rng: format_completion(".", NO_FINDING),
        "empty think, `No Finding`": lambda e, rng: format_completion("", NO_FINDING),
        "one true step, 20 times": lambda e, rng: format_completion(f"{e.steps[0].text} " * 20, NO_FINDING),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("outputs/phantom/data"), help="a mined data folder")
    parser.add_argument("--recipe", default="phantom", help="whose reward weights")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    weights = load_recipe(args.recipe, []).grpo.rewards
    examples = load_examples(args.data, args.split, ["abnormality_list"], None)
    train = load_examples(args.data, "train", ["abnormality_list"], None)
    with TemporaryDirectory() as folder:
        rates = Path(folder) / BASE_RATES
        base_rates_of(train).write(rates)
        rewards = RewardSet.build(weights, options={"skill": {"base_rates": str(rates)}} if "skill" in weights else {})
        tell(rewards, examples, train)


def tell(rewards: RewardSet, examples: list[Example], train: list[Example]) -> None:
    weights = rewards.weights
    normal = fmean(present_classes(dict(e.labels or {})) == (NO_FINDING,) for e in examples)
    print(f"{len(examples)} questions, {normal:.0%} normal; weights {weights}\n")
    print(f"| policy | {' | '.join(weights)} | total |\n|---|{'---|' * len(weights)}---|")
    for name, policy in policies(train).items():
        rng = random.Random(0)
        scores = [rewards.score({**e.to_dict(), "completion": policy(e, rng)}) for e in examples]
        means = [fmean(s[reward].value or 0.0 for s in scores) for reward in weights]
        total = fmean(gated_total(s, weights) for s in scores)
        print(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in means)} | {total:.2f} |")


if __name__ == "__main__":
    main()
