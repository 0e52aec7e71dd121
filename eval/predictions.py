"""Prediction files: one JSON line per completion, and what they were made from, so that a finished one is reused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.errors import UserError
from reasoner.profiles import OURS, Profile
from reasoner.runtime.disk import replacing
from reasoner.runtime.terminal import say
from reasoner.schema import Example

#: The Example fields that a prediction row repeats; `sample`, `completion` and `tokens` are added.
FIELDS = (
    *("id", "study_id", "task", "question", "options", "images", "reasoning", "answer"),
    *("labels", "label_source", "report"),
)

#: (model, split, mode): what one prediction file holds.
Cell = tuple[str, str, str]


class Decoding(NamedTuple):
    """How one prediction file is sampled. `mode` is greedy or sampled."""

    mode: str
    samples: int
    temperature: float
    max_tokens: int
    seed: int


def prediction_rows(examples: Sequence[Example], data: Path) -> list[dict[str, Any]]:
    """The examples as rows of `FIELDS`, with image files named relative to `data` where they lie below it."""
    rows = []
    for example in examples:
        row = {field: getattr(example, field) for field in FIELDS}
        row["options"] = list(example.options)
        row["context"] = [turn.to_dict() for turn in example.context]
        row["images"] = [_below(Path(image), data) for image in example.images]
        rows.append(row)
    return rows


def image_paths(row: Mapping[str, Any], data: Path) -> list[Path]:
    """The row's image files; relative names lie below `data`."""
    return [data / name for name in row["images"]]


def checkpoint_fingerprint(checkpoint: str | Path) -> list[Any]:
    """What tells one state of a checkpoint from another: its weight files with size and time, or its Hub id."""
    files = sorted(Path(checkpoint).glob("*.safetensors"))
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return [str(checkpoint), *map(list, stats)]


def fingerprint(
    checkpoint: str | Path, rows: Sequence[Mapping[str, Any]], decoding: Decoding, profile: Profile = OURS
) -> dict[str, Any]:
    """Equal for two calls exactly when their prediction files would be the same."""
    digest = hashlib.sha256()
    for row in rows:
        asked = [row["id"], row["question"], row["options"], row["images"], row["context"]]
        if profile.name != OURS.name:  # which words all rows alike
            asked += [row["task"], profile.reasons(row["reasoning"])]
        digest.update(json.dumps(asked).encode())
    return {
        # Left out for ours, so that what was made before there were profiles stays current.
        **({"profile": profile.to_dict()} if profile.name != OURS.name else {}),
        "checkpoint": checkpoint_fingerprint(checkpoint),
        "rows": len(rows),
        "ids": digest.hexdigest(),
        **decoding._asdict(),
    }


def is_complete(path: Path, expected: dict[str, Any]) -> bool:
    """Whether `path` holds all the predictions that `expected` describes; says so where it is damaged."""
    try:
        same = read_description(path) == expected
        return same and len(read_predictions(path)) == expected["rows"] * expected["samples"]
    except FileNotFoundError:
        return False
    except UserError as error:
        say(f"{error}; it is made again")
        return False


def write_predictions(path: Path, rows: Sequence[Mapping[str, Any]], described: dict[str, Any]) -> None:
    """Replaces the file, then its description. One that described other predictions goes first, so that an interrupted
    write is done again.

    Raises:
        UserError: they cannot be written.
    """
    description = _description(path)
    try:
        known = read_description(path) == described
    except (FileNotFoundError, UserError):
        known = False
    if not known:
        description.unlink(missing_ok=True)
    with replacing(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not known:
        with replacing(description) as file:
            file.write(json.dumps(described, indent=1))


def read_description(path: Path) -> dict[str, Any]:
    """The fingerprint that a prediction file was written with.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is damaged.
    """
    description = _description(path)
    try:
        return json.loads(description.read_text("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{description}: damaged ({error}): delete the file and evaluate again") from error


def read_predictions(path: Path, asked: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The rows of a prediction file. What it repeats of a question gives way to `asked`, the questions as they are now:
    a file that is reused may be older than their answers and labels.

    Raises:
        FileNotFoundError: there is none.
        UserError: on a line that is no row of `FIELDS` with its completion.
    """
    rows: list[dict[str, Any]] = []
    now = {row["id"]: row for row in asked}
    try:
        with path.open("rb") as file:
            for line in file:
                row = _row(json.loads(line.decode("utf-8")))
                rows.append({**row, **now.get(row["id"], {})})
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}:{len(rows) + 1}: damaged ({error}): delete the file and evaluate again") from error
    return rows


def _row(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"a row must be an object, found {type(value).__name__}")
    missing = [name for name in (*FIELDS, "sample", "completion") if name not in value]
    if missing:
        raise ValueError(f"'{missing[0]}' is missing")
    return value


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _description(path: Path) -> Path:
    return path.with_suffix(".meta.json")
