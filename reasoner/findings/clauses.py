"""What is done to whole clauses: reversed ("it is false that ..."), doubted ("I cannot say ..."), or void, since they
speak of another person, another time or a world that is not ("would be clear"). And clauses that name nothing
themselves but say of what was named before that it is so, or not: "..., but there is none".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from reasoner.findings.compose import MARKS
from reasoner.findings.lexicon import Roles, Term, load
from reasoner.findings.text import Token
from reasoner.schema import Status

#: "Since the prior study", "clearer than before": other times that things of now are compared with.
_COMPARED = frozenset(("since", "to", "with", "from", "than", "as", "compared", "versus", "vs", "unlike"))
_RELATIVE = frozenset(("that", "which"))
#: What follows from a finding, or is said of an option, takes nothing back: "no nodule, so option B is wrong".
_VERDICT = frozenset(("option", "options", "choice", "answer", "so", "thus", "therefore", "hence", "meaning", "means"))
_JOINTS = frozenset(("and", "so", "then"))
_PRESENT = frozenset(("is", "are", "has", "have", "appears", "appear", "remains", "remain"))


class Outer(NamedTuple):
    """What is done to the clause around an item: `void` when it asserts nothing, `aside` when it is an aside about
    another time ("absent last week,"), the mark that leaves it open, the marks that each reverse it."""

    void: bool = False
    aside: bool = False
    doubt: Term | None = None
    reversals: tuple[Term, ...] = ()


_NOTHING = Outer()
#: Stands for a mark of another time in an aside.
_ASIDE = Term(0, 0, {})
#: Others that are named beside the patient: "unlike his father, he has ...".
_BESIDE = frozenset(("like", "unlike", "whose", "as"))
_NOW = frozenset(("now", "today", "currently", "longer", "anymore", "cannot"))
_NAMING = frozenset(("concept", "quality", "anatomy"))
_TENSES = frozenset(("was", "were", "is", "are", "has", "had", "have"))
#: A relative clause about another time has no more words.
_SHORT = 10
#: Roles of what says more than that something is so.
_MORE = frozenset((
    "concept", "anatomy", "quality", "severity", "acuity", "size", "kind", "location", "formerly", "showed",
    "say", "elsewhere", "hypothetical_forward", "hypothetical_backward", "exception", "pseudo", "explains", "inverted",
    "counterfactual",
))  # fmt: skip
#: What a clause comes to, in the order in which the one outweighs the other: the roles that make it so.
_OUTCOMES: dict[Status, frozenset[str]] = {
    "uncertain": frozenset(("hedge_forward", "hedge_backward", "doubt_forward")),
    "absent": frozenset(("negation_forward", "negation_backward", "outcome_no", "reply_no", "reversal_forward",
                         "reversal_backward")),
    "present": frozenset(("outcome_yes", "reply_yes", "affirm")),
}  # fmt: skip
#: What a clause that answers may begin with behind "and".
_ACTS = frozenset(("operator", "negator", "outcome_no", "outcome_yes", "change"))
_BREAKS = frozenset(",;:-")
#: An answer has no more words.
_LONG = 16
_PREDICATE = frozenset(("verb", "hedge_forward"))
#: What is said of a subject.
_SAYING = frozenset(("verb", "quality", "change", "concept", "hedge_forward"))
_NAMED = frozenset(("option", "choice", "answer", "statement"))
_SUPPOSING = frozenset(("if", "even", "were", "had"))
#: How much of it there is: "a small one".
_DEGREE = frozenset(("severity", "quality"))
#: What turns to something else.
_TURNS = frozenset(("while", "whereas", "but", "although", "though", "however", "yet", ";"))
#: What names the part that a clause is about; and that, or what comes in its place.
_PARTS = frozenset(("side", "anatomy"))
_DECISIVE = frozenset((*_PARTS, "verb", "concept", "quality"))
_ACTING = frozenset(
    ("reversal_forward", "reversal_backward", "doubt_forward", "counterfactual", "elsewhere", "formerly", "known")
)


def outer(tokens: Sequence[Token], items: Sequence[Term], marks: Sequence[Term]) -> list[Outer]:
    """One `Outer` for each item."""
    acting = [mark for mark in marks if mark.roles.keys() & _ACTING]
    found = [_NOTHING] * len(items)
    if not acting:
        return found
    bounds, turns = _bounds(tokens, items, marks)
    commas = [0, *(i for i, token in enumerate(tokens) if token.text in ",()"), *bounds[1:]]
    commas.sort()
    starts = [item.first for item in items]
    for mark in acting:
        first, last = _around(bounds, mark.first)
        roles = mark.roles
        if "reversal_forward" in roles or "doubt_forward" in roles or "elsewhere" in roles:
            last = _around(turns, mark.first)[1]  # "it is false that the heart is enlarged and the lungs are clear"
        if "reversal_forward" in roles or "doubt_forward" in roles:
            first = mark.last
        elif "reversal_backward" in roles:
            begin, _ = _around(commas, mark.first)
            if any(token.text in _VERDICT for token in tokens[begin : mark.first]):
                continue
            last = mark.first
        elif "counterfactual" in roles:
            begin, last = _around(commas, mark.first)
            named = any(begin <= item.first < mark.first for item in items)
            named = named or any("exception" in other.roles and first <= other.first < begin for other in marks)
            first = begin if named else first  # "an effusion, if present, would be ..."
            if mark.first and tokens[mark.first - 1].text in _RELATIVE:  # "no collapse that would confirm it"
                first = mark.first
        elif "elsewhere" in roles and any(token.text in _BESIDE for token in tokens[first : mark.first]):
            first, last = _around(commas, mark.first)
        elif "known" in roles:
            inside = [item for item in items if first <= item.first < last]
            if mark.first > first or any("verb" in item.roles or "change" in item.roles for item in inside):
                continue
            first = mark.last
        elif "formerly" in roles:
            begin, end = _added(tokens, mark, *_around(commas, mark.first))
            if _aside(tokens, items, mark, begin, min(end, last)):
                first, last, mark = begin, min(end, last), _ASIDE
            elif not _over(tokens, items, marks, mark, first, last):
                continue
        for k in range(bisect_right(starts, first - 1), bisect_right(starts, last - 1)):
            found[k] = _with(found[k], mark)
    return found


def _added(tokens: Sequence[Token], mark: Term, first: int, last: int) -> tuple[int, int]:
    """The stretch between two commas, or the relative clause, that a mark of another time is in."""
    for i in range(mark.first - 1, max(mark.first - _SHORT, first), -1):
        if tokens[i].text in _RELATIVE and tokens[i + 1].text in _TENSES:
            return i, last if tokens[i - 1].text == "," else mark.last
    return first, last


def _aside(tokens: Sequence[Token], items: Sequence[Term], mark: Term, first: int, last: int) -> bool:
    """Whether tokens `[first, last)`, with a mark of another time, only add what was so then to a finding named before
    them: "an effusion, absent last week, ..."."""
    if first == 0 or (tokens[first].text == "," and tokens[first + 1].text in _TENSES):
        return False
    if any(tokens[i].text in _COMPARED for i in range(max(mark.first - 3, first), mark.first)):
        return False
    inside = [item.roles for item in items if first <= item.first < last]
    named = any(not roles.keys().isdisjoint(_NAMING) and "severity" not in roles for roles in inside)
    now = any(token.text in _NOW for token in tokens[first:last])
    return bool(inside) and not named and not now and any("concept" in i.roles for i in items if i.first < first)


def _with(around: Outer, mark: Term) -> Outer:
    if "reversal_forward" in mark.roles or "reversal_backward" in mark.roles:
        return around._replace(reversals=(*around.reversals, mark))
    if "doubt_forward" in mark.roles:
        return around._replace(doubt=mark)
    return around._replace(void=True, aside=around.aside or mark is _ASIDE)


def settle(tokens: Sequence[Token], items: list[Term], marks: Sequence[Term]) -> list[Term]:
    """The items, with each clause that only answers what was named before it as one item: "but there is none"."""
    named = next((item.last for item in items if "concept" in item.roles), len(tokens))
    starts = _answers(tokens, items, marks, named)
    if not starts:
        return items
    terms = sorted([*items, *(mark for mark in marks if mark.roles.keys() <= MARKS)], key=lambda term: term.first)
    firsts, at = [item.first for item in items], [term.first for term in terms]
    found = items[: bisect_left(firsts, starts[0])]
    for first, last in pairwise([*starts, len(tokens)]):
        said = _said(tokens, terms[bisect_left(at, first) : bisect_left(at, last)], first, last)
        inside = items[bisect_left(firsts, first) : bisect_left(firsts, last)]
        found += [Term(first, last, said)] if said else inside
    return found


def _answers(tokens: Sequence[Token], items: Sequence[Term], marks: Sequence[Term], named: int) -> list[int]:
    """The tokens from `named` at which a clause may begin that answers: those behind a mark, those that turn, "which",
    "and it", "and found"."""
    found = {mark.first for mark in marks if "adversative" in mark.roles and mark.first >= named}
    joints = []
    for i in range(named, len(tokens) - 1):
        word = tokens[i].text
        if word in _BREAKS or word == "which":
            found.add(i)
        elif word in _JOINTS:
            joints.append(i)
    if joints:
        acts = {term.first for term in (*items, *marks) if not term.roles.keys().isdisjoint(_ACTS)}
        found.update(i for i in joints if i + 1 in acts or tokens[i + 1].text in load().pointing)
    return sorted(found)


def _said(tokens: Sequence[Token], terms: Sequence[Term], first: int, last: int) -> Roles | None:
    """What a clause says of what was named before it, as the roles of an item; None if it says more, or nothing."""
    words = [tokens[i].text for i in range(first, last)]
    one = "one" in words  # "but a small one on the left"
    told = [term.roles for term in terms if tokens[term.first].text != "which"]
    degrees = [roles for roles in told if one and roles.keys() <= _DEGREE]
    if any(word in _NAMED and len(letter) == 1 for word, letter in pairwise(words)):  # "so it is not option A"
        return None
    if "would" in words and tokens[0].text in _SUPPOSING:  # "even if there were one, the film would not show it"
        return None
    if last - first > _LONG or any(_says_more(roles) and roles not in degrees for roles in told):
        return None
    lexicon = load()
    known = {i for term in terms for i in range(term.first, term.last)}
    for i, word in enumerate(words, first):
        if i not in known and word not in lexicon.existence and word not in lexicon.function and word[-2:] != "ly":
            return None
    alone = [lexicon.operators[term.roles["operator"]].get("alone") for term in terms if "operator" in term.roles]
    if None in alone:  # "which I cannot judge"
        return None
    change = next((term.roles["change"] for term in terms if "change" in term.roles), None)
    said = next((s for s, names in _OUTCOMES.items() if s in alone or any(names & t.roles.keys() for t in terms)), None)
    said = "absent" if change == "resolved" and said != "uncertain" else said
    turns = any("adversative" in term.roles for term in terms)
    said = "present" if said is None and turns and "one" in words else said  # "but a real one"
    if said is None or not (change or "not" in words or not lexicon.pointing.isdisjoint(words)):
        return None
    if degrees and said != "present":  # "a large effusion, not a small one"
        return None
    side = next((term.roles["side"] for term in terms if "side" in term.roles), None)
    return {
        "answer": said,
        "turns": turns,
        "answers on": side,
        "answers in": next((roles["severity"] for roles in degrees if "severity" in roles), None),
    }


def _says_more(roles: Roles) -> bool:
    if roles.get("operator") == "unreal":  # "it is an artifact"
        return False
    return not roles.keys().isdisjoint(_MORE) or (
        "operator" not in roles and roles.get("change", "resolved") != "resolved"
    )


def subjects(tokens: Sequence[Token], items: Sequence[Term]) -> list[int]:
    """The tokens at which clauses begin that say something of another part than the clause before: "the left lung is
    clear while the right ...", "although the left is clear, there is ...", "..., and the left is sharp"."""
    found = []
    for i, token in enumerate(tokens):
        turns = token.text in _TURNS or (token.text == "," and tokens[0].text in _TURNS)
        if not turns and token.text not in _JOINTS:
            continue
        inside = _stretch(tokens, items, i + 1)
        subject = next((n for n, item in enumerate(inside) if not item.roles.keys().isdisjoint(_DECISIVE)), None)
        if subject is None or inside[subject].roles.keys().isdisjoint(_PARTS):
            there = bool(inside) and inside[0].first == i + 1 and tokens[i + 1].text == "there"
            if not there:
                continue
        elif not turns and not any("verb" in item.roles for item in inside[subject + 1 :]):
            continue
        found.append(i)
    return found


