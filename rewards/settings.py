"""What a recipe sets of a reward, checked against the types that the reward declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import partial
from inspect import signature
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from reasoner.errors import UserError, nearest

#: Unknown options and infinity are refused in the declared class and in all that it holds.
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


def declare(function: Callable[..., Any], names: Sequence[str]) -> type[Any]:
    """A data class of the keyword parameters `names` with their annotations and defaults.

    A parameter without an annotation, or with one that cannot be resolved, takes anything.
    """
    parameters = signature(function).parameters
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # imported for type checkers alone
        hints = {}
    return make_dataclass(
        f"{function.__name__}_settings",
        # A default that can change, such as a list, is allowed for a parameter but not for a field: hence the factory.
        [(n, hints.get(n, Any), field(default_factory=partial(getattr, parameters[n], "default"))) for n in names],
        frozen=True,
    )


def parse(settings: type[Any], options: Mapping[str, Any], reward: str) -> Any:
    """The settings of the reward that `options` give, defaults for the rest.

    Raises:
        UserError: the first option that is unknown, missing or of another kind, with what is allowed.
    """
    held: Any = (settings, ...)
    schema = create_model(settings.__name__, __config__=_CONFIG, held=held)
    try:
        return dict(schema.model_validate({"held": dict(options)}))["held"]
    except ValidationError as error:
        raise UserError(_explain(error, settings, reward)) from None


def _explain(error: ValidationError, settings: type[Any], reward: str) -> str:
    problem = error.errors(include_url=False)[0]
    kind, why, context = problem["type"], problem["msg"], problem.get("ctx", {})
    path, holders = _place(settings, problem["loc"][1:])
    where = ".".join(path)
    if kind == "unexpected_keyword_argument":
        known = sorted(f.name for holder in holders for f in fields(holder))
        return f"unknown option of reward {reward!r}: {where!r}; {nearest(path[-1], known)}"
    place = f"reward {reward!r}" + (f", option {where!r}" if where else "")
    if kind == "missing":
        return f"{place}: it is missing"
    if kind == "value_error":
        return f"{place}: {context['error']}"
    if kind == "union_tag_not_found":
        return f"{place}: it needs a `kind`"
    if kind == "union_tag_invalid":
        known = re.findall(r"'([^']*)'", context["expected_tags"])
        return f"{place}: unknown kind {context['tag']!r}; known: {', '.join(known)}"
    found = repr(problem["input"])
    return f"{place}: {why[:1].lower()}{why[1:]} (got {found if len(found) <= 60 else found[:57] + '...'})"


def _place(settings: type[Any], loc: Sequence[int | str]) -> tuple[list[str], list[type[Any]]]:
    """The path of an option as the recipe has it, and the data classes that could hold its last part.

    Pydantic's own path also holds the kind of each typed choice, which a recipe writes elsewhere.
    """
    path: list[str] = []
    holders, inner = [settings], [settings]
    for part in map(str, loc):
        chosen = [h for h in inner if any(f.name == "kind" and f.default == part for f in fields(h))]
        if chosen and path:
            inner = chosen
            continue
        path.append(part)
        holders = inner
        hints = [get_type_hints(h, include_extras=True).get(part) for h in holders]
        inner = [kind for hint in hints for kind in _classes(hint)]
    return path, holders


def _classes(hint: Any) -> list[type[Any]]:
    """The data classes that an annotation names, at any depth."""
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [kind for inner in get_args(hint) for kind in _classes(inner)]
