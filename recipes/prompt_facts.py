"""What prompts are drawn by, as arrays: a few bytes a prompt, made once of all examples and kept (docs/training.md)."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reasoner.mining.grounding import DETECTION
from reasoner.schema import Example
from rewards.answers.choices import compiled
from rewards.radrscore.reading import named

#: Tasks whose answers are prose, so that hardly two are the same.
PROSE = ("stage", "report")
#: Tasks whose question names the finding that the answer is about.
ASKED = ("binary", "temporal")


def cells(example: Example) -> tuple[Hashable, ...]:
    """What a prompt is about, by which the drawing is balanced: its task with each name of its answer (the words of an
    option, not its letter) and with the finding that is asked about; of prose only the stage, of a place what is
    sought."""
    if example.task in PROSE:
        return ((example.task, example.stage),)
    if example.task == DETECTION:
        return ((example.task, named(example.question)),)
    letters = compiled(tuple(example.options)).words if example.options else {}
    names = dict.fromkeys(name.strip() for name in example.answer.split(","))
    about = named(example.question) if example.task in ASKED else ()
    return tuple((example.task, about, letters.get(name, name)) for name in names)


class Cells:
    """The cells of all prompts, as numbers from 0 to below `number`.

    Args:
        flat: of one prompt after the other.
        counts: how many each has, (prompts,).
    """

    def __init__(self, flat: np.ndarray, counts: np.ndarray):
        self.flat, self.counts = flat, counts
        self.number = int(flat.max(initial=-1)) + 1
        self._starts = np.cumsum(counts, dtype=int) - counts

    def of(self, index: int) -> np.ndarray:
        """The cells of one prompt."""
        return self.flat[self._starts[index] : self._starts[index] + self.counts[index]]

    def sizes(self) -> np.ndarray:
        """How many prompts each cell has, (cells,)."""
        return np.bincount(self.flat, minlength=self.number)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean of `values`, (cells,), over the cells of each prompt, (prompts,)."""
        return np.add.reduceat(values[self.flat], self._starts) / self.counts


@dataclass(frozen=True, eq=False)
class Facts:
    """Of each prompt, (prompts,): its task as a number of `names`, the words of its reference chain, its stage (0:
    none), its cells."""

    names: tuple[str, ...]
    tasks: np.ndarray
    words: np.ndarray
    stages: np.ndarray
    cells: Cells

    def __len__(self) -> int:
        return len(self.tasks)


def facts_of(examples: Iterable[Example]) -> Facts:
    """The facts of examples, which are gone over once."""
    numbers: dict[Hashable, int] = {}
    names: dict[str, int] = {}
    rows, flat = array("i"), array("i")  # lists would take ten times as much
    for example in examples:
        held = [numbers.setdefault(cell, len(numbers)) for cell in cells(example)]
        flat.extend(held)
        task = names.setdefault(example.task, len(names))
        rows.extend((task, len(example.reasoning.split()), example.stage or 0, len(held)))
    tasks, words, stages, counts = np.array(rows, dtype=np.int32).reshape(-1, 4).T
    return Facts(tuple(names), tasks, words, stages, Cells(np.array(flat, dtype=np.int32), counts))


def write_facts(examples: Iterable[Example], place: Path) -> None:
    """Keeps the facts of examples in a file."""
    facts = facts_of(examples)
    with place.open("wb") as file:
        np.savez(
            file,
            names=np.array(facts.names),
            tasks=facts.tasks,
            words=facts.words,
            stages=facts.stages,
            flat=facts.cells.flat,
            counts=facts.cells.counts,
        )


def read_facts(place: Path) -> Facts:
    """What `write_facts` wrote."""
    with np.load(place) as held:
        cells = Cells(held["flat"], held["counts"])
        return Facts(tuple(map(str, held["names"])), held["tasks"], held["words"], held["stages"], cells)
