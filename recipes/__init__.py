"""Runnable stages, their YAML, the command line."""

from __future__ import annotations

from pathlib import Path

RECIPES = Path(__file__).parent
#: The recipe of commands that name none.
DEFAULT = "phantom"


def known_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.parent.name for path in RECIPES.glob("*/recipe.yaml"))
