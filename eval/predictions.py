"""Prediction files: one JSON line per completion, and what they were made from, so that a finished one is reused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.errors import UserError
from reasoner.schema import Example

#: The Example fields that a prediction row repeats; `sample` and `completion` are added.
FIELDS = ("id", "study_id", "task", "question", "options", "images", "reasoning", "answer", "labels", "report")

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


def fingerprint(checkpoint: str | Path, rows: Sequence[Mapping[str, Any]], decoding: Decoding) -> dict[str, Any]:
    """Equal for two calls exactly when their prediction files would be the same."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row["id"], row["question"], row["options"], row["images"], row["context"]]).encode())
    return {
        "checkpoint": checkpoint_fingerprint(checkpoint),
        "rows": len(rows),
        "ids": digest.hexdigest(),
        **decoding._asdict(),
    }


def is_complete(path: Path, expected: dict[str, Any]) -> bool:
    """Whether `path` holds the predictions that `expected` describes."""
    described = _description(path)
    return path.exists() and described.exists() and read_description(path) == expected


def write_predictions(path: Path, rows: Sequence[Mapping[str, Any]], described: dict[str, Any]) -> None:
    """Writes the file, then its description: an interrupted write leaves no description and is done again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _description(path).unlink(missing_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(part, path)
    _description(path).write_text(json.dumps(described, indent=1), encoding="utf-8")


def read_description(path: Path) -> dict[str, Any]:
    """The fingerprint that a prediction file was written with."""
    return json.loads(_description(path).read_text(encoding="utf-8"))


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The rows of a prediction file.

    Raises:
        UserError: on a line that is no JSON.
    """
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}:{number}: not JSON ({error.msg}): delete the file and evaluate again"
                ) from error
    return rows


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _description(path: Path) -> Path:
    return path.with_suffix(".meta.json")
