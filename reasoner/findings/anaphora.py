"""What a clause that names nothing says of the things named before it: "none is seen", "the latter is not"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from reasoner.findings.discourse_data import reply_words
from reasoner.schema import Status

_BARELY = frozenset(("the", "but", "just", "only"))
#: "All three", "both of the two".
_NUMBERS = frozenset(("two", "three", "four", "five"))
_RULES = frozenset(("confirms", "confirm", "confirmed", "excludes", "excluded", "rules", "bears", "proves"))
_STAYS = frozenset(("persists", "persist", "remains", "remain", "resolved", "cleared", "disappeared"))
#: Who finds it hard to say.
_UNSURE = frozenset(("i", "we", "hard", "difficult", "impossible"))
_OF_THEM = frozenset(("of", "them", "these", "those"))
Whose = Literal["all", "first", "second", "third", "last", "first two", "last two", "all but first", "all but last"]
#: The things that are meant of those named before.
MEANT: dict[Whose, slice] = {
    "all": slice(None), "first": slice(1), "second": slice(1, 2), "third": slice(2, 3), "last": slice(-1, None),
    "first two": slice(2), "last two": slice(-2, None), "all but first": slice(1, None), "all but last": slice(-1),
}  # fmt: skip


class Reply(NamedTuple):
    """What a clause says of all or some (`MEANT`) of the things named before it. `only`: the others are not.
    `turns`: it says of a statement that it is true or false, so of what was denied the contrary. `side`: where."""

    status: Status
    whose: Whose = "all"
    only: bool = False
    turns: bool = False
    side: str | None = None


def read_reply(said: Sequence[str]) -> Reply | None:
    """What the words of a clause say of the things named before it; None if they may say anything else."""
    kinds = reply_words()
    said = [word for n, word in enumerate(said) if not (n and word in _NUMBERS and said[n - 1] in ("all", "the"))]
    known = frozenset().union(
        *(kinds[name] for name in ("back", "seen", "no", "maybe", "sure", "negator", "glue", "elsewhere"))
    )
    pairs = {"two"} if any(_orders(said, n) for n in range(len(said) - 1)) else set()
    if not said or not (known | pairs).issuperset(said) or _option(said):
        return None
    whose = _whose(said)
    own = [word for n, word in enumerate(said) if not _orders(said, n) and word != "two"]
    if "so" in own[1:]:  # "I think so"
        own += ["that", "true"]
    there = {name for name, words in kinds.items() if not words.isdisjoint(own)}
    timed = "this" in own and "time" in own
    timed = timed or ("lateral" in own and not _RULES.isdisjoint(own))  # "the lateral view confirms it"
    if whose != "all" and _BARELY.issuperset(own):
        return Reply("present", whose, only="only" in own)  # "X or Y? The latter."
    if own in ([], ["here"]) or ("elsewhere" in there and not timed) or {"only", "not"} <= {*own}:
        return None
    denials = sum(word in kinds["no"] for word in own)
    judges = "truth" in there and "verdict" not in there
    points = whose != "all" or not there.isdisjoint(("back", "seen")) or _bare(own)
    points = points or "all" in own or (judges and not kinds["judge"].isdisjoint(own))
    ends = own[-1] in kinds["be"]
    if ("maybe" in there and not denials) or ({"negator", "sure"} <= there and "seen" not in there):
        return Reply("uncertain", whose) if points or ends or not _UNSURE.isdisjoint(own) else None
    if denials:
        status: Status = "present" if denials % 2 == 0 else "absent"
        return Reply(status, whose, turns=judges) if points or ends or timed else None
    affirms = "seen" in there or ends or (kinds["whole"] | _OF_THEM).issuperset(own)
    only = "only" in own or whose.startswith("all but")
    return Reply("present", whose, only=only, turns=judges) if affirms and points else None


def _bare(said: Sequence[str]) -> bool:
    """Whether a pronoun and a verb are all that is said: "I do"."""
    return len(said) == 2 and said[0] in ("i", "we") and said[1] in reply_words()["be"]


def _option(said: Sequence[str]) -> bool:
    """Whether an option is spoken of by its letter: "option A is not correct" denies no finding."""
    return any(word in reply_words()["verdict"] and len(letter) == 1 for word, letter in pairwise(said))


def _whose(said: Sequence[str]) -> Whose:
    at = next((n for n in range(len(said)) if _orders(said, n)), None)
    if at is None:
        return "all"
    whose: Whose = next(name for name in ("first", "second", "third", "last") if said[at] in reply_words()[name])
    if "but" in said[:at] and "all" in said[:at] and whose in ("first", "last"):
        return "all but first" if whose == "first" else "all but last"
    if said[at + 1 : at + 2] == ["two"] and whose in ("first", "last"):
        return "first two" if whose == "first" else "last two"
    return whose


def _orders(said: Sequence[str], n: int) -> bool:
    """Whether the n-th word is one of "the former", "the second", "the first one"."""
    word, before, after = said[n], said[n - 1] if n else "", said[n + 1] if n + 1 < len(said) else ""
    if not any(word in reply_words()[name] for name in ("first", "second", "third", "last")):
        return False
    if word in ("former", "latter"):
        return True
    alone = after in ("", "one", "two", "of") or after in _STAYS or after in reply_words()["be"]  # not "the last film"
    return alone and (before == "the" or after in ("one", "two"))
