"""What has been done in an output folder: which stage, with which settings, in how long, and whether it can be reused.

`outputs/<recipe>/stages.json` holds one record per finished stage. A stage is current when its settings, its input and
the earlier stages it was made from are still the same; file dates decide nothing but whether raw input was edited.

A stage works in `<folder>.part`, which takes the place of the last result when it is whole, and not before; `mine`
replaces its data set by itself. A half run of other settings waits as `<folder>.interrupted` until a run is finished.
Of what is replaced, a trained result and what was put there by hand are kept as `<folder>.previous`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from reasoner.errors import UserError
from reasoner.layout import (
    ADAPTER_CONFIG,
    CACHE,
    CHECKPOINTS,
    CONFIG,
    EXPORT_CHECK,
    GRPO,
    PREDICTIONS,
    SCORES,
    SFT,
    SUMMARY,
    TRAINED,
    UNFINISHED,
)
from reasoner.runtime import ranks
from reasoner.runtime.disk import read_object, remove, swap, write_whole
from reasoner.runtime.memory import GIB, peak_memory
from reasoner.settings import Section, explain
from recipes.config import Recipe
from recipes.load import load_recipe

RECORDS = "stages.json"
#: In a working folder: the fingerprint of the run that works there.
MARK = ".started"


class Stage(NamedTuple):
    """`proof`: the file in `folder` whose presence says that the stage was finished; `needs`: what it is made from.

    `carries`: a folder that a new run takes over, whatever its settings, as its files say what they were made from.
    """

    title: str
    folder: str
    proof: str
    sections: tuple[str, ...]
    needs: tuple[str, ...]
    carries: str | None = None
    resumes: bool = True
    swapped: bool = True
    """Whether it works beside its place; else it replaces its result by itself, whole."""


STAGES = {
    "mine": Stage(
        "reports become reasoning chains, questions and answers", "data", SUMMARY, ("data",), (), swapped=False
    ),
    SFT: Stage("the model learns to read images aloud", SFT, CONFIG, ("model", "sft"), ("mine",)),
    GRPO: Stage("the model tries, rewards check every step", GRPO, CONFIG, ("model", "grpo"), (SFT,)),
    "eval": Stage("base, SFT and GRPO read images none has seen", "eval", SCORES, ("eval",), (SFT, GRPO), PREDICTIONS),
    "export": Stage(
        "one Hugging Face folder, proven right", "export", EXPORT_CHECK, ("export",), (GRPO,), resumes=False
    ),
}


class Finished(Section):
    """One finished stage."""

    fingerprint: str
    """Of the settings, the raw input and the earlier stages."""
    seconds: float = Field(ge=0)
    """Wall time."""
    peak_gib: float = Field(ge=0)
    """Largest memory of all its processes together (proportional set size, so that shared pages count once)."""
    finished: str
    """Time of the end, UTC."""
    overrides: list[str] = []
    """Arguments beyond the recipe file (`--set`, trainer flags)."""
    processes: int = Field(1, ge=1)
    """How many trained together."""
    made_from: dict[str, str] = {}
    """Earlier stage -> the very run of it that this one started from."""

    @property
    def run(self) -> str:
        """Names this very run."""
        return f"{self.fingerprint}@{self.finished}"


def result(recipe: Recipe, stage: str) -> Path:
    """Where the finished stage lies."""
    return recipe.output / STAGES[stage].folder


def working(recipe: Recipe, stage: str) -> Path:
    """Where the stage writes until it is finished."""
    place = result(recipe, stage)
    return place.with_name(f"{place.name}.part") if STAGES[stage].swapped else place


def read_records(output: Path) -> dict[str, Finished]:
    """Stage -> record of the last finished run.

    Raises:
        UserError: the file is damaged. Finished work is not in it, and none is lost by deleting it.
    """
    path = output / RECORDS
    if not path.exists():
        return {}
    fix = "mend it, or delete it: results are then used as they are by `make` and --if-needed"
    rows, records = read_object(path, fix), {}
    for stage in STAGES.keys() & rows.keys():
        try:
            records[stage] = Finished.model_validate(rows[stage], strict=True)
        except ValidationError as error:
            raise UserError(f"{path}: damaged record of {stage} ({explain(error, Finished)}); {fix}") from error
    return records


def write_record(output: Path, stage: str, record: Finished) -> None:
    """Adds the record, replacing the file in one step."""
    rows = read_records(output) | {stage: record}
    known = {name: rows[name].model_dump() for name in STAGES if name in rows}
    write_whole(output / RECORDS, json.dumps(known, indent=1) + "\n")


def fingerprint(recipe: Recipe, stage: str, processes: int | None = None) -> str:
    """A hash of everything that decides what the stage makes, with so many processes (default: those there are)."""
    settings = recipe.model_dump(mode="json", include={"seed", *STAGES[stage].sections})
    settings.get(GRPO, {}).pop("stop", None)  # may end a run, but makes nothing else of it
    before = _earlier_runs(recipe, stage)
    raw = _input_state(recipe.data.input) if stage == "mine" else []
    together = processes or ranks.count()
    several = [together] if together > 1 else []  # batches are larger then
    return hashlib.sha256(json.dumps([settings, before, raw, *several], sort_keys=True).encode()).hexdigest()[:16]


def _earlier_runs(recipe: Recipe, stage: str) -> dict[str, str]:
    records = read_records(recipe.output)
    return {name: records[name].run for name in STAGES[stage].needs if name in records}


def mismatches(recipe: Recipe, stage: str) -> list[tuple[str, str]]:
    """Pairs (later, earlier) of what the stage reads together, the later made from another run of the earlier."""
    records, there = read_records(recipe.output), _earlier_runs(recipe, stage)
    return [
        (later, earlier)
        for later in there
        for earlier, run in records[later].made_from.items()
        if earlier in there and there[earlier] != run
    ]


def _input_state(source: str | None) -> list[list[Any]]:
    """Name, size and date of the input file, or of the files directly in the input folder."""
    if source is None or not Path(source).exists():
        return []
    path = Path(source)
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def is_done(recipe: Recipe, stage: str) -> bool:
    """Whether the stage's result is there, as far as its proof (a JSON object) can be read."""
    try:
        read_object(result(recipe, stage) / STAGES[stage].proof, "")
    except UserError:
        return False
    return True