def _stretch(tokens: Sequence[Token], items: Sequence[Term], first: int) -> list[Term]:
    """The items from token `first` to the next sign or turn."""
    last = next((i for i in range(first, len(tokens)) if tokens[i].text in _BREAKS | _TURNS), len(tokens))
    return [item for item in items if first <= item.first < last]


def _around(bounds: Sequence[int], at: int) -> tuple[int, int]:
    n = bisect_right(bounds, at)
    return bounds[n - 1], bounds[n] if n < len(bounds) else 1 << 30


def _bounds(tokens: Sequence[Token], items: Sequence[Term], marks: Sequence[Term]) -> tuple[list[int], list[int]]:
    """The tokens at which clauses begin: 0, what turns against what was said, "and there is", "and the heart is"; and
    those of them that are more than one more clause of what goes before."""
    turns = {0, *(mark.first for mark in marks if "adversative" in mark.roles)}
    turns.update(i for i, token in enumerate(tokens) if token.text in (";", "-"))
    found = set(turns)
    starts = sorted({mark.last for mark in marks if not mark.roles.keys().isdisjoint(_ACTING)} | turns)
    said = 0  # whether something is said of a subject since the clause began, and where
    for n, item in enumerate(items):
        roles = item.roles
        joined = item.first > 0 and tokens[item.first - 1].text in _JOINTS
        if joined and "terminator" in roles and tokens[item.first].text == "there":
            found.add(item.first)
        elif "conjunction" in roles and n + 1 < len(items):
            following = items[n + 1]
            rest = items[n + 2] if n + 2 < len(items) and _PREDICATE.isdisjoint(following.roles) else following
            told = said > _around(starts, item.first)[0]
            if told and not _PREDICATE.isdisjoint(rest.roles):
                found.add(item.first)
        if not roles.keys().isdisjoint(_SAYING):
            said = item.last
    return sorted(found), sorted(turns)


def _over(
    tokens: Sequence[Token], items: Sequence[Term], marks: Sequence[Term], mark: Term, first: int, last: int
) -> bool:
    """Whether the clause tells what was so at another time, rather than compares with it."""
    if any(tokens[i].text in _COMPARED for i in range(max(mark.first - 3, first), mark.first)):
        return False
    if any(token.text in _NOW for token in tokens[first:last]):
        return False
    told = [other for other in marks if first <= other.first < last]
    past = any("past" in other.roles or ("showed" in other.roles and other.first > mark.first) for other in told)
    past = past or (last < len(tokens) and tokens[last].text in _NOW)  # "enlarged before, now normal"
    inside = [item for item in items if first <= item.first < last]
    tensed = (item for item in inside if not item.roles.keys().isdisjoint(("verb", "change")))
    present = any(tokens[item.first].text in _PRESENT for item in tensed)
    return not present and (past or (bool(inside) and mark.first < inside[0].first))
