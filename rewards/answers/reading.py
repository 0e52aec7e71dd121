"""What an answer asserts, excludes and leaves open: constructions, whatever it is that is named.

`read` walks once over the items of a text (names of options, classes or changes, and the words that change what is
said of them) and gives every name a stance:

    not A; neither A nor B; A is wrong; A: no        excluded: a denial before acts up to the end of its list, one
                                                     after on the names that it is said of; two make an assertion
    A or B; A?; unsure whether A                     open
    all except A; none but A                         the other way round than the rest
    ... the answer is A; ... wait, A                 what stands before led there, or is withdrawn
    A would show ...; history of A                   says nothing about A
    A because ...                                    what explains an option chooses none

All is linear in the length of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reasoner.findings.answers import NAME, is_attribute, vocabulary
from rewards.answers.text import Item, Token

#: The name of all options, of none of them, and of those that are not named.
ALL, NONE, OTHERS = "*", "-", "+"
#: A list is looked through for its closing `or` no further than this.
_MOST_AHEAD = 40
#: Between a name and its value.
_VALUES = frozenset(":=|–")
#: What a list of denied names is made of.
_LISTED = frozenset((NAME, "all", ",", "word", "good", "noun"))


class Reading(NamedTuple):
    """The names of an answer. One that is both asserted and excluded stands in both; `nothing`: it says `none`."""

    asserted: frozenset[str]
    excluded: frozenset[str]
    open: frozenset[str]
    nothing: bool = False

    @property
    def clear(self) -> frozenset[str]:
        """What is asserted and nowhere taken back."""
        return self.asserted - self.excluded - self.open

    @property
    def vague(self) -> frozenset[str]:
        """What is left open, or asserted and excluded both."""
        return (self.open | (self.asserted & self.excluded)) - self.clear


@dataclass(slots=True)
class Named:
    """A name that was met, and what has been said of it so far; `segment` counts commas and sentences before it."""

    value: str
    segment: int
    excluded: bool = False
    open: bool = False
    excepted: bool = False
    void: bool = False

    @property
    def counts(self) -> bool:
        """Whether anything is said of it: what explains an answer may still exclude."""
        return self.excluded or not self.void


def read(items: Sequence[Item], tokens: Sequence[Token], *, options: bool = False) -> list[Named]:
    """The names among the items with their stances; `options`: what is named as an explanation is not chosen."""
    return _Reader(items, tokens, options).run()


def gather(names: Iterable[Named], universe: Iterable[str] = (), excepted: bool = False) -> Reading:
    """The reading of an answer. What was left open and is decided later is no longer open.

    Args:
        universe: all that could be named, for `all` and `none`.
        excepted: whether `except A`, of nothing that is said, asserts A.
    """
    names = [named for named in names if named.counts]
    quantified = {value: [n for n in names if n.value == value and not n.open] for value in (ALL, NONE, OTHERS)}
    nothing = any(not n.excluded for n in quantified[NONE])
    some = any(not n.excluded for n in quantified[ALL])
    turned = some or not (excepted or nothing or quantified[ALL])  # whether `except A` excludes A
    asserted: set[str] = set()
    excluded: set[str] = set()
    left_open: set[str] = set()
    for named in names:
        if named.value not in quantified:
            out = named.excluded != (named.excepted and turned)
            if not out and not named.open and named.value in left_open:
                left_open.clear()
            (excluded if out else left_open if named.open else asserted).add(named.value)
    others = set(universe) - asserted - excluded - left_open
    for named in quantified[OTHERS] + quantified[ALL]:
        (excluded if named.excluded else asserted).update(others)
    return Reading(frozenset(asserted), frozenset(excluded), frozenset(left_open), nothing)


class _Reader:
    """One walk over the items. `group` holds the coordinated names that a predicate would be said of."""

    def __init__(self, items: Sequence[Item], tokens: Sequence[Token], options: bool) -> None:
        self.items, self.tokens, self.options = items, tokens, options
        self.names: list[Named] = []
        self.begun: int | None = None  # where the answer is announced, in `names`: what stands before leads to it
        self.sentence = 0  # where the sentence begins in `names`
        self.asked: list[Named] = []  # the names of the question before
        self.before: list[Named] = []  # the group of the clause before
        self.hushed = ""  # up to where nothing is chosen: the end of the clause, sentence or text
        self.listed = self.heading = False  # the denial in force goes on after commas, and after lines
        self.segment = 0
        self.outer: tuple[bool, bool, bool, list[Named]] = False, False, False, []  # what brackets interrupt
        self._open_clause()

    def _open_clause(self) -> None:
        self.group: list[Named] = []
        self.denied = self.used = False  # a denial is in force; it has met a name
        self.nots = 0  # denials that wait for the name they act on, or the end
        self.doubted = self.aside = self.excepted = False  # of the names to come
        self.valued = self.either = self.this = False  # met: a colon after a name, `either`, `this`
        self.verb = self.joined = self.predicate = ""  # last met, since the last name

    def run(self) -> list[Named]:
        for k, item in enumerate(self.items):
            step = _STEPS.get(item.kind)
            if step:
                step(self, k, item)
        self._close_clause()
        return self.names[self.begun :] or self.names

    def _kind(self, k: int) -> str:
        return self.items[k].kind if k < len(self.items) else "stop"

    # Names

    def name(self, k: int, item: Item) -> None:
        if self.group and self.group is self.outer[3]:  # the first name in brackets
            self.group = []
        if self.predicate == "said" or (self.valued and self._kind(k + 1) in _VALUES and not self.joined):
            self._settle()  # "A: no B: yes"
            self.group = []
        if self.nots:
            self.denied, self.nots = self.nots % 2 == 1, 0
        self.used = self.used or self.denied
        if self.verb and self.joined != "or":
            self.group = []
        named = Named(item.value, self.segment, self.denied, self.doubted, self.excepted)
        named.void = self.aside or bool(self.hushed)
        if self.joined == "or" and not self.denied:
            for other in (named, *(self.group if self.either else self.group[-1:])):
                other.open = not other.excluded
        self.verb = self.predicate = ""
        self.joined, self.valued = self.joined if self.group and self.joined == "and" else "", False
        self.group.append(named)
        self.names.append(named)

    def all(self, k: int, item: Item) -> None:
        self.name(k, item._replace(value=ALL))

    def none(self, k: int, item: Item) -> None:
        if (self.valued and self.group) or self._kind(k + 1) == NAME:  # "Edema: none", "nothing new"
            self.negate(k, item)
        else:
            self.name(k, item._replace(value=NONE))

    def others(self, k: int, item: Item) -> None:
        self.name(k, item._replace(value=OTHERS))

    def allbut(self, k: int, item: Item) -> None:
        self.all(k, item)
        self.exclude(k, item)

    def exclude(self, k: int, item: Item) -> None:
        self._settle()
        self.group, self.denied, self.excepted = [], False, True

    # Denials and predicates

    def negate(self, k: int, item: Item) -> None:
        self.nots += 1
        if item.value in ("none of", "neither of"):
            self.listed = True

    def than(self, k: int, item: Item) -> None:
        self.nots += bool(self.group) and self._kind(k + 1) == NAME

    def bad(self, k: int, item: Item) -> None:
        self.polar(k, 1)

    def good(self, k: int, item: Item) -> None:
        self.polar(k, 0)

    def polar(self, k: int, bad: int) -> None:
        """`wrong` or `right`: of the group if it stands right after it, else of what comes."""
        self.nots += bad
        self.predicate = "met"
        said = self.verb or self.valued or (self.group and self.group[-1].segment == self.segment)
        if self.group and said and (self.verb or not self.nots - bad or self._kind(k + 1) != NAME):
            self._settle()
            self.denied = self.used = self.valued = False
            self.verb, self.predicate = "", "said"

    def _settle(self) -> None:
        """Applies the denials that wait to the names before: they are what is said of them."""
        if self.nots % 2:
            targets = self._subjects() if self.group else self.before if self.this and self.predicate else []
            double = bool(self.verb or self.valued or self.predicate)  # "not A is wrong", but "neither A nor"
            for named in targets:
                named.excluded = not (named.excluded and double)
        self.nots = 0

    def _subjects(self) -> list[Named]:
        """The names of the group that a predicate is said of: all for `are`, and where `and` closes a list."""
        last = self.group[-1]
        if self.verb == "many" or (self.verb != "one" and (self.joined == "and" or self.options)):
            return self.group
        together = [named for named in self.group if named.segment == last.segment]
        alone = self.verb == "one" and not any(named.open or named.excluded for named in together)
        return [last] if alone else together

    def one(self, k: int, item: Item) -> None:
        self.verb = self.verb or "one"

    def many(self, k: int, item: Item) -> None:
        self.verb = "many"

    def any(self, k: int, item: Item) -> None:
        self.verb = self.verb or "any"

    def refer(self, k: int, item: Item) -> None:
        self.this = True

    def textbook(self, k: int, item: Item) -> None:
        for named in self.group:
            named.void = True

    # Coordination

    def join(self, k: int, item: Item) -> None:
        if self.nots and (self.verb or self.valued):
            self._settle()
        after = self.tokens[item.last] if item.last < len(self.tokens) else None
        if self.used and after and after.article:  # "no edema and a small effusion"
            self.denied = self.used = False
        if self.predicate == "said":
            self.group, self.denied, self.predicate = [], False, ""
        self.joined = "and"

    def part(self, k: int, item: Item) -> None:
        """`or`: the names on both sides are open; with `either` or a comma before, all of the list."""
        if not self.group:
            return
        self.joined = "or"
        self.either = self.either or self._kind(k - 1) == ","
        ahead = next(
            (i.kind for i in self.items[k + 1 : k + 4] if i.kind not in ("word", "verb", "doubt", "good")), "stop"
        )
        if self._kind(k - 1) == NAME and not self.denied and ahead in ("stop", ")", "not"):  # "B or something else"
            self.group[-1].open = True

    def choose(self, k: int, item: Item) -> None:
        self.turn(k, item)
        self.either = True
        self.doubted = item.value != "either"

    def comma(self, k: int, item: Item) -> None:
        if self.group:
            self._settle()
        if self.used and not self.listed and not self._goes_on(k):
            self.denied = self.used = False
        self.nots = 0
        self.segment += 1
        if self.hushed == "clause" and (self.verb or self.predicate or not self.group):
            self.hushed = ""
        self.doubted = self.valued = self.aside = False
        self.verb = ""

    def _goes_on(self, k: int) -> bool:
        """Whether the list of denied names goes on after the comma at item k: it closes with `or`, `nor` or `and`."""
        named = False
        for item in self.items[k + 1 : k + _MOST_AHEAD]:
            if item.kind == "or" or (item.kind == "not" and item.value == "nor"):
                return True
            if item.kind == "and":
                return named
            if item.kind not in _LISTED:
                return False
            named = named or item.kind in (NAME, "all")
        return False

    def turn(self, k: int, item: Item) -> None:
        """`but`: a new clause, which may go on about the same names."""
        self._settle()
        before = self.group or self.before
        self._open_clause()
        self.before, self.this = before, True
        self.segment += 1

    def exist(self, k: int, item: Item) -> None:
        if self.used and not self.listed:
            self.denied = self.used = False

    def affirm(self, k: int, item: Item) -> None:
        self.nots = 0

    def digress(self, k: int, item: Item) -> None:
        self.aside = True

    def word(self, k: int, item: Item) -> None:
        """What a denial acts on without being a name: another thing, or a degree or a place of it."""
        if not self.nots:
            return
        degree = is_attribute(item.value)
        if degree and self.group and (self.verb or self.valued):  # "the effusion is not large"
            self.nots = 0
        elif (degree or item.value not in vocabulary().glue) and not self.verb and not self.valued:
            self.denied, self.used, self.nots = self.nots % 2 == 1, True, 0

    def doubt(self, k: int, item: Item) -> None:
        self.doubted = True
        if item.value not in ("if", "whether") and self.group and self.verb:
            for named in self._subjects():
                named.open = True

    # Answers, reasons, withdrawals

    def answer(self, k: int, item: Item) -> None:
        if self.group and self.verb and not self.nots:  # "B is the answer"
            self.polar(k, 0)
            return
        announced = self._kind(k + 1) in (*_VALUES, "one", NAME) or " " in item.value
        if announced and not self.nots and not self.denied and (item.kind == "final" or self.begun is None):
            self.begun = len(self.names)
            self.group = []

    def because(self, k: int, item: Item) -> None:
        self._settle()
        if self.options:
            self.hushed = "sentence" if self.names else "clause"
        self.group, self.denied = [], False

    def reasons(self, k: int, item: Item) -> None:
        if self.options and self.names and self._kind(k + 1) == ":":
            self.hushed = "text"

    def retract(self, k: int, item: Item) -> None:
        if self.names:
            self.names.clear()
            self.begun, self.sentence = None, 0
            self._open_clause()

    # Marks

    def value(self, k: int, item: Item) -> None:
        if self.group:
            self._settle()
            self.valued = True
        elif item.kind == ":":  # "Absent: A, B"
            self.denied = self.listed = self.heading = self.nots % 2 == 1
            self.nots, self.used = 0, False

    def bracket(self, k: int, item: Item) -> None:
        self.outer = self.denied, self.doubted, self.listed, self.group
        self.valued = bool(self.group)

    def unbracket(self, k: int, item: Item) -> None:
        self._settle()
        inner = [] if self.group is self.outer[3] else self.group
        self.denied, self.doubted, self.listed, outer = self.outer
        self.group = [*outer, *inner]
        self.outer, self.valued = (*self.outer[:3], []), False
        self.segment += 1

    def stop(self, k: int, item: Item) -> None:
        heading = self.heading and item.value in "\n•" and self.denied
        self._close_clause()
        self.denied = self.listed = self.heading = heading
        said = self.names[self.sentence :]
        if item.value == "?":
            self.asked = said
            for named in said:
                named.open = True
        elif said:
            self.asked = []
        self.sentence = len(self.names)
        if self.asked and self._kind(k + 2) in ("stop", ",", "–"):  # "Is it A? No."
            reply = self.items[k + 1].value if k + 1 < len(self.items) else ""
            for named in self.asked if reply in ("yes", "no") else ():
                named.open, named.excluded = False, reply == "no"

    def _close_clause(self) -> None:
        self._settle()
        before = self.group or self.before
        self._open_clause()
        self.before = before
        self.segment += 1
        if self.hushed != "text":
            self.hushed = ""


_STEPS: dict[str, Callable[[_Reader, int, Item], None]] = {
    NAME: _Reader.name,
    "all": _Reader.all,
    "none": _Reader.none,
    "others": _Reader.others,
    "allbut": _Reader.allbut,
    "except": _Reader.exclude,
    "not": _Reader.negate,
    "than": _Reader.than,
    "bad": _Reader.bad,
    "good": _Reader.good,
    "one": _Reader.one,
    "many": _Reader.many,
    "verb": _Reader.any,
    "this": _Reader.refer,
    "textbook": _Reader.textbook,
    "and": _Reader.join,
    "/": _Reader.join,
    "or": _Reader.part,
    "either": _Reader.choose,
    ",": _Reader.comma,
    "but": _Reader.turn,
    "exists": _Reader.exist,
    "only": _Reader.affirm,
    "beyond": _Reader.affirm,
    "aside": _Reader.digress,
    "word": _Reader.word,
    "doubt": _Reader.doubt,
    "answer": _Reader.answer,
    "final": _Reader.answer,
    "because": _Reader.because,
    "reasons": _Reader.reasons,
    "retract": _Reader.retract,
    "(": _Reader.bracket,
    ")": _Reader.unbracket,
    "stop": _Reader.stop,
    **dict.fromkeys(_VALUES, _Reader.value),
}
