"""Spoken reports: fillers, punctuation in words and self-corrections, taken out of a transcript before it is read.

`written` keeps the length of the text: what goes becomes spaces, so that every span still points at the words as they
were spoken. A text without a trace of speech comes back as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from reasoner.findings.lexicon import Term, kin, matched
from reasoner.findings.text import HEADERS

_FILLER = r"(?:u+m+|u+h+m*|e+r+m+|h+m{2,}|a+h+|you know|let'?s see|let me see)"
_WITHDRAW = (
    r"(?:scratch|strike|delete|disregard|erase|cancel|ignore) (?:that|this|the last (?:sentence|line|statement|part))"
)
_AMEND = (
    r"(?:no,? )?(?:(?:i'?m )?sorry|wait,? no|no,? wait|i meant?|make (?:that|it)|change that to|or rather|i should say"
    r"|excuse me|my mistake|that should (?:be|read|say)|let me correct (?:that|myself)"
    r"|(?<!surgical )(?<!the )(?<!for )(?<!after )(?<!with )correction(?! of\b| for\b| with\b| surgery))"
)
_LINE = r"(?:new|next) (?:paragraph|line)"
_PERIOD = r"(?<!time )(?<!\bthe )(?<!this )(?<!that )(?<!\ba )(?<!interval )period(?! of\b)"
#: Without one of these in it, in small letters, nobody spoke a text. Looking for them takes no time.
_TRACES = (
    " um", " uh", " erm", " hmm", " ah", "you know", "let's see", "lets see", "let me", "paragraph", "new line",
    "next line", "full stop", "period", "comma", " colon", "scratch", "strike", "delete", "disregard", "erase",
    "cancel", "ignore", "sorry", "wait", "i mean", "make that", "make it", "change that", "or rather", "i should say",
    "excuse me", "my mistake", "that should", "correct", "no, ", "- ",
)  # fmt: skip
_DETAIL = (
    r"(?:left|right|bilateral|upper|middle|lower|trace|tiny|small|minimal|mild|moderate|large|severe|marked)(?:ly)?"
    r"(?:[- ]sided)?"
)
#: A "no" that may correct a detail: those of other denials are many.
_BARE = rf"no(?=\s+(?:(?:on|in|at|the|a|it's|its)\s+)*{_DETAIL}\b)"
_BARE_ALONE = re.compile(rf"\b{_BARE}")
_TITLE = rf"(?:{'|'.join(HEADERS.values())})"
#: With one of these, marks were spoken, too.
_SPOKEN = re.compile(
    rf"\b(?:{_FILLER}|{_LINE}|full stop|comma|{_WITHDRAW}|{_PERIOD}\W*\Z|{_TITLE} colon)(?![\w-])",
    re.IGNORECASE,
)
#: A spoken heading gets a line of its own; the colon alone is an organ.
_HEADINGS = re.compile(
    rf"(?P<before>\A|\s)(?P<title>{_TITLE}) colon\b|(?P<line>{_LINE}) (?P<heading>{_TITLE})\b(?P<gap>[ ,])(?!of\b)",
    re.IGNORECASE,
)
_MARKS = (
    (re.compile(rf"(?<![ ,.])[ ,.]*+\b{_LINE}\b[ ,.]*", re.IGNORECASE), "\n\n"),
    (re.compile(rf"(?<![ ,.])[ ,.]*+\b(?:full stop|{_PERIOD})(?![\w-])[ ,.]*", re.IGNORECASE), ". "),
    (re.compile(r"(?<![ ,.])[ ,.]*+\bcomma\b[ ,.]*", re.IGNORECASE), ", "),
)
#: A filler takes the comma or dots behind it along.
_FILLED = re.compile(rf"\b{_FILLER}(?![\w-])[,.…]*", re.IGNORECASE)
#: "There is, there is a"; the start of a word: "pneumo- pneumothorax".
_STAMMER = re.compile(r"\b([a-z]+(?: [a-z]+)?)[,.…]*\s+(?=\1\b)|\b([a-z]{2,})-+\s+(?=\2)", re.IGNORECASE)
_CUE = re.compile(
    rf"(?<![\s,—–-])[\s,—–-]*+\b(?:(?P<withdraw>{_WITHDRAW})|(?P<amend>{_AMEND})|(?P<no>no(?=,))|(?P<bare>{_BARE}))(?![\w-])[\s,:;.…—–-]*",
    re.IGNORECASE,
)
_END = re.compile(r"[.!?;](?=\s|\Z)|\n")
#: A detail right before a "no", and one that ends the sentence behind it.
_BEFORE = re.compile(rf"{_DETAIL}[\s,—–-]*\Z", re.IGNORECASE)
_AFTER = re.compile(rf"(?:(?:on|in|at|the|a|it's|its)\s+)*{_DETAIL}(?:\s+side)?\s*(?:[.;\n]|\Z)", re.IGNORECASE)
#: How far a correction looks back and ahead, in characters, and how many of them are made: so that the time is linear.
REACH, MOST = 1200, 200
#: What a detail or finding is corrected in; nothing else is between the cue and it.
_KINDS = ("side", "location", "severity", "change", "acuity", "kind", "size", "quality", "tip")
_SKIPPED = frozenset(
    ("a", "an", "the", "on", "in", "at", "it", "is", "to", "of", "be", "its", "s", "side", "rather", ",")
)


@lru_cache(maxsize=1 << 9)  # the reader, the quality and the advice of one report ask for the same
def written(text: str) -> str:
    """The transcript as one would have written it, of the same length: corrected, without fillers, with its marks."""
    small = f" {text.lower()}"
    if not any(trace in small for trace in _TRACES) and not _BARE_ALONE.search(small):
        return text
    if _SPOKEN.search(text):
        text = _HEADINGS.sub(_heading, text)
        for pattern, mark in _MARKS:
            text = pattern.sub(lambda found, mark=mark: _padded(mark, found), text)  # type: ignore[misc]
        text = _FILLED.sub(lambda found: _padded("", found), text)
        text = _STAMMER.sub(lambda found: _padded("", found), text)
    at = 0
    for _ in range(MOST):
        cue = _CUE.search(text, at)
        if cue is None:
            break
        at = cue.end()
        text = _without(text, _withdrawn(text, cue))
    return text


def _padded(mark: str, found: re.Match[str]) -> str:
    return mark.ljust(len(found.group()))[: len(found.group())]


def _heading(found: re.Match[str]) -> str:
    if title := found["title"]:
        return ("\n" if found["before"] else "") + f"{title}:".ljust(len(found.group()) - len(found["before"]))
    return "\n".ljust(len(found["line"])) + "\n" + found["heading"] + ":"


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


class _Said(NamedTuple):
    """How the words after a cue begin: the details that come first, the finding or organ right behind them, and whether
    nothing else follows."""

    details: tuple[Term, ...]
    thing: Term | None
    alone: bool

    @property
    def kinds(self) -> set[str]:
        return {kind for term in self.details for kind in _KINDS if kind in term.roles}


def _withdrawn(text: str, cue: re.Match[str]) -> list[tuple[int, int]]:
    """What a correction takes back, itself included; nothing where the words are no correction."""
    start, whole, kind = cue.start(), (cue.start(), cue.end()), cue.lastgroup
    if kind == "bare" and not (_BEFORE.search(text, max(start - REACH, 0), start) or _AFTER.match(text, cue.end())):
        return []
    first = max(start - REACH, 0)
    ends = [first, *(found.end() for found in _END.finditer(text, first, start))]
    begin = ends[-1]
    opens = not text[begin:start].strip()
    if opens:  # a sentence of its own corrects the one before
        begin, start = ends[-2] if len(ends) > 1 else begin, begin
        whole = (max(_last_word(text, start), begin), cue.end())
    stop = next((found.start() for found in _END.finditer(text, cue.end(), cue.end() + REACH)), cue.end() + REACH)
    said, before = _opening(text[cue.end() : stop]), text[begin:start]
    if not before.strip():
        return []
    if kind == "bare" and (opens or not (said.details and said.alone)):  # "left effusion no right."
        return [] if opens else _at_once(before, begin, cue, said)
    if kind == "no" and (opens or ":" in before or not said.details):  # an answer, not a correction
        return []
    if said.details and said.thing is None:
        return [*_replaced(before, begin, said.kinds, None), whole]
    if kind == "withdraw":
        return [(begin, cue.end())]
    if said.thing is not None:
        return [*_replaced(before, begin, said.kinds, said.thing), whole]
    speaks = any("concept" in term.roles or "anatomy" in term.roles for term in matched(text[cue.end() : stop]).terms)
    return [(begin, cue.end())] if speaks else []


def _last_word(text: str, end: int) -> int:
    """The offset behind the last word or number before `end`."""
    return len(text[:end].rstrip(" \n.;!?"))


def _opening(words: str) -> _Said:
    tokens, terms = matched(words)
    starts = {term.first: term for term in terms}
    details: list[Term] = []
    i = 0
    while i < len(tokens):
        term = starts.get(i)
        if term is not None and ("concept" in term.roles or "anatomy" in term.roles):
            return _Said(tuple(details), term, False)
        if term is not None and not term.roles.keys().isdisjoint(_KINDS):
            details.append(term)
            i = term.last
        elif tokens[i].text in _SKIPPED and (tokens[i].text != "," or not details):
            i += 1
        else:
            break
    return _Said(tuple(details), None, i == len(tokens))


def _replaced(before: str, begin: int, kinds: set[str], thing: Term | None) -> list[tuple[int, int]]:
    """The last details of these kinds, and the last finding or organ where another is named in its place."""
    tokens, terms = matched(before)
    role = "concept" if thing is not None and "concept" in thing.roles else "anatomy"
    things = [term for term in terms if role in term.roles] if thing is not None else []
    gone = things[-1:]
    if gone and thing is not None and _leads_on(terms, gone[0], thing, kinds):
        gone = []
    for kind in kinds:
        gone += [term for term in terms if kind in term.roles and "concept" not in term.roles][-1:]
    return [(begin + tokens[t.first].start, begin + tokens[t.last - 1].end) for t in gone]


def _leads_on(terms: Sequence[Term], last: Term, thing: Term, kinds: set[str]) -> bool:
    """Whether the details before the cue belong to what comes, not to the finding before them: "cardiomegaly and a
    left, I mean right effusion"."""
    tail = [term for term in terms if term.first >= last.last]
    same = thing.roles.get("concept") in kin(last.roles["concept"]) if "concept" in last.roles else True
    return not same and bool(tail) and not tail[-1].roles.keys().isdisjoint(kinds)


def _at_once(before: str, begin: int, cue: re.Match[str], said: _Said) -> list[tuple[int, int]]:
    """ "A left no right effusion": the detail just before a "no" that is of the kind of the one just behind it."""
    tokens, terms = matched(before)
    if not terms or not said.details or terms[-1].last != len(tokens) or "concept" in terms[-1].roles:
        return []
    first = said.details[0]
    if first.first != 0 or not any(kind in terms[-1].roles and kind in first.roles for kind in _KINDS):
        return []
    return [(begin + tokens[terms[-1].first].start, cue.end())]
