"""Which clauses of a sentence say something of this film now.

A reasoning text plans, explains, quotes the question and lists options before it finds anything, and often does so in
the sentence that then says what was found: "An effusion would blunt the angles, but they are sharp", "I looked for a
nodule and saw none", "Option A says edema, which is not what I see". So the decision is made clause by clause:

- A clause asserts unless a frame of `discourse.yaml` makes it a plan, general knowledge or the word of others.
- What goes on with such a clause without a verb of its own ("..., fractures and nodules") is part of it.
- A clause that names nothing ("none is seen", "the latter is not", "came up empty") answers for what was named before.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

from reasoner.findings.anaphora import Reply, read_reply
from reasoner.findings.discourse_data import OUTCOMES, asides, data, frames, here, outcomes, reply_words
from reasoner.findings.patterns import CLAUSE, SENTENCE
from reasoner.findings.wording import ARROWS, words_of
from reasoner.schema import Status

#: Frames that answer for what was named before.
_ANSWERS: dict[str, Status] = {"nothing": "absent", "undecided": "uncertain", "refers": "absent", "affirms": "present"}
#: Frames of clauses that assert nothing, and those of them that never go on to speak.
_VOID = frozenset(("plan", "topic", "general", "told", "history"))
_MUTE = frozenset(("general", "told", "history"))
#: Marks between a name and its value: "Effusion: none".
_VALUES = frozenset(":-/")
_NAMED = frozenset(("{finding}", "{organ}"))
_NAMING = frozenset((*_NAMED, "{state}"))
_FINDINGS = frozenset(("{finding}", "{state}"))
_NOT = frozenset(("{not}",))
_SHOWS = frozenset(("{shows}", "{showed}"))
_PREDICATES = frozenset(("{finite}", "{show}", *_SHOWS))
_STATES = frozenset(("{see}", "{state}", "{not}", *_SHOWS))
#: What goes on after "and" with a verb: "and is", "and I", "and found"; what a search is said to have found.
_GOES_ON = frozenset(("{pronoun}", "{finite}", "{will}", "{result}", "not", "cannot"))
_FOUND = frozenset(("{pronoun}", "{not}", "the", "that"))
#: How a subject begins that is not of a kind but of this film.
_SPECIFIC = frozenset(("{the}", "{pronoun}", "{not}", "{detail}"))
#: Verbs after "which" with which a plan goes on to say what was found.
_SAYS = frozenset(("is", "are", "appears", "appear", "looks", "look", "shows", "show", "seems", "seem", "demonstrates",
                   "demonstrate", "remains", "remain"))  # fmt: skip
#: What ends a list of candidates.
_ENDS_LIST = frozenset(("{finite}", "only", "just"))
_DROPS = ("rule", "ruling", "exclud", "eliminat", "dismiss", "discard")
#: Which of those named before: "the latter".
_ORDERS = frozenset(("first", "second", "third", "last", "former", "latter"))
_DETERMINERS = frozenset(("{not}", "{a}", "{the}"))
#: A clause that begins so lacks a subject.
_VERBS = frozenset(("{modal}", "{habit}", "{kinds}", "{finite}", "involves", "requires"))


class Clause(NamedTuple):
    """`sentence[start:end]`; what it asserts begins at `speaks`.

    `frame` says why it asserts nothing (one of `_VOID`), or what it does with what it names (`given`, `denies`,
    `same`); `goes_on`: it is part of the one before. `outcome` is what its plan came to.
    """

    start: int
    end: int
    speaks: int
    frame: str = ""
    goes_on: bool = False
    reply: Reply | None = None
    outcome: Status | None = None

    @property
    def void(self) -> bool:
        return self.frame in _VOID


@lru_cache(maxsize=1 << 14)
def clauses(sentence: str) -> tuple[Clause, ...]:
    """The clauses of a sentence, in order; together they hold all of its words."""
    return tuple(_Sentence(sentence).read())


class _Sentence:
    """Walks the clauses of a sentence; clause n holds the words `[at[n], at[n + 1])`."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        self.words = words_of(sentence)
        self.labels = [word.labels for word in self.words]
        self.at = self._starts()
        self.found: list[Clause] = []

    def read(self) -> list[Clause]:
        ends = [*(self.words[i].start for i in self.at[1:]), len(self.sentence)]
        start = 0
        for n, (first, end) in enumerate(zip(self.at, ends, strict=True)):
            last = self.at[n + 1] if n + 1 < len(self.at) else len(self.words)
            clause = self._clause(first, last, Clause(start, end, start))
            if clause.void and not clause.goes_on:
                self._include(n, clause.frame)
            self.found.append(clause)
            start = end
        return self.found

    # Where clauses begin

    def _starts(self) -> list[int]:
        """After marks, at what turns or joins, at "and there is"."""
        starts = [0]
        predicate = False  # whether the clause has a verb by now
        for i in range(1, len(self.words)):
            predicate = predicate or "{finite}" in self.labels[i - 1]
            if (
                self.words[i].mark == ","
                and not predicate
                and (self._adjectives(starts[-1], i) or self._lists(starts[-1], i))
            ):
                continue
            if self.words[i].mark or self._opens(i, predicate):
                starts.append(i)
                predicate = False
        return starts

    def _adjectives(self, first: int, i: int) -> bool:
        """Whether the words from `first` are of a subject that goes on: "no dense, round nodules"."""
        named = self._any(_NAMED, first, i)
        turns = "{turn}" in self.labels[i]
        return i > first + 1 and not named and not turns and not _DETERMINERS.isdisjoint(self.labels[first])

    def _lists(self, first: int, i: int) -> bool:
        """Whether word i goes on with a list of candidates: "of a nodule, a mass and a cyst, only ..."."""
        if self.words[first].text not in ("of", "among", "amongst", "between"):
            return False
        return self._any(_FINDINGS, i, i + 3) and not self._any(_ENDS_LIST, first, i + 3)

    def _opens(self, i: int, predicate: bool) -> bool:
        word, own = self.words[i].text, self.labels[i]
        if "{turn}" in own:
            return self.words[i - 1].text not in ("as", "of") and not self._excepts(i)  # "as though", "none of which"
        ahead = self.labels[i + 1] if i + 1 < len(self.labels) else ()
        if word == "and" and "{filler}" in ahead and i + 2 < len(self.labels):  # "and still cannot"
            ahead = self.labels[i + 2]
        if word in ("so", "since", "as"):
            return "{pronoun}" in ahead or "the" in ahead or (word == "so" and "no" in ahead)
        if word == "or":
            return "{pronoun}" in ahead or (predicate and self._predicates(i + 1))
        if word not in ("and", "then"):
            return False
        if word == "and" and "{finds}" in ahead:
            return self._any(_FOUND, i + 2, i + 3)
        return not _GOES_ON.isdisjoint(ahead) or (predicate and self._predicates(i + 1))

    def _excepts(self, i: int) -> bool:
        """Whether "but" at word i takes out one of those named before: "all but the last"."""
        order = not _ORDERS.isdisjoint(word.text for word in self.words[i + 1 : i + 3])
        return order and self.words[i].text == "but" and self.words[i - 1].text == "all"

    def _predicates(self, i: int) -> bool:
        """Whether a subject begins at word i that has a verb: "the heart is"."""
        named = False
        for labels in self.labels[i : i + 5]:
            if "{finite}" in labels:
                return named
            if not _NAMED.isdisjoint(labels):
                named = True
            elif named or {"{the}", "{a}", "{detail}"}.isdisjoint(labels):
                return False
        return False

    def _any(self, labels: frozenset[str], first: int, last: int) -> bool:
        return any(not labels.isdisjoint(own) for own in self.labels[first:last])

    # What a clause is

    def _clause(self, first: int, last: int, clause: Clause) -> Clause:
        """`clause`, so far only its place, with its frame."""
        frame, after = self._frame(first, last)
        if frame in ("transparent", "amends"):
            if frame == "amends":  # "the report should read ...": not what it read
                self.found = [before._replace(frame="told", reply=None) for before in self.found]
            if after == last:
                return clause._replace(frame="told")
            first, clause = after, clause._replace(speaks=self.words[after].start)
            frame, after = self._frame(first, last)
        if frame in _ANSWERS:
            names = self._any(_NAMING if frame in OUTCOMES else _FINDINGS, first, last)
            if frame == "affirms" and self._any(_NOT, first, last):
                names = True  # "does not confirm this finding" leaves all open
            names = names or (bool(self.found) and self._told_apart(first, last))
            if not names or frame not in OUTCOMES:
                said = "uncertain" if frame == "refers" and self._keeps(first, last) else _ANSWERS[frame]
                return clause._replace(reply=None if names else Reply(said))
            frame = ""
        if frame == "denies" and "{supposed}" in self.labels[self._skipped(first, last)]:
            frame = ""
        if frame == "denies" and not self._any(_NAMING, first, last):  # "both are excluded by this film"
            points = "{pronoun}" in self.labels[self._skipped(first, last)]
            return clause._replace(reply=Reply("absent") if points else None)
        if frame == "signs":
            denied = self._any(frozenset(("{not}", "{absent}")), first, last)
            return clause._replace(frame=frame, outcome="absent" if denied else "present")
        if frame == "given" and after < last:
            return clause._replace(frame=frame, speaks=self.words[after].start)
        if frame in _VOID:
            return self._void(first, last, clause._replace(frame=frame), after)
        return clause._replace(frame=frame) if frame else self._plain(first, last, clause)

    def _keeps(self, first: int, last: int) -> bool:
        """Whether a clause says that something is not excluded: "cannot dismiss it"."""
        words = [word.text for word in self.words[first:last]]
        dropped = next((n for n, word in enumerate(words) if word.startswith(_DROPS)), 0)
        return any("{not}" in labels for labels in self.labels[first : first + dropped])

    def _void(self, first: int, last: int, clause: Clause, after: int) -> Clause:
        """A plan or the like, with what it came to; one that goes on to speak asserts that."""
        outcome = self._outcome(first, last)
        spoken = last if outcome or clause.frame in _MUTE else self._spoken(after, last, clause.frame)
        if spoken < last:
            return clause._replace(frame="", speaks=self.words[spoken].start)
        return clause._replace(outcome=outcome)

    def _plain(self, first: int, last: int, clause: Clause) -> Clause:
        """A clause without a frame of its own: an answer, part of the one before, or an assertion."""
        before = self.found[-1] if self.found else None
        reply = self._reply(first, last)
        if reply and reply.status == "uncertain" and before and before.frame == "told":
            reply = None  # "a colleague says ..., which I cannot judge"
        if reply or before is None or self._independent(first, last, before):
            return clause._replace(reply=reply)
        void = before.void and not self._here(first, last)
        frame = before.frame if void else ""
        return clause._replace(frame=frame, goes_on=True, outcome=self._outcome(first, last) if void else None)

    def _frame(self, first: int, last: int) -> tuple[str, int]:
        """The frame of a clause and the word after it; "" for a clause without."""
        begin = self._skipped(first, last)
        opens = all("{opener}" in own for own in self.labels[:first])
        starts = (SENTENCE, CLAUSE) if opens else (CLAUSE,)
        i = first
        while i < last:
            found = frames().match(self.labels, i, last, starts if i <= begin else ())
            if found is None:
                i += 1
                continue
            after, name = found
            if name == "general" and (self._particular(begin, first, i) or self._here(first, last)):
                name = "none"
            if name != "none":
                return name, after
            i = max(after, i + 1)
        return "", last

    def _skipped(self, first: int, last: int) -> int:
        """The first word of a clause after "and", "first", ..."""
        while first < last - 1 and ("{opener}" in self.labels[first] or self.words[first].text.isdigit()):
            first += 1
        return first

    def _particular(self, begin: int, first: int, i: int) -> bool:
        """Whether what is general begins, at word i, within what a clause denies or within a relative clause."""
        relative = i - 1 > begin and "{relative}" in self.labels[i - 1]
        return relative or self._any(_NOT, first, i)

    def _here(self, first: int, last: int) -> bool:
        """Whether a clause speaks of this film."""
        return any(here().match(self.labels, i, last) for i in range(first, last))

    def _outcome(self, first: int, last: int) -> Status | None:
        """What a search came to, as far as its clause says so: "I looked for it in vain"."""
        found = next(filter(None, (outcomes().match(self.labels, i, last) for i in range(first, last))), None)
        return None if found is None else "absent" if found[1] == "nothing" else "uncertain"

    def _spoken(self, i: int, last: int, frame: str) -> int:
        """The word from i on at which a plan says what was found ("a film obtained for cough shows"), or a topic begins
        to speak ("looking at it I see"); `last` if it does not."""
        topic = frame == "topic"
        for j in range(i, last):
            own, ahead = self.labels[j], self.labels[j + 1] if j + 1 < last else ()
            if "{whose}" in own:
                return last
            if not _SHOWS.isdisjoint(own) or ("{yields}" in own and (topic or "{not}" in ahead)):
                return j
            if topic and (("there" in own and "{be}" in ahead) or ("{i}" in own and "{see}" in ahead)):
                return j
        return last

    def _include(self, n: int, frame: str) -> None:
        """Makes the subject of clause n, and its setting, part of it: "Emphysema, a form of COPD, often ..."."""
        lacks = not _VERBS.isdisjoint(self.labels[self.at[n]])
        for m in range(n - 1, -1, -1):
            first, last = self.at[m], self.at[m + 1]
            if "{supposed}" in self.labels[first]:
                self.found[m] = self.found[m]._replace(reply=None)
            elif self.found[m].reply or self._any(frozenset(("{finite}", "{modal}")), first, last):
                break
            elif lacks or (m == 0 and frame == "general" and "{setting}" in self.labels[first]):
                self.found[m] = self.found[m]._replace(frame=frame)

    # Whether a clause speaks for itself

    def _independent(self, first: int, last: int, before: Clause) -> bool:
        """Whether a clause without a frame speaks for itself, rather than goes on with the one before."""
        mark, begin = self.words[first].mark, self._skipped(first, last)
        opening = self.labels[begin]
        if "{adversative}" in self.labels[first] or mark in ARROWS or "{finding_that}" in opening:
            return True
        joined = self.words[first].text == "and" and first + 1 < last and "{result}" in self.labels[first + 1]
        if joined and self._any(_FINDINGS, first, last):  # "I looked for X and found Y instead"
            return True
        if self.words[first].text == "which" and before.void and not self._any(_STATES, first, last):
            return False
        if before.frame == "history":  # "History of X, the Y is enlarged" tells it until it turns
            return "{current}" in opening
        pointed = "that" in opening and self._any(frozenset(("{finite}",)), begin + 1, begin + 2)
        if "{whose}" in opening and not pointed:
            return False
        if before.frame == "general" and self._general_too(first, begin, last):
            return False
        planned = before.frame in ("plan", "topic") and self.words[first].text == "which"
        predicate = self._predicate(first, last, before.frame == "told" and "{pronoun}" in opening, planned)
        if predicate is not None:
            return predicate
        return "{i}" in opening or (mark != "" and self._result(first, begin, last))

    def _general_too(self, first: int, begin: int, last: int) -> bool:
        """Whether what is said in general goes on: "In textbooks, ...", "Emphysema is ..., and bullae are ..."."""
        if self._here(first, last):
            return False
        start = self.at[bisect_left(self.at, first) - 1]
        setting = not self._any(frozenset(("{finite}", "{modal}", "{finding}")), start, first)
        joined = self.words[first].text == "and" and _SPECIFIC.isdisjoint(self.labels[begin])
        return joined or (setting and self.words[first].mark == ",")

    def _predicate(self, first: int, last: int, hedges: bool, planned: bool) -> bool | None:
        """Whether the first verb of a clause asserts; not after "would", but "can be seen" does. None without a verb.
        With `hedges`, "it may be" does, too; with `planned`, "which is"."""
        modal = False
        for i in range(first, last):
            own = self.labels[i]
            if "{modal}" in own:
                if hedges and "{perhaps}" in own:  # "if this is real, it may be ..."
                    return True
                seen = frozenset(("{see}", "{state}") if "can" in own else ("{see}",))
                modal = not self._any(seen, i + 1, min(i + 4, last))
                if not modal and self._any(_NOT, i + 1, min(i + 3, last)):  # "and could not find any"
                    return True
            elif i > first and "{pronoun}" in own and "{whose}" not in own:  # "we can conclude there is"
                modal = False
            relative = i > first and "{relative}" in self.labels[i - 1]
            if relative and planned and i - 1 == first:  # "check the heart, which is enlarged"
                relative = own[0] not in _SAYS
            if not _PREDICATES.isdisjoint(own) and not relative:
                return not modal
        return False if modal else None

    def _result(self, first: int, begin: int, last: int) -> bool:
        """Whether a clause without a verb says what was found: "none", "heart normal", but not "enlarged heart"."""
        clear = [i for i in range(first, last) if "{state}" in self.labels[i] and not self._noun(i)]
        organ = any("{organ}" in self.labels[i - 1] for i in clear if i > first)
        alone = begin in clear and self.words[first].mark != "," and not self._any(_NAMED, first, last)
        return "{not}" in self.labels[begin] or organ or alone

    def _noun(self, i: int) -> bool:
        """Whether a state is named, as in lists of what to look for ("enlargement"), rather than found ("enlarged")."""
        return self.labels[i][0].endswith(tuple(data()["noun_endings"]))

    def _told_apart(self, first: int, last: int) -> bool:
        """Whether a clause denies of one thing what the clause before says of another ("the former is new, the
        latter is not"), or tells what would not be seen ("even if there were one, the film would not show it")."""
        at = self.at[bisect_left(self.at, first) - 1]
        ordered = all(any(word.text in _ORDERS for word in self.words[a:b]) for a, b in ((at, first), (first, last)))
        supposed = "{supposed}" in self.labels[self._skipped(at, first)] or self.words[at].text.startswith("even")
        would = any(word.text == "would" for word in self.words[first:last])
        return (ordered and self._any(frozenset(("{detail}", "{state}")), at, first)) or (supposed and would)

    def _reply(self, first: int, last: int) -> Reply | None:
        """What a clause without a finding says of those before it; "Effusion: none" is read as a whole."""
        before = self.found[-1] if self.found else None
        named = before is not None and not before.void and self._any(_NAMING, 0, first)
        heads = last < len(self.words) and self.words[last].mark == ":"
        if heads or self._any(_NAMING, first, last):
            return None
        at = self.at[bisect_left(self.at, first) - 1]
        spoken = self._any(_PREDICATES, at, first) or self._any(frozenset(("{i}",)), 0, first)
        titled = not spoken or (before is not None and before.frame == "topic")
        value = named and titled and self.words[first].mark in _VALUES  # "Effusion: none"
        if before and self._told_apart(first, last):
            return None
        said: list[str] = []
        side: str | None = None
        i = first
        while i < last:
            aside = asides().match(self.labels, i, last)
            word = self.words[i]
            if word.side and word.text not in reply_words()["back"]:
                side = word.side
            elif not aside:
                said += word.text.split()
            i = aside[0] if aside else i + 1
        reply = read_reply(said)
        return reply._replace(side=side) if reply and not (value and reply.whose == "all") else None
