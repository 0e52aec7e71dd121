"""What a sentence says with a pronoun, of a finding or an organ of the sentence before: "It is on the left"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoner.findings.lexicon import load, matched
from rewards.radrscore.claims import Claim, Fact, claims_of
from rewards.radrscore.details import together

_ITS = re.compile(
    r"\W*(?:(?:in|of) (?:extent|degree|size|severity|appearance),?\s+)?"
    r"(?:(?:it|this|they|these|that|the finding|the abnormality)"
    r"(?:(?P<is>['’]s)|(?=\s+(?:is|are|has|have|measures?|lies?|remains?|projects?|appears?|looks?)))\b"
    r"|(?P<key>side|location|size|severity|extent|degree)\s*:)(?=(?:\W+[\w-]+){,12}\W*$)",
    re.IGNORECASE,
)
#: "The former is new, the latter is not".
_ORDERED = re.compile(
    r"\W*(?:the\s+)?(?P<which>former|latter|first|second|other)(?:\s+one|\s+finding)?"
    r"(?=\s+(?:is|are|has|have|measures?|lies?|remains?|projects?|appears?|looks?)\b)",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"\W*(?:both|all|they|these)(?: of (?:them|these))?(?=\s+(?:are|have|appear|look|remain|measure|lie)\b)",
    re.IGNORECASE,
)
_PIECES = re.compile(
    r"[,;]\s*(?:(?:and|but|while|whereas)\s+)?(?=the\b)|\s+(?:and|but|while|whereas)\s+(?=the\b)", re.IGNORECASE
)
#: "It was not there on the previous film".
_APPEARED = re.compile(
    r"\W*(?:it|this|they|these|that|the finding)\s+(?:was|were)(?:\s+not|n['’]t)\s+(?:yet\s+)?(?:there|present|seen"
    r"|visible|evident|shown|apparent)\b.*\b(?:previous\w*|prior|before|earlier|last|yesterday|ago)\b",
    re.IGNORECASE,
)
_POINTS = re.compile(
    r"\W*(?:(?:and|but|so|yet|however|here|now|both)\W+)*"
    r"(?:\w+ly,?\s+)?(?:(?:i|we)\s+(?:can\s+|would\s+)?(?:see|note|find|notice|observe|say|think|believe)\s+(?:that\s+)?)?"
    r"(?:they|it|these|those|that|each|both)\s+(?:all\s+|both\s+|\w+ly\s+)?"
    r"(?:is|are|appears?|looks?|remains?|seems?|does|do|shows?)\b",
    re.IGNORECASE,
)


def filled(claims: Sequence[Claim], words: str) -> tuple[Claim, ...]:
    """Claims of a sentence with the details that the next one gives of the last of them: "It is on the left"."""
    if (both := _BOTH.match(words)) and len(claims) > 1:
        return tuple(_detailed(claim, words[both.end() :]) for claim in claims)
    parts = [
        (match["which"].lower(), part[match.end() :])
        for part in _PIECES.split(words)
        if (match := _ORDERED.match(part))
    ]
    if parts and len(claims) == 2:
        filled = list(claims)
        for which, rest in parts:
            n = which in ("latter", "second", "other")
            filled[n] = _detailed(filled[n], rest)
        return tuple(filled)
    *others, claim = claims
    if _APPEARED.match(words) and claim.status == "present" and len(claim.facts) == 1:
        return (*others, Claim.of([claim.facts[0]._replace(change="new")], claim.words, claim.start))
    pronoun = _ITS.match(words)
    if not pronoun:
        return tuple(claims)
    verb = " is" if pronoun["is"] or pronoun["key"] else ""
    return (*others, _detailed(claim, verb + words[pronoun.end() :]))


def _detailed(claim: Claim, predicate: str) -> Claim:
    """A claim with the details that a predicate gives of it: " is on the left"."""
    if claim.status != "present" or len(claim.facts) > 1:
        return claim
    fact = claim.facts[0]
    told = claims_of(load().terms[fact.concept][0] + predicate, "")
    same = [one.facts[0] for one in told if one.facts[0].concept == fact.concept and one.status == "present"]
    if len(same) != 1 or len(told) > 1:
        return claim
    side, severity, change = (own or new for own, new in zip(fact[2:5], same[0][2:5], strict=True))
    if fact.change == "stable":  # "is seen again. It is smaller."
        change = same[0].change or change
    finer = together(fact.details, same[0].details)[1]
    whole = Fact(fact.concept, fact.status, side, severity, change, finer)
    return Claim.of([whole], claim.words, claim.start)


def pointing(words: str, before: str) -> tuple[Claim, ...]:
    """The claims of a clause whose subject is a pronoun for the last organ named before it: "They are clear"."""
    if not _POINTS.match(words):
        return ()
    tokens, terms = matched(before)
    organ = next((term for term in reversed(terms) if term.roles.get("anatomy") not in (None, "study")), None)
    return claims_of(words, before[tokens[organ.first].start : tokens[organ.last - 1].end]) if organ else ()
