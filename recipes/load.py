"""A recipe from its YAML file, with overrides and trainer flags applied.

recipe = load_recipe("phantom", ["sft.trainer.learning_rate=1e-4", "output=outputs/trial"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reasoner.errors import UserError, nearest
from reasoner.settings import MAX_DEPTH, explain
from recipes import RECIPES, known_recipes
from recipes.config import Recipe
from recipes.plain_yaml import parse_yaml

FILE = "recipe.yaml"


def recipe_path(name_or_path: str) -> Path:
    """The YAML file of a recipe folder under `recipes/`, or the given file itself.

    Raises:
        UserError: neither a known name nor a file.
    """
    if name_or_path in known_recipes():
        return RECIPES / name_or_path / FILE
    path = Path(name_or_path)
    try:
        if path.is_dir():
            if (path / FILE).is_file():
                return path / FILE
            raise UserError(f"{path}: a folder without {FILE}; name the recipe's YAML file")
        if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
            if path.is_file():
                return path
            raise UserError(f"{path}: no such recipe file; known recipes: {', '.join(known_recipes())}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a recipe or its YAML file") from error
    raise UserError(f"unknown recipe '{name_or_path}'; {nearest(name_or_path, known_recipes())}")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a folder under `recipes/` or of a YAML file, with `section.key=value` overrides applied.

    Raises:
        UserError: unknown recipe or key (with the nearest known one), a value of the wrong kind, or broken YAML.
    """
    path = recipe_path(name_or_path)
    content = parse_yaml(_read(path), str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: a recipe is a mapping of sections (name, data, model, sft, grpo, eval, export)")
    content.setdefault("name", path.resolve().parent.name if path.name == FILE else path.stem)
    for override in overrides:
        _set(content, override)
    if content.get("output") is None:
        content["output"] = f"outputs/{content['name']}"
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{_culprit(error, overrides) or path}: {explain(error, Recipe)}") from error


def _culprit(error: ValidationError, overrides: Sequence[str]) -> str | None:
    """The override, if any, that set what the first problem is about."""
    place = [str(part) for part in error.errors(include_url=False)[0]["loc"]]
    for override in reversed(overrides):
        key = override.partition("=")[0].split(".")
        if place and (key == place[: len(key)] or place == key[: len(place)]):
            return f"--set {override:.80}"
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions or name another") from error


def _set(content: dict[str, Any], override: str) -> None:
    """Applies `a.b.c=value`; mappings on the way are made when missing."""
    key, equals, text = override.partition("=")
    *path, last = key.split(".")
    if not equals or not last or not all(path) or len(path) > MAX_DEPTH:
        raise UserError(f"--set {override}: write it as section.key=value")
    place = content
    for part in path:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise UserError(f"--set {override}: '{part}' holds a value, not a section")
    place[last] = parse_yaml(text, f"--set {override}")


def trainer_flags(flags: Sequence[str], stage: str) -> list[str]:
    """Hugging Face style flags (`--learning_rate 1e-4`, `--max_steps=5`, `--bf16`) as overrides of `stage`.trainer.

    Raises:
        UserError: for a word that belongs to no flag.
    """
    overrides: list[str] = []
    expects_value = False
    for word in flags:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            overrides.append(f"{stage}.trainer.{key.replace('-', '_')}={value if equals else 'true'}")
            expects_value = not equals
        elif expects_value:
            overrides[-1] = overrides[-1].removesuffix("true") + word
            expects_value = False
        else:
            raise UserError(f"unexpected argument '{word}'; trainer arguments are written --name value")
    return overrides
