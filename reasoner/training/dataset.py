"""Reads a mined data set (`examples/{split}-*.parquet`) back, checks it, and hands it to trainers and evaluation."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.errors import UserError
from reasoner.prompts import assistant_message, conversation
from reasoner.schema import Example
from reasoner.training.augment import NONE, Augment, vary

if TYPE_CHECKING:
    import datasets

#: The columns that reward functions may ask for besides `completion`.
REWARD_COLUMNS = (
    *("id", "study_id", "task", "question", "options", "answer", "reasoning", "report"),
    *("labels", "label_source", "stage"),
)


def load_examples(
    data_dir: Path, split: str, tasks: Collection[str] | None = None, limit: int | None = None
) -> list[Example]:
    """The examples of one split in file order, of `tasks` only when given, with absolute image paths that exist.

    Raises:
        UserError: no such split, no example left, or an image that is missing or not a path.
    """
    shards = sorted((data_dir / "examples").glob(f"{split}-*.parquet"))
    if not shards:
        raise UserError(f"{data_dir / 'examples'}: no '{split}' split; run `make mine` first")
    examples: list[Example] = []
    for shard in shards:
        for number, row in enumerate(_rows(shard)):
            if tasks is not None and row["task"] not in tasks:
                continue
            images = [_image_path(data_dir, image, f"{shard}:{number}") for image in row["images"] or []]
            examples.append(Example.from_dict({**row, "images": images}))
            if limit is not None and len(examples) >= limit:
                return examples
    if not examples:
        wanted = f" of tasks {', '.join(sorted(tasks))}" if tasks is not None else ""
        raise UserError(f"{data_dir / 'examples'}: split '{split}' holds no examples{wanted}; run `make mine` again")
    return examples


def _rows(shard: Path) -> list[dict[str, Any]]:
    """The rows of one Parquet file, or a `UserError` that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fix = "run `reasoner mine --force`"
    try:
        rows = pq.read_table(shard).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{shard}: damaged, cannot be read as Parquet ({error}); {fix}") from error
    if missing := [f.name for f in fields(Example) if f.default is MISSING and rows and f.name not in rows[0]]:
        raise UserError(f"{shard}: column '{missing[0]}' is missing; {fix}")
    return rows


def _image_path(data_dir: Path, image: Any, where: str) -> str:
    """The absolute path of one image cell, or a `UserError` that names the row."""
    if not isinstance(image, str):
        raise UserError(f"{where}: column 'images' must hold file paths, found {type(image).__name__}")
    path = data_dir / image  # an absolute `image` stays as it is
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}:
        raise UserError(f"{where}: column 'images' holds text, not an image path: {image[:60]!r}")
    if not path.is_file():
        raise UserError(f"{where}: image {path} is missing; restore it or run `make mine` again")
    return str(path)


def to_dataset(
    examples: Sequence[Example], *, completions: bool, augment: Augment = NONE, seed: int = 0
) -> datasets.Dataset:
    """A Hugging Face data set for TRL: `prompt` (chat), `images` (decoded on access) and the reward columns.

    With `completions` (SFT) the reference reasoning and answer become the `completion` to be learned; without (GRPO)
    they stay columns that only rewards see. `augment` varies each image in one way, fixed by `seed` and its pixels:
    all completions of a GRPO group see the same, and so does a resumed run.
    """
    import datasets

    # Pixels are attached by `Image()`; the messages keep placeholders, which TRL fills.
    columns: dict[str, list] = {
        "prompt": [[_plain(m) for m in conversation(e.context, e.question, e.options, 0)] for e in examples],
        "images": [list(e.images) for e in examples],
    }
    if completions:
        columns["completion"] = [[_plain(assistant_message(e.reasoning, e.answer))] for e in examples]
    else:
        for name in REWARD_COLUMNS:
            columns[name] = [list(v) if isinstance(v := getattr(e, name), tuple) else v for e in examples]
        columns["image_paths"] = [list(e.images) for e in examples]
        # Rows of different tasks may carry different label sets: JSON keeps the Arrow schema one.
        columns["labels"] = [json.dumps(e.labels) if e.labels else None for e in examples]
    dataset = datasets.Dataset.from_dict(columns)
    dataset = dataset.cast_column("images", datasets.Sequence(datasets.Image()))
    if augment == NONE:
        return dataset

    def varied(rows: dict[str, list]) -> dict[str, list]:
        if "images" in rows:
            rows["images"] = [[vary(image, augment, seed) for image in images] for images in rows["images"]]
        return rows

    return dataset.with_transform(varied)


def _plain(message: dict[str, Any]) -> dict[str, str]:
    """A message with string content, which TRL turns into content blocks together with the row's images."""
    return {"role": message["role"], "content": "".join(block["text"] for block in message["content"])}
