"""What an evaluation is told: its own section of the recipe, and the run that it evaluates. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

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
