"""Constructions of several terms, found before scopes are: "not without", "nearly resolved", "a colleague claims".

Terms that only such constructions and whole clauses need are set apart as marks, so that they stand in nobody's way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reasoner.findings.denials import CLOSE, FAR, NEAR, STOPS, denied, near
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
_COMPOSED = MARKS | {"change", "hedge_forward", "hedge_backward", "hypothetical_forward", "correlative"}
_ASKED = frozenset((",", ":", "-", "to", "must", "should", "please", "will", "need", "and", "shall", "not", "or"))
_FINITE = frozenset(("is", "are", "was", "were", "being", "be"))
_DOUBTS = frozenset(("may", "might", "could", "likely", "probably", "possibly", "perhaps", "maybe", "or"))
#: "Exclude" and its like, which may be a wish as well as a finding.
_PLAIN = frozenset(("exclude", "excludes", "rule", "rules", "r"))
_MORE = frozenset(("more", "better", "rather", "likelier", "sooner"))
_FAVORS = frozenset(("favor", "favour", "favored", "favoured", "prefer", "preferred"))
_LOOKED = frozenset(("looked", "seemed", "appeared", "resembled"))
_LOOKS = frozenset(("look", "seem", "appear", "sound"))
_MAY = frozenset(("would", "could", "may", "might"))
_POINTING = frozenset(("which", "that", "this", "it"))
_THEN = frozenset(("was", "were", "had"))
#: What is one of several findings: "one is a nodule, the other is a mass".
_ONES = frozenset(("one", "other", "first", "second", "third", "next", "former", "latter"))
#: Operators that a reversal before them undoes.
_DISPUTES = {"dispute", "exclude", "overlook"}
#: What a stretch of words speaks of.
_SPENT = frozenset(("concept", "quality"))
#: What a finding that is told of may do, too.
_STAYING = frozenset(("not", "exist", "persist", "remain", "now", "still", "well", "only", "even", "just", "account"))


def compose(tokens: Sequence[Token], found: Sequence[Term]) -> tuple[list[Term], list[Term]]:
    """The items for scopes and attributes, and the marks that act on clauses, both in order."""
    plain = all(term.roles.keys().isdisjoint(_COMPOSED) for term in found)
    if plain and all(token.text not in ("than", "over") for token in tokens):
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
    excludes = False  # whether something was excluded so far
    n = 0
    while n < len(found):
        term = found[n]
        roles = term.roles
        denies = tokens[term.first].text in ("not", "never")
        if denies and (apart := _newly(tokens, found, n) or _unlike(tokens, found, n)):
            yield apart[0]
            n = apart[1]
            continue
        if roles.keys().isdisjoint(_COMPOSED):
            speaks = -1 if "concept" in roles or "quality" in roles else speaks
            if "concept" in roles and (than := _than(tokens, term)):
                yield Term(than, than + 1, {"hedge_forward": True})
            yield term
            n += 1
            continue
        if "adversative" in roles and _aside(tokens, term):
            n += 1
            continue
        whole = _approximated(tokens, found, n) or _less(tokens, found, n) or denied(tokens, found, n)
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
        elif tokens[term.first].text == "whether" and any(
            _unsettled(other.roles)
            for other in (*found[n + 1 :], *(one for one in found[:n] if _opens_doubt(tokens, one)))
        ):
            yield Term(term.first, term.last, {"doubt_forward": True})
        elif "intent" in roles and _asserts(tokens, found, n):  # "I should mention that there is ..."
            pass
        elif "say" in roles and tokens[0].text != "as" and speaks >= 0 and near(tokens, speaks, term.first, FAR):
            said: Roles = {"counterfactual": True} if tokens[term.first].text == "would" else {}
            said = {"reversal_forward" if nobody else "hypothetical_forward": True} | said
            yield Term(term.first, term.last, said)
        elif tokens[term.first].text in _LOOKED and (until := _unmasked(tokens, term)):
            yield Term(term.first, term.last, {"negation_forward": True, "until": until})
        elif "seeming" in roles:
            yield Term(term.first, term.last, {_seeming(tokens, found, n): True, **roles})
        elif "inverted" in roles and (term.first == 0 or (_starts(tokens, term) and term.last > term.first + 1)):
            yield Term(term.first, term.last, {"hypothetical_forward": True})
        elif tokens[term.first].text == "apparent" and "hedge_forward" in roles and next_.get("concept") is None:
            yield Term(term.first, term.last, {name: value for name, value in roles.items() if name != "hedge_forward"})
        elif "hedge_backward" in roles and tokens[term.first - 1].text in _POINTING and _explains(tokens, term):
            pass  # "an effusion, which would explain the cough"
        elif roles.keys() & {"hedge_backward", "hedge_forward"} and tokens[term.last - 1].text in ("than", "over"):
            yield from _compared(tokens, term, next_)
        elif tokens[term.first].text in ("less", "if") and "hedge_backward" in roles and _inserted(tokens, term, next_):
            yield Term(term.first, term.last, {"hedge_forward": True})  # "minimal, if any, effusion"
        elif tokens[term.first].text == "less" and "hedge_forward" in roles and _inserted(tokens, term, {}):
            yield Term(term.first, term.last, {"hedge_forward": True})
        elif tokens[term.first].text == "not" and excludes and tokens[term.first - 1].text == "but":
            yield Term(term.first, term.last, {"hedge_forward": True})  # "rules out X but not Y"
        elif (
            roles.get("operator") == "true"
            and tokens[term.first].text == "right"
            and tokens[term.first - 1].text == "the"
        ):
            yield Term(term.first, term.first + 1, {"side": "right"})  # "it is on the right that"
        elif "copula" in roles and tokens[term.first - 1].text in _ONES:
            yield Term(term.first, term.first + 1, {"verb": True})
        elif "copula" in roles and follows.isalpha():
            yield Term(term.first, term.last, {"hypothetical_backward": True})
        elif "perhaps" in roles and term.first == 0:
            yield Term(term.first, term.last, {"doubt_forward": True})
        elif (
            unreal and tokens[term.first].text == "without" and (term.first == 0 or follows == "the")
        ):  # "without the effusion it would be normal"
            yield Term(term.first, term.last, {"exception": True, "adversative": True, "terminator": True})
        elif "reversal_backward" in roles and follows == "to" and next_.get("operator") in _DISPUTES:  # "wrong to deny"
            yield Term(term.first, found[n + 1].last, {"affirm": True})
            n += 1
        elif "reversal_backward" in roles and follows in ("that", "to"):
            yield Term(term.first, term.last, {"reversal_forward": True})
        elif roles.keys() & {"hedge_forward", "hedge_backward"} and follows == "that":
            yield Term(term.first, term.last, {"doubt_forward": True})
        else:
            yield term
        excludes = excludes or roles.get("operator") == "exclude"
        if "speaker" in roles or "nobody" in roles:
            speaks, nobody = term.last, "nobody" in roles
        elif roles.keys() & {"concept", "quality"}:
            speaks = -1
        n += 1


def _compared(tokens: Sequence[Token], term: Term, follows: Roles) -> Iterator[Term]:
    """What is "more likely than" or "favored over" something: as open as that."""
    yield Term(term.first, term.last - 1, {"hedge_backward": True})
    if "concept" in follows:
        yield Term(term.last - 1, term.last, {"hedge_forward": True})


def _explains(tokens: Sequence[Token], term: Term) -> bool:
    """Whether the term says what something "would explain"."""
    return tokens[term.first].text in _MAY and tokens[term.first + 1].text in ("explain", "account", "fit")


def _than(tokens: Sequence[Token], term: Term) -> int:
    """The "than" that sets a finding behind another, "more likely X than Y"; 0 without one."""
    at = term.first - 1 - (tokens[term.first - 1].text in ("a", "an"))
    if at < 1 or tokens[at].text not in ("than", "over"):
        return 0
    before = {token.text for token in tokens[max(at - 2 * FAR, 0) : at]}
    if tokens[at - 1].text in ("more", "no"):  # "no more than"
        return 0
    if tokens[at].text == "over":  # "I favor X over Y"
        return at if before & _FAVORS else 0
    return at if before & _MORE and before.isdisjoint(("less", "called", "described", "termed")) else 0


def _inserted(tokens: Sequence[Token], term: Term, follows: Roles) -> bool:
    """Whether the term is set in before what it speaks of: "X or, less likely, Y", "minimal, if any, effusion"."""
    if tokens[term.first].text == "if" and "concept" not in follows:
        return False
    return term.first > 0 and tokens[term.first - 1].text in (",", "or", "and", "(")


def _approximated(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
    """What is nearly so, as one term with the index of the next: "nearly resolved"."""
    term, after = found[n], found[n + 1] if n + 1 < len(found) else None
    if "approximate" not in term.roles or after is None or not near(tokens, term.last, after.first, CLOSE):
        return None
    roles = after.roles
    if roles.get("change") == "resolved":
        return Term(term.first, after.last, {"change": "improved"}), n + 2
    if roles.get("quality") in ("normal", "clear") and "negator" not in term.roles and "change" not in roles:
        return Term(term.first, after.last, {"affirm": True}), n + 2  # neither denies nor asserts
    return None


def _newly(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
    """What was not there before, as one term with the index of the next: "that was not present on the prior film"."""
    first = found[n].first
    if first < 2 or tokens[first - 2].text not in ("that", "which") or tokens[first - 1].text not in _THEN:
        return None
    for k in range(n + 1, min(n + NEAR, len(found))):
        roles = found[k].roles
        if "formerly" in roles and near(tokens, found[n].last, found[k].first, FAR):
            return Term(first, found[k].last, {"change": "new"}), k + 1
        if roles.keys() & _SPENT:
            return None
    return None


def _unlike(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
    """A denial that it looks so, as one term with the index of the next: "does not look to me as though there is"."""
    first = found[n].first
    if "negator" not in found[n].roles:
        return None
    words = [token.text for token in tokens[first : first + 2 * FAR]]
    end = next((k for k in range(2, len(words)) if words[k - 1] == "as" and words[k] in ("if", "though")), 0)
    if (
        not end
        or words[1] not in _LOOKS
        or any("concept" in term.roles for term in found if first < term.first < first + end)
    ):
        return None
    after = next((k for k in range(n + 1, len(found)) if found[k].first > first + end), len(found))
    return Term(first, first + end + 1, {"reversal_forward": True}), after


def _less(tokens: Sequence[Token], found: Sequence[Term], n: int) -> tuple[Term, int] | None:
    """What sets one finding behind another, up to the word before that: "less X than Y", "not so much X as Y"."""
    if "correlative" not in found[n].roles:
        return None
    word = "than" if "less" in tokens[found[n].first].text else "as"
    named = [k for k in range(n + 1, min(n + 1 + FAR, len(found))) if "concept" in found[k].roles][:2]
    if len(named) < 2 or all(tokens[i].text != word for i in range(found[named[0]].last, found[named[1]].first)):
        return None
    return Term(found[n].first, found[n].last, {"negation_forward": True, "until": word}), n + 1


def _asserts(tokens: Sequence[Token], found: Sequence[Term], n: int) -> bool:
    """Whether what is intended at term n is to say something: "I should let the user know that"."""
    last = found[n].last
    for term in found[n + 1 : n + 1 + CLOSE]:
        if term.first - last > NEAR or "negator" in term.roles:
            return False
        if "assertive" in term.roles:
            return term.last < len(tokens) and tokens[term.last].text == "that"
    return False


def _opens_doubt(tokens: Sequence[Token], term: Term) -> bool:
    """Whether a term before "whether" may say that it is open: "it is unclear whether", "what I cannot tell is"."""
    return "quality" in term.roles or tokens[0].text == "what"


def _unsettled(roles: Roles) -> bool:
    """Whether a term may say that something is not known: "whether there is an effusion is unclear"."""
    unsettled = roles.get("quality") == "unclear" or roles.get("operator") in ("know", "sure")
    return unsettled or "hedge_backward" in roles or "doubt_forward" in roles


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
    ends = after.last == len(tokens) or tokens[after.last].text in STOPS
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
        if tokens[i].text in STOPS:
            return 0
        if tokens[i].text == "for":
            return i + 1
    return 0


def _unmasked(tokens: Sequence[Token], term: Term) -> str:
    """The word with which something that "looked like" one thing turns out to be another; empty without one."""
    for i in range(term.last, len(tokens) - 1):
        if tokens[i].text in ("turned", "proved", "turns", "proves") and tokens[i + 1].text in ("out", "to"):
            return tokens[i].text
    return ""


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
    if term.first and tokens[term.first - 1].text == "and":  # "to confirm or exclude", but "confirm X and exclude Y"
        before = {token.text for token in tokens[max(term.first - 2 * FAR, 0) : term.first - 1]}
        return not before.isdisjoint(_ASKED - STOPS - {"and", "or", "not"})
    return term.first == 0 or any(token.text in _ASKED for token in tokens[max(term.first - 2, 0) : term.first])


def _concludes(tokens: Sequence[Token], term: Term, before: Term | None) -> bool:
    """Whether "excluding" draws a conclusion ("clear, excluding pneumonia"), rather than names an exception."""
    if before is None or term.first == 0:
        return False
    return before.last < term.first or tokens[term.first - 1].text in STOPS or "quality" not in before.roles


def _starts(tokens: Sequence[Token], term: Term) -> bool:
    return tokens[term.first - 1].text in STOPS
