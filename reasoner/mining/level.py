"""Questions with the same options whichever is right: what cannot be told from the words alone.

A distractor that is chosen for its likeness to the right option, or for being rarer than it, gives the right one away.
So the options come from fixed menus, in which each may be right, and `pipeline/balance.py` evens out how often each is.
Never together are classes of which one is a kind of the other: where the kind holds, the other cannot be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

from reasoner.findings import ancestors
from reasoner.mining.drafts import Draft, Read, ask, chain_of, class_words, lettered, make_key
from reasoner.mining.wording import CLASS_CONCEPT, stable_hash
from reasoner.schema import NO_FINDING

T = TypeVar("T")

_SHORT = {
    "AT": "Atelectasis", "CM": "Cardiomegaly", "CO": "Consolidation", "ED": "Edema", "EC": "Enlarged Cardiomediastinum",
    "FR": "Fracture", "LL": "Lung Lesion", "LO": "Lung Opacity", "NF": NO_FINDING, "PE": "Pleural Effusion",
    "PO": "Pleural Other", "PN": "Pneumonia", "PX": "Pneumothorax", "SD": "Support Devices",
}  # fmt: skip
#: Found by a greedy search: each class in 5 to 7 of them, each pair that may meet in 1 or 2, likely mistakes first.
MENUS: tuple[tuple[str, ...], ...] = tuple(
    tuple(_SHORT[name] for name in menu.split())
    for menu in (
        "AT CO ED LL", "CM PE PO PX", "EC FR LO NF", "AT CM PN SD", "ED EC LL PN", "CO FR PE SD", "AT NF PO PX",
        "LL LO PO SD", "CM CO ED NF", "ED FR PN PX", "EC LO PE PX", "LL NF PE PN", "AT CO EC PO", "CM FR LL LO",
        "AT ED PE SD", "CO EC PX SD", "CM FR PO PN", "CM LO NF SD", "AT FR LL PX", "ED EC PE PO", "AT EC NF PN",
    )
)  # fmt: skip
#: Pairs of which one holds and the other does not; two of them make four sets of two, each class in two of the sets.
RIVALS: tuple[tuple[str, str], ...] = tuple(
    (_SHORT[one], _SHORT[other])
    for one, other in (
        ("PE", "PX"), ("PE", "PO"), ("AT", "CO"), ("AT", "PN"), ("AT", "LL"), ("ED", "PN"), ("ED", "CO"), ("LL", "CO"),
        ("LO", "LL"), ("CM", "SD"), ("CM", "FR"), ("EC", "FR"), ("EC", "SD"), ("LO", "PX"), ("LO", "FR"),
    )
)  # fmt: skip
SETS_QUESTIONS = (
    "Which of these sets of findings is present? Answer with the letter.",
    "Of which set does this chest X-ray show every finding? Answer with the letter.",
)


def may_meet(*names: str) -> bool:
    """Whether no two of the classes are a kind of one another, so that each can be right while the others are wrong."""
    concepts = [CLASS_CONCEPT[name] for name in names if name != NO_FINDING]
    return len(set(names)) == len(names) and not any(
        a in ancestors(b) or b in ancestors(a) for a, b in combinations(concepts, 2)
    )


_CROSSED = tuple(pair for pair in combinations(RIVALS, 2) if may_meet(*pair[0], *pair[1]))


def level_yes_no(read: Read, number: int, questions: Sequence[str]) -> Draft | None:
    """A question of yes and no about the study's n-th class; 13 of them ask about all. Silence is read as No, but goes
    only where the reports deny too little (`pipeline/balance.py`)."""
    key = make_key(read, "binary", number)
    names = sorted(CLASS_CONCEPT, key=lambda name: stable_hash(*key[:3], name))
    name = names[number] if number < len(names) else ""
    if not name or not _clear(read, (name,)):
        return None
    answer = "Yes" if _holds(read, name) else "No"
    question = ask(read, questions, key).format(t=class_words(name))
    return Draft(question, answer, chain_of(read, key, (name,), answer), classes=(name,))


def level_choice(read: Read, number: int, questions: Sequence[str]) -> Draft | None:
    """One of the four options of the n-th menu that fits the study: one of them holds and three do not."""
    key = make_key(read, "single", number)
    menu = _nth(MENUS, number, key[:3], lambda menu: sum(_holds(read, n) for n in menu) == 1 and _clear(read, menu))
    if menu is None:
        return None
    right = next(name for name in menu if _holds(read, name))
    names = sorted(menu, key=lambda name: stable_hash(*key, "shuffle", name))
    classes = tuple(name for name in names if name != NO_FINDING)
    return _lettered(read, key, names, right, questions, classes)


def level_sets(read: Read, number: int) -> Draft | None:
    """One of four sets of two classes: the n-th two pairs of rivals of each of which just one class holds."""
    key = make_key(read, "sets", number)
    crossed = _nth(_CROSSED, number, key[:3], lambda pairs: all(_splits(read, pair) for pair in pairs))
    if crossed is None:
        return None
    sets = [", ".join(sorted((one, other))) for one in crossed[0] for other in crossed[1]]
    right = ", ".join(sorted(name for pair in crossed for name in pair if _holds(read, name)))
    sets.sort(key=lambda words: stable_hash(*key, "shuffle", words))
    return _lettered(read, key, sets, right, SETS_QUESTIONS, (*crossed[0], *crossed[1]))


def _lettered(
    read: Read,
    key: tuple[object, ...],
    words: Sequence[str],
    right: str,
    questions: Sequence[str],
    classes: tuple[str, ...],
) -> Draft:
    options = lettered(words)
    answer = options[words.index(right)][0]
    return Draft(ask(read, questions, key), answer, chain_of(read, key, classes, answer), options, classes=classes)


def _holds(read: Read, name: str) -> bool:
    return read.mined[name] == "present" and (name != NO_FINDING or read.labels[name] == "present")


def _clear(read: Read, names: Sequence[str]) -> bool:
    """Whether each of the classes holds or is surely wrong."""
    return all(_holds(read, name) or name == NO_FINDING or read.offerable(name) for name in names)


def _splits(read: Read, pair: tuple[str, str]) -> bool:
    return sum(_holds(read, name) for name in pair) == 1 and _clear(read, pair)


def _nth(items: Sequence[T], number: int, key: tuple[object, ...], fits: Callable[[T], bool]) -> T | None:
    """The n-th of the items that fit, in the study's own order."""
    fitting = sorted(filter(fits, items), key=lambda item: stable_hash(*key, item))
    return fitting[number] if number < len(fitting) else None
