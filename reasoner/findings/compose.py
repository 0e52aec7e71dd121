"""Constructions of several terms, found before scopes are: "not without", "nearly resolved", "a colleague claims".

Terms that only such constructions and whole clauses need are set apart as marks, so that they stand in nobody's way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reasoner.findings.lexicon import Roles, Term
from reasoner.findings.text import Token

#: Roles that act on a clause, or only beside another term.
MARKS = frozenset((
    "reversal_forward", "reversal_backward", "doubt_forward", "counterfactual", "elsewhere", "formerly", "past",
    "showed", "speaker", "say", "negator", "privative", "improbable", "approximate", "inverted",
    "adversative", "reply_yes", "exception", "nobody", "known", "ruling", "perhaps", "contrast", "copula",
))  # fmt: skip
#: So many words may stand between the parts: "not entirely without", "one might well think".
NEAR, FAR = 2, 6
_ASKED = frozenset((",", ":", "-", "to", "must", "should", "please", "will", "need", "and", "shall", "not", "or"))
_STOPS = frozenset(",;:()?-")


def compose(tokens: Sequence[Token], found: Sequence[Term]) -> tuple[list[Term], list[Term]]:
    """The items for scopes and attributes, and the marks that act on clauses, both in order."""
    if not any(term.roles.keys() & MARKS for term in found):
        return list(found), []
    items: list[Term] = []
    marks: list[Term] = []
    for term in _merged(tokens, found):
        if term.roles.keys() & MARKS:
            marks.append(term)
        if not term.roles.keys() <= MARKS:
            items.append(term)
    return items, marks


def _merged(tokens: Sequence[Token], found: Sequence[Term]) -> Iterator[Term]:
    unreal = any("counterfactual" in term.roles for term in found)
    speaks, nobody = -1, False  # where the last speaker ends, and whether that is nobody
    n = 0
    while n < len(found):
        term = found[n]
        roles = term.roles
        if "adversative" in roles and _aside(tokens, term):
            n += 1
            continue
        after = found[n + 1] if n + 1 < len(found) else None
        both = _together(roles, after.roles) if after and _near(tokens, term.last, after.first, NEAR) else None
        if after and both is not None:
            yield Term(term.first, after.last, both)
            n += 2
            continue
        if tokens[term.first].text == "excluding" and _concludes(tokens, term, found[n - 1] if n else None):
            yield Term(term.first, term.last, {"negation_forward": True})
        elif "ruling" in roles and tokens[term.first].text in ("exclude", "rule", "excludes", "rules"):
            act = "hypothetical_forward" if _wanted(tokens, term) else "negation_forward"
            yield Term(term.first, term.last, {**roles, act: True})
        elif "say" in roles and tokens[0].text != "as" and speaks >= 0 and _near(tokens, speaks, term.first, FAR):
            yield Term(term.first, term.last, {"reversal_forward" if nobody else "hypothetical_forward": True})
        elif "inverted" in roles and (term.first == 0 or (_starts(tokens, term) and term.last > term.first + 1)):
            yield Term(term.first, term.last, {"hypothetical_forward": True})
        elif "copula" in roles and term.last < len(tokens) and tokens[term.last].text.isalpha():
            yield Term(term.first, term.last, {"hypothetical_backward": True})
        elif "perhaps" in roles and term.first == 0:
            yield Term(term.first, term.last, {"doubt_forward": True})
        elif unreal and term.first == 0 and tokens[0].text == "without":  # "without the effusion it would be normal"
            yield Term(term.first, term.last, {"exception": True, "adversative": True, "terminator": True})
        elif "reversal_backward" in roles and term.last < len(tokens) and tokens[term.last].text in ("that", "to"):
            yield Term(term.first, term.last, {"reversal_forward": True})
        else:
            yield term
        if "speaker" in roles or "nobody" in roles:
            speaks, nobody = term.last, "nobody" in roles
        elif roles.keys() & {"concept", "quality"}:
            speaks = -1
        n += 1


def _together(first: Roles, second: Roles) -> Roles | None:
    """What two neighbouring terms mean that neither means alone."""
    if "negator" in first:
        if "privative" in second:
            return {"affirm": True}
        if "improbable" in second or "ruling" in second:
            return {"hedge_forward": True, "hedge_backward": True}
        if second.get("change") == "resolved" and "approximate" not in first:
            return {"change": "stable"}
    if "approximate" in first:
        if second.get("change") == "resolved":
            return {"change": "improved"}
        if second.get("quality") in ("normal", "clear") and "negator" not in first and "change" not in second:
            return {"affirm": True}  # "almost normal" neither denies nor asserts
    return None


def _aside(tokens: Sequence[Token], term: Term) -> bool:
    """ "An effusion, however, is not seen": between two commas it parts nothing."""
    inside = term.first > 0 and term.last < len(tokens)
    return inside and tokens[term.first - 1].text == "," and tokens[term.last].text == ","


def _wanted(tokens: Sequence[Token], term: Term) -> bool:
    """Whether "exclude" is what is to be done, rather than what the film does."""
    if tokens[term.first].text in ("excludes", "rules"):
        return False
    return term.first == 0 or any(token.text in _ASKED for token in tokens[max(term.first - 2, 0) : term.first])


def _concludes(tokens: Sequence[Token], term: Term, before: Term | None) -> bool:
    """Whether "excluding" draws a conclusion ("clear, excluding pneumonia"), rather than names an exception."""
    if before is None or term.first == 0:
        return False
    return before.last < term.first or tokens[term.first - 1].text in _STOPS or "quality" not in before.roles


def _starts(tokens: Sequence[Token], term: Term) -> bool:
    return tokens[term.first - 1].text in _STOPS


def _near(tokens: Sequence[Token], a: int, b: int, reach: int) -> bool:
    """Whether few words and no punctuation lie between tokens a and b."""
    return b - a <= reach and not any(tokens[i].text in _STOPS for i in range(a, b))
