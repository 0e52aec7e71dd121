"""Files of labels without reports, and files of predictions that repeat their rows, as items of the abnormality list.

CSV or JSON, packed or not; `eval.benchmarks.layouts` has the columns. Rows are read one at a time; held are the ids, of
MIMIC's metadata a picture per study, and of one-row-per-finding files the findings of every picture.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

from eval.benchmarks.base import Item, Malformed
from eval.benchmarks.cases import COMPLETION
from eval.benchmarks.layouts import Line, Numbered, Outcome, layout_of
from reasoner.errors import UserError, one_line
from reasoner.runtime.terminal import say
from reasoner.schema import Example
from reasoner.sources.io.checks import is_file, official_split
from reasoner.sources.io.collection import PROBES, Pictures
from reasoner.sources.io.csv_rows import csv_header, read_csv
from reasoner.sources.io.files import BROKEN, PACKED, Row, canonical, decode, open_lines
from reasoner.sources.io.json_rows import json_keys, read_json
from rewards.answers import LIST_TASK

#: The question of NV-Reason-CXR, where a row has none of its own.
QUESTION = "Find abnormalities and support devices."
_FIELDS = ("id", "image", "conversations", "solution", "Path", "image_id", "study_id", *COMPLETION)
_JSON = (".json", ".jsonl", ".ndjson")
#: So many names of findings that are no class are said.
_MOST_SAID = 12
#: Folders that a picture's name may begin with and that the user's copy may lack.
_MOST_DROPPED = 4
_LINE = re.compile(r":(\d+)(?:\[\d+\])?$")

_column = lru_cache(maxsize=4096)(canonical)


def read_labels(file: Path, images: Path | None) -> Iterator[Item | Malformed]:
    """The items of one file, in its order; findings of no class are said at the end.

    Raises:
        UserError: the file has none of the layouts, a column looks like that of a class and is none, or `images` is
            given and none of the first pictures is below it.
    """
    columns = json_keys(file, _FIELDS) if _is_json(file) else csv_header(file)
    outcomes = layout_of(file, columns)(file, read_lines(file))
    head = list(islice(outcomes, PROBES))
    pictures = _Finder.over([o.case.picture for o in head if isinstance(o, Numbered)], file, images)
    return _items(chain(head, outcomes), file, pictures)


def table_of(file: Path) -> str:
    """The file's name without its endings."""
    name = _unpacked(file)
    for ending in (".csv", ".tsv", *_JSON):
        name = name.removesuffix(ending)
    return name


def read_lines(file: Path) -> Iterator[Line]:
    """The rows of a CSV or JSON file by canonical names; nothing that is in a row raises."""
    line = 0
    for index, row in enumerate(_rows(file)):
        place = _LINE.search(row.where.removeprefix(str(file)))
        line = int(place[1]) if place else line + 1
        if row.reason:
            yield Line(index, line, problem=f"{row.reason}: {row.detail}")
        elif not isinstance(row.value, dict):
            yield Line(index, line, problem=f"a row must be an object, found {type(row.value).__name__}")
        else:
            yield Line(index, line, {_column(name): cell for name, cell in row.value.items()})


def _rows(file: Path) -> Iterator[Row]:
    if not _is_json(file):
        return read_csv(file)
    return read_json(file, _FIELDS) if _unpacked(file).endswith(_JSON[0]) else _json_lines(file)


def _json_lines(file: Path) -> Iterator[Row]:
    """Line by line, so that a broken one spoils only itself, whatever stands in it."""
    try:
        with open_lines(file) as lines:
            for number, data in enumerate(lines, 1):
                words = decode(data)
                if words is None:
                    yield Row(f"{file}:{number}", None, "undecodable", "neither UTF-8 nor Windows-1252")
                elif words.strip():
                    try:
                        yield Row(f"{file}:{number}", json.loads(words, strict=False))
                    except (ValueError, RecursionError) as error:
                        yield Row(f"{file}:{number}", None, "not JSON", str(error))
    except BROKEN as error:
        yield Row(str(file), None, "undecodable", f"the rest of the file cannot be read: {error}")


def _is_json(file: Path) -> bool:
    return _unpacked(file).endswith(_JSON)


def _unpacked(file: Path) -> str:
    name = file.name
    for ending in PACKED[1:]:
        name = name.removesuffix(ending)
    return name


def _items(outcomes: Iterable[Outcome], file: Path, pictures: _Finder | None) -> Iterator[Item | Malformed]:
    table, seen = table_of(file), set[str]()
    outside: Counter[str] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, Malformed):
            yield outcome
            continue
        index, line, case = outcome
        picture = pictures.find(case.picture) if pictures and case.picture else None
        if case.id in seen:
            yield Malformed(str(file), line, f"the id {case.id[:80]!r} is that of an earlier row")
            continue
        seen.add(case.id)
        if pictures and picture is None and case.completion is None:
            yield Malformed(str(file), line, f"the picture {case.picture[:200]!r} is not there")
            continue
        outside.update(case.outside)
        gold = case.gold()
        example = Example(
            id=case.id,
            study_id=case.study,
            task=LIST_TASK,
            question=case.question or QUESTION,
            answer=", ".join(gold["classes"]),
            reasoning=case.reasoning,
            images=(picture,) if picture else (),
            labels=case.labels,
            label_source="verified",  # they are what is to be found, whoever made them
            split=case.split or official_split(table) or "test",
            source=table,
        )
        yield Item(table, index, example, gold=gold, about=case.about, completion=case.completion, line=line)
    if outside:
        named = ", ".join(f"{name} ({count:,})" for name, count in outside.most_common(_MOST_SAID))
        more = f" and {len(outside) - _MOST_SAID} more" if len(outside) > _MOST_SAID else ""
        say(one_line(f"{file}: findings of the reference that are no CheXpert class, left out: {named}{more}"))


@dataclass(frozen=True)
class _Finder:
    """Where the pictures of a file lie: below `folder`, without the first `dropped` folders of their names."""

    folder: Path
    dropped: int

    @classmethod
    def over(cls, names: Sequence[str], file: Path, images: Path | None) -> _Finder | None:
        """As the first of the names that is there tells; None where none is, and nobody said where they are."""
        base = file.parent
        usual = (base, base.parent, base / "images", base / "train", base / "test", base / table_of(file))
        for name in dict.fromkeys(filter(None, names)):
            for folder in (images,) if images else usual:
                for dropped in range(min(_MOST_DROPPED, name.count("/") + 1)):
                    finder = cls(folder.resolve(), dropped)
                    if finder.find(name):
                        return finder
        if images and any(names):
            first = next(filter(None, names))
            raise UserError(f"{images}: none of the first pictures of {file} is there, as {first!r}; mend --images")
        return None

    def find(self, name: str) -> str | None:
        """The picture's path; None where there is none."""
        path = Pictures((str(self.folder),)).find("/".join(name.replace("\\", "/").split("/")[self.dropped :]))
        return path if is_file(path) else None
