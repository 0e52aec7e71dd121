"""What a stage trains on: which rows of a mined split fit, found out once, and each made when it is asked for.

All rows are looked at by several processes: pictures by their headers, lengths by the processor's own tokenizer. What
is found is kept beside the rows (`made_once`) under a key of all that decides it, so that the next start, and every
rank of this one, reads a file of six bytes a row.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import reasoner
from reasoner.errors import UserError
from reasoner.mining.wording import stable_hash
from reasoner.pictures import PictureError, picture_size
from reasoner.profiles import OURS, Profile
from reasoner.runtime.once import code_of, made_once
from reasoner.runtime.progress import progress
from reasoner.runtime.terminal import say
from reasoner.schema import Example
from reasoner.training.dataset import NAMED, asked_of, no_examples, tell_faults
from reasoner.training.lengths import row_lengths
from reasoner.training.stored import Stored, open_stored

#: Rows that one process looks at in one go; below so many batches it is done here.
_CHUNK, _ALONE = 500, 8
_FOUND = b"found"  # in the index file
_DIE_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Wanted:
    """Which rows of a split a stage trains on, and how they are put into words. Its `repr` is part of the key."""

    completions: bool
    """Whether the reference counts into the length (SFT) or the prompt alone (GRPO)."""
    max_length: int
    """Tokens, images included."""
    profile: Profile = OURS
    tasks: Sequence[str] | None = None
    stages: Sequence[int] | None = None
    """Of dialogues; None is all."""
    dialogues: bool = False
    """Whether a dialogue is one row, or each of its questions."""
    limit: int | None = None
    """Of examples, before the long ones are left out."""
    mix: Mapping[str, float] = field(default_factory=dict)
    """Task -> how often each of its examples is there; of a part of one, so many of them."""
    teach: Callable[[Example], Example] | None = None
    """Changes each example; its `repr` says all that it does."""

    def often(self, example: Example) -> int:
        """How often the example is there."""
        whole, part = divmod(self.mix.get(example.task, 1), 1)
        return int(whole) + (stable_hash(example.id, "mix") < part * 2**64)


class Kept(Sequence[Example]):
    """The examples that fit, by number; each is made when it is asked for. `found` has what was seen on the way.

    Args:
        stored: the rows.
        index: a file that `_write` made.
    """

    def __init__(self, stored: Stored, index: Path, wanted: Wanted) -> None:
        import pyarrow as pa

        self.stored, self.place, self.wanted = stored, index, wanted
        table = pa.ipc.open_file(pa.memory_map(str(index))).read_all()
        self._rows, self._turns = (table[name].chunk(0).to_numpy() for name in ("row", "turn"))
        self.found = Found(**json.loads(table.schema.metadata[_FOUND]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.stored, self.place, self.wanted)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: Any) -> Any:
        example = self.stored.question(int(self._rows[number]), int(self._turns[number]))
        return self.wanted.teach(example) if self.wanted.teach else example

    def beside(self, name: str, make: Callable[[Path], object], *code: ModuleType) -> Path:
        """A file that follows from these examples, made once by `make(part)`.

        Args:
            name: `KIND.suffix`.
            code: beyond this package, what decides its content.
        """
        stage, _, key = self.place.stem.partition("-")
        kind, _, suffix = name.partition(".")
        made_by = f"_{code_of(*code)}" if code else ""
        return made_once(self.place.with_name(f"{stage}_{kind}-{key}{made_by}.{suffix}"), make)

    def picked(self, name: str, pick: Callable[[Iterable[Example]], Sequence[int]]) -> Sequence[Example]:
        """The examples whose numbers `pick` gives, found once."""

        def write(place: Path) -> None:
            with place.open("wb") as file:
                np.save(file, np.array(pick(self), dtype=np.int32))

        return _Picked(self, np.load(self.beside(f"{name}.npy", write), mmap_mode="r"))


class _Picked(Sequence[Example]):
    """Some of the examples, in the order of their numbers."""

    def __init__(self, examples: Sequence[Example], numbers: np.ndarray) -> None:
        self.examples, self.numbers = examples, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: Any) -> Any:
        return self.examples[int(self.numbers[number])]


class Found(NamedTuple):
    """What was seen while all rows were looked at."""

    faults: int
    """Rows whose pictures cannot be used."""
    named: list[str]
    """Some of these faults."""
    usable: int
    """Examples whose pictures can be used."""
    long: int
    """Those of them that are too long."""
    longest: int
    """Tokens of the longest of these."""
    most_images: int
    """Pictures of a kept example."""
    unreasoned: bool
    """Whether an earlier turn of one lacks its reasoning: data of one row a stage."""


def keep(data_dir: Path, split: str, wanted: Wanted, processor: Any, cache: Path, name: str) -> Kept:
    """The examples of a split whose pictures can be used and that fit, in file order.

    Args:
        cache: a folder for what is found out once.
        name: of this selection, which has one place there.

    Raises:
        UserError: no such split, nothing of it is wanted or fits, more than half of it has bad pictures, a cell that is
            no path, or `cache` cannot be written.
    """
    stored = open_stored(data_dir, split, cache)
    index = made_once(
        cache / f"{name}-{_key(stored, wanted, processor)}.arrow",
        lambda place: _write(place, stored, split, wanted, processor),
    )
    kept = Kept(stored, index, wanted)
    _tell(split, kept)
    return kept


def _tell(split: str, kept: Kept) -> None:
    found, most = kept.found, kept.wanted.max_length
    tell_faults(split, found.named, found.faults, found.usable, filled=True)
    if found.long:
        say(f"left out {found.long} of {found.usable} rows longer than {most} tokens (longest {found.longest})")


def _key(stored: Stored, wanted: Wanted, processor: Any) -> str:
    """A hash of all that decides which rows are kept."""
    import transformers

    asked = [stored.key, str(stored.data_dir), repr(wanted), code_of(reasoner), transformers.__version__]
    digest = blake2b(json.dumps(asked).encode(), digest_size=8)
    tokenizer = processor.tokenizer
    for part in (
        tokenizer.backend_tokenizer.to_str(),
        str(processor.chat_template or tokenizer.chat_template),
        processor.image_processor.to_json_string(),
    ):
        digest.update(part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class _Seen(NamedTuple):
    """What one go over some rows gives: of each example (row, turn, tokens, pictures, how often it is there)."""

    examples: list[tuple[int, int, int, int, int]]
    faults: list[str]
    unreasoned: bool


def _write(place: Path, stored: Stored, split: str, wanted: Wanted, processor: Any) -> None:
    """Looks at all rows, as far as the limit needs, and writes down which are kept."""
    import pyarrow as pa

    chunks: list[np.ndarray] = []
    faults, named, usable, unreasoned = 0, dict[str, None](), 0, False
    limit = sys.maxsize if wanted.limit is None else wanted.limit
    with _looks(stored, wanted, processor) as looks:
        for seen in looks:
            chunk = np.array(seen.examples, dtype=np.int32).reshape(-1, 5)[: limit - usable]
            chunks.append(chunk)
            usable += len(chunk)
            faults += len(seen.faults)
            named |= dict.fromkeys(seen.faults[: NAMED + 1])
            unreasoned |= seen.unreasoned
            if usable >= limit:
                break
    tell = list(named)[: NAMED + 1]
    if faults > usable and usable < limit:
        tell_faults(split, tell, faults, usable, filled=False)
    if not usable:
        raise no_examples(stored.data_dir, split, wanted.tasks, wanted.stages)
    rows, turns, tokens, images, often = np.concatenate(chunks).T
    fits = tokens <= wanted.max_length
    longest = int(tokens.max())
    if not fits.any():
        raise UserError(
            f"no row fits max_length={wanted.max_length} (longest {longest} tokens); raise it or lower max_pixels"
        )
    long, often = int(np.count_nonzero(~fits)), often * fits
    if not often.any():
        raise UserError(f"mix: nothing of '{split}' is left; give some of its tasks more than 0")
    found = Found(faults, tell, usable, long, longest, int(images[fits].max()), unreasoned)
    table = pa.table(
        {"row": pa.array(np.repeat(rows, often)), "turn": pa.array(np.repeat(turns, often).astype(np.int16))},
    ).replace_schema_metadata({_FOUND: json.dumps(found._asdict())})
    with pa.OSFile(str(place), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)


@contextmanager
def _looks(stored: Stored, wanted: Wanted, processor: Any) -> Iterator[Iterator[_Seen]]:
    """What the rows come to, some at a time in their order; by several processes where there are many."""
    starts = range(0, len(stored), _CHUNK)
    look = _Look(stored, wanted, processor)
    with progress("looking at pictures and lengths, once", len(starts)) as advance:

        def told(seen: Iterator[_Seen]) -> Iterator[_Seen]:
            for one in seen:
                advance(1)
                yield one

        workers = min(len(os.sched_getaffinity(0)), len(starts) // _ALONE)
        if workers < 2:
            yield told(map(look, starts))
            return
        say(f"looking at the pictures and lengths of {len(stored):,} rows, once")
        # Forked: the processor is there, and what is looked at is mapped.
        with ProcessPoolExecutor(workers, get_context("fork"), _begin, (look,)) as pool:
            try:
                yield told(pool.map(_go_on, starts))
            finally:
                pool.shutdown(cancel_futures=True)


class _Look:
    """Looks at `_CHUNK` rows from one on."""

    def __init__(self, stored: Stored, wanted: Wanted, processor: Any) -> None:
        self.stored, self.wanted, self.processor = stored, wanted, processor

    def __call__(self, first: int) -> _Seen:
        wanted = self.wanted
        size = cache(picture_size)
        places: list[tuple[int, int]] = []
        examples: list[Example] = []
        faults: list[str] = []
        for number, row in self.stored.rows(first, min(first + _CHUNK, len(self.stored)), wanted.tasks):
            try:
                for path in row.images:
                    size(path)
            except PictureError as error:
                faults.append(str(error))
                continue
            for turn, example in asked_of(row, wanted.stages, dialogues=wanted.dialogues):
                places.append((number, turn))
                examples.append(wanted.teach(example) if wanted.teach else example)
        tokens = row_lengths(
            examples, self.processor, completions=wanted.completions, profile=wanted.profile, size=size
        )
        found = zip(places, tokens, examples, strict=True)
        return _Seen(
            [(*place, length, len(e.images), wanted.often(e)) for place, length, e in found],
            faults,
            any(turn.reasoning is None for example in examples for turn in example.context),
        )


_task: _Look  # of a worker process


def _begin(look: _Look) -> None:
    global _task
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads did not come along
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)  # else a killed run leaves workers that wait for ever
    _task = look


def _go_on(first: int) -> _Seen:
    return _task(first)
