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


def rate(name: str, count: int, work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> None:
    """CPU seconds of this process for work on one core; the clock for work on the pool."""
    start = clock()
    work()
    seconds = clock() - start
    print(f"{name:42s} {count / seconds:10,.0f} completions/s  {1000 * seconds / count:8.3f} ms each", flush=True)


def score_all(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        process(row["completion"], reasoning=row["reasoning"], report=row["report"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--completions", type=int, default=1000)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    count, words = args.completions, args.words
    rows, other = make_rows(count, words), make_rows(count, words, seed=1)
    print(f"{count} completions of {words} words")
    rate("regex list reward, one core", count, lambda: [regex_list_reward(r["completion"], r["answer"]) for r in rows])
    rate("ROUGE-L, one core", count, lambda: [rouge_l(r["completion"], r["reasoning"]) for r in rows])
    rate("RadRScore, one core, first batch", count, lambda: score_all(rows))
    rate("RadRScore, one core, next batch", count, lambda: score_all(other))
    for size in (1_000, 10_000, 100_000):
        long = {**rows[0], "completion": format_completion(text(random.Random(size), size // 6)[:size], "No Finding")}
        rate(f"RadRScore, one completion of {size:,} characters", 1, lambda row=long: score_all([row]))  # type: ignore[misc]
    with RewardPool({"process": 1.0}, workers=args.workers, timeout_s=30.0) as pool:
        pool.score(rows[: GROUP * args.workers])
        rate(f"RadRScore, pool of {args.workers}, first batch", count, lambda: pool.score(rows), time.perf_counter)
        for name, evidence in (("numbers", False), ("with evidence", True)):
            more = make_rows(count, words, seed=2 + evidence)
            rate(
                f"RadRScore, pool of {args.workers}, next batch, {name}",
                count,
                lambda more=more, evidence=evidence: pool.score(more, evidence=evidence),  # type: ignore[misc]
                time.perf_counter,
            )


if __name__ == "__main__":
    main()
