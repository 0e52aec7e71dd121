"""Whether rows fit a model's positions, read from `config.json` before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reasoner.errors import UserError
from reasoner.runtime.disk import read_object


def max_positions(checkpoint: str | Path) -> int | None:
    """`max_position_embeddings` of a checkpoint folder or of a Hub model that is cached; None where it is not known.

    Raises:
        UserError: `config.json` is damaged.
    """
    path = config_path(checkpoint)
    if path is None:
        return None
    config = read_object(path, "restore the checkpoint or make it again")
    text = config.get("text_config")
    nested = text.get("max_position_embeddings") if isinstance(text, dict) else None
    found = nested if nested is not None else config.get("max_position_embeddings")
    if found is not None and (isinstance(found, bool) or not isinstance(found, int) or found < 1):
        raise UserError(f"{path}: max_position_embeddings is {found!r}, no count; restore the checkpoint")
    return found


def config_path(checkpoint: str | Path) -> Path | None:
    """The `config.json` of a checkpoint folder or of a Hub model that is cached; None where there is none here."""
    path = Path(checkpoint) / "config.json"
    if path.is_file():
        return path
    return None if Path(checkpoint).is_dir() else _cached(str(checkpoint))


def check_positions(checkpoint: str | Path, tokens: Mapping[str, int]) -> None:
    """Checks that the sum of `tokens` (key of the recipe -> tokens) fits the checkpoint.

    Raises:
        UserError: naming the keys, their sum and what the model has; or a damaged `config.json`.
    """
    most, needed = max_positions(checkpoint), sum(tokens.values())
    if most is not None and needed > most:
        terms = " + ".join(f"{key} ({number})" for key, number in tokens.items())
        asked = terms if len(tokens) == 1 else f"{terms} = {needed}"
        raise UserError(
            f"{asked} tokens do not fit the {most} positions of {checkpoint} (max_position_embeddings); "
            f"lower {' or '.join(tokens)}"
        )


def _cached(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