def exported(recipe: Recipe) -> Path:
    """The checkpoint that `export.source` names: a stage's, or a folder (full checkpoint or PEFT adapter).

    Raises:
        UserError: there is none.
    """
    source = recipe.export.source
    staged = recipe.output / source
    folder = staged if source in TRAINED or staged.is_dir() else Path(source)
    if not any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG)):
        fix = f"run `make {source} RECIPE={recipe.name}` first" if source in TRAINED else "check --source"
        raise UserError(f"no checkpoint in {folder}: {fix}")
    return folder


def require_earlier(recipe: Recipe, stage: str) -> None:
    """Raises `UserError` when a stage lacks what it starts from; which models `eval` compares is its own to say."""
    target = f"run `make {{}} RECIPE={recipe.name}` first"
    data = result(recipe, "mine")
    if stage == SFT and not any((data / "examples").glob("train-*.parquet")):
        raise UserError(f"no mined training examples in {data}: {target.format('mine')}")
    if stage == GRPO and not is_done(recipe, SFT):
        raise UserError(f"no SFT checkpoint in {result(recipe, SFT)}: {target.format(SFT)}")
    if stage == "export":
        exported(recipe)


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
    try:
        made = load_recipe(source, [*overrides, *record.overrides]).model_copy(update={"output": recipe.output})
    except UserError:  # made with arguments that the recipe no longer takes
        return None
    if record.fingerprint != fingerprint(made, stage, record.processes):
        return None
    extra = [word for word in record.overrides if word not in overrides]
    return f"made with {' '.join(extra)}" if extra else "same settings"


