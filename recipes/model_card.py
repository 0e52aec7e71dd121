"""The model card of an export: Hub metadata, data, recipe, scores, intended use and limits."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from reasoner.errors import UserError
from reasoner.layout import SCORES, SUMMARY, data
from reasoner.models import TINY
from reasoner.runtime.disk import read_object
from reasoner.schema import SPLITS
from reasoner.scores import HEADLINE, Interval, read_greedy
from recipes.config import Recipe

#: Paths of the machine that trained: nobody else's business.
_LOCAL: Any = {"output": True, "data": {"input"}}


class Facts(NamedTuple):
    """What the card says beside the recipe and the proof."""

    data: dict[str, Any] | None
    scores: dict[str, dict[str, Interval]]


def read_facts(recipe: Recipe, source: str) -> Facts:
    """What was mined, and the scores of `source` decoded greedily, as far as they are there.

    Raises:
        UserError: `summary.json` or `scores.json` is damaged.
    """
    path = data(recipe.output) / SUMMARY
    fix = "run `reasoner mine --force`"
    mined = read_object(path, fix) if path.exists() else None
    if mined is not None:
        studies, examples = mined.get("studies"), mined.get("examples")
        counts = [*examples.values()] if isinstance(examples, dict) else [None]
        whole = isinstance(studies, dict) and {"mined", "read"} <= studies.keys()
        if not whole or not all(isinstance(count, dict) for count in counts):
            raise UserError(f"{path}: damaged, the counts of studies and examples are not as written; {fix}")
    return Facts(mined, read_greedy(recipe.output / "eval" / SCORES, source))


def model_card(recipe: Recipe, source: str, check: dict[str, Any], facts: Facts) -> str:
    """The card's Markdown; `check` is the proof of the export."""
    examples = facts.data["examples"].values() if facts.data else ()
    environment = Environment(
        loader=PackageLoader("recipes", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("model_card.md.j2").render(
        metadata=yaml.safe_dump(_metadata(recipe, source), sort_keys=False, allow_unicode=True).strip(),
        recipe=recipe,
        profile=recipe.model.prompts,
        quote=json.dumps,
        recipe_yaml=yaml.safe_dump(recipe.model_dump(mode="json", exclude=_LOCAL), sort_keys=False).strip(),
        source=source,
        check=check,
        scores={
            split: [(HEADLINE[name], str(interval)) for name, interval in found.items()]
            for split, found in facts.scores.items()
        },
        data=facts.data,
        splits=[split for split in SPLITS if any(split in counts for counts in examples)],
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
