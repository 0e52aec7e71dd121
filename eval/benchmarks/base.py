"""What a benchmark is: how it reads rows into the items of its tables, how it grades a completion, what a table states.

`run.py` asks the models, scores and compares; the page is made of the files that a run leaves. A benchmark knows
nothing of models, and a model nothing of benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from eval.bootstrap import Array
from reasoner.schema import Example

#: How a profile reads the answer of a completion: the text of the answer, or None where none can be read.
AnswerReader = Callable[[str], str | None]


@dataclass(frozen=True)
class Item:
    """One question of one table."""

    table: str
    #: Position of its row in the source file, from 0; with the table, its identity.
    index: int
    #: Question, options, pictures (as paths that can be opened), reference reasoning and answer, report, labels. Its
    #: `id` is the row's own, its `context` the earlier turns with their reference answers.
    example: Example
    #: Items of one conversation are asked in the order in which they come; empty stands alone.
    conversation: str = ""
    #: What grading needs beyond the example: boxes, the kind of the question, the letters of the options.
    gold: Mapping[str, Any] = field(default_factory=dict)
    #: Subgroups, as the row gives them: `view`, `sex`, `age`.
    about: Mapping[str, str] = field(default_factory=dict)
    #: What a model wrote, where the row is one of a file of predictions; None in a file of questions.
    completion: str | None = None
    #: The number by which its row is looked up in the file, as in `Malformed`.
    line: int = 0

    @property
    def key(self) -> tuple[str, int]:
        return self.table, self.index


def writable(completion: str) -> str:
    """What a model wrote, with a question mark for half a character (a lone surrogate), which no file can hold."""
    return completion.encode("utf-8", "replace").decode()


class Malformed(NamedTuple):
    """A row that is no item: counted and listed, in words and on the page. `line` counts from 1; in a JSON list it is
    the row's number."""

    file: str
    line: int
    problem: str


class Grade(NamedTuple):
    """A completion under both rules; None leaves the denominator of its rule."""

    #: By the rule of the benchmark's authors, item by item as theirs.
    official: bool | None
    #: By ours: an answer that cannot be read is wrong.
    strict: bool | None
    #: The answer as `strict` read it.
    read: str | None = None
    #: Why the rules differ, where they do; one line.
    note: str = ""
    #: Measures of this item whose mean the table states (`jaccard`, `iou`, `rouge_l`); None leaves it out of the mean.
    values: Mapping[str, float | None] = {}
    #: Counts that are added up over the table before `metrics` makes a ratio of them (`tp:Edema`).
    counts: Mapping[str, float] = {}


class Published(NamedTuple):
    """A number to stand beside ours. `metric` is one of `scores.json`."""

    model: str
    table: str
    metric: str
    value: float
    #: Paper and table, with its address.
    source: str


class Benchmark(Protocol):
    """One object per run. Tables are named as the files of the benchmark where it has such."""

    name: str
    #: The prompt profile of the benchmark's authors (`reasoner/profiles.py`).
    profile: str
    published: Sequence[Published]
    #: Whether a table takes the rows of all files; else each is one file's.
    gathers: bool

    def read(self, file: Path, images: Path | None) -> Iterator[Item | Malformed]:
        """The rows of one file in their order, one at a time: files are larger than memory.

        Args:
            images: the folder that pictures' names are relative to; None looks beside the file.

        Raises:
            UserError: the file is not of this benchmark; it says what was looked for.
        """
        ...

    def grade(self, item: Item, completion: str, reader: AnswerReader) -> Grade:
        """Never raises for what a model wrote."""
        ...

    def metrics(self, totals: Mapping[str, Array]) -> dict[str, Array]:
        """Ratios of the added `counts`, [...] each to [...]; `official`, `strict`, `radrscore`, its parts and the means
        of `values` are made by the run."""
        ...
