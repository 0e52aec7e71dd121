"""What an evaluation is told: its own section of the recipe, and the run that it evaluates. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from reasoner import layout
from reasoner.errors import UserError
from reasoner.layout import BASE, CONFIG, MODELS, SFT, TRAINED
from reasoner.models import TINY
from reasoner.profiles import OURS, Profile
from reasoner.schema import Split, Task
from reasoner.settings import Count, CountOrZero, Float, Section


class EvalSettings(Section):
    """Evaluation of base, SFT and GRPO on the same rows (`eval`)."""

    models: Annotated[list[Literal["base", "sft", "grpo"]], Field(min_length=1)] | None = None
    """Models to compare; none takes those there are."""
    splits: Annotated[list[Split], Field(min_length=1)] = ["test"]
    """Splits to evaluate; site_b is the out-of-distribution one."""
    tasks: Annotated[list[Task], Field(min_length=1)] | None = None
    """Tasks to evaluate; none takes all."""
    max_new_tokens: Count = 256
    """Longest completion."""
    samples: CountOrZero = 4
    """Sampled completions per prompt, beside the greedy one."""
    base_samples: CountOrZero = 0
    """The same for the untrained base model."""
    best_of_n: bool = True
    """Where there are two samples or more, also score those chosen by agreement, by vote and by reward."""
    trivial: bool = True
    """Also score policies that see no image, where lists are asked for."""
    temperature: Float = Field(1.0, gt=0)
    """Temperature of the sampled completions."""
    bootstrap: Count = 2000
    """Resamples behind each 95% interval."""
    limit: Count | None = None
    """Use at most so many examples per split."""


@dataclass(frozen=True)
class Run:
    """The run that is evaluated, as far as an evaluation needs to know its recipe, which states all defaults."""

    name: str
    source: str
    #: The recipe's output folder, with data and checkpoints.
    output: Path
    #: Receives predictions, scores and report.
    folder: Path
    base: str
    seed: int
    #: Ray actors that score.
    workers: int
    max_length: int
    dtype: str
    min_pixels: int | None
    max_pixels: int | None
    profile: Profile = OURS


def find_checkpoints(subject: Run, models: Sequence[str] | None) -> dict[str, str]:
    """Model name -> checkpoint, in the order of training.

    Raises:
        UserError: none was trained, or one of `models` was not.
    """
    places = {model: layout.checkpoint(subject.output, model) for model in MODELS}
    found = {model: str(place) for model, place in places.items() if (place / CONFIG).is_file()}
    if subject.base != TINY:
        found = {BASE: subject.base} | found
    if models is None:
        if not found.keys() & TRAINED:
            raise UserError(f"no trained model in {subject.output}: run `make sft RECIPE={subject.name}` first")
        return {model: found[model] for model in MODELS if model in found}
    for model in models:
        if model not in found:
            target = SFT if model == BASE else model
            raise UserError(
                f"no {model} checkpoint in {places[model]}: run `make {target} RECIPE={subject.name}` first"
            )
    return {model: found[model] for model in MODELS if model in models}
