"""The one error a user can mend. The command line prints its message on one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input or a missing precondition. The message says what is wrong, where, and the fix, in one line."""


def nearest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The hint of an error about an unknown name: the nearest known one, else `otherwise`, else all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else otherwise or f"known: {', '.join(known) or 'none'}"
