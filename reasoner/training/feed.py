"""Hands examples to trainers: rows are put into words, and their pictures opened, when a batch asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from reasoner.dialogues import last_question
from reasoner.errors import UserError
from reasoner.pictures import PictureError, read_picture
from reasoner.profiles import OURS, Profile
from reasoner.prompts import ask, assistant_message
from reasoner.runtime.terminal import say
from reasoner.schema import Example
from reasoner.training.augment import NONE, Augment, vary
from reasoner.training.dataset import REWARD_COLUMNS

if TYPE_CHECKING:
    import datasets
    import PIL.Image

#: The column of the data set that says which example a row is.
ROW = "row"
#: After so many rows in a row without a picture that can be used, it is not the pictures that are wrong.
_GIVE_UP = 1000

Messages = list[dict[str, Any]]
Pixels = list["PIL.Image.Image"]


def to_dataset(
    examples: Sequence[Example],
    *,
    completions: bool,
    profile: Profile = OURS,
    augment: Augment = NONE,
    seed: int = 0,
    read: Callable[[str], PIL.Image.Image] = read_picture,
) -> datasets.Dataset:
    """A Hugging Face data set for TRL: `prompt` (chat), `images` (RGB), `row` (number of the example) and the reward
    columns, made of the examples on access; nothing of them is held before.

    With `completions` (SFT) the reference reasoning and answer become the `completion` to be learned, in a dialogue all
    messages from the first answer on (`TurnsCollator`); without (GRPO) they stay columns that only rewards see.
    `profile` words both and sizes the pictures, which `read` opens. `augment` varies each image in one way, fixed by
    `seed` and its pixels: all completions of a GRPO group see the same, and so does a resumed run. `_Feed` has what
    happens to a picture that has turned bad.
    """
    import datasets
    import pyarrow as pa

    numbers = pa.table({ROW: pa.array(np.arange(len(examples), dtype=np.int32))})
    feed = _Feed(examples, completions, profile, augment, seed, read)
    return datasets.Dataset(datasets.table.InMemoryTable(numbers), fingerprint="rows").with_transform(feed)


class _Feed:
    """Turns numbers of examples into rows for a trainer.

    A row whose picture has turned bad becomes a copy of the next row with good ones (after the last comes the first):
    in all columns, and the same one each time, so that a GRPO group stays one. Each bad file is named once.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        completions: bool,
        profile: Profile,
        augment: Augment,
        seed: int,
        read: Callable[[str], PIL.Image.Image],
    ) -> None:
        self.examples, self.completions, self.profile = examples, completions, profile
        self.augment, self.seed, self.read = augment, seed, read
        self.bad: set[str] = set()

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list]:
        row = cache(self._row)  # a GRPO batch holds each row several times
        rows = [row(number) for number in batch[ROW]]
        return {name: [_own(one[name]) for one in rows] for name in rows[0]} if rows else {}

    def _row(self, number: int) -> dict[str, Any]:
        number, example, pixels = self._good(number)
        prompt, completion = self._messages(example)
        columns = {ROW: number, "prompt": prompt, "images": pixels}
        if self.completions:
            return {**columns, "completion": completion}
        return {
            **columns,
            **{name: getattr(example, name) for name in REWARD_COLUMNS},
            "options": list(example.options),
            "labels": example.labels or None,
            "target": example.target.to_dict() if example.target else None,
            "image_paths": list(example.images),
        }

    def _good(self, first: int) -> tuple[int, Example, Pixels]:
        """The example, or the next one whose pictures can all be read. `UserError` when there is none."""
        size = len(self.examples)
        example = None
        for number in ((first + step) % size for step in range(min(size, _GIVE_UP))):
            example = self.examples[number]
            if self.bad.isdisjoint(example.images):
                try:
                    return number, example, [self._seen(path) for path in example.images]
                except PictureError as error:
                    self.bad.add(error.path)
                    say(f"{error}: another row takes its place ({len(self.bad)} bad so far)")
        path = example.images[0] if example else ""
        raise UserError(
            f"{path}: no picture of {min(size, _GIVE_UP)} rows can be used any more; restore them and go on"
        )

    def _seen(self, path: str) -> PIL.Image.Image:
        picture = self.read(path)  # grey ones are varied as such: a third of the work
        if self.augment != NONE:
            picture = vary(picture, self.augment, self.seed)
        return self.profile.shown(picture.convert("RGB"))

    def _messages(self, example: Example) -> tuple[Messages, Messages]:
        """The messages up to the first that the model is to learn, and those from there on: the last one alone, in a
        dialogue all after the first question."""
        last = last_question(example)
        prompt = ask(last, self.profile, len(last.images))
        completion = assistant_message(last.reasoning, last.answer, self.profile)
        if not example.turns:
            return prompt, [completion]
        first = next(number for number, message in enumerate(prompt) if message["role"] == "user") + 1
        return prompt[:first], [*prompt[first:], completion]


def _own(value: Any) -> Any:
    """A list of its own for each row: trainers change them in place."""
    return list(value) if isinstance(value, list) else value
