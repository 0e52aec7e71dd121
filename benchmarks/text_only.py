"""How far a model gets that never sees an image: the words of the question and its options, and nothing else.

    python -m benchmarks.text_only --data outputs/phantom/data [--held val test] [--json]

A conditional logit (McFadden 1974): an answer's score is a weighted sum of features of its words, of the question's
words beside it, of the other options and of its letter; the weights are fitted on `train` by maximum likelihood with a
ridge penalty, and the best answer is compared with the right one on the other splits. Beside it stand chance (an even
guess among the options, or among the answers that train has) and majority (the most frequent answer of train).
A kind of question that reaches more than 60% can be answered, to that extent, without the image.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import torch

#: More than this without an image, and a kind of question says little about images.
LIMIT = 0.60
#: Features are hashed into so many weights; few kinds of question have more than a tenth.
WEIGHTS = 2**16
#: Of open questions, the answers of train that are considered, most frequent first.
ANSWERS = 200
TASKS = ("binary", "single", "multiple", "anomaly", "temporal")
COLUMNS = ("task", "question", "options", "answer")
Row = Mapping[str, Any]


class Result(NamedTuple):
    """Of one kind of question: rows, and shares of held-out rows that are answered rightly."""

    train: int
    held: int
    chance: float
    majority: float
    words: float

    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of `words`."""
        n, p, z = self.held, self.words, 1.96
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return middle - half, middle + half


def kind(row: Row) -> str:
    """The kind of question: its task, and for `multiple` how it is answered."""
    if row["task"] != "multiple":
        return row["task"]
    return "multiple, list" if not row["options"] else f"multiple, {'letters' if ',' in row['answer'] else 'letter'}"


def study(train: Sequence[Row], held: Sequence[Row], *, epochs: int = 60, seed: int = 0) -> dict[str, Result]:
    """The results of each kind that both parts have.

    Args:
        train, held: rows with the `COLUMNS`.
    """
    parts: dict[str, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for number, rows in enumerate((train, held)):
        for row in rows:
            parts[kind(row)][number].append(row)
    return {name: _result(*rows, epochs, seed) for name, rows in sorted(parts.items()) if all(rows)}


def _result(train: list[Row], held: list[Row], epochs: int, seed: int) -> Result:
    seen = Counter(row["answer"] for row in train)
    known = [answer for answer, _ in seen.most_common(ANSWERS)]
    model = _fitted([(candidates(row, known), row) for row in train], epochs, seed)
    right = chance = 0.0
    for row in held:
        offered = candidates(row, known)
        chance += (row["answer"] in offered) / len(offered)
        right += offered[int(model(offered, row).argmax())] == row["answer"]
    majority = sum(row["answer"] == known[0] for row in held)
    n = len(held)
    return Result(len(train), n, chance / n, majority / n, right / n)


def candidates(row: Row, known: Sequence[str]) -> list[str]:
    """The answers to choose among: the letters of the options where one is right, else those that train has."""
    letters = [option[0] for option in row["options"] or ()]
    return letters if row["answer"] in letters else list(known)


def features(row: Row, answer: str) -> list[str]:
    """What the words say of an answer."""
    options = {option[0]: option.partition(") ")[2].lower() for option in row["options"] or ()}
    said = [options.get(part, part.lower()) for part in answer.split(", ")]
    parts = [part for words in said for part in words.split(", ")]
    others = [words for letter, words in options.items() if letter not in answer.split(", ")]
    shared = sum(part in other.split(", ") for part in parts for other in others)
    asked = row["question"].lower().split()
    return [
        f"letter {answer}",
        f"shared {shared}",
        f"length {len(parts)}",
        *(f"is {words}" for words in said),
        *(f"has {part}" for part in parts),
        *(f"asked {row['question']} {words}" for words in said),
        *(f"word {word} {words}" for word in asked for words in said),
        *(f"{words} beside {other}" for words in said for other in others),
        *(f"part {part} beside {other}" for part in parts for rest in others for other in rest.split(", ")),
    ]


class _Logit:
    def __init__(self) -> None:
        self.weights = torch.zeros(WEIGHTS, requires_grad=True)

    def __call__(self, offered: Sequence[str], row: Row) -> torch.Tensor:
        return torch.stack([self.weights.detach()[_hashed(features(row, answer))].sum() for answer in offered])


def _hashed(words: Iterable[str]) -> torch.Tensor:
    return torch.tensor([zlib.crc32(word.encode()) % WEIGHTS for word in words])


def _fitted(rows: Sequence[tuple[list[str], Row]], epochs: int, seed: int) -> _Logit:
    """The weights of the highest penalised likelihood, by Adam over all rows at once."""
    torch.manual_seed(seed)
    model = _Logit()
    places: list[torch.Tensor] = []
    bags: list[int] = []  # of each feature, which candidate it is of
    owners: list[int] = []  # of each candidate, which row it is of
    right: list[int] = []
    for number, (offered, row) in enumerate(rows):
        if row["answer"] not in offered:
            continue
        right.append(len(owners) + offered.index(row["answer"]))
        for answer in offered:
            own = _hashed(features(row, answer))
            bags += [len(owners)] * len(own)
            owners.append(number)
            places.append(own)
    of_bag, of_row = torch.tensor(bags), torch.tensor(owners)
    at, gold = torch.cat(places), torch.tensor(right)
    optimizer = torch.optim.Adam([model.weights], lr=0.05)
    for _ in range(epochs):
        scores = torch.zeros(len(owners)).index_add(0, of_bag, model.weights[at])
        total = torch.zeros(len(rows)).index_add(0, of_row, scores.exp())[of_row[gold]].log()
        loss = (total - scores[gold]).mean() + 1e-2 * model.weights.square().sum() / len(right) ** 0.5
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def table(results: Mapping[str, Result]) -> str:
    """The results in Markdown; what is above the limit is marked."""
    lines = ["| question | train | held out | chance | majority | words alone | 95% |", "|---|---|---|---|---|---|---|"]
    for name, r in results.items():
        low, high = r.interval()
        mark = f" **above {LIMIT:.0%}**" if r.words > LIMIT else ""
        lines.append(
            f"| {name} | {r.train} | {r.held} | {r.chance:.0%} | {r.majority:.0%} | {r.words:.0%}{mark} "
            f"| {low:.0%} to {high:.0%} |"
        )
    return "\n".join(lines)


def read(folder: Path, splits: Sequence[str]) -> list[Row]:
    """The rows of these splits of a mined data set, without pictures."""
    files = [file for split in splits for file in sorted((folder / "examples").glob(f"{split}-*.parquet"))]
    rows = [row for file in files for row in pq.read_table(file, columns=list(COLUMNS)).to_pylist()]
    return [row for row in rows if row["task"] in TASKS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("outputs/phantom_questions/data"), help="a mined data folder")
    parser.add_argument("--held", nargs="+", default=["val", "test"], help="splits that are answered")
    parser.add_argument("--json", action="store_true", help="numbers instead of a table")
    args = parser.parse_args()
    train, held = read(args.data, ["train"]), read(args.data, args.held)
    if not train or not held:
        print(f"skipped: {args.data} has no mined questions to train on and to answer")
        return
    results = study(train, held)
    print(json.dumps({name: r._asdict() for name, r in results.items()}, indent=1) if args.json else table(results))


if __name__ == "__main__":
    main()
