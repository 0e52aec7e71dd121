"""The mining stage of a recipe: reports in, `outputs/<recipe>/data` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reasoner.mining.run import mine
from reasoner.sources import open_source

if TYPE_CHECKING:
    from recipes.config import Recipe


def run(recipe: Recipe) -> dict[str, Any]:
    """Mines the recipe's source and returns the summary (`reasoner.mining.run.mine`)."""
    data, output = recipe.data, recipe.output / "data"
    source = open_source(data.source, data.input, output, data.options)
    return mine(source, output, tasks=data.tasks, style=data.style, seed=recipe.seed)
