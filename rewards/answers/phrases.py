"""What the items around one tell: where a list ends, and what takes back the words before it."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner.findings.answers import NAME, vocabulary
from rewards.answers.text import Item

#: A list is looked through for its end no further than this.
_MOST_AHEAD = 40
#: What a list of denied names is made of.
_LISTED = frozenset((NAME, "all", ",", "word", "among", "good", "noun"))
#: What a clause may begin after.
_BEFORE_CLAUSES = frozenset(("stop", ",", "–", ":", "(", "but", "so"))
_WITHDRAWALS = frozenset(("retract", "rethink", "not"))
#: A reply is no longer, and of these besides polar words.
_MOST_IN_REPLY = 8
_IN_REPLIES = frozenset(("one", "many", "modal", "verb", "this"))
#: What stands after a `no` that is a sentence of its own.
_AFTER_NO = frozenset(("stop", ",", "–", ":", "retract", "rethink"))


def kind_at(items: Sequence[Item], k: int) -> str:
    """The kind of item k; beyond the text it is a stop."""
    return items[k].kind if 0 <= k < len(items) else "stop"


def end_of_denied(items: Sequence[Item], k: int) -> int:
    """Up to where the list of denied names goes on after the comma at item k: the `or`, `nor` or `and` that closes it;
    0 where it does not."""
    named = False
    for j in range(k + 1, min(k + _MOST_AHEAD, len(items))):
        item = items[j]
        if item.kind == "or" or (item.kind == "not" and item.value == "nor"):
            return j
        if item.kind == "and":
            return j if named else 0
        if item.kind not in _LISTED:
            return 0
        named = named or item.kind in (NAME, "all")
    return 0


def end_of_choices(items: Sequence[Item], k: int) -> int:
    """The comma after the names that item k, `of` or `among`, begins: `Of A, B and C, ...`. 0 where there is none."""
    if kind_at(items, k - 1) != "stop" and not (kind_at(items, k - 1) == "word" and kind_at(items, k - 2) == "stop"):
        return 0
    joined, names = False, set()
    for j in range(k + 1, min(k + _MOST_AHEAD, len(items))):
        kind = items[j].kind
        if kind == NAME:
            if items[j].value in names:
                return 0
            names.add(items[j].value)
        elif kind in ("and", "or"):
            joined = joined or bool(names)
        elif kind in (",", "–", ":"):
            if joined and len(names) > 1 and items[j - 1].kind != ",":
                return j if kind_at(items, j + 1) not in ("and", "or") and items[j - 1].kind not in ("and", "or") else 0
        elif kind != "among" and (kind != "word" or items[j].value not in vocabulary().glue):
            return 0
    return 0


def is_no(items: Sequence[Item], k: int) -> bool:
    """Whether item k is a `no` that takes back what stands before: `B... no, A`, `B. No, A`, `wait, no`."""
    if items[k].kind != "not" or items[k].value not in vocabulary().noes or kind_at(items, k + 1) not in _AFTER_NO:
        return False
    j = k - 1
    while j > 0 and (items[j].kind in (",", "–", ":") or items[j].value in vocabulary().interjections):
        j -= 1
    if j < 0:
        return False
    if items[j].kind == "stop":
        return items[j].value.startswith("..") or (items[j].value in ".!" and kind_at(items, k + 1) == ",")
    return items[j].kind in ("retract", "rethink") or (items[j].kind == "but" and j == k - 1)


def withdraws(items: Sequence[Item], k: int) -> bool:
    """Whether item k takes back what stands before it."""
    if items[k].kind not in _WITHDRAWALS:
        return False
    if items[k].kind == "rethink":
        return kind_at(items, k - 1) in _BEFORE_CLAUSES or (k > 0 and items[k - 1].value in vocabulary().noes)
    return items[k].kind == "retract" or is_no(items, k)


def reply_at(items: Sequence[Item], k: int) -> bool | None:
    """Whether what begins at item k says yes or no to a question; None where it says something else."""
    denials, said = 0, False
    for item in items[k : k + _MOST_IN_REPLY]:
        if item.kind in (",", "–", ":", "stop"):
            return denials % 2 == 0 if said else None
        if item.kind in ("good", "bad", "not"):
            said = True
            denials += item.kind != "good"
        elif item.kind not in _IN_REPLIES and not (item.kind == "word" and item.value in vocabulary().glue):
            return None
    return denials % 2 == 0 if said and len(items) <= k + _MOST_IN_REPLY else None
