"""The one error a user can mend. The command line prints its message on one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 1000


class UserError(Exception):
    """Bad input or a missing precondition. The message says what is wrong, where, and the fix, in one line."""


def one_line(text: object) -> str:
    """A message on one printable line, cut where nobody would read on."""
    line = " ".join(str(text).split())
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line[: _LONGEST + 1])
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."


def nearest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The hint of an error about an unknown name: the nearest known one, else `otherwise`, else all of them."""
    known = list(known)
    near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else otherwise or f"known: {', '.join(known) or 'none'}"
