"""What a line says of the words it stands under, and what a sentence says of those before it.

"Pleura" over "Clear.", "Effusion?" before "No.": the two are read as one line, "Pleura: Clear.". The words above assert
nothing by themselves: a finding that they name is asserted or denied only by an answer ("present", "none", "small, on
the left"). A correction ("scratch that", "this is not true") takes back, or turns round, what was said before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Literal, TypeVar

from reasoner.findings.headings import kind_of_heading
from reasoner.findings.lexicon import Roles, kin, load, matched
from reasoner.findings.sentence import read_sentence
from reasoner.schema import Evidence, Finding

Answer = Literal["yes", "no", "maybe", "details"]
Correction = Literal["withdraw", "replace", "revise", "reverse"]

_HEAD = re.compile(r"[^\w\n☐-☒]*(?:\d{1,2}\W+)?(?P<head>[A-Za-z][^:|?.;\n]{0,79})[:|][\"'*_\s|]*(?=[^\s\"'*_|}])")
#: What is to be filled in: "[present / absent]".
_FORM = re.compile(
    r"^\W*(?:present|yes|positive|normal|y)\s*(?:[/|]|or)\s*(?:absent|no|negative|abnormal|n)\b", re.IGNORECASE
)
_DETAILS = frozenset(("side", "location", "hint", "severity", "change", "acuity", "kind", "size"))
_FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "on",
        "in",
        "at",
        "of",
        "with",
        "and",
        "to",
        "side",
        "is",
        "are",
        "was",
        "were",
        "it",
        "there",
        "this",
        "that",
        "these",
        "they",
        "one",
        "i",
        "we",
        "do",
        "does",
        "did",
        "be",
        "been",
        "can",
        "see",
        ",",
        "(",
        ")",
        ".",
        ":",
        ";",
        "any",
        "cm",
        "mm",
    ]
)
#: How weak answers begin: "there is", which may go on with "not".
_WEAK = frozenset(("there", "it", "i", "we"))
#: How many sentences back a sentence may point.
REACH = 3
_Said = TypeVar("_Said")
#: An answer stands among the first words of a line.
EARLY = 7
#: It is short, and nearly all of its words are those of an answer.
LONG, STRANGE = 24, 2


def read_line(words: str, head: str = "") -> tuple[Finding, ...]:
    """The findings of a sentence that stands under `head`; evidence offsets are within the sentence."""
    return _under(words, head) if head else _read(words)


@lru_cache(maxsize=1 << 15)
def _read(words: str) -> tuple[Finding, ...]:
    """A sentence by itself; a subject that it opens with ("Pneumonia: ...") asserts nothing on its own."""
    found = read_sentence(words)
    body = body_of(words) if found else words
    if body == words:
        return found
    return _titled(_answered(found, words, len(words) - len(body), body), title_of(words), body)


def _titled(found: Sequence[Finding], title: str, body: str) -> tuple[Finding, ...]:
    """Findings of a line as its heading lets them count: not at all under "Indication", denied under "Absent"."""
    kind = kind_of_heading(title)
    if kind == "withhold" or (kind == "agenda" and fragment(body)):
        return ()
    if kind == "doubt":
        return tuple(replace(f, status="uncertain") if f.status == "present" else f for f in found)
    if kind == "deny" and fragment(body):
        return tuple(replace(f, status="absent", severity=None, change=None) for f in found)
    return tuple(found)


def body_of(words: str) -> str:
    """A line without the subject that it opens with: "clear" of "Lungs: clear"."""
    return _divided(words)[1]


def title_of(words: str) -> str:
    """The subject that a line opens with: "Lungs" of "Lungs: clear"; empty without one."""
    return _divided(words)[0]


@lru_cache(maxsize=1 << 15)
def _divided(words: str) -> tuple[str, str]:
    match = _HEAD.match(words)
    return ("", words) if match is None or clausal(match["head"]) else (match["head"], words[match.end() :])


@lru_cache(maxsize=1 << 14)
def _under(words: str, head: str) -> tuple[Finding, ...]:
    own = _read(words)
    if kind_of_heading(head) not in (None, "say"):
        return _titled(own, head, words)
    if own and not (governs(head) and fragment(words)) and not _sided(head, words):
        return own
    prefix = f"{head}: "
    cut = len(prefix)
    line, body = prefix + words, body_of(words)
    both = _answered(read_sentence(line), line, len(line) - len(body), body)
    found = []
    for finding in both:
        span = finding.evidence
        assert span is not None
        inside = span.end > cut
        start, end = (max(span.start - cut, 0), span.end - cut) if inside else (0, len(words))
        if inside or answer(body):
            found.append(replace(finding, evidence=Evidence("text", start, end)))
    return tuple(found)


def _answered(found: Sequence[Finding], line: str, cut: int, body: str) -> tuple[Finding, ...]:
    """Of findings named before offset `cut` of a line only those that the words after it settle or leave open."""
    if _FORM.search(body):
        return ()
    said = answer(body)
    named = _concepts(line[:cut])
    kept = []
    for finding in found:
        span = finding.evidence
        assert span is not None
        above = span.end <= cut or (span.start < cut and finding.concept in named)
        if above and said in ("no", "maybe") and finding.status == "absent" and span.end <= cut:
            continue  # "Is the film normal? No."
        if not above or finding.status != "present":
            kept.append(finding)
        elif said == "no":
            kept.append(replace(finding, status="absent", severity=None, change=None))
        elif said == "maybe":
            kept.append(replace(finding, status="uncertain"))
        elif said is not None or load().concepts[finding.concept].region == "devices":  # "Drain: well placed"
            kept.append(finding)
    return tuple(kept)


@lru_cache(maxsize=1 << 14)
def answer(words: str, most_strange: int = STRANGE) -> Answer | None:
    """What a line answers to what stands above it; None where it is no answer. So many of its words may be unknown."""
    tokens, items = matched(words)
    known = {i for item in items for i in range(item.first, item.last)}
    strange = sum(i not in known and t.text not in _FILLERS and not t.text[0].isdigit() for i, t in enumerate(tokens))
    if strange > most_strange or len(tokens) > LONG:
        return None
    details = any(token.text in ("cm", "mm") for token in tokens)
    named = any("concept" in item.roles for item in items)
    replies = [said for item in items if item.first < EARLY and (said := _reply(item.roles))]
    opens = bool(items) and items[0].first == 0 and "explains" not in items[0].roles  # "From this view I cannot say"
    if opens and replies and _reply(items[0].roles) and tokens[0].text not in _WEAK:
        ends = items[0].last == len(tokens) or tokens[items[0].last].text in ",(;."
        if ends or not (named or (tokens[0].text == "no" and strange)):  # "no report issued" is no answer
            return replies[0]
    for item in items:
        roles = item.roles
        if (
            "hypothetical_forward" in roles
            or "concept" in roles
            or ("anatomy" in roles and not roles.keys() & _DETAILS)
        ):
            return None
        details = details or not roles.keys().isdisjoint(_DETAILS)
    for said in ("no", "maybe", "yes"):
        if said in replies:
            return said
    return "details" if details and not strange else None


def _reply(roles: Roles) -> Answer | None:
    if (
        not roles.keys().isdisjoint(("hedge_backward", "hedge_forward", "doubt_forward"))
        or roles.get("quality") == "unclear"
    ):
        return "maybe"
    if roles.get("change") == "resolved" or not roles.keys().isdisjoint(
        ("reply_no", "negation_forward", "negation_backward")
    ):
        return "no"
    if "reply_yes" in roles or "explains" in roles:
        return "yes"
    return None


@lru_cache(maxsize=1 << 14)
def subject(words: str) -> str:
    """A heading or question without its marks and, for a question, without its verb: what it is about."""
    bare = words.strip(" \t*_#\"'-•–—+>{}[]():|")
    if not words.endswith("?"):
        return bare
    tokens, terms = matched(bare)
    items = [item for item in terms if not item.roles.keys().isdisjoint(_ABOUT)]
    return bare[tokens[items[0].first].start : tokens[items[-1].last - 1].end] if items else ""


_ABOUT = _DETAILS | {"concept", "anatomy", "quality"}
_GOVERNS = frozenset(("side", "hypothetical_forward", "hypothetical_backward", "negation_forward", "negation_backward",
                      "hedge_forward", "hedge_backward", "reversal_forward", "doubt_forward", "elsewhere", "formerly",
                      "quality", "inverted"))  # fmt: skip


@lru_cache(maxsize=1 << 14)
def _roles(words: str) -> frozenset[str]:
    return frozenset(role for item in matched(words).terms for role in item.roles)


@lru_cache(maxsize=1 << 14)
def _concepts(words: str) -> frozenset[str]:
    return frozenset(i.roles["concept"] for i in matched(words).terms if "concept" in i.roles)


def governs(head: str) -> bool:
    """Whether a heading changes what the sentences below say: a side, a denial, a plan, a history."""
    return not _roles(head).isdisjoint(_GOVERNS)


def _sided(head: str, words: str) -> bool:
    """Whether a heading gives a side to a sentence that names none."""
    return "side" in _roles(head) and "side" not in _roles(words)


def fragment(words: str) -> bool:
    """Whether a line is less than a sentence, so that the words above it decide what it says."""
    return _roles(words).isdisjoint(_CLAUSE)


_CLAUSE = frozenset(("verb", "terminator", "negation_forward", "negation_backward", "hedge_forward", "hedge_backward"))


def speaks(words: str) -> bool:
    """Whether words name a finding or an organ."""
    return not _roles(words).isdisjoint(("concept", "anatomy", "side"))


def names(words: str) -> bool:
    """Whether words name an organ and say nothing of it."""
    return "anatomy" in _roles(words) and _roles(words).isdisjoint(("concept", "quality", "verb"))


def clausal(words: str) -> bool:
    """Whether the words before a colon are a clause of their own rather than a subject."""
    return "verb" in _roles(words)


# Corrections


def correct(
    words: Sequence[str],
    heads: Sequence[str],
    said: list[tuple[_Said, ...]],
    concepts: Callable[[_Said], Iterable[str]],
    turned: Callable[[Sequence[_Said], str], tuple[_Said, ...]],
    amended: Callable[[_Said, dict[str, str], str], _Said],
) -> None:
    """Applies the corrections among sentences to what each of them says, in place.

    Args:
        words: of each sentence.
        heads: what each stands under; a line below a heading answers it and corrects nothing.
        said: what each sentence says.
        concepts: of one thing that is said.
        turned: the contrary of what one sentence says, in the words of another.
        amended: one thing that is said with other details, in the words of another sentence.
    """
    for n, line in enumerate(words):
        kind = correction(line) if n and not heads[n] else None
        if kind is None:
            continue
        before = range(n - 1, max(n - 1 - REACH, -1), -1)
        own = {name for thing in said[n] for concept in concepts(thing) for name in kin(concept)}
        last = next((m for m in before if said[m] or not own.isdisjoint(_concepts(words[m]))), None)
        details = {} if said[n] or last is None or kind == "reverse" else _details(line)
        if last is not None and details:
            said[n] = tuple(amended(thing, details, line) for thing in said[last])
            said[last] = ()
            continue
        if kind == "revise":
            for m in before:
                said[m] = tuple(thing for thing in said[m] if own.isdisjoint(concepts(thing)))
            continue
        if last is not None and (kind != "replace" or said[n]):
            taken, said[last] = said[last], ()
            if kind == "reverse" and not said[n]:
                said[n] = turned(taken, line)


@lru_cache(maxsize=1 << 12)
def _details(words: str) -> dict[str, str]:
    """The details that a correction without a finding gives: "no, on the left", "I mean small"."""
    items = [item.roles for item in matched(words).terms]
    if any("concept" in roles for roles in items):
        return {}
    kinds = {"side": "laterality", "severity": "severity", "change": "change"}
    return {field: roles[kind] for roles in items for kind, field in kinds.items() if kind in roles}


@lru_cache(maxsize=1 << 15)
def correction(words: str) -> Correction | None:
    """What a sentence does to the ones before it: takes back the last, corrects them, or turns the last round."""
    for kind, pattern in _corrections():
        if pattern.match(words):
            return kind
    return "revise" if words[:3].lower() == "no," else None


@cache
def _corrections() -> tuple[tuple[Correction, re.Pattern[str]], ...]:
    spoken = {kind: _any(terms, alone=kind == "reverse") for kind, terms in load().corrections.items()}
    kinds: tuple[Correction, ...] = ("reverse", "withdraw", "replace", "revise")
    return tuple((k, re.compile(rf"\W*(?:{spoken['opening']}\W+)*{spoken[k]}", re.IGNORECASE)) for k in kinds)


def _any(terms: Iterable[str], alone: bool) -> str:
    """A pattern of any of the terms, longest first, with any marks between their words; with `alone`, a term is to be
    the whole sentence or, from three words on, a part of it."""
    patterns = (
        r"\W+".join(map(re.escape, words))
        + ((r"\W*$" if len(words) < 3 else r"(?=\W*$|\s*[,;.:—-])") if alone else r"\b")
        for words in sorted(map(str.split, terms), key=len, reverse=True)
    )
    return f"(?:{'|'.join(patterns)})"
