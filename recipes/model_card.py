"""The model card of an export: Hub metadata, data, recipe, scores, intended use and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from reasoner.models import TINY
from reasoner.schema import SPLITS
from recipes.config import Recipe

#: Rows of the score table: metric in `eval/scores.json` -> its name on the card.
_METRICS = {
    "micro_f1": "Micro-F1, abnormality list",
    "macro_f1": "Macro-F1",
    "exact_match": "Exact list",
    "radrscore": "RadRScore",
    "format": "Well-formed",
}


#: Paths of the machine that trained: nobody else's business.
_LOCAL: Any = {"output": True, "data": {"input"}}


def model_card(recipe: Recipe, source: str, check: dict[str, Any]) -> str:
    """The card's Markdown. Scores come from `eval/scores.json` below the recipe's output, when it is there."""
    data = _read(recipe.output / "data" / "summary.json")
    environment = Environment(
        loader=PackageLoader("recipes", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("model_card.md.j2").render(
        metadata=yaml.safe_dump(_metadata(recipe, source), sort_keys=False, allow_unicode=True).strip(),
        recipe=recipe,
        recipe_yaml=yaml.safe_dump(recipe.model_dump(mode="json", exclude=_LOCAL), sort_keys=False).strip(),
        source=source,
        check=check,
        scores=_scores(recipe.output / "eval" / "scores.json", source),
        data=data,
        splits=[split for split in SPLITS if any(split in counts for counts in data["examples"].values())]
        if data
        else [],
    )


def _metadata(recipe: Recipe, source: str) -> dict[str, Any]:
    tiny = recipe.model.base == TINY
    metadata: dict[str, Any] = {
        "license": "apache-2.0" if tiny else "other",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "language": ["en"],
        "tags": ["radiology", "chest-x-ray", "reasoning", "trl", "vllm", source],
    }
    if not tiny:
        link = f"https://huggingface.co/{recipe.model.base}"
        metadata |= {"base_model": recipe.model.base, "license_name": "as-the-base-model", "license_link": link}
    return metadata


def _scores(path: Path, source: str) -> dict[str, list[tuple[str, str]]]:
    """Split -> (metric, "value [low, high]") of greedy decoding; empty without an evaluation of this stage."""
    splits = (_read(path) or {}).get(source, {})
    table = {}
    for split, modes in splits.items():
        greedy = modes.get("greedy", {})
        table[split] = [
            (label, "{value:.3f} [{low:.3f}, {high:.3f}]".format(**greedy[name]))
            for name, label in _METRICS.items()
            if name in greedy
        ]
    return table


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
