"""Reads a mined data set (`examples/{split}-*.parquet`) back and checks it; `kept.py` has what trainers read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.dialogues import questions
from reasoner.errors import UserError
from reasoner.pictures import SUFFIXES, PictureError, picture_size
from reasoner.runtime.terminal import say
from reasoner.schema import Example
from reasoner.verified import Verified

if TYPE_CHECKING:
    import pyarrow as pa

#: The columns that reward functions may ask for besides `completion`.
REWARD_COLUMNS = (
    *("id", "study_id", "task", "question", "options", "answer", "reasoning", "report"),
    *("labels", "label_source", "stage", "target"),
)
#: So many bad pictures are named; the others are counted.
NAMED = 3
#: Rows that are read at a time: dialogues are long.
BATCH = 1000


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
    examples: list[Example] = []
    faults: list[PictureError] = []
    with Verified(data_dir) as verified:
        for example in iter_examples(data_dir, split, tasks, faults, verified.check if decode else picture_size):
            examples += (one for _, one in asked_of(example, stages, dialogues=dialogues))
            if limit is not None and len(examples) >= limit:
                del examples[limit:]
                break
    tell_faults(
        split, map(str, faults), len(faults), len(examples), filled=limit is not None and len(examples) >= limit
    )
    if not examples:
        raise no_examples(data_dir, split, tasks, stages)
    return examples


def iter_examples(
    data_dir: Path,
    split: str,
    tasks: Collection[str] | None,
    faults: list[PictureError],
    check: Callable[[str], object] = picture_size,
) -> Iterator[Example]:
    """The rows of the tasks, dialogues whole, one after the other; what is wrong with the pictures of those left out
    goes into `faults`."""
    fault_of = faults_by(check)
    for shard in shards_of(data_dir, split):
        for number, row in enumerate(row for batch in read_batches(shard) for row in batch.to_pylist()):
            if tasks is None or row["task"] in tasks:
                example = to_example(row, data_dir, f"{shard}:{number}")
                if found := next(filter(None, map(fault_of, example.images)), None):
                    faults.append(found)
                else:
                    yield example


def shards_of(data_dir: Path, split: str) -> list[Path]:
    """The Parquet files of a split. `UserError` when there is none."""
    shards = sorted((data_dir / "examples").glob(f"{split}-*.parquet"))
    if not shards:
        raise UserError(f"{data_dir / 'examples'}: no '{split}' split; run `make mine` first")
    return shards


def read_batches(shard: Path, columns: Callable[[str], bool] = lambda path: True) -> Iterator[pa.RecordBatch]:
    """The rows of one Parquet file, `columns` (`a.b.c` of nested ones) alone, or a `UserError` that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fix = "run `reasoner mine --force`"
    try:
        with pq.ParquetFile(shard) as table:
            names = table.schema_arrow.names
            missing = [f.name for f in fields(Example) if f.default is MISSING and f.name not in names]
            if missing and table.metadata.num_rows:
                raise UserError(f"{shard}: column '{missing[0]}' is missing; {fix}")
            paths = [table.schema.column(number).path for number in range(len(table.schema))]
            yield from table.iter_batches(BATCH, columns=[path for path in paths if columns(path)])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{shard}: damaged, cannot be read as Parquet ({error}); {fix}") from error


def to_example(row: dict[str, Any], data_dir: Path, where: str) -> Example:
    """A row as an example with absolute paths, or a `UserError` that names it."""
    return Example.from_dict({**row, "images": [_image_path(data_dir, image, where) for image in row["images"] or []]})


def asked_of(example: Example, stages: Collection[int] | None, *, dialogues: bool) -> list[tuple[int, Example]]:
    """A row as it is, as number -1; or of a dialogue, unless `dialogues` are wanted whole, its questions with their
    numbers, of `stages` alone where a stage is known."""
    if dialogues or not example.turns:
        fits = stages is None or example.turns or example.stage is None or example.stage in stages
        return [(-1, example)] if fits else []
    asked = enumerate(questions(example))
    return [(number, one) for number, one in asked if stages is None or one.stage is None or one.stage in stages]


def faults_by(check: Callable[[str], object]) -> Callable[[str], PictureError | None]:
    """What is wrong with a picture, by `check`; each is looked at once, however many rows show it."""

    @cache
    def fault(path: str) -> PictureError | None:
        try:
            check(path)
        except PictureError as error:
            return error
        return None

    return fault


def tell_faults(split: str, faults: Iterable[str], count: int, kept: int, *, filled: bool) -> None:
    """One line on the `count` rows that were left out, whose faults these are; `UserError` when they are the most and
    the limit is not `filled`."""
    if not count:
        return
    distinct = list(dict.fromkeys(faults))
    names = "; ".join(distinct[:NAMED]) + ("; ..." if len(distinct) > NAMED else "")
    rows = f"{count} of {kept + count} rows of '{split}'"
    if count > kept and not filled:
        raise UserError(f"pictures of {rows} cannot be used: {names}; restore them or run `make mine` again")
    say(f"left out {rows}, whose pictures cannot be used: {names}")


def no_examples(data_dir: Path, split: str, tasks: Collection[str] | None, stages: Collection[int] | None) -> UserError:
    """That nothing of a split is of these tasks and stages."""
    wanted = f" of tasks {', '.join(sorted(tasks))}" if tasks is not None else ""
    wanted += f" of stages {', '.join(map(str, sorted(stages)))}" if stages is not None else ""
    return UserError(f"{data_dir / 'examples'}: split '{split}' holds no examples{wanted}; run `make mine` again")


def _image_path(data_dir: Path, image: Any, where: str) -> str:
    """The absolute path of one image cell, or a `UserError` that names the row."""
    if not isinstance(image, str):
        raise UserError(f"{where}: column 'images' must hold file paths, found {type(image).__name__}")
    path = data_dir / image  # an absolute `image` stays as it is
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{where}: column 'images' holds text, not an image path: {image[:60]!r}")
    return str(path)
