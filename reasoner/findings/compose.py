"""Constructions of several terms, found before scopes are: "not without", "nearly resolved", "a colleague claims".

Terms that only such constructions and whole clauses need are set apart as marks, so that they stand in nobody's way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reasoner.findings.lexicon import Roles, Term, load
from reasoner.findings.text import Token

#: Roles that act on a clause, or only beside another term.
MARKS = frozenset((
    "reversal_forward", "reversal_backward", "doubt_forward", "counterfactual", "elsewhere", "formerly", "past",
    "showed", "speaker", "say", "negator", "unable", "hard", "operator", "active form", "past form", "approximate",
    "inverted", "adversative", "reply_yes", "exception", "nobody", "known", "perhaps", "contrast", "copula", "intent",
    "assertive", "seeming", "seek", "modal", "able",
    "choice",
))  # fmt: skip
_COMPOSED = MARKS | {"change", "hedge_forward", "hypothetical_forward", "correlative"}
#: So many words may stand between the parts: "nearly all resolved", "not entirely without", "one might well think".
CLOSE, NEAR, FAR = 2, 4, 6
_ASKED = frozenset((",", ":", "-", "to", "must", "should", "please", "will", "need", "and", "shall", "not", "or"))
_STOPS = frozenset(",;:()?-")
_ABLE = frozenset(("can", "could"))
_BE = frozenset(("be", "been", "being", "is", "are", "was", "were"))
_ARTICLES = frozenset(("a", "an", "the", "any", "this"))
_HELPING = _BE | {"to", "at", "all", "even", "yet", "present", "this", "time", "point", "really", "in", "fact"}
#: What is denied with them is only a degree.
_DEGREES = frozenset(("as", "so", "well"))
_FINITE = frozenset(("is", "are", "was", "were", "being", "be"))
_DOUBTS = frozenset(("may", "might", "could", "likely", "probably", "possibly", "perhaps", "maybe", "or"))
_HAVE = frozenset(("has", "have", "had", "having"))
#: Before "this film" these go on with what was said.
_INSIDE = frozenset(("on", "in", "of", "at", "from", "with", "to", "for", "by", "about"))
#: "Exclude" and its like, which may be a wish as well as a finding.
_PLAIN = frozenset(("exclude", "excludes", "rule", "rules", "r"))
_JOINING = frozenset(("or", "nor", "and", "to", "be", "even", "can", "could", "i", "we"))
#: Operators that a reversal before them undoes.
_DISPUTES = {"dispute", "exclude", "overlook"}
#: What opens the clause that an operator governs; "whether" only after a verb of knowing.
_THAT, _WHETHER = frozenset(("that",)), frozenset(("that", "whether", "if"))
#: A denial reaches no verb behind these.
_BARRIERS = frozenset((
    "concept", "quality", "severity", "adversative", "exception", "terminator", "speaker", "hypothetical_forward",
))  # fmt: skip
#: What a stretch of words speaks of.
_SPENT = frozenset(("concept", "quality"))
#: What a finding that is told of may do, too.
_STAYING = frozenset(("not", "exist", "persist", "remain", "now", "still", "well", "only", "even", "just", "account"))
_CUES = {"absent": "negation", "uncertain": "hedge", "nothing": "hypothetical"}
_CLAUSES = {"absent": "reversal_forward", "uncertain": "doubt_forward", "nothing": "hypothetical_forward"}


def compose(tokens: Sequence[Token], found: Sequence[Term]) -> tuple[list[Term], list[Term]]:
    """The items for scopes and attributes, and the marks that act on clauses, both in order."""
    if all(term.roles.keys().isdisjoint(_COMPOSED) for term in found):
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
        if roles.keys().isdisjoint(_COMPOSED):
            speaks = -1 if "concept" in roles or "quality" in roles else speaks
            yield term
            n += 1
            continue
        if "adversative" in roles and _aside(tokens, term):
            n += 1
            continue
        whole = _approximated(tokens, found, n) or _less(tokens, found, n) or _denied(tokens, found, n)
        if whole:
            yield whole[0]
            n = whole[1]
            continue
        follows = tokens[term.last].text if term.last < len(tokens) else ""
        next_ = found[n + 1].roles if n + 1 < len(found) else {}
        if tokens[term.first].text == "excluding" and _concludes(tokens, term, found[n - 1] if n else None):
            yield Term(term.first, term.last, {"negation_forward": True})
        elif roles.get("operator") == "exclude" and tokens[term.first].text in _PLAIN:
            act = "hypothetical_forward" if _wanted(tokens, term) else "negation_forward"
            yield Term(term.first, term.last, {**roles, act: True})
        elif roles.get("operator") == "unreal" and _unmasks(tokens, term):
            yield Term(term.first, term.last, {**roles, "negation_backward": True})
        elif roles.get("operator") == "exclude" and _drops(tokens, term):
            yield Term(term.first, term.last, {**roles, "negation_forward": True})
        elif "able" in roles and n and _acts(tokens, found[n - 1], term):
            yield Term(term.first, term.last, {"hypothetical_backward": True})
        elif _opens_choice(tokens, term):
            yield Term(term.first, term.last, {"hedge_forward": True})
        elif roles.get("change") == "resolved" and n + 1 < len(found) and _degree(tokens, term, found[n + 1]):
            yield Term(term.first, term.last, {"affirm": True})
        elif "seek" in roles and "hypothetical_forward" not in roles and (sought := _sought(tokens, found, n)):
            yield Term(term.first, sought, {"hypothetical_forward": True})
            n = max(k for k in range(n, len(found)) if found[k].first < sought)
        elif tokens[term.first].text == "whether" and any(_unsettled(other.roles) for other in found[n + 1 :]):
            yield Term(term.first, term.last, {"doubt_forward": True})
        elif "intent" in roles and _asserts(tokens, found, n):  # "I should mention that there is ..."
            pass
        elif "say" in roles and tokens[0].text != "as" and speaks >= 0 and _near(tokens, speaks, term.first, FAR):
            said: Roles = {"counterfactual": True} if tokens[term.first].text == "would" else {}
            said = {"reversal_forward" if nobody else "hypothetical_forward": True} | said
            yield Term(term.first, term.last, said)
        elif "seeming" in roles:
            yield Term(term.first, term.last, {_seeming(tokens, found, n): True, **roles})
        elif "inverted" in roles and (term.first == 0 or (_starts(tokens, term) and term.last > term.first + 1)):
            yield Term(term.first, term.last, {"hypothetical_forward": True})
        elif "copula" in roles and follows.isalpha():
            yield Term(term.first, term.last, {"hypothetical_backward": True})
        elif "perhaps" in roles and term.first == 0:
            yield Term(term.first, term.last, {"doubt_forward": True})
        elif unreal and term.first == 0 and tokens[0].text == "without":  # "without the effusion it would be normal"
            yield Term(term.first, term.last, {"exception": True, "adversative": True, "terminator": True})
        elif "reversal_backward" in roles and follows == "to" and next_.get("operator") in _DISPUTES:  # "wrong to deny"
            yield Term(term.first, found[n + 1].last, {"affirm": True})
            n += 1
        elif "reversal_backward" in roles and follows in ("that", "to"):
            yield Term(term.first, term.last, {"reversal_forward": True})
        elif "hedge_forward" in roles and follows == "that":
            yield Term(term.first, term.last, {"doubt_forward": True})
        else:
            yield term
        if "speaker" in roles or "nobody" in roles:
            speaks, nobody = term.last, "nobody" in roles
        elif roles.keys() & {"concept", "quality"}:
            speaks = -1
        n += 1


def _approximated(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
    """What is nearly so, as one term with the index of the next: "nearly resolved"."""
    term, after = found[n], found[n + 1] if n + 1 < len(found) else None
    if "approximate" not in term.roles or after is None or not _near(tokens, term.last, after.first, CLOSE):
        return None
    roles = after.roles
    if roles.get("change") == "resolved":
        return Term(term.first, after.last, {"change": "improved"}), n + 2
    if roles.get("quality") in ("normal", "clear") and "negator" not in term.roles and "change" not in roles:
        return Term(term.first, after.last, {"affirm": True}), n + 2  # neither denies nor asserts
    return None


def _less(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
    """What sets one finding behind another, up to the word before that: "less X than Y", "not so much X as Y"."""
    if "correlative" not in found[n].roles:
        return None
    word = "than" if "less" in tokens[found[n].first].text else "as"
    named = [k for k in range(n + 1, min(n + 1 + FAR, len(found))) if "concept" in found[k].roles][:2]
    if len(named) < 2 or all(tokens[i].text != word for i in range(found[named[0]].last, found[named[1]].first)):
        return None
    return Term(found[n].first, found[n].last, {"negation_forward": True, "until": word}), n + 1


def _denied(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
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
            not _near(tokens, found[k - 1].last, term.first, FAR)
            or (said and not _joined(tokens, found[last].last, term.first))
            or "quality" in roles
            or _idle(tokens, first, term)
        ):
            break
        operator = _operator(roles) if not _nominal(tokens, term) else None
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
    return "speaker" in found[n + 1].roles and _near(tokens, last, found[n + 1].first, NEAR)


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


def _operator(roles: Roles) -> str | None:
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
    spec = load().operators[_operator(operator.roles) or ""]
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
        return _operator(term.roles) not in ("sure", "know") and any(
            tokens[i].text in _DEGREES for i in range(first.last, term.first)
        )
    verb = "past form" in term.roles or tokens[term.first].text.endswith("ing")
    return verb or _operator(term.roles) in ("change", "sure")


def _framed(tokens: Sequence[Token], term: Term) -> bool:
    """Whether "this" or "it" is what a preposition or a noun goes with: "nothing on this film", "this film"."""
    word, before = tokens[term.first].text, tokens[term.first - 1].text if term.first else ""
    if word in ("this", "it"):
        return before in _INSIDE or before in _ABLE or before in _BE
    return word == "so" and before == "not"


def _asserts(tokens: Sequence[Token], found: Sequence[Term], n: int) -> bool:
    """Whether what is intended at term n is to say something: "I should let the user know that"."""
    last = found[n].last
    for term in found[n + 1 : n + 1 + CLOSE]:
        if term.first - last > NEAR or "negator" in term.roles:
            return False
        if "assertive" in term.roles:
            return term.last < len(tokens) and tokens[term.last].text == "that"
    return False


def _unsettled(roles: Roles) -> bool:
    """Whether a term may say that something is not known: "whether there is an effusion is unclear"."""
    return roles.get("quality") == "unclear" or roles.get("operator") in ("know", "sure") or "hedge_backward" in roles


def _drops(tokens: Sequence[Token], term: Term) -> bool:
    """Whether the writer excludes what comes: "I dismiss", "this refutes"."""
    by_me = term.first > 0 and tokens[term.first - 1].text in ("i", "we")
    return by_me or ("active form" in term.roles and tokens[term.first].text.endswith("s"))


def _acts(tokens: Sequence[Token], before: Term, term: Term) -> bool:
    """Whether the term says what a finding just before it can do, rather than what may be done or seen."""
    if "concept" not in before.roles or before.last != term.first or term.last == len(tokens):
        return False
    word = tokens[term.last].text
    return word.isalpha() and not word.endswith("ly") and word not in load().linking | load().function | _STAYING


def _opens_choice(tokens: Sequence[Token], term: Term) -> bool:
    """Whether the term leaves open what comes: "might just be", "either ... or"."""
    if "modal" in term.roles:
        return any(token.text in load().linking for token in tokens[term.last : term.last + CLOSE])
    return "choice" in term.roles and any(token.text == "or" for token in tokens[term.last :])


def _degree(tokens: Sequence[Token], term: Term, after: Term) -> bool:
    """Whether what is gone is a degree: "an effusion is no longer small"."""
    ends = after.last == len(tokens) or tokens[after.last].text in _STOPS
    return ends and term.last == after.first and not after.roles.keys().isdisjoint(("severity", "acuity"))


def _unmasks(tokens: Sequence[Token], term: Term) -> bool:
    """Whether the term says that what was named before it is none: "is only an artifact"."""
    before = {token.text for token in tokens[max(term.first - NEAR, 0) : term.first]}
    return not before.isdisjoint(_FINITE) and before.isdisjoint(_DOUBTS)


def _sought(tokens: Sequence[Token], found: Sequence[Term], n: int) -> int:
    """The token behind the "for" of what is looked for at term n, 0 without one: "search the whole film for"."""
    last = found[n].last
    stop = next((term.first for term in found[n + 1 :] if not term.roles.keys().isdisjoint(_SPENT)), len(tokens))
    for i in range(last, min(last + FAR, stop)):
        if tokens[i].text in _STOPS:
            return 0
        if tokens[i].text == "for":
            return i + 1
    return 0


def _seeming(tokens: Sequence[Token], found: Sequence[Term], n: int) -> str:
    """What is said of a finding that something at term n only looks like: that it is none, where the sentence goes on
    to say what it is; nothing yet, where it says that it is one."""
    named = next((k for k in range(n + 1, len(found)) if "concept" in found[k].roles), len(found))
    after = found[named + 1 : named + 1 + NEAR]
    if not (found[n].first == 0 or _starts(tokens, found[n])) or not any("verb" in term.roles for term in after):
        return "hedge_forward"
    confirmed = any("reply_yes" in term.roles or term.roles.get("operator") in ("show", "confirm") for term in after)
    return "hypothetical_forward" if confirmed else "negation_forward"


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
