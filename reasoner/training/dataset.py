"""Reads a mined data set (`examples/{split}-*.parquet`) back, checks it, and hands it to trainers and evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.dialogues import last_question, questions
from reasoner.errors import UserError
from reasoner.pictures import SUFFIXES, PictureError, picture_size, read_picture
from reasoner.profiles import OURS, Profile
from reasoner.prompts import ask, assistant_message
from reasoner.runtime.terminal import say
from reasoner.schema import Example
from reasoner.training.augment import NONE, Augment, vary
from reasoner.verified import Verified

if TYPE_CHECKING:
    import datasets
    import PIL.Image

#: The columns that reward functions may ask for besides `completion`.
REWARD_COLUMNS = (
    *("id", "study_id", "task", "question", "options", "answer", "reasoning", "report"),
    *("labels", "label_source", "stage", "target"),
)
#: So many bad pictures are named; the others are counted.
_NAMED = 3
#: Rows that are read at a time: dialogues are long.
_BATCH = 1000


def load_examples(
    data_dir: Path,
    split: str,
    tasks: Collection[str] | None = None,
    limit: int | None = None,
    *,
    stages: Collection[int] | None = None,
    dialogues: bool = False,
    decode: bool = False,
) -> list[Example]:
    """The examples of one split in file order, of `tasks` only when given, with absolute image paths.

    Of a dialogue each question is an example; with `stages` those of these stages alone, beside what is in no dialogue;
    with `dialogues` it is one example, as it is stored. Only what is asked for is made, a batch of rows at a time.

    Rows whose pictures are missing or cannot be used are left out, counted and named on standard error. Headers alone
    are read; with `decode` also the pixels of files that have changed since they were verified: for evaluation, where
    no other row can take a row's place.

    Raises:
        UserError: no such split, a cell that is no path, no example left, or fewer left than left out.
    """
    shards = sorted((data_dir / "examples").glob(f"{split}-*.parquet"))
    if not shards:
        raise UserError(f"{data_dir / 'examples'}: no '{split}' split; run `make mine` first")
    examples: list[Example] = []
    faults: list[PictureError] = []
    with Verified(data_dir) as verified:
        fault_of = _faults(verified.check if decode else picture_size)
        for row, where in _rows(shards, tasks):
            images = [_image_path(data_dir, image, where) for image in row["images"] or []]
            if found := next(filter(None, map(fault_of, images)), None):
                faults.append(found)
            else:
                example = Example.from_dict({**row, "images": images})
                asked = [example] if dialogues else questions(example)
                examples += (e for e in asked if stages is None or e.turns or e.stage is None or e.stage in stages)
            if limit is not None and len(examples) >= limit:
                del examples[limit:]
                break
    if faults:
        _tell(faults, len(examples), filled=limit is not None and len(examples) >= limit, split=split)
    if not examples:
        wanted = f" of tasks {', '.join(sorted(tasks))}" if tasks is not None else ""
        wanted += f" of stages {', '.join(map(str, sorted(stages)))}" if stages is not None else ""
        raise UserError(f"{data_dir / 'examples'}: split '{split}' holds no examples{wanted}; run `make mine` again")
    return examples


def _rows(shards: Sequence[Path], tasks: Collection[str] | None) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of the tasks, each with the place it was found at."""
    for shard in shards:
        for number, row in enumerate(_read(shard)):
            if tasks is None or row["task"] in tasks:
                yield row, f"{shard}:{number}"


