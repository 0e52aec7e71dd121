"""What every settings schema is built from: a frozen, strict section, and values that JSON can hold. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from reasoner.errors import nearest

#: Deepest nesting of a value that is passed on.
MAX_DEPTH = 20


class Section(BaseModel):
    """A frozen mapping that refuses unknown keys, infinity and NaN; the strings below the fields describe them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def _check_plain(value: Any, where: str = "", depth: int = 0) -> Any:
    """Returns the value; raises `ValueError` for one that JSON could not hold."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"the key {wrong[0]!r} is no text")
        for key, inner in value.items():
            _check_plain(inner, f"{key}: ", depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_plain(inner, where, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}{value} is no finite number")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"{where}{type(value).__name__} is neither text, number, list nor mapping")
    return value


#: Keyword arguments of something that checks them itself: a trainer, a source, a reward.
Options = Annotated[dict[str, Any], AfterValidator(_check_plain)]


def _check_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"a number is needed, found {str(value).lower()}")
    return value


#: Numbers: to Python, and so to pydantic, true would be 1.
Int = Annotated[int, BeforeValidator(_check_number)]
Float = Annotated[float, BeforeValidator(_check_number)]
#: How many of something: large enough for any use, small enough for every library.
Count = Annotated[Int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[Int, Field(ge=0, lt=2**31)]
#: Address of a server.
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]


def distinct(names: list[str]) -> list[str]:
    """The names; raises `ValueError` where one is there twice."""
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: each at most once")
    return names


def explain(error: ValidationError, schema: type[Section]) -> str:
    """The first problem in one line; for an unknown key, the nearest known one of its section."""
    problems = error.errors(include_url=False)
    # A misspelt key is missing, too.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    path = [str(part) for part in problem["loc"] if part != "[key]"]  # pydantic's mark of a wrong key
    where = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}'; {nearest(path[-1], _section(schema, path[:-1]).model_fields)}"
    if problem["type"] == "missing":
        return f"'{where}' is missing"
    if problem["type"] == "value_error":
        return f"{where}{': ' * bool(where)}{problem['ctx']['error']}"
    message = "a mapping is needed" if problem["type"] == "model_type" else problem["msg"]
    told, found = f"{message[:1].lower()}{message[1:]}", repr(problem["input"])
    return f"{where}{': ' * bool(where)}{told} (got {found if len(found) <= 60 else found[:57] + '...'})"


def _section(schema: type[Section], path: Sequence[str]) -> type[Section]:
    section: Any = schema
    for part in path:
        kind = section.model_fields[part].annotation
        # `Lora | None` is the one optional section.
        section = next(k for k in (*get_args(kind), kind) if isinstance(k, type) and issubclass(k, Section))
    return section
