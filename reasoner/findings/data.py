"""What the data files of words share: how they are read, and the forms of the verbs in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_SHORT = re.compile(r"[^aeiou]*[aeiou][bdgmnprt]")
_SIBILANT = ("s", "x", "z", "ch", "sh", "o")


def read_data(path: Path, plain: bool = False) -> dict[str, Any]:
    """A data file; with `plain`, all that is in it are words, `no`, `on` and `1` too."""
    name = "BaseLoader" if plain else "SafeLoader"
    loader = getattr(yaml, f"C{name}", getattr(yaml, name))
    return yaml.load(path.read_text("utf-8"), Loader=loader)  # type: ignore[no-any-return]


def verb_forms(base: str) -> tuple[str, str, str, str]:
    """The regular forms of a verb or of the first word of "rule out": base, third person, -ing, -ed."""
    verb, space, rest = base.partition(" ")
    if _SHORT.fullmatch(verb):  # flag, flagged
        return base, f"{verb}s{space}{rest}", f"{verb}{verb[-1]}ing{space}{rest}", f"{verb}{verb[-1]}ed{space}{rest}"
    stem = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
    if verb[-1] == "y" and verb[-2] not in "aeiou":
        third, past = verb[:-1] + "ies", verb[:-1] + "ied"
    else:
        third, past = verb + ("es" if verb.endswith(_SIBILANT) else "s"), stem + "ed"
    return base, third + space + rest, stem + "ing" + space + rest, past + space + rest
