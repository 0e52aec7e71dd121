"""Reads a mined data set (`examples/{split}-*.parquet`) back, checks it, and hands it to trainers and evaluation."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from reasoner.errors import UserError
from reasoner.prompts import assistant_message, conversation
from reasoner.schema import Example

if TYPE_CHECKING:
    import datasets

#: The columns that reward functions may ask for besides `completion`.
REWARD_COLUMNS = ("id", "study_id", "task", "question", "options", "answer", "reasoning", "report", "labels", "stage")


def load_examples(
    data_dir: Path, split: str, tasks: Collection[str] | None = None, limit: int | None = None
) -> list[Example]:
    """The examples of one split in file order, of `tasks` only when given, with absolute image paths that exist.

    Raises:
        UserError: no such split, no example left, or an image that is missing or not a path.
    """
    import pyarrow.parquet as pq

    shards = sorted((data_dir / "examples").glob(f"{split}-*.parquet"))
    if not shards:
        raise UserError(f"{data_dir / 'examples'}: no '{split}' split; run `make mine` first")
    examples: list[Example] = []
    for shard in shards:
        for number, row in enumerate(pq.read_table(shard).to_pylist()):
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


@dataclass(frozen=True)
class Augment:
    """How far training images are varied; 0 is not at all. Never mirrored: sides carry meaning in a radiograph."""

    film: float = 0.0
    """Film curve: contrast and gamma change by a factor of up to e^film, brightness by up to a quarter of `film`;
    noise of up to a sixteenth of `film` (share of the grey range) is added."""
    geometry: float = 0.0
    """Place: moved and scaled by up to this share of the size, turned by up to 30 degrees times it."""


def to_dataset(
    examples: Sequence[Example], *, completions: bool, augment: Augment = Augment(), seed: int = 0
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
    if augment == Augment():
        return dataset

    def vary(rows: dict[str, list]) -> dict[str, list]:
        if "images" in rows:
            rows["images"] = [[_vary(image, augment, seed) for image in images] for images in rows["images"]]
        return rows

    return dataset.with_transform(vary)


def _vary(image: PIL.Image.Image, amount: Augment, seed: int) -> PIL.Image.Image:
    return augmented(image, amount, np.random.default_rng([seed, zlib.crc32(image.tobytes())]))


def augmented(image: PIL.Image.Image, amount: Augment, random: np.random.Generator) -> PIL.Image.Image:
    """The image in another pose and on another film, as far as `amount` allows; same size and mode."""
    if amount.geometry:
        width, height = image.size
        shift_x, shift_y, scale, turn = random.uniform(-amount.geometry, amount.geometry, 4)
        scale, turn = 1 + scale, np.deg2rad(30 * turn)
        cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
        # Output -> input coordinates, about the centre.
        offset_x = width / 2 * (1 - cos) + height / 2 * sin + shift_x * width
        offset_y = height / 2 * (1 - cos) - width / 2 * sin + shift_y * height
        matrix = (cos, -sin, offset_x, sin, cos, offset_y)
        image = image.transform(image.size, PIL.Image.Transform.AFFINE, matrix, PIL.Image.Resampling.BILINEAR)
    if amount.film:
        gamma, contrast = np.exp(random.uniform(-amount.film, amount.film, 2))
        brightness = random.uniform(-amount.film, amount.film) / 4
        levels = 0.5 + contrast * (np.linspace(0, 1, 256) ** gamma - 0.5) + brightness
        grey = levels.astype(np.float32)[np.asarray(image)]
        noise = random.standard_normal(grey.shape[:2], dtype=np.float32) * (random.uniform(0, amount.film) / 16)
        grey += noise.reshape(noise.shape + (1,) * (grey.ndim - 2))
        image = PIL.Image.fromarray((np.clip(grey, 0, 1) * 255 + 0.5).astype(np.uint8))
    return image


def _plain(message: dict[str, Any]) -> dict[str, str]:
    """A message with string content, which TRL turns into content blocks together with the row's images."""
    return {"role": message["role"], "content": "".join(block["text"] for block in message["content"])}


def fit_length(
    examples: Sequence[Example], processor: Any, max_length: int, *, completions: bool
) -> tuple[list[Example], list[Example], int]:
    """Splits examples into those of at most `max_length` tokens and the longer ones; also the longest length seen.

    Text is tokenised for real; image tokens are counted from the image sizes in the files' headers.
    """
    texts = [
        processor.apply_chat_template(
            conversation(e.context, e.question, e.options, len(e.images))
            + ([assistant_message(e.reasoning, e.answer)] if completions else []),
            add_generation_prompt=not completions,
            tokenize=False,
        )
        for e in examples
    ]
    lengths = [len(ids) for ids in processor.tokenizer(texts, add_special_tokens=False)["input_ids"]]
    image_tokens: dict[tuple[int, int], int] = {}
    kept: list[Example] = []
    dropped: list[Example] = []
    for number, example in enumerate(examples):
        for path in example.images:
            with PIL.Image.open(path) as image:
                size = (image.height, image.width)
            if size not in image_tokens:
                image_tokens[size] = processor._get_num_multimodal_tokens([size])["num_image_tokens"][0]
            lengths[number] += image_tokens[size] - 1  # the placeholder is counted in the text
        (kept if lengths[number] <= max_length else dropped).append(example)
    return kept, dropped, max(lengths)
