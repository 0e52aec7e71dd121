"""What a `trainer` block may say: the fields of a TRL config, by its own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from reasoner.errors import UserError, nearest

#: Fields that TRL divides by, or makes batches of.
_COUNTS = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "num_iterations")
#: True is no number, 1 no truth, and "1" neither: what is not converted here, nobody would convert later.
_AS_WRITTEN = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def check_trainer_args(cls: type, mapping: Mapping[str, Any], where: str, options: Sequence[str] = ()) -> None:
    """Checks a `trainer` block against the data class `cls` (a TRL config): the names, types and signs of its fields.

    `options` are flags of the command itself, which a misspelt key may have meant.

    Raises:
        UserError: naming the key.
    """
    known = {field.name: field for field in fields(cls) if field.init}
    hints = get_type_hints(cls)
    all_fields = f"see the fields of {cls.__module__}.{cls.__name__}"
    for key, value in mapping.items():
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'; {nearest(key, [*known, *options], all_fields)}")
        try:
            TypeAdapter(hints[key], config=_AS_WRITTEN).validate_python(value)
        except ValidationError as error:
            told = error.errors(include_url=False)[0]["msg"]
            words = {True: f"; write --{key} VALUE", False: "; YAML reads no as false: quote it twice, '\"no\"'"}
            fix = words[value] if isinstance(value, bool) else ""
            raise UserError(f"{where}.{key}: {told[:1].lower()}{told[1:]} (got {value!r:.60}){fix}") from error
        if key == "max_steps" and _is_number(value) and value < 1 and value != -1:
            raise UserError(f"{where}.{key}: must be more than 0, or -1 to count epochs (got {value})")
        default: Any = known[key].default
        if (key in _COUNTS and value == 0) or (_is_number(value) and _is_number(default) and value < 0 < default):
            raise UserError(f"{where}.{key}: must be more than 0 (got {value})")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
