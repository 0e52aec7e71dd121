"""The options of a recipe's rewards, completed by what the run itself decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reasoner.layout import BASE_RATES
from reasoner.profiles import OURS
from recipes.config import Recipe
from rewards.radrscore.base_rates import BaseRates
from rewards.skill import find_base_rates


def reward_options(recipe: Recipe, learn: Callable[[], BaseRates], folder: Path) -> dict[str, Any]:
    """The options of the rewards, with the base rates of skill in the folder: those given, or else the training
    split's, which `learn` gives."""
    options = dict(recipe.grpo.reward_options)
    if "skill" in recipe.grpo.rewards:
        given = options.get("skill", {}).get("base_rates")
        path = folder / BASE_RATES
        (find_base_rates(given) if given else learn()).write(path)
        options["skill"] = {"base_rates": str(path.resolve())}
    form = recipe.model.prompts.form
    for name in {"format", "stage"} & recipe.grpo.rewards.keys() if form != OURS.form else ():
        options[name] = {"form": form} | options.get(name, {})
    return options