def prepare(recipe: Recipe, stage: str, *, force: bool) -> bool:
    """Makes the working folder; returns whether an interrupted run with the same settings goes on in it.

    Raises:
        UserError: the output cannot be written, or has less free space than the recipe asks for.
    """
    part, place, current = working(recipe, stage), result(recipe, stage), fingerprint(recipe, stage)
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(recipe.output).free / GIB
        if free < recipe.min_free_gb:
            raise UserError(
                f"{recipe.output}: {free:.1f} GiB free, the recipe asks for {recipe.min_free_gb:g} (min_free_gb); "
                "free some space or choose another --set output=DIR"
            )
        for folder in (place, part):
            if folder.exists() and not folder.is_dir():
                raise UserError(f"{folder}: is a file where the stage's folder goes; move it away")
        if part == place:
            place.mkdir(exist_ok=True)
            return (place / UNFINISHED).is_dir()
        if force and stage in TRAINED:
            remove(recipe.output / CACHE)  # pictures may have been restored
        if force or not STAGES[stage].resumes:
            remove(part)
        elif not STAGES[stage].carries:
            _choose_half_run(part, current)
        resumes = part.exists()
        part.mkdir(exist_ok=True)
        carried = STAGES[stage].carries
        if carried and not (resumes or force) and (place / carried).is_dir():
            shutil.copytree(place / carried, part / carried)
        write_whole(part / MARK, current)
    except OSError as error:
        raise UserError(
            f"{error.filename or recipe.output}: cannot be written ({error.strerror}); choose another --set output=DIR"
        ) from error
    return resumes


def _choose_half_run(part: Path, current: str) -> None:
    """Leaves in `part` a half run of the settings `current`, or nothing; one of other settings waits."""
    if _mark(part) == current:
        return
    waiting = part.with_suffix(".interrupted")
    wanted = _mark(waiting) == current
    if part.exists():
        old = part.with_suffix(".old")
        swap(part, waiting, previous=old)
        if wanted:
            old.rename(part)
        else:
            remove(old)
    elif wanted:
        waiting.rename(part)


def _mark(part: Path) -> str | None:
    """The fingerprint of the run in a working folder; None without one that can be read."""
    try:
        return (part / MARK).read_text(encoding="utf-8") if (part / MARK).is_file() else None
    except (OSError, ValueError):
        return None


@contextmanager
def recorded(recipe: Recipe, stage: str, overrides: Sequence[str]) -> Iterator[None]:
    """Times the stage and watches its memory; when it succeeds, puts its result in place and on record."""
    made, made_from = fingerprint(recipe, stage), _earlier_runs(recipe, stage)
    start = time.monotonic()
    with peak_memory() as peak:
        yield
    record = Finished(
        fingerprint=made,
        made_from=made_from,
        processes=ranks.count(),
        seconds=round(time.monotonic() - start, 1),
        peak_gib=round(max(peak) / GIB, 2),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        overrides=list(overrides),
    )
    write_whole(_journal(recipe, stage), record.model_dump_json())
    settle(recipe, stage)


def settle_all(recipe: Recipe) -> None:
    """Ends what a kill cut short between the end of any stage and its record."""
    for stage in STAGES:
        settle(recipe, stage)


def settle(recipe: Recipe, stage: str) -> None:
    """Puts a finished run in its place and on record. Called again, it ends what a kill cut short.

    Raises:
        UserError: the journal is damaged.
    """
    journal, part, place = _journal(recipe, stage), working(recipe, stage), result(recipe, stage)
    if not journal.exists():
        return
    fix = f"delete it; if {part} is whole, rename it to {place.name}"
    try:
        record = Finished.model_validate(read_object(journal, fix), strict=True)
    except ValidationError as error:
        raise UserError(f"{journal}: damaged ({explain(error, Finished)}); {fix}") from error
    known = stage in read_records(recipe.output)
    if part != place and part.exists():
        _name_base(part, place)
        keep = stage in TRAINED or not known  # without a record it was put there by hand
        swap(part, place, place.with_suffix(".previous") if keep else None)
    write_record(recipe.output, stage, record)
    remove(place / MARK)
    remove(place / CHECKPOINTS)
    remove(place.with_suffix(".interrupted"))
    journal.unlink()


def _journal(recipe: Recipe, stage: str) -> Path:
    """Holds the record of a run that is finished, but not yet in its place."""
    return recipe.output / f".{stage}.finished"


def _name_base(part: Path, place: Path) -> None:
    """Adapters name the checkpoint that they were trained on by its folder, which may lie beside them and move."""
    path = part / "adapter" / ADAPTER_CONFIG
    if path.is_file():
        config = read_object(path, "train again")
        base = Path(config.get("base_model_name_or_path") or "")
        if base.is_relative_to(part):
            moved = str(place / base.relative_to(part))
            write_whole(path, json.dumps({**config, "base_model_name_or_path": moved}, indent=2) + "\n")
