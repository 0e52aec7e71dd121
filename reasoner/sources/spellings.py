"""How ChestX-Reasoner spells the columns of its files, in one place for all that read them.

Its questions, its training rows and its released predictions do not agree: `question|q`, `answer|a|answer_content`,
`pred`, `reason_steps`, `original_report(_1|_2)`, `image_path|images_path`, `item_id`, `dataset_name`. A column that
looks like one of these and is none of them is an error (`unread`), so that no row is read as if it had no reasoning.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from reasoner.profiles import own_words
from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN, TAGS, parse_completion
from reasoner.schema import Example
from reasoner.sources.io.cells import text

#: What is read -> its names, ours first.
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "q"),
    "answer": ("answer", "a", "answer_content"),
    "completion": ("completion", "pred"),
    "reasoning": ("reasoning", "reason_steps"),
    "report": ("report", "original_report", "original_report_1", "original_report_2"),
    "images": ("images", "image_path", "images_path"),
    "id": ("id", "item_id"),
    "dataset_name": ("dataset_name",),
}
#: What others call them: taken where none of the above is given, and only if it is of the right kind.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "reasoning": ("process", "reason", "rationale", "cot"),
    "report": ("gt_report",),
    "images": ("image", "image_paths"),
    "id": ("question_id", "_key"),
}
#: Words by which a column that is not read is told where the row has no other for what is wanted.
_STEMS: Mapping[str, frozenset[str]] = {
    "question": frozenset(("q", "question", "query", "prompt", "instruction")),
    "answer": frozenset(("a", "answer", "gt", "gold", "truth", "solution", "target")),
    "completion": frozenset(("pred", "prediction", "predict", "predicted", "response", "output", "generation")),
    "reasoning": frozenset(("reason", "reasoning", "rationale", "cot", "step")),
    "report": frozenset(("report",)),
    "images": frozenset(("image", "img", "picture")),
}
#: Beside such a word it speaks of a property (`question_type`), and beside those of `_NAMING` of a picture alone.
_PROPERTIES = frozenset(
    ("type", "kind", "date", "length", "count", "score", "format", "reward", "size", "view", "source")
)
_NAMING = frozenset(("id", "name"))
#: Columns of our own files, which are read elsewhere or are results.
_OURS = frozenset(field.name for field in fields(Example))
_FIELD = {name: field for table in (SPELLINGS, ALIASES) for field, names in table.items() for name in names}
#: As alike as these are a name and its misspelling: `anwser`, `reasoning_steps`, `images_pathes`.
_ALIKE = 0.83
#: Reasoning may be nested (`{"reason_steps": {"reason_steps": [...]}}`), but not without end.
_DEEPEST = 8
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_FENCE = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
#: The beginning of the model's turn in a chat that was decoded whole.

Row = Mapping[str, Any]


class FieldError(ValueError):
    """A column that cannot be read: its name, and what is wrong with it."""


def present(row: Row, field: str) -> list[str]:
    """The spellings of a field that a row has, whatever they hold; an alias only if it is of use."""
    return [name for name in SPELLINGS[field] if name in row] or _given(row, field)


def question_of(row: Row) -> str:
    """Raises FieldError: no text, or two spellings that differ; so do the others here."""
    return _agreed(row, "question", _text)


def answer_of(row: Row) -> str:
    """The reference answer without its tags; a list is joined by commas.

    `answer_content` counts where there is no other: beside a letter it may be the words of its option.
    """
    return _agreed(row, "answer", _answer, last="answer_content")


def completion_of(row: Row) -> str | None:
    """What a model wrote, without its prompt; None where the row has no such column. An empty cell is an empty text."""
    if not present(row, "completion"):
        return None
    return _agreed(row, "completion", _completion)


def reasoning_of(row: Row) -> str:
    """The reference reasoning without tags, its steps as sentences: a text, a list, or either below `reason_steps`."""
    return _agreed(row, "reasoning", _reasoning)


def report_of(row: Row) -> str:
    """The report; of a comparison the two reports in their order."""
    parts = [_text(row[name], name) for name in _given(row, "report")]
    return "\n\n".join(filter(None, dict.fromkeys(parts)))


def images_of(row: Row) -> tuple[str, ...]:
    """The names of the pictures in order."""
    return next((_names(row[name], name) for name in _given(row, "images")), ())


def id_of(row: Row) -> str:
    for name in _given(row, "id"):
        if isinstance(row[name], bool) or not isinstance(row[name], str | int):
            raise FieldError(f"'{name}' must be text or a whole number, found {_kind(row[name])}")
        if found := text(row[name]):
            return found
    return ""


def dataset_of(row: Row) -> str:
    return _agreed(row, "dataset_name", _text)


#: How each text is read, for those who want some of them.
READERS = {
    "question": question_of,
    "answer": answer_of,
    "completion": completion_of,
    "reasoning": reasoning_of,
    "report": report_of,
}


def unread(row: Row, wanted: Collection[str] = SPELLINGS, loosely: Collection[str] = SPELLINGS) -> str:
    """What is wrong with a row that has a column which looks like one of `wanted` and is not read; "" if none does.

    Looks like: the same but for case, number or signs, or misspelled; and for those of `loosely`, where the row has
    nothing else for it, whatever speaks of it (`gt_reasoning`). Numbers and empty cells are no text.
    """
    missing = [field for field in loosely if not present(row, field)]
    for key, value in row.items():
        if not isinstance(key, str) or key in _FIELD or key in _OURS:
            continue
        near, spoken_of = _resembles(key)
        filled = isinstance(value, str | list | dict) and bool(value)
        if near and _FIELD[near] in wanted and (filled or (_FIELD[near] == "id" and isinstance(value, int))):
            return f"column '{key[:60]}' is not read; did you mean '{near}'?"
        field = next((field for field in missing if field in spoken_of), "") if filled else ""
        if field:
            names = " or ".join(f"'{name}'" for name in SPELLINGS[field])
            return f"column '{key[:60]}' is not read; if it is the {field}, name it {names}"
    return ""


@lru_cache(maxsize=4096)
def _resembles(key: str) -> tuple[str, frozenset[str]]:
    """The published name that a column is a variant of, or "", and the fields that its words speak of."""
    words = _words_in(key[:100])
    spoken_of = frozenset(
        field
        for field, stems in _STEMS.items()
        if not stems.isdisjoint(words)
        and _PROPERTIES.isdisjoint(words)
        and (field == "images" or _NAMING.isdisjoint(words))
    )
    joined, best, near = "".join(words), _ALIKE, ""
    for name in (name for names in SPELLINGS.values() for name in names if len(name) >= 4):
        other = _words_in(name)
        if joined == "".join(other):
            return name, spoken_of
        if len(words) == len(other) and len(joined) >= 4:
            alike = difflib.SequenceMatcher(None, joined, "".join(other)).ratio()
            best, near = (alike, name) if alike > best else (best, near)
    return near, spoken_of


def _words_in(name: str) -> tuple[str, ...]:
    """`originalReport_3` -> original, report."""
    words = (word.lower() for word in _WORD.findall(name))
    return tuple(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words)


def _given(row: Row, field: str) -> list[str]:
    """The names under which a row gives a field: the published ones with a value, else an alias of the right kind."""
    names = [name for name in SPELLINGS[field] if not _empty(row.get(name))]
    kinds = str | int if field == "id" else str | list | dict
    others = (n for n in ALIASES.get(field, ()) if not _empty(row.get(n)) and isinstance(row[n], kinds))
    return names or [*others][:1]


def _empty(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str | list | dict) and not value)


def _agreed(row: Row, field: str, read: Any, last: str = "") -> str:
    """What all spellings of a field say that a row gives; `last` counts where there is no other."""
    names = _given(row, field)
    if last in names and len(names) > 1:
        names.remove(last)
    found = {name: read(row[name], name) for name in names}
    first = next((name for name in found if found[name]), "")
    other = next((name for name in found if found[name] not in ("", found.get(first))), "")
    if other:
        raise FieldError(f"'{first}' and '{other}' both give the {field}, and differ; keep one")
    return found.get(first, "")


def _kind(value: Any) -> str:
    return type(value).__name__


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise FieldError(f"'{name}' must be text, found {_kind(value)}")
    return text(value)


def _completion(value: Any, name: str) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise FieldError(f"'{name}' must be text, found {_kind(value)}")
    return own_words(value) if name == "pred" else value


def _answer(value: Any, name: str) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(filter(None, (_answer(item, name) for item in value)))
    if isinstance(value, dict):
        inner = next((key for key in SPELLINGS["answer"] if key in value), "")
        if inner and isinstance(value[inner], str | list):
            return _answer(value[inner], name)
    words = _text(value, name)
    if words.count(ANSWER_OPEN) != words.count(ANSWER_CLOSE):
        raise FieldError(f"'{name}' holds one of {ANSWER_OPEN} and {ANSWER_CLOSE} without the other")
    if ANSWER_OPEN not in words:
        return _untagged(words)
    inside = parse_completion(words).answer
    if inside is None:
        raise FieldError(f"'{name}' holds more than one {ANSWER_OPEN}")
    return inside


def _reasoning(value: Any, name: str) -> str:
    steps = list(_steps(value, name, 0))
    return steps[0] if len(steps) == 1 else " ".join(s if s[-1] in ".!?:;" else f"{s}." for s in steps)


def _steps(value: Any, name: str, depth: int) -> Iterator[str]:
    """The texts of reasoning in order, whatever they are packed in."""
    if depth > _DEEPEST:
        raise FieldError(f"'{name}' is nested more than {_DEEPEST} deep")
    if _empty(value):
        return
    if isinstance(value, str):
        packed = _unpacked(value)
        if packed is not None:
            yield from _steps(packed, name, depth + 1)
        elif words := _untagged(text(value)):
            yield words
    elif isinstance(value, list):
        for item in value:
            yield from _steps(item, name, depth + 1)
    elif isinstance(value, dict):
        inner = next((key for key in (*SPELLINGS["reasoning"], *ALIASES["reasoning"]) if key in value), None)
        # Without such a key its values are the steps; numbers count them.
        items = [value[inner]] if inner else [v for v in value.values() if not isinstance(v, int | float)]
        for item in items:
            yield from _steps(item, name, depth + 1)
    else:
        raise FieldError(
            f"'{name}' must be text, a list of texts, or one of them below 'reason_steps', found {_kind(value)}"
        )


def _unpacked(words: str) -> Any:
    """The list or object that a text is the JSON of; None for any other text."""
    fenced = _FENCE.fullmatch(words)
    bare = (fenced[1] if fenced else words).strip()
    if not bare.startswith(("{", "[")):
        return None
    try:
        value = json.loads(bare, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list | dict) else None


def _names(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = _unpacked(value.replace("'", '"')) or [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FieldError(f"'{name}' must be the name of a picture or a list of names")
    return tuple(filter(None, map(text, value)))


def _untagged(words: str) -> str:
    for tag in TAGS:
        words = words.replace(tag, " ")
    return words.strip()
