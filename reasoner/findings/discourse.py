"""Which clauses of a sentence say something of this film now.

A reasoning text plans, explains, quotes the question and lists options before it finds anything, and often does so in
the sentence that then says what was found: "An effusion would blunt the angles, but they are sharp", "I looked for a
nodule and saw none", "Option A says edema, which is not what I see". So the decision is made clause by clause:

- A clause asserts unless a frame of `discourse.yaml` makes it a plan, general knowledge or the word of others.
- What goes on with such a clause without a verb of its own ("..., fractures and nodules") is part of it.
- A clause that names nothing ("none is seen", "the latter is not", "came up empty") answers for what was named before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from reasoner.findings.lexicon import Term, load
from reasoner.findings.patterns import CLAUSE, SENTENCE, Vocabulary, verb_forms
from reasoner.findings.text import tokenize
from reasoner.schema import Status

PATH = Path(__file__).with_name("discourse.yaml")
Heading = Literal["withhold", "agenda", "doubt", "deny", "say"]
Whose = Literal["all", "first", "second"]
_VOID = frozenset(("plan", "topic", "general", "told"))
_ATTRIBUTES = frozenset(("side", "location", "severity", "change", "acuity", "hint", "size", "kind"))
_STOPS = frozenset(",;:?-/")
#: Marks between words that end a clause, and those that lead to a result.
_MARKS = ("...", "…", "->", "=>", "→", "--", '"', "“", "”", "! ", ". ", "\n")
_VALUES = frozenset(":(-/")
_ARROWS = ("->", "=>", "→", "...", "…")
_GOES_ON = frozenset(("{pronoun}", "{finite}", "{will}", "{result}", "not"))
_SUBJECT = frozenset(("{pronoun}",))
_FOUND = frozenset(("{pronoun}", "{not}", "the", "that"))
_JOINTS = frozenset(("and", "or", "then"))
_HISTORY = re.compile(r"\W*(?:\w+\W+){0,2}(?:history|hx)\W+of\b", re.IGNORECASE)
_TURNS = frozenset(("but", "however", "now", "today", "currently", "although", "though", "yet"))
_OPENS = frozenset(("which", "because", "but", "however", "although", "though", "whereas", "yet", "while"))


class Reply(NamedTuple):
    """What a clause says of all, the first or the second of the things named before it. `only`: the others are not.
    `turns`: it denies a statement, so that what was denied is so. `side`: where it says so."""

    status: Status
    whose: Whose = "all"
    only: bool = False
    turns: bool = False
    side: str | None = None


class Clause(NamedTuple):
    """`sentence[start:end]`; what it asserts begins at `speaks`.

    `frame` says why it asserts nothing (`plan`, `topic`, `general`, `told`), or what it does with what it names
    (`given`, `denies`, `same`); `goes_on`: it is part of the one before. `outcome` is what its plan came to.
    """

    start: int
    end: int
    speaks: int
    frame: str
    goes_on: bool
    reply: Reply | None
    outcome: Status | None

    @property
    def void(self) -> bool:
        return self.frame in _VOID


class _Word(NamedTuple):
    """A word, or a term of the lexicon, with its labels and the mark before it ("" if there is none)."""

    labels: tuple[str, ...]
    text: str
    start: int
    end: int
    mark: str
    side: str | None


@lru_cache(maxsize=1 << 14)
def clauses(sentence: str) -> tuple[Clause, ...]:
    """The clauses of a sentence, in order; together they hold all of its words."""
    return tuple(_Sentence(sentence).read())


@lru_cache(maxsize=1 << 12)
def kind_of_heading(words: str) -> Heading | None:
    """What a heading does to the lines below it; None for one of no known kind."""
    for part in reversed(words.split(":")):
        labels = [frozenset((token.text,)) for token in tokenize(part) if token.text.isalnum()]
        while labels and not labels[0].isdisjoint(_ARTICLES):
            labels = labels[1:]
        found = _headings().match([tuple(words) for words in labels], 0, len(labels)) if labels else None
        if found and found[0] == len(labels):
            return found[1]  # type: ignore[return-value]
    return None


_ARTICLES = frozenset(("the", "my", "our", "some", "a", "other", "list", "1", "2", "3"))


@cache
def _data() -> dict[str, Any]:
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # all are words, `no` and `on` too
    return yaml.load(PATH.read_text("utf-8"), Loader=loader)  # type: ignore[no-any-return]


@cache
def _frames() -> Vocabulary:
    data = _data()
    return Vocabulary(data["classes"] | _verbs(data), data["frames"])


@cache
def _headings() -> Vocabulary:
    return Vocabulary({}, _data()["headings"])


@cache
def _replies() -> dict[str, frozenset[str]]:
    return {name: frozenset(words) for name, words in _data()["reply"].items() if name != "aside"}


@cache
def _asides() -> Vocabulary:
    return Vocabulary({}, {"aside": _data()["reply"]["aside"]})


def _verbs(data: dict[str, Any]) -> dict[str, list[str]]:
    """The classes of forms of each group of verbs."""
    classes: dict[str, list[str]] = {}
    for name, bases in data["verbs"].items():
        rows = [*map(verb_forms, bases), *data["irregular"].get(name, ())]
        for ending, forms in zip(("", "s", "ing", "ed"), zip(*rows, strict=True), strict=True):
            classes[name + ending] = list(forms)
    return classes


class _Sentence:
    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        self.frames = _frames()
        self.words = _words(sentence, self.frames)
        self.labels = [word.labels for word in self.words]
        self.at = self._starts()
        self.amended = False  # whether the last clause takes the place of those before it

    def read(self) -> list[Clause]:
        found: list[Clause] = []
        at = self.at
        whole = [0, *(self.words[i].start for i in at[1:]), len(self.sentence)]
        for n, first in enumerate(at):
            last = at[n + 1] if n + 1 < len(at) else len(self.words)
            before = found[-1] if found else None
            found.append(self._clause(first, last, whole[n], whole[n + 1], before))
            if found[-1].void and not found[-1].goes_on:
                self._include(found, n)
            if self.amended:
                found[:-1] = [clause._replace(frame="told", reply=None) for clause in found[:-1]]
                self.amended = False
        return self._recalled(found)

    def _recalled(self, found: list[Clause]) -> list[Clause]:
        """A sentence that opens with a history tells it until it turns: "History of X, the Y is enlarged, but ..."."""
        if not _HISTORY.match(self.sentence):
            return found
        starts = (self.labels[first][0] for first in self.at)
        turn = next((n for n, word in enumerate(starts) if word in _TURNS), len(found))
        return [clause._replace(frame="told", reply=None) for clause in found[:turn]] + found[turn:]

    def _include(self, found: list[Clause], n: int) -> None:
        """Makes the subject of the last clause, and its setting, part of it: "Emphysema, a form of COPD, often ..."."""
        first = self.at[n]
        lacks = not _VERBS.isdisjoint(self.labels[first])
        for m in range(n - 1, -1, -1):
            labels = self.labels[self.at[m] : self.at[m + 1]]
            if "{supposed}" in labels[0]:
                found[m] = found[m]._replace(reply=None)
                continue
            if any("{finite}" in own or "{modal}" in own for own in labels) or found[m].reply:
                break
            setting = m == 0 and found[n].frame == "general" and labels[0][0] in _SETTINGS
            if lacks or setting:
                found[m] = found[m]._replace(frame=found[n].frame)

    def _starts(self) -> list[int]:
        """Where clauses begin: after marks, at what turns or joins, at "and there is"."""
        starts = [0]
        predicate = False  # whether the clause has a verb by now
        for i in range(1, len(self.words)):
            predicate = predicate or "{finite}" in self.labels[i - 1]
            if self.words[i].mark == "," and i > starts[-1] + 1 and not predicate and self._adjectives(starts[-1], i):
                continue
            if self.words[i].mark or self._opens(i, predicate):
                starts.append(i)
                predicate = False
        return starts

    def _adjectives(self, first: int, i: int) -> bool:
        """Whether the words from `first` are of a subject that goes on: "no dense, round nodules"."""
        named = any(_NAMED & {*own} for own in self.labels[first:i])
        return not named and not _DETERMINERS.isdisjoint(self.labels[first])

    def _opens(self, i: int, predicate: bool) -> bool:
        labels = self.labels[i]
        word = labels[0]
        if word in _OPENS:
            return self.labels[i - 1][0] != "as"  # "as though"
        ahead = self.labels[i + 1] if i + 1 < len(self.labels) else ()
        if word in ("so", "since", "as"):
            return "{pronoun}" in ahead or "the" in ahead or (word == "so" and "no" in ahead)
        if word not in _JOINTS:
            return False
        if not (_GOES_ON if word != "or" else _SUBJECT).isdisjoint(ahead):
            return True
        if word == "and" and "{finds}" in ahead:
            return i + 2 < len(self.labels) and not _FOUND.isdisjoint(self.labels[i + 2])
        return predicate and self._predicates(i + 1)

    def _predicates(self, i: int) -> bool:
        """Whether a subject begins at word i that has a verb: "the heart is"."""
        named = False
        for labels in self.labels[i : i + 5]:
            if "{finite}" in labels:
                return named
            if "{finding}" in labels or "{organ}" in labels:
                named = True
            elif named or not ("{the}" in labels or "{a}" in labels or "{detail}" in labels):
                return False
        return False

    def _clause(self, first: int, last: int, start: int, end: int, before: Clause | None) -> Clause:
        speaks = start
        begin = self._skipped(first, last)
        frame, after = self._frame(first, begin, last)
        if frame in ("nothing", "undecided"):
            if not any(_NAMING & {*labels} for labels in self.labels[first:last]):
                said: Status = "absent" if frame == "nothing" else "uncertain"
                return Clause(start, end, start, "", False, Reply(said), None)
            frame = ""
        if frame in ("transparent", "amends"):
            self.amended = frame == "amends" or self.amended
            if after == last:
                return Clause(start, end, start, "told", False, None, None)
            speaks, first = self.words[after].start, after
            frame, after = self._frame(first, self._skipped(first, last), last)
        reply = None
        goes_on = False
        if frame == "given" and after < last:
            speaks = self.words[after].start
        elif not frame:
            reply = self._reply(first, last, before)
            if reply and reply.status == "uncertain" and before and before.frame == "told":
                reply = None  # "a colleague says ..., which I cannot judge"
            goes_on = before is not None and not reply and not self._independent(first, last, before)
            if before and goes_on and before.void and not self._here(first, last):
                frame = before.frame
        if frame == "refers":
            named = any("{finding}" in own or "{state}" in own for own in self.labels[first:last])
            return Clause(start, end, speaks, "", False, None if named else Reply("absent"), None)
        if frame == "denies" and "{supposed}" in self.labels[self._skipped(first, last)]:
            frame = ""
        if frame == "signs":
            denied = any("{not}" in own or "{absent}" in own for own in self.labels[first:last])
            return Clause(start, end, speaks, frame, False, None, "absent" if denied else "present")
        outcome = self._outcome(first, last) if frame in _VOID else None
        if frame in ("plan", "topic") and not goes_on and not outcome:
            at = self._spoken(after, last, frame == "topic")
            if at < last:
                frame, speaks = "", self.words[at].start
        return Clause(start, end, speaks, frame, goes_on, reply, outcome)

    def _spoken(self, i: int, last: int, topic: bool) -> int:
        """The word after word i at which a plan goes on to say what was found ("a film obtained for cough shows"), or a
        topic to speak ("looking at it I see"); `last` if it does not."""
        for j in range(i, last):
            labels = self.labels[j]
            if "{whose}" in labels:
                return last
            follows = self.labels[j + 1] if j + 1 < last else ()
            there = "there" in labels and "{be}" in follows
            if "{shows}" in labels or "{showed}" in labels or ("{yields}" in labels and (topic or "{not}" in follows)):
                return j
            if topic and (there or ("{i}" in labels and "{see}" in follows)):
                return j
        return last

    def _skipped(self, first: int, last: int) -> int:
        while first < last - 1 and ("{opener}" in self.labels[first] or self.labels[first][0].isdigit()):
            first += 1
        return first

    def _frame(self, first: int, begin: int, last: int) -> tuple[str, int]:
        """The frame of a clause and the word after it; "" for a clause without."""
        i = first
        here = -1
        opens = all("{opener}" in own for own in self.labels[:first])
        starts = (SENTENCE, CLAUSE) if opens else (CLAUSE,)
        while i < last:
            found = self.frames.match(self.labels, i, last, starts if i <= begin else ())
            if found is None:
                i += 1
                continue
            after, name = found
            if name == "general" and here < 0:
                here = self._here(first, last)
            if name != "none" and not (name == "general" and (here or self._particular(first, begin, i))):
                return name, after
            i = max(after, i + 1)
        return "", last

    def _particular(self, first: int, begin: int, i: int) -> bool:
        """Whether what is general begins, at word i, within what a clause denies or within a relative clause."""
        relative = i - 1 > begin and self.labels[i - 1][0] in ("that", "which", "who")
        return relative or any("{not}" in own for own in self.labels[first:i])

    def _here(self, first: int, last: int) -> int:
        """Whether a clause speaks of this film."""
        return any(
            (found := _here().match(self.labels, i, last)) is not None and found[0] > i for i in range(first, last)
        )

    def _outcome(self, first: int, last: int) -> Status | None:
        for i in range(first, last):
            found = _outcomes().match(self.labels, i, last)
            if found:
                return "absent" if found[1] == "nothing" else "uncertain"
        return None

    def _general_too(self, first: int, begin: int, last: int) -> bool:
        """Whether what is said in general goes on: "In textbooks, ...", "Emphysema is ..., and bullae are ..."."""
        if self._here(first, last):
            return False
        before = self.labels[self.at[self.at.index(first) - 1] : first]
        setting = not any("{finite}" in own or "{modal}" in own or "{finding}" in own for own in before)
        joined = self.labels[first][0] == "and" and _SPECIFIC.isdisjoint(self.labels[begin])
        return joined or (setting and self.words[first].mark == ",")

    def _independent(self, first: int, last: int, before: Clause) -> bool:
        """Whether a clause speaks for itself, rather than goes on with the one before."""
        labels = self.labels[first:last]
        mark = self.words[first].mark
        if "{adversative}" in labels[0] or mark in _ARROWS:
            return True
        begin = self._skipped(first, last) - first
        if "{finding_that}" in labels[begin]:
            return True
        if labels[0][0] == "which" and before.void and not any(_STATES & {*own} for own in labels):
            return False
        pointed = begin + 1 < len(labels) and "{finite}" in labels[begin + 1]
        if "{whose}" in labels[begin] and not ("that" in labels[begin] and pointed):
            return False
        if before.frame == "general" and self._general_too(first, first + begin, last):
            return False
        modal = False
        for n, own in enumerate(labels):
            if "{modal}" in own:
                hedged = before.frame == "told" and "{perhaps}" in own and "{pronoun}" in labels[begin]
                if hedged:  # "if this is real, it may be ..."
                    return True
                seen = ("{see}", "{state}") if "can" in own else ("{see}",)
                modal = not any(label in after for after in labels[n + 1 : n + 4] for label in seen)
            if n and "{pronoun}" in own and "{whose}" not in own:  # "we can conclude there is"
                modal = False
            if not _PREDICATES.isdisjoint(own) and not (n and labels[n - 1][0] in _RELATIVES):
                return not modal
        if "{i}" in labels[begin] and not modal:
            return True
        if modal or not mark:
            return False
        clear = [n for n, own in enumerate(labels) if "{state}" in own and not labels[n][0].endswith(_NOUNS)]
        organ = any("{organ}" in labels[n - 1] for n in clear if n)
        bare = begin in clear and mark != "," and not any(_NAMED & {*own} for own in labels)
        return "{not}" in labels[begin] or organ or bare

    def _reply(self, first: int, last: int, before: Clause | None) -> Reply | None:
        """What a clause without a finding says of those before it; "Effusion: none" is read as a whole."""
        heads = last < len(self.words) and self.words[last].mark == ":"
        named = before and not before.void and any(_NAMING & {*own} for own in self.labels[:first])
        if heads or (named and self.words[first].mark in _VALUES):
            return None
        said: list[str] = []
        side: str | None = None
        i = first
        while i < last:
            aside = _asides().match(self.labels, i, last)
            if aside:
                i = aside[0]
                continue
            word = self.words[i]
            if not _NAMING.isdisjoint(word.labels):
                return None
            if word.side and word.text not in _replies()["back"]:
                side = word.side
            else:
                said += word.text.split()
            i += 1
        reply = read_reply(said, _replies())
        return reply._replace(side=side) if reply else None


_SPECIFIC = frozenset(("{the}", "{pronoun}", "{not}", "{detail}"))
_NAMED = frozenset(("{finding}", "{organ}"))
_NAMING = frozenset((*_NAMED, "{state}"))
_DETERMINERS = frozenset(("{not}", "{a}", "{the}"))
_VERBS = frozenset(("{modal}", "{habit}", "{kinds}", "{finite}", "involves", "requires"))
_SETTINGS = frozenset(("in", "with", "for", "during", "among"))


def read_reply(said: Sequence[str], words: dict[str, frozenset[str]]) -> Reply | None:
    """What the words of a clause say of the things named before it; None if they may say anything else."""
    known = words["back"] | words["seen"] | words["no"] | words["maybe"] | words["sure"] | words["glue"]
    if not said or any(word not in known and word not in words["elsewhere"] for word in said):
        return None
    ordinal = [w for n, w in enumerate(said) if w in words["first"] | words["second"] and _orders(said, n)]
    own = [word for word in said if word not in ordinal]
    if own == ["here"] or any(a in ("option", "choice", "answer") and len(b) == 1 for a, b in pairwise(own)):
        return None
    if "so" in own[1:]:  # "I think so"
        own += ["that", "true"]
    this = "this" in own and "time" in own
    if (any(word in words["elsewhere"] for word in own) and not this) or own[0] == "were":
        return None
    if "only" in own and "not" in own:
        return None
    denials = sum(word in words["no"] for word in own)
    back = any(word in words["back"] for word in own) or bool(ordinal)
    seen = any(word in words["seen"] for word in own)
    whose: Whose = "all" if not ordinal else "first" if ordinal[0] in words["first"] else "second"
    maybe = any(word in words["maybe"] for word in own)
    negated = any(word in words["negator"] for word in own)
    unsure = negated and any(word in words["sure"] for word in own) and not seen
    ends = own[-1] in words["be"]
    if (maybe and not denials) or unsure:
        return Reply("uncertain", whose) if back or seen or ends else None
    if denials:
        named = back or seen or ends or "here" in own or this
        if not named:
            return None
        return Reply("present" if denials % 2 == 0 else "absent", whose, turns=_turns(own, words))
    if seen or ends or set(own) <= {"both", "actually", "yes", "they", "all"}:
        return Reply("present", whose, only="only" in own) if back or seen else None
    return None


def _turns(said: Sequence[str], words: dict[str, frozenset[str]]) -> bool:
    """Whether a denial is one of a statement: "that is not right"."""
    return any(word in words["truth"] for word in said) and not {"option", "choice", "diagnosis", "answer"} & {*said}


def _orders(said: Sequence[str], n: int) -> bool:
    before, after = said[n - 1] if n else "", said[n + 1] if n + 1 < len(said) else ""
    return said[n] in ("former", "latter") or before == "the" or after == "one"


@cache
def _here() -> Vocabulary:
    return Vocabulary({}, {"here": _data()["classes"]["here"]})


@cache
def _outcomes() -> Vocabulary:
    frames = _data()["frames"]
    return Vocabulary({}, {name: frames[name] for name in ("nothing", "undecided")})


def _words(sentence: str, vocabulary: Vocabulary) -> list[_Word]:
    """The words of a sentence; terms of the lexicon that name or describe something are one word each."""
    tokens = tokenize(sentence)
    terms = {item.first: (item, found) for item in load().match(tokens) if (found := _labels(item))}
    words: list[_Word] = []
    mark, end, i = "", 0, 0
    while i < len(tokens):
        token = tokens[i]
        gap = sentence[end : token.start]
        if len(gap) > 1 or gap == '"':
            mark = next((sign for sign in _MARKS if sign in gap), mark)
        if token.text in "()":  # a gloss parts nothing
            i += 1
            continue
        if token.text in _STOPS:
            mark, end, i = mark or token.text, token.end, i + 1
            continue
        own = vocabulary.labels_of(token.text)
        if i in terms:
            item, found = terms[i]
            last = item.last
            labels = (*own, *found) if last - i == 1 or "{finding}" not in found else (token.text, *found)
        else:
            last, labels = i + 1, own
        end = tokens[last - 1].end
        side = load().trie.get(token.text, {}).get("", {}).get("side")
        text = token.text if last - i == 1 else " ".join(part.text for part in tokens[i:last])
        words.append(_Word(labels, text, token.start, end, mark, side))
        mark, i = "", last
    return list(_merged(words))


def _merged(words: Sequence[_Word]) -> Iterator[_Word]:
    """With "fracture of the ribs" as one word, and "such abnormalities" as two that name nothing."""
    n = 0
    while n < len(words):
        word = words[n]
        if "{finding}" in word.labels:
            of = n + 1 < len(words) and words[n + 1].text in ("of", "in") and not words[n + 1].mark
            at = n + 3 if of and n + 2 < len(words) and words[n + 2].text == "the" else n + 2
            if of and at < len(words) and "{organ}" in words[at].labels:
                word, n = word._replace(end=words[at].end), at
            elif n and words[n - 1].text in _POINTERS and word.text.startswith("abnormalit"):
                word = word._replace(labels=(word.text,))
        yield word
        n += 1


#: Endings of nouns ("enlargement"), which are in lists of what to look for; "enlarged" is what was found.
_NOUNS = ("ence", "ment", "ing", "ion", "ness", "ity", "sia")
_PREDICATES = frozenset(("{finite}", "{show}", "{shows}", "{showed}"))
_RELATIVES = ("that", "which", "who")
_STATES = frozenset(("{see}", "{state}", "{not}", "{shows}", "{showed}"))
_POINTERS = frozenset(("such", "these", "those", "this", "that"))


def _labels(item: Term) -> tuple[str, ...]:
    roles = item.roles
    if "concept" in roles:
        return ("{finding}",)
    if "anatomy" in roles:
        return ("{organ}", "{study}") if roles["anatomy"] == "study" else ("{organ}",)
    if "quality" in roles:
        return ("{state}",)
    if not _ATTRIBUTES.isdisjoint(roles):
        return ("{detail}",)
    if "speaker" in roles and "nobody" not in roles:
        return ("{speaker}",)
    return ("{tells}",) if "say" in roles else ()
