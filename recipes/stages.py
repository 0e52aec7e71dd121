"""What has been done in an output folder: which stage, with which settings, in how long, and whether it can be reused.

`outputs/<recipe>/stages.json` holds one record per finished stage. A stage is current when its settings, its input and
the earlier stages it was made from are still the same; file dates decide nothing but whether raw input was edited.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from reasoner.errors import UserError
from recipes.config import Recipe, load_recipe

GIB = 2**30
SAMPLE_S = 1.0  # between two looks at the memory


class Stage(NamedTuple):
    """`proof`: the file whose presence says that the stage was finished; `needs`: the stages it is made from."""

    title: str
    proof: str
    sections: tuple[str, ...]
    needs: tuple[str, ...]


STAGES = {
    "mine": Stage("reports become reasoning chains, questions and answers", "data/summary.json", ("data",), ()),
    "sft": Stage("the model learns to read images aloud", "sft/config.json", ("model", "sft"), ("mine",)),
    "grpo": Stage("the model tries, rewards check every step", "grpo/config.json", ("model", "grpo"), ("sft",)),
    "eval": Stage("base, SFT and GRPO read images none has seen", "eval/scores.json", ("eval",), ("sft", "grpo")),
    "export": Stage("one Hugging Face folder, proven right", "export/export_check.json", ("export",), ("grpo",)),
}


@dataclass(frozen=True)
class Finished:
    """One finished stage."""

    fingerprint: str
    """Of the settings, the raw input and the earlier stages."""
    seconds: float
    peak_gib: float
    """Largest memory of all its processes together (proportional set size, so that shared pages count once)."""
    finished: str
    """Time of the end, UTC; with the fingerprint it names this very run."""
    overrides: list[str] = field(default_factory=list)
    """Arguments beyond the recipe file (`--set`, trainer flags)."""


def read_records(output: Path) -> dict[str, Finished]:
    """Stage -> record of the last finished run."""
    path = output / "stages.json"
    return (
        {stage: Finished(**row) for stage, row in json.loads(path.read_text(encoding="utf-8")).items()}
        if path.is_file()
        else {}
    )


def write_record(output: Path, stage: str, record: Finished) -> None:
    """Adds the record, replacing the file in one step."""
    rows = {name: asdict(old) for name, old in read_records(output).items()} | {stage: asdict(record)}
    partial = output / "stages.json.partial"
    partial.write_text(
        json.dumps({name: rows[name] for name in STAGES if name in rows}, indent=1) + "\n", encoding="utf-8"
    )
    partial.replace(output / "stages.json")


def fingerprint(recipe: Recipe, stage: str) -> str:
    """A hash of everything that decides what the stage makes."""
    records = read_records(recipe.output)
    settings = recipe.model_dump(mode="json", include={"seed", *STAGES[stage].sections})
    before = {n: f"{records[n].fingerprint}@{records[n].finished}" for n in STAGES[stage].needs if n in records}
    raw = _input_state(recipe.data.input) if stage == "mine" else []
    return hashlib.sha256(json.dumps([settings, before, raw], sort_keys=True).encode()).hexdigest()[:16]


def _input_state(source: str | None) -> list[list[Any]]:
    """Name, size and date of the input file, or of the files directly in the input folder."""
    if source is None or not Path(source).exists():
        return []
    path = Path(source)
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def is_done(recipe: Recipe, stage: str) -> bool:
    return (recipe.output / STAGES[stage].proof).is_file()


def require_earlier(recipe: Recipe, stage: str) -> None:
    """Raises `UserError` when a training stage lacks what it starts from; eval and export check for themselves."""
    target = f"run `make {{}} RECIPE={recipe.name}` first"
    if stage == "sft" and not any((recipe.output / "data" / "examples").glob("train-*.parquet")):
        raise UserError(f"no mined training examples in {recipe.output / 'data'}: {target.format('mine')}")
    if stage == "grpo" and not is_done(recipe, "sft"):
        raise UserError(f"no SFT checkpoint in {recipe.output / 'sft'}: {target.format('sft')}")


def reusable(recipe: Recipe, stage: str) -> bool:
    """Whether the stage was finished with exactly these settings and inputs."""
    record = read_records(recipe.output).get(stage)
    return record is not None and is_done(recipe, stage) and record.fingerprint == fingerprint(recipe, stage)


def reusable_as_made(recipe: Recipe, stage: str, source: str, overrides: Sequence[str]) -> str | None:
    """Why the result of an earlier stage serves a later one (words for the user), or None when it must be redone.

    It serves when it was made from this recipe file with whatever arguments it was given then (`make sft
    ARGS=...` followed by `make grpo`), or was put there by hand.
    """
    if not is_done(recipe, stage):
        return None
    record = read_records(recipe.output).get(stage)
    if record is None:
        return "put there by hand"
    made = load_recipe(source, [*overrides, *record.overrides]).model_copy(update={"output": recipe.output})
    if record.fingerprint != fingerprint(made, stage):
        return None
    extra = [word for word in record.overrides if word not in overrides]
    return f"made with {' '.join(extra)}" if extra else "same settings"


def prepare(recipe: Recipe, stage: str, *, force: bool) -> bool:
    """Clears the way for a run; returns whether an interrupted run with the same settings is resumed.

    A finished training result of other settings is kept as `<stage>.previous`.

    Raises:
        UserError: less free disk space than the recipe asks for.
    """
    recipe.output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(recipe.output).free / GIB
    if free < recipe.min_free_gb:
        raise UserError(
            f"{recipe.output}: {free:.1f} GiB free, the recipe asks for {recipe.min_free_gb:g} (min_free_gb); "
            "free some space or choose another --set output=DIR"
        )
    mark = recipe.output / f".{stage}.started"
    current = fingerprint(recipe, stage)
    resumes = not force and mark.is_file() and mark.read_text(encoding="utf-8") == current
    folder = recipe.output / stage
    if stage in ("sft", "grpo") and not resumes:
        if stage == "sft":  # the tiny base model, whose tokenizer and sizes follow data and recipe
            shutil.rmtree(recipe.output / "base", ignore_errors=True)
        if is_done(recipe, stage):
            previous = recipe.output / f"{stage}.previous"
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        elif folder.is_dir():
            shutil.rmtree(folder)
    elif stage in ("eval", "export") and force and folder.is_dir():
        shutil.rmtree(folder)
    else:
        (recipe.output / STAGES[stage].proof).unlink(missing_ok=True)
    mark.write_text(current, encoding="utf-8")
    return resumes and folder.is_dir()


@contextmanager
def recorded(recipe: Recipe, stage: str, overrides: Sequence[str]) -> Iterator[None]:
    """Times the stage, watches its memory, and records it if it succeeds."""
    made_from = fingerprint(recipe, stage)
    start = time.monotonic()
    with peak_memory() as peak:
        yield
    seconds = time.monotonic() - start
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    record = Finished(made_from, round(seconds, 1), round(max(peak) / GIB, 2), finished, list(overrides))
    write_record(recipe.output, stage, record)
    (recipe.output / f".{stage}.started").unlink(missing_ok=True)


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Fills the list with the memory of this process and its descendants, in bytes, until the block ends."""
    samples = [0]
    done = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(SAMPLE_S):
            samples.append(sum(map(_proportional, [me, *me.children(recursive=True)])))

    thread = threading.Thread(target=watch, daemon=True, name="peak-memory")
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _proportional(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0  # ended between listing and looking
    return getattr(memory, "pss", memory.rss)


def is_main_process() -> bool:
    """False on every rank but the first of a run started by `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"
