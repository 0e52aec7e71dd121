"""Denials with the verbs and adjectives that they govern: "not without", "cannot be excluded", "nothing suggests"."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner.findings.lexicon import Roles, Term, load
from reasoner.findings.text import Token

#: So many words may stand between the parts: "nearly all resolved", "not entirely without", "one might well think".
CLOSE, NEAR, FAR = 2, 4, 6
STOPS = frozenset(",;:()?-")
_ABLE = frozenset(("can", "could"))
_ARTICLES = frozenset(("a", "an", "the", "any", "this"))
_BE = frozenset(("be", "been", "being", "is", "are", "was", "were"))
_HELPING = _BE | {"to", "at", "all", "even", "yet", "present", "this", "time", "point", "really", "in", "fact"}
#: What is denied with them is only a degree.
_DEGREES = frozenset(("as", "so", "well"))
_HAVE = frozenset(("has", "have", "had", "having"))
#: Before "this film" these go on with what was said.
_INSIDE = frozenset(("on", "in", "of", "at", "from", "with", "to", "for", "by", "about"))
_JOINING = frozenset(("or", "nor", "and", "to", "be", "even", "can", "could", "i", "we"))
#: What opens the clause that an operator governs; "whether" only after a verb of knowing.
_THAT, _WHETHER = frozenset(("that",)), frozenset(("that", "whether", "if"))
#: A denial reaches no verb behind these.
_BARRIERS = frozenset((
    "concept", "quality", "severity", "adversative", "exception", "terminator", "speaker", "hypothetical_forward",
))  # fmt: skip
_CUES = {"absent": "negation", "uncertain": "hedge", "nothing": "hypothetical"}
_CLAUSES = {"absent": "reversal_forward", "uncertain": "doubt_forward", "nothing": "hypothetical_forward"}


def denied(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
    """A denial with the operators that it governs, as one term with the index of the next: "not without", "cannot at
    present be excluded", "neither confirms nor excludes", "nothing on this film suggests"."""
    first = found[n]
    if "negator" not in first.roles:
        return None
    able = first.first > 0 and tokens[first.first - 1].text in _ABLE
    how = "hard" if "hard" in first.roles else "unable" if able or "unable" in first.roles else "denied"
    twice, said, last = False, dict[str, Term](), n
    for k in range(n + 1, min(n + 1 + FAR, len(found))):
        term, roles = found[k], found[k].roles
        if (
            not near(tokens, found[k - 1].last, term.first, FAR)
            or (said and not _joined(tokens, found[last].last, term.first))
            or "quality" in roles
            or _idle(tokens, first, term)
        ):
            break
        operator = operator_of(roles) if not _nominal(tokens, term) else None
        if operator == "show" and not _adverbial(tokens, first.last, term.first):
            break
        verdict = _verdict(operator, how, twice) if operator else None
        if verdict:
            said.setdefault(verdict, term)
            last = k
        elif "negator" in roles:
            twice = twice != (tokens[term.first].text != "nor")
        elif not roles.keys().isdisjoint(_BARRIERS) and not _framed(tokens, term):
            break
    for verdict in ("uncertain", "absent", "nothing", "stable", "present"):
        if verdict in said:
            meant = _governing(tokens, first, said[verdict], found[last].last, verdict)
            if meant and "change" in first.roles:  # "no longer visible"
                meant = {**meant, "change": first.roles["change"]}
            if "past form" in said[verdict].roles and _by_others(tokens, found, last):
                meant = {"affirm": True}
            return _whole(tokens, found, n, last, meant) if meant else None
    if twice and "negator" in found[n + 1].roles:  # "cannot be anything but"
        return _whole(tokens, found, n, n + 1, {"affirm": True})
    return None


def _by_others(tokens: Sequence[Token], found: Sequence[Term], n: int) -> bool:
    """Whether the verb at term n is what others did: "not seen by the first reader"."""
    last = found[n].last
    if last == len(tokens) or tokens[last].text != "by" or n + 1 == len(found):
        return False
    return "speaker" in found[n + 1].roles and near(tokens, last, found[n + 1].first, NEAR)


def _whole(tokens: Sequence[Token], found: Sequence[Term], n: int, last: int, roles: Roles) -> tuple[Term, int]:
    """Terms n to `last` as one of these roles, with the "whether" of the clause that it governs."""
    end, after = found[last].last, last + 1
    if end < len(tokens) and tokens[end].text in ("whether", "if") and not roles.keys().isdisjoint(_CLAUSES.values()):
        after += after < len(found) and found[after].first == end
        end += 1
    return Term(found[n].first, end, roles), after


