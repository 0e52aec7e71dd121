"""Completions per second of the process reward: one core, the Ray pool; a regex list reward and ROUGE-L beside.

    python -m benchmarks.reward_speed [--completions 1000] [--words 300] [--workers 2]

Every completion is another text (sentences drawn and varied at random, seed 0), so caches hold what they hold in
training: recurring sentences, not recurring completions. References repeat for each group of 8, as in GRPO.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from reasoner.prompts import format_completion
from reasoner.schema import CLASSES
from rewards.process import process
from rewards.workers import RewardPool

SIDES = ("left", "right", "bilateral", "")
SIZES = ("trace", "small", "moderate", "large", "")
NAMES = ("pleural effusion", "pneumothorax", "consolidation", "lung nodule", "rib fracture", "atelectasis", "opacity")
FRAMES = (
    "There is a {n}.", "No {n}.", "A {n} is seen at the base.", "There may be a {n}.", "There is no evidence of {n}.",
    "The {n} is unchanged since the prior study, and the lungs are otherwise clear.", "Heart size is normal.",
    "First, we look at the costophrenic angles, where a {n} would appear as blunting.", "No fracture or {n} is seen.",
)  # fmt: skip
GROUP = 8
BATCHES = 4
Rows = list[dict[str, Any]]


def sentence(rng: random.Random) -> str:
    name = " ".join(filter(None, (rng.choice(SIZES), rng.choice(SIDES), rng.choice(NAMES))))
    return rng.choice(FRAMES).format(n=name)


def text(rng: random.Random, words: int) -> str:
    parts: list[str] = []
    while sum(len(part.split()) for part in parts) < words:
        parts.append(sentence(rng))
    return " ".join(parts)


def make_rows(count: int, words: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for n in range(count):
        if n % GROUP == 0:
            reference, report = text(rng, 60), "FINDINGS: " + text(rng, 50)
        rows.append({
            "id": str(n),
            "completion": format_completion(text(rng, words), ", ".join(rng.sample(CLASSES, 2))),
            "reasoning": reference,
            "report": report,
            "answer": ", ".join(rng.sample(CLASSES, 2)),
        })  # fmt: skip
    return rows


def regex_list_reward(completion: str, answer: str) -> float:
    """The plain kind of list reward: class names by regular expression, Jaccard of the two sets."""
    found = re.search(r"<answer>(.*?)</answer>", completion, re.DOTALL)
    named, gold = (
        {name for name in CLASSES if re.search(rf"\b{name}\b", words, re.IGNORECASE)}
        for words in (found.group(1) if found else "", answer)
    )
    return len(named & gold) / max(1, len(named | gold))


def rouge_l(completion: str, reference: str) -> float:
    """ROUGE-L F1 (Lin 2004): the longest common subsequence of words, by bit-parallel dynamic programming."""
    said, gold = completion.lower().split(), reference.lower().split()
    where: dict[str, int] = {}
    for place, word in enumerate(gold):
        where[word] = where.get(word, 0) | 1 << place
    full = (1 << len(gold)) - 1
    row = full  # Hyyro 2004: a zero bit for every step of the subsequence
    for word in said:
        hit = row & where.get(word, 0)
        row = ((row + hit) | (row - hit)) & full
    common = len(gold) - row.bit_count()
    return 2 * common / max(1, len(said) + len(gold))


def rate(
    name: str, batches: Sequence[Rows], work: Callable[[Rows], object], clock: Callable[[], float] = time.process_time
) -> None:
    """The best of the batches, as `timeit` does; CPU seconds of this process, or the clock for work on the pool."""
    seconds = []
    for rows in batches:
        start = clock()
        work(rows)
        seconds.append((clock() - start) / len(rows))
    print(f"{name:42s} {1 / min(seconds):10,.0f} completions/s  {1000 * min(seconds):8.3f} ms each", flush=True)


def score_all(rows: Rows, evidence: bool = False) -> None:
    for row in rows:
        score = process(row["completion"], reasoning=row["reasoning"], report=row["report"])
        if evidence:
            list(score.evidence)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--completions", type=int, default=1000)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    first, *batches = (make_rows(args.completions, args.words, seed) for seed in range(1 + 3 * BATCHES))
    others, explained, more = (batches[n : n + BATCHES] for n in range(0, 3 * BATCHES, BATCHES))
    print(f"{args.completions} completions of {args.words} words; the best of {BATCHES} batches where they are more")
    rate(
        "regex list reward, one core",
        others,
        lambda rows: [regex_list_reward(r["completion"], r["answer"]) for r in rows],
    )
    rate("ROUGE-L, one core", others, lambda rows: [rouge_l(r["completion"], r["reasoning"]) for r in rows])
    rate("RadRScore, one core, first batch", [first], score_all)
    rate("RadRScore, one core, next batches", others, score_all)
    rate("RadRScore, one core, evidence read", explained, lambda rows: score_all(rows, evidence=True))
    for size in (1_000, 10_000, 100_000):
        texts = (text(random.Random(size + n), size // 6)[:size] for n in range(BATCHES))
        long = [[{**first[0], "completion": format_completion(words, "No Finding")}] for words in texts]
        rate(f"RadRScore, {size:,} characters", long, score_all)
    with RewardPool({"process": 1.0}, workers=args.workers, timeout_s=30.0) as pool:
        name = f"RadRScore, pool of {args.workers}"
        rate(f"{name}, first batch", [first], pool.score, time.perf_counter)
        rate(f"{name}, with evidence", others, pool.score, time.perf_counter)
        rate(f"{name}, numbers alone", more, lambda rows: pool.score(rows, evidence=False), time.perf_counter)


if __name__ == "__main__":
    main()
