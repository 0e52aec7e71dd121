"""The mining stage of a recipe: reports in, the data set of `outputs/<recipe>/data` out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.errors import UserError
from reasoner.llm import Llm
from reasoner.mining.drafts import Design
from reasoner.mining.pipeline.run import mine
from reasoner.sources import open_source
from reasoner.sources.base import Source
from recipes import stages

if TYPE_CHECKING:
    from recipes.config import Recipe


def run(recipe: Recipe) -> dict[str, Any]:
    """Mines the recipe's source and returns the summary (`reasoner.mining.pipeline.run.mine`)."""
    data, output = recipe.data, stages.working(recipe, "mine")
    source = open_source(data.source, data.input, output, data.options)
    return mine_as(recipe, source, output)


def mine_as(recipe: Recipe, source: Source, output: Path) -> dict[str, Any]:
    """Mines any source with the tasks, style and other settings of a recipe."""
    data = recipe.data
    if (data.llm is None) != (data.llm_model is None):
        raise UserError("--llm URL and --llm-model NAME (data.llm, data.llm_model) go together; give both or none")
    llm = Llm(data.llm, data.llm_model) if data.llm and data.llm_model else None
    return mine(
        source,
        output,
        tasks={str(task): rate for task, rate in data.tasks.items()},
        style=data.style,
        seed=recipe.seed,
        balance=data.balance,
        counts={str(task): most for task, most in data.counts.items()},
        design=Design(data.choices, data.compare, tuple(data.steps)),
        llm=llm,
        llm_calls=data.llm_calls,
    )