def _joined(tokens: Sequence[Token], a: int, b: int) -> bool:
    """Whether an operator at token b is one more for the denial of the one before token a: "confirm nor exclude"."""
    between = [token.text for token in tokens[a:b]]
    return _JOINING.issuperset(between) and (bool(between) or tokens[b].text in ("nor", "or"))


def operator_of(roles: Roles) -> str | None:
    if "reversal_forward" in roles:  # "not wrong to say that"
        return "dispute"
    return "vanish" if roles.get("change") == "resolved" else roles.get("operator")


def _verdict(operator: str, how: str, twice: bool) -> str | None:
    """What an operator says under a denial, or under two of them."""
    says = load().operators[operator]
    if twice:
        return says.get("alone")
    return says.get(how) or (says.get("denied") if how == "unable" else None)


def _governing(tokens: Sequence[Token], first: Term, operator: Term, last: int, verdict: str) -> Roles | None:
    """The roles of a denied operator: which way it acts is told by its form, or by the "that" behind it."""
    if verdict in ("present", "stable"):
        return {"affirm": True} if verdict == "present" else {"change": "stable"}
    spec = load().operators[operator_of(operator.roles) or ""]
    follows = tokens[last].text if last < len(tokens) else ""
    exists = follows == "there" and last + 1 < len(tokens) and tokens[last + 1].text in _BE
    if exists or follows in (_WHETHER if "of_clauses" in spec else _THAT):
        return {_CLAUSES[verdict]: True}
    cue = _CUES[verdict]
    before = [token.text for token in tokens[max(first.first - 1, 0) : operator.first]]
    helper = next((word for word in reversed(before) if word in _BE or word in _HAVE), "")
    if "intransitive" in spec or ("past form" in operator.roles and helper not in _HAVE):
        return {f"{cue}_backward": True}
    if spec.get("of_clauses") == "only" and "active form" in operator.roles:
        return None
    if "active form" in operator.roles and verdict == "absent" and last == len(tokens):  # "a nodule I cannot find"
        return {f"{cue}_forward": True, f"{cue}_backward": True}
    if "active form" in operator.roles and "hard" not in first.roles:  # "an effusion is hard to exclude"
        taken = {"presupposes": True} if cue == "hypothetical" else {}  # "I cannot explain the effusion"
        return {f"{cue}_forward": True, **taken}
    if cue == "hypothetical":  # "not due to", though there may be what it is not due to
        return {"hypothetical_forward": True, "presupposes": True}
    if tokens[first.first].text in ("no", "zero"):
        return {f"{cue}_forward": True}
    return {f"{cue}_forward": True, f"{cue}_backward": True}


def _nominal(tokens: Sequence[Token], term: Term) -> bool:
    """Whether what looks like a verb is a noun: "a finding", "the change"."""
    return not term.roles.keys().isdisjoint(("active form", "past form")) and tokens[term.first - 1].text in _ARTICLES


def _adverbial(tokens: Sequence[Token], a: int, b: int) -> bool:
    """Whether only helping words and adverbs stand between tokens a and b: "not at present to be seen"."""
    return all(token.text in _HELPING or token.text.endswith("ly") for token in tokens[a:b])


def _idle(tokens: Sequence[Token], first: Term, term: Term) -> bool:
    """Whether a denial leaves the verb at a term alone: "no suspected fracture", "not so well seen"."""
    if tokens[first.first].text != "no":
        return operator_of(term.roles) not in ("sure", "know") and any(
            tokens[i].text in _DEGREES for i in range(first.last, term.first)
        )
    verb = "past form" in term.roles or tokens[term.first].text.endswith("ing")
    return verb or operator_of(term.roles) in ("change", "sure")


def _framed(tokens: Sequence[Token], term: Term) -> bool:
    """Whether "this" or "it" is what a preposition or a noun goes with: "nothing on this film", "this film"."""
    word, before = tokens[term.first].text, tokens[term.first - 1].text if term.first else ""
    if word in ("this", "it"):
        return before in _INSIDE or before in _ABLE or before in _BE
    return word == "so" and before == "not"


def near(tokens: Sequence[Token], a: int, b: int, reach: int) -> bool:
    """Whether few words and no punctuation lie between tokens a and b."""
    return b - a <= reach and not any(tokens[i].text in STOPS for i in range(a, b))
