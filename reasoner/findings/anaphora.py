"""What a clause that names nothing says of the things named before it: "none is seen", "the latter is not"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from reasoner.findings.discourse_data import reply_words
from reasoner.schema import Status

Whose = Literal["all", "first", "second"]


class Reply(NamedTuple):
    """What a clause says of all, the first or the second of the things named before it. `only`: the others are not.
    `turns`: it denies a statement, so that what was denied is so. `side`: where it says so."""

    status: Status
    whose: Whose = "all"
    only: bool = False
    turns: bool = False
    side: str | None = None


def read_reply(said: Sequence[str]) -> Reply | None:
    """What the words of a clause say of the things named before it; None if they may say anything else."""
    kinds = reply_words()
    known = frozenset().union(*(kinds[name] for name in ("back", "seen", "no", "maybe", "sure", "glue", "elsewhere")))
    if not said or not known.issuperset(said) or _option(said):
        return None
    whose = _whose(said)
    own = [word for n, word in enumerate(said) if not _orders(said, n)]
    if "so" in own[1:]:  # "I think so"
        own += ["that", "true"]
    there = {name for name, words in kinds.items() if not words.isdisjoint(own)}
    timed = "this" in own and "time" in own
    if own in ([], ["here"]) or ("elsewhere" in there and not timed) or {"only", "not"} <= {*own}:
        return None
    denials = sum(word in kinds["no"] for word in own)
    points = whose != "all" or not there.isdisjoint(("back", "seen"))
    ends = own[-1] in kinds["be"]
    if ("maybe" in there and not denials) or ({"negator", "sure"} <= there and "seen" not in there):
        return Reply("uncertain", whose) if points or ends else None
    if denials:
        turns = "truth" in there and "verdict" not in there
        status: Status = "present" if denials % 2 == 0 else "absent"
        return Reply(status, whose, turns=turns) if points or ends or timed else None
    affirms = "seen" in there or ends or kinds["whole"].issuperset(own)
    return Reply("present", whose, only="only" in own) if affirms and points else None


def _option(said: Sequence[str]) -> bool:
    """Whether an option is spoken of by its letter: "option A is not correct" denies no finding."""
    return any(word in reply_words()["verdict"] and len(letter) == 1 for word, letter in pairwise(said))


def _whose(said: Sequence[str]) -> Whose:
    word = next((word for n, word in enumerate(said) if _orders(said, n)), None)
    return "all" if word is None else "first" if word in reply_words()["first"] else "second"


def _orders(said: Sequence[str], n: int) -> bool:
    """Whether the n-th word is one of "the former", "the second", "the first one"."""
    word, before, after = said[n], said[n - 1] if n else "", said[n + 1] if n + 1 < len(said) else ""
    if word not in reply_words()["first"] | reply_words()["second"]:
        return False
    return word in ("former", "latter") or before == "the" or after == "one"
