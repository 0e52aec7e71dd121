"""RadRBench-CXR (ChestX-Reasoner, arXiv 2504.20930): its questions, or anybody's predictions, in eleven tables.

A file is a table, named by its name; rows are read by every published spelling (`reasoner/sources/spellings.py`).

Malformed, so that they are listed and no items: rows that are no JSON or no objects, lack question or answer, have a
column of the wrong kind, or one that looks like a published one and is not read; a reference answer with one tag
without the other; a second row with an id, unless ids repeat all over the file; a picture that is missing where
others are there, and another number of pictures than all but a few rows have. What a model wrote is never malformed:
an empty text, no tags, or one that is not closed are graded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from eval.benchmarks.base import AnswerReader, Grade, Item, Malformed, Published, writable
from eval.benchmarks.radrbench_rules import difference, official, ratescore, strict
from eval.bootstrap import Array
from reasoner.errors import UserError, one_line
from reasoner.schema import Example
from reasoner.sources.io.cells import get, text
from reasoner.sources.io.checks import is_file
from reasoner.sources.io.collection import PROBES, Pictures
from reasoner.sources.io.json_rows import read_numbered
from reasoner.sources.radrbench import FIELDS
from reasoner.sources.radrbench_rows import Fields, patient_of, read_fields, task_of
from reasoner.sources.spellings import FieldError

#: The tables, as their files are named.
TABLES = (
    "chexpert_binary_test_option",
    "chexpert_single_test_option",
    "chexpert_multi_test_option",
    "chexpert_multi_test_no_option",
    "mimic_binary_test_option",
    "mimic_single_test_option",
    "mimic_multi_test_option",
    "mimic_multi_test_no_option",
    "rsna_binary_test_option",
    "siim_binary_test_option",
    "temporal_cls_test_option",
)
#: So much of a file must be alike for the rest to be faults.
USUAL = 0.95
_OPEN = "no_option"
_ENDINGS = re.compile(r"(?:\.jsonl?|\.gz|\.zip)+$", re.IGNORECASE)
_ONE_LETTER = re.compile(r"\(?[A-Ha-h][).:]?")
#: What `Item.about` states, and the names of its columns.
_ABOUT = {"view": ("view", "view_position", "ViewPosition"), "sex": ("sex", "gender"), "age": ("age",)}


@dataclass(frozen=True)
class Radrbench:
    """The benchmark. No number of the paper was at hand with its source, so none is `published` here."""

    name: ClassVar[str] = "radrbench"
    profile: ClassVar[str] = "chestx_reasoner"
    gathers: ClassVar[bool] = False
    published: Sequence[Published] = field(default=())

    def read(self, file: Path, images: Path | None) -> Iterator[Item | Malformed]:
        """The rows of one file: a JSON list, an object of rows, or JSON lines, plain or packed.

        Pictures that are not at hand at all are left out of the items (there may be predictions); where the first rows'
        are there, or `images` is given, each must be, unless the row has a prediction.

        Raises:
            UserError: there is no such file, or none of its first rows is an item.
        """
        if not is_file(str(file)):
            raise UserError(f"{file}: no such file; give a JSON or JSON-lines file of questions or predictions")
        pictures = Pictures.of(str(images) if images else None, file.parent, file.parent / "images", file.parent.parent)
        habits = _Habits.of(file, pictures, given=images is not None)
        table, seen = table_of(file), dict[str, int]()
        for index, (line, row) in enumerate(read_numbered(file, FIELDS)):
            if row.reason:
                yield Malformed(str(file), line, one_line(f"{row.reason}: {row.detail}"))
                continue
            try:
                fields = read_fields(row.value)
                _writable(fields)
                habits.check(fields, seen, line)
                found = _found(fields, habits, pictures)
            except FieldError as error:
                yield Malformed(str(file), line, one_line(error))
                continue
            yield _item(table, index, line, row.value, fields, found)

    def grade(self, item: Item, completion: str, reader: AnswerReader) -> Grade:
        """Both rules. `values`: of open lists `ratescore`, where it can be had, and `list_f1`, the answer reward."""
        gold = item.example.answer
        reading = strict(item.example, completion, reader)
        right = reading.value == 1.0
        if not item.gold.get("open"):
            by_authors = official(completion, gold)
            note = difference(by_authors, reading, completion, gold)
            return Grade(by_authors, right, reading.words, one_line(note))
        value, missing = ratescore(completion, gold)
        note = f"open list, official by RaTEScore: {missing or f'{value:.3f}'}"
        return Grade(None, right, reading.words, one_line(note), values={"ratescore": value, "list_f1": reading.value})

    def metrics(self, totals: Mapping[str, Array]) -> dict[str, Array]:
        """None beyond those of every benchmark."""
        return {}


def table_of(file: Path) -> str:
    """The table that a file is, by its name (`ours_mimic-single_test_option.json.gz`), else by its folder's; any other
    name is a table of its own, without the ending."""
    stem = _ENDINGS.sub("", file.name) or file.name
    for name in (stem, file.parent.name):
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower())
        for table in TABLES:
            if f"_{table}_" in f"_{plain}_":
                return table
    return stem


@dataclass(frozen=True)
class _Habits:
    """What is usual in a file, from a first look at all of it: only what is usual makes anything else a fault."""

    ids: bool
    """Ids name rows, rather than studies or patients."""
    pictures: bool
    """Pictures are at hand."""
    count: int | None
    """The number of pictures of nearly all rows."""
    predictions: bool
    """Nearly all rows have a prediction."""

    @classmethod
    def of(cls, file: Path, pictures: Pictures, given: bool) -> _Habits:
        """Raises `UserError` when no row can be read."""
        ids: set[str] = set()
        counts: Counter[int] = Counter()
        named = predicted = repeated = probed = 0
        at_hand, problem = given, ""
        for line, row in read_numbered(file, FIELDS):
            try:
                fields = read_fields(row.value) if not row.reason else None
            except FieldError as error:
                fields, problem = None, problem or f"row {line}: {error}"
            if fields is None:
                problem = problem or f"row {line}: {row.reason} {row.detail}"
                continue
            named += bool(fields.id)
            repeated += bool(fields.id) and fields.id in ids
            ids.add(fields.id)
            predicted += fields.completion is not None
            counts[len(fields.images)] += 1
            if not at_hand and probed < PROBES:
                probed += len(fields.images)
                at_hand = any(is_file(pictures.find(name)) for name in fields.images)
        rows = counts.total()
        if not rows:
            raise UserError(
                f"{file}: none of its rows is a question with its answer ({one_line(problem) or 'it has no rows'}); "
                "give JSON of objects with 'question' or 'q', and 'answer' or 'a'"
            )
        count, times = counts.most_common(1)[0]
        return cls(
            ids=repeated <= max(1.0, (1 - USUAL) * named),
            pictures=at_hand,
            count=count if times >= USUAL * rows or rows - times == 1 < times else None,
            predictions=predicted >= USUAL * rows or rows - predicted == 1 < predicted,
        )

    def check(self, fields: Fields, seen: dict[str, int], line: int) -> None:
        """Raises `FieldError` for a row that is not as the others; `seen` are the ids so far and their lines."""
        number = len(fields.images)
        if self.count is not None and number != self.count:
            raise FieldError(f"{number} pictures, where the rows of this file have {self.count}")
        if number and fields.placeholders not in (0, number):
            raise FieldError(f"{number} pictures, but {fields.placeholders} <image> in the question")
        if self.predictions and fields.completion is None:
            raise FieldError("'pred' is missing")
        if self.ids and fields.id:
            first = seen.setdefault(fields.id, line)
            if first != line:
                raise FieldError(f"duplicate id {fields.id[:60]!r}, which line {first} has")


def _found(fields: Fields, habits: _Habits, pictures: Pictures) -> tuple[str, ...]:
    """The paths of the pictures, all or none. Raises `FieldError` for one that is needed and not there."""
    paths = tuple(pictures.find(name) for name in fields.images) if habits.pictures else ()
    lost = next((path for path in paths if not is_file(path)), None)
    if lost is None:
        return paths
    if fields.completion is None:
        raise FieldError(f"missing image: {lost}")
    return ()


def _writable(fields: Fields) -> None:
    """Raises `FieldError` for half a character, which no file can hold, outside of what a model wrote."""
    words = (fields.id, fields.question, fields.answer, fields.reasoning, fields.report)
    try:
        "".join((*words, *fields.options, *fields.images)).encode()
    except UnicodeEncodeError:
        raise FieldError("a column holds half a character (a lone surrogate)") from None


def _item(table: str, index: int, line: int, row: Mapping[str, Any], fields: Fields, images: tuple[str, ...]) -> Item:
    is_open = table.endswith(_OPEN)
    named = text(get(row, "task", "task_type", "qtype"))
    task = task_of(fields, table if table in TABLES else named, fields.dataset, named, table)
    if task == "multiple" and not is_open and _ONE_LETTER.fullmatch(fields.answer):
        task = "single"  # its options are combinations of findings, and one of them is right
    example = Example(
        id=fields.id or str(index),
        study_id=patient_of(row, fields, fields.id or f"{table}/{index}"),
        task=task,
        question=fields.question,
        answer=fields.answer,
        reasoning=fields.reasoning,
        options=fields.options,
        images=images,
        report=fields.report,
        split="test",
        source=Radrbench.name,
    )
    about = {name: words for name, names in _ABOUT.items() if (words := text(get(row, *names)))}
    completion = None if fields.completion is None else writable(fields.completion)
    return Item(table, index, example, gold={"open": is_open}, about=about, completion=completion, line=line)