def _read(shard: Path) -> Iterator[dict[str, Any]]:
    """The rows of one Parquet file, or a `UserError` that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fix = "run `reasoner mine --force`"
    try:
        with pq.ParquetFile(shard) as table:
            names = table.schema_arrow.names
            missing = [f.name for f in fields(Example) if f.default is MISSING and f.name not in names]
            if missing and table.metadata.num_rows:
                raise UserError(f"{shard}: column '{missing[0]}' is missing; {fix}")
            for batch in table.iter_batches(_BATCH):
                yield from batch.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{shard}: damaged, cannot be read as Parquet ({error}); {fix}") from error


def _faults(check: Callable[[str], object]) -> Callable[[str], PictureError | None]:
    """What is wrong with a picture, by `check`; each is looked at once, however many rows show it."""

    @cache
    def fault(path: str) -> PictureError | None:
        try:
            check(path)
        except PictureError as error:
            return error
        return None

    return fault


def _tell(faults: Sequence[PictureError], kept: int, *, filled: bool, split: str) -> None:
    """One line on the rows that were left out; `UserError` when they are the most and the limit is not `filled`."""
    distinct = list(dict.fromkeys(map(str, faults)))
    names = "; ".join(distinct[:_NAMED]) + ("; ..." if len(distinct) > _NAMED else "")
    rows = f"{len(faults)} of {kept + len(faults)} rows of '{split}'"
    if len(faults) > kept and not filled:
        raise UserError(f"pictures of {rows} cannot be used: {names}; restore them or run `make mine` again")
    say(f"left out {rows}, whose pictures cannot be used: {names}")


def _image_path(data_dir: Path, image: Any, where: str) -> str:
    """The absolute path of one image cell, or a `UserError` that names the row."""
    if not isinstance(image, str):
        raise UserError(f"{where}: column 'images' must hold file paths, found {type(image).__name__}")
    path = data_dir / image  # an absolute `image` stays as it is
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{where}: column 'images' holds text, not an image path: {image[:60]!r}")
    return str(path)


def to_dataset(
    examples: Sequence[Example], *, completions: bool, profile: Profile = OURS, augment: Augment = NONE, seed: int = 0
) -> datasets.Dataset:
    """A Hugging Face data set for TRL: `prompt` (chat), `images` (RGB, decoded on access) and the reward columns.

    With `completions` (SFT) the reference reasoning and answer become the `completion` to be learned, in a dialogue all
    messages from the first answer on (`TurnsCollator`); without (GRPO) they stay columns that only rewards see.
    `profile` words both and sizes the pictures. `augment` varies each image in one way, fixed by `seed` and its pixels:
    all completions of a GRPO group see the same, and so does a resumed run. `_Loading` has what
    happens to a picture that has turned bad.
    """
    import datasets

    pairs = [_messages(e, profile) for e in examples]
    # Pixels are attached on access. TRL puts them into the first user turn, unless the messages keep placeholders; the
    # content of all messages of a column has one type.
    if all(_first_turn_has_all(prompt + completion) for prompt, completion in pairs):
        pairs = [([*map(_plain, prompt)], [*map(_plain, completion)]) for prompt, completion in pairs]
    columns: dict[str, list] = {
        "prompt": [prompt for prompt, _ in pairs],
        "images": [list(e.images) for e in examples],
    }
    if completions:
        columns["completion"] = [completion for _, completion in pairs]
    else:
        for name in REWARD_COLUMNS:
            columns[name] = [list(v) if isinstance(v := getattr(e, name), tuple) else v for e in examples]
        columns["image_paths"] = [list(e.images) for e in examples]
        # Rows of different tasks may carry different label sets: JSON keeps the Arrow schema one.
        columns["labels"] = [json.dumps(e.labels) if e.labels else None for e in examples]
        columns["target"] = [json.dumps(e.target.to_dict()) if e.target else None for e in examples]
    dataset = datasets.Dataset.from_dict(columns)
    return dataset.with_transform(_Loading(dataset, profile, augment, seed))


#: Paths of a row's pictures, and their pixels.
Paths = tuple[str, ...]
Pixels = list["PIL.Image.Image"]


class _Loading:
    """Turns the paths in the column `images` into pictures.

    A row whose picture has turned bad becomes a copy of the next good row after the last one that shows the picture:
    in all columns, and the same one each time, so that a GRPO group stays one. Each bad file is named once.
    """

    def __init__(self, table: datasets.Dataset, profile: Profile, augment: Augment, seed: int) -> None:
        self.table, self.profile, self.augment, self.seed = table, profile, augment, seed
        self.bad: set[str] = set()
        self.instead: dict[Paths, int] = {}

    def __call__(self, rows: dict[str, list]) -> dict[str, list]:
        load = cache(self._load)  # a GRPO batch holds each row several times
        for number, paths in enumerate(map(tuple, rows.get("images", ()))):
            pixels = load(paths)
            if pixels is None:
                index, pixels = self._substitute(paths, load)
                rows |= {n: [*v[:number], self.table[index][n], *v[number + 1 :]] for n, v in rows.items()}
            rows["images"][number] = list(pixels)
        return rows

    def _load(self, paths: Paths) -> Pixels | None:
        """The pictures as models see them; None when one is bad."""
        try:
            return [self._seen(path) for path in paths]
        except PictureError as error:
            if error.path not in self.bad:
                self.bad.add(error.path)
                say(f"{error}: another row takes its place ({len(self.bad)} bad so far)")
            return None

    def _seen(self, path: str) -> PIL.Image.Image:
        picture = read_picture(path)  # grey ones are varied as such: a third of the work
        if self.augment != NONE:
            picture = vary(picture, self.augment, self.seed)
        return self.profile.shown(picture.convert("RGB"))

    def _substitute(self, paths: Paths, load: Callable[[Paths], Pixels | None]) -> tuple[int, Pixels]:
        """The row that takes the place of those with `paths`, and its pictures. `UserError` when none is good."""
        if (index := self.instead.get(paths)) is not None:
            pixels = load(tuple(self.table[index]["images"]))
            if pixels is not None:
                return index, pixels
        images = [tuple(row) for row in self.table["images"]]
        last = max(index for index, row in enumerate(images) if row == paths)
        for index in (*range(last + 1, len(images)), *range(last)):
            pixels = load(images[index])
            if pixels is not None:
                self.instead[paths] = index
                return index, pixels
        raise UserError(f"{paths[0]}: no picture of the data set can be used any more; restore them and go on")


Messages = list[dict[str, Any]]


def _messages(example: Example, profile: Profile) -> tuple[Messages, Messages]:
    """The messages up to the first that the model is to learn, and those from there on: the last one alone, in a
    dialogue all after the first question."""
    last = last_question(example)
    prompt = ask(last, profile, len(last.images))
    completion = assistant_message(last.reasoning, last.answer, profile)
    if not example.turns:
        return prompt, [completion]
    first = next(number for number, message in enumerate(prompt) if message["role"] == "user") + 1
    return prompt[:first], [*prompt[first:], completion]


def _first_turn_has_all(messages: Messages) -> bool:
    """Whether no image stands in a later turn than the first of the user's."""
    shown = [any(block["type"] == "image" for block in m["content"]) for m in messages if m["role"] == "user"]
    return not any(shown[1:])


def _plain(message: dict[str, Any]) -> dict[str, str]:
    """A message with string content, which TRL turns into content blocks together with the row's images."""
    words = "".join(block["text"] for block in message["content"] if block["type"] == "text")
    return {"role": message["role"], "content": words}
