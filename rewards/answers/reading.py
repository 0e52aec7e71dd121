"""What an answer asserts, excludes and leaves open: constructions, whatever it is that is named.

`read` walks once over the items of a text (names of options, classes or changes, and the words that change what is
said of them) and gives every name a stance:

    not A; neither A nor B; A is wrong; A: no        excluded: a denial before acts up to the end of its list, one
                                                     after on the names that it is said of; two make an assertion
    A or B; A? ; unsure whether A                    open
    all except A; none but A                         the other way round than the rest
    ... the answer is A; ... wait, A                 what stands before led there, or is withdrawn
    A because ...                                    reasons choose nothing (`reasons=False`)

All is linear in the length of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from reasoner.findings.answers import NAME, vocabulary
from rewards.answers.text import Item, Token

#: The name of all options, of none of them, and of those that are not named.
ALL, NONE, OTHERS = "*", "-", "+"
#: A list is looked through for its closing `or` no further than this.
_MOST_AHEAD = 40

_VALUES = frozenset(":=|–")


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


class _Named:
    """A name that was met, and what has been said of it so far."""

    __slots__ = ("excepted", "excluded", "open", "segment", "value")

    def __init__(self, value: str, excluded: bool, open: bool, excepted: bool, segment: int) -> None:
        self.value, self.excluded, self.open, self.excepted, self.segment = value, excluded, open, excepted, segment


class _Reader:
    """One walk over the items. `group` holds the coordinated names that a predicate would be said of."""

    def __init__(self, items: Sequence[Item], tokens: Sequence[Token], reasons: bool) -> None:
        self.items, self.tokens, self.reasons = items, tokens, reasons
        self.names: list[_Named] = []
        self.begun: int | None = None  # where the answer is announced, in `names`: what stands before leads to it
        self.sentence = 0  # where the sentence begins in `names`
        self.asked: list[_Named] = []
        self.before: list[_Named] = []  # the group of the sentence before
        self.hushed = ""
        self.heading = self.kept = False
        self.segment = 0
        self.outer: tuple[bool, bool, bool, list[_Named]] = False, False, False, []
        self._clause()

    def _clause(self) -> None:
        self.group: list[_Named] = []
        self.denied = self.used = self.doubt = self.excepted = self.either = self.valued = self.this = False
        self.aside = False
        self.nots = 0
        self.verb = self.joined = ""
        self.polarity = ""

    def run(self) -> list[_Named]:
        for k, item in enumerate(self.items):
            step = _STEPS.get(item.kind)
            if step:
                step(self, k, item)
        self._end(stop="")
        return self.names[self.begun :] or self.names

    # Names

    def _name(self, k: int, item: Item) -> None:
        after = self.items[k + 1].kind if k + 1 < len(self.items) else ""
        if self.group and self.group is self.outer[3]:  # the first name in brackets
            self.group = []
        if self.polarity == "said" or (self.valued and after in _VALUES and not self.joined):  # "A: no B: yes"
            self._say(force=False)
            self.group = []
        denied = self.nots % 2 == 1 if self.nots else self.denied
        if self.nots:
            self.denied, self.used = denied, True
        elif self.denied:
            self.used = True
        self.nots = 0
        if self.group and self.verb and self.joined != "or":
            self.group = []
        if self.aside or (self.hushed and not denied):
            return
        named = _Named(item.value, denied, self.doubt, self.excepted, self.segment)
        if self.joined == "or" and not denied:
            named.open = True
            for other in self.group if self.either else self.group[-1:]:
                other.open = other.open or not other.excluded
        self.verb, self.joined, self.valued, self.polarity = "", "", False, ""
        self.group.append(named)
        self.names.append(named)

    def _all(self, k: int, item: Item) -> None:
        self._name(k, item._replace(value=ALL))

    def _none(self, k: int, item: Item) -> None:
        if self.valued and self.group:
            self._not(k, item)
        else:
            self._name(k, item._replace(value=NONE))

    def _others(self, k: int, item: Item) -> None:
        self._name(k, item._replace(value=OTHERS))

    def _allbut(self, k: int, item: Item) -> None:
        self._all(k, item)
        self._except(k, item)

    def _except(self, k: int, item: Item) -> None:
        self._say(force=False)
        denied = False
        self.group, self.denied, self.nots, self.excepted = [], denied, 0, True

    # Denials and predicates

    def _not(self, k: int, item: Item) -> None:
        self.nots += 1
        if item.value in ("none of", "neither of"):
            self.kept = True

    def _bad(self, k: int, item: Item) -> None:
        self._predicate(k, bad=True)

    def _good(self, k: int, item: Item) -> None:
        self._predicate(k, bad=False)

    def _predicate(self, k: int, bad: bool) -> None:
        self.polarity = "bad" if bad else "good"
        after = self.items[k + 1] if k + 1 < len(self.items) else None
        adjacent = self.group and (self.verb or self.valued or self.group[-1].segment == self.segment)
        if adjacent and not (after and after.kind == NAME and not self.verb and self.nots):
            self.nots += bad
            self._say(force=True)
        elif bad:
            self.nots += 1

    def _say(self, force: bool) -> None:
        """Applies the pending denials to the group: they are its predicate."""
        if self.nots and self.group and (force or self.verb or self.valued or self._trailing):
            for named in self._targets():
                named.excluded = named.excluded != (self.nots % 2 == 1)
        elif self.nots and not self.group and self.this and self.polarity and self.before:
            for named in self.before:
                named.excluded = named.excluded != (self.nots % 2 == 1)
        if force or self.nots:
            if force:
                self.denied = self.used = False
            self.nots = 0
        if force:
            self.verb, self.valued = "", False
            self.polarity = "said"

    @property
    def _trailing(self) -> bool:
        return bool(self.group)

    def _targets(self) -> list[_Named]:
        last = self.group[-1]
        if self.verb == "many":
            return self.group
        same = [named for named in self.group if named.segment == last.segment]
        return [last] if self.verb == "one" and len(same) > 1 and not any(n.open or n.excluded for n in same) else same

    def _one(self, k: int, item: Item) -> None:
        self.verb = self.verb or "one"

    def _many(self, k: int, item: Item) -> None:
        self.verb = "many"

    def _this(self, k: int, item: Item) -> None:
        self.this = True

    # Coordination

    def _and(self, k: int, item: Item) -> None:
        after = self.tokens[item.last] if item.last < len(self.tokens) else None
        if self.nots and (self.verb or self.valued):
            self._say(force=False)
        if self.denied and self.used and after and after.article:
            self.denied = False
        if self.polarity == "said":
            self.group, self.denied, self.polarity = [], False, ""
        self.joined = "and"

    def _or(self, k: int, item: Item) -> None:
        if not self.group:
            return
        before = self.items[k - 1].kind
        self.joined = "or"
        if before == ",":
            self.either = True
        following = next((i for i in self.items[k + 1 : k + 4] if i.kind not in ("word", "one", "doubt", "good")), None)
        if before == NAME and not self.denied and (following is None or following.kind in ("stop", ")", "not")):
            self.group[-1].open = True  # "B or something else"

    def _either(self, k: int, item: Item) -> None:
        self._but(k, item)
        self.either = True
        if item.value != "either":
            self.doubt = not self.denied

    def _comma(self, k: int, item: Item) -> None:
        if self.nots and self.group:
            self._say(force=False)
        if self.denied and self.used and not self.kept and not self._goes_on(k):
            self.denied = False
        self.nots = 0
        self.segment += 1
        self.doubt = self.valued = self.aside = False
        self.verb = ""
        if self.hushed == "clause":
            self.hushed = ""

    def _goes_on(self, k: int) -> bool:
        """Whether the list of denied names goes on after the comma at item k: it closes with `or`, `nor` or `and`."""
        named = False
        for item in self.items[k + 1 : k + _MOST_AHEAD]:
            if item.kind == "or" or (item.kind == "not" and item.value == "nor"):
                return True
            if item.kind == "and":
                return named
            if item.kind == NAME or item.kind == "all":
                named = True
            elif item.kind not in (",", "word", "good", "noun"):
                return False
        return False

    def _but(self, k: int, item: Item) -> None:
        self._say(force=False)
        self._clause()
        self.segment += 1

    def _exists(self, k: int, item: Item) -> None:
        if self.denied and self.used and not self.kept:
            self.denied = False

    def _only(self, k: int, item: Item) -> None:
        self.nots = 0

    def _aside(self, k: int, item: Item) -> None:
        self.aside = True

    def _word(self, k: int, item: Item) -> None:
        if self.nots and not self.verb and not self.valued and item.value not in vocabulary().glue:
            self.denied, self.used, self.nots = self.nots % 2 == 1, True, 0  # what is denied has no name here

    def _doubt(self, k: int, item: Item) -> None:
        self.doubt = True
        if item.value not in ("if", "whether") and self.group and self.verb:
            for named in self._targets():
                named.open = True

    # Answers, reasons, withdrawals

    def _answer(self, k: int, item: Item) -> None:
        if self.group and self.verb and not self.nots:  # "B is the answer"
            self._predicate(k, bad=False)
            return
        after = self.items[k + 1].kind if k + 1 < len(self.items) else ""
        announced = after in ("one", ":", "–", "=", NAME) or " " in item.value
        if announced and not self.nots and not self.denied and (item.kind == "final" or self.begun is None):
            self.begun = len(self.names)
            self.group = []

    def _because(self, k: int, item: Item) -> None:
        self._say(force=False)
        if not self.reasons:
            self.hushed = "sentence" if self.names else "clause"
        self.group, self.denied = [], False

    def _reasons(self, k: int, item: Item) -> None:
        after = self.items[k + 1].kind if k + 1 < len(self.items) else ""
        if after == ":" and self.names and not self.reasons:
            self.hushed = "text"

    def _retract(self, k: int, item: Item) -> None:
        if self.names:
            self.names.clear()
            self.begun, self.sentence = None, 0
            self._clause()

    # Marks

    def _value(self, k: int, item: Item) -> None:
        if item.value == ":" and not self.group:
            if self.nots:
                self.denied, self.kept, self.used, self.nots = self.nots % 2 == 1, True, False, 0
                self.heading = True
            else:
                self.denied = self.kept = self.heading = False
        elif self.group:
            self._say(force=False)
            self.valued = True

    def _opens(self, k: int, item: Item) -> None:
        self.outer = self.denied, self.doubt, self.kept, self.group
        self.valued = bool(self.group)

    def _closes(self, k: int, item: Item) -> None:
        self._say(force=False)
        inner = [] if self.group is self.outer[3] else self.group
        self.denied, self.doubt, self.kept, outer = self.outer
        self.group = [*outer, *inner]
        self.outer, self.valued = (*self.outer[:3], []), False
        self.segment += 1

    def _stop(self, k: int, item: Item) -> None:
        self._end(item.value)
        if item.value == "?":
            self.asked = self.names[self.sentence :]
            for named in self.asked:
                named.open = True
        elif self.names[self.sentence :]:
            self.asked = []
        after = self.items[k + 1] if k + 1 < len(self.items) else None
        if self.asked and after and after.value in ("no", "yes"):
            follows = self.items[k + 2].kind if k + 2 < len(self.items) else "stop"
            if follows in ("stop", ",", "–"):
                for named in self.asked:
                    named.open, named.excluded = False, after.value == "no"
        self.sentence = len(self.names)

    def _end(self, stop: str) -> None:
        self._say(force=False)
        group = self.group or self.before
        kept = self.kept and (stop == "\n" or stop == "•") and self.heading
        denied = self.denied
        self._clause()
        self.before = group
        self.segment += 1
        if kept and self.heading:
            self.denied, self.kept = denied, True
        else:
            self.kept = self.heading = False
        if self.hushed in ("clause", "sentence"):
            self.hushed = ""


_STEPS: dict[str, Callable[[_Reader, int, Item], None]] = {
    NAME: _Reader._name,
    ",": _Reader._comma,
    "(": _Reader._opens,
    ")": _Reader._closes,
    "/": _Reader._and,
    "final": _Reader._answer,
    "beyond": _Reader._only,
    **dict.fromkeys(_VALUES, _Reader._value),
    **{
        kind: getattr(_Reader, f"_{kind}")
        for kind in (
            *(
                "all",
                "none",
                "others",
                "allbut",
                "except",
                "not",
                "bad",
                "good",
                "one",
                "many",
                "this",
                "and",
                "or",
                "either",
            ),
            *("but", "only", "doubt", "aside", "word", "answer", "because", "reasons", "retract", "exists", "stop"),
        )
    },
}


def read(items: Sequence[Item], tokens: Sequence[Token], *, reasons: bool = True) -> list[_Named]:
    """The names among the items with their stances; `reasons=False`: what is given as a reason is not chosen."""
    return _Reader(items, tokens, reasons).run()


def gather(names: Iterable[_Named], universe: Iterable[str] = (), excepted: bool = False) -> Reading:
    """The reading of an answer.

    Args:
        universe: all that could be named, for `all` and `none`.
        excepted: whether `except A`, of nothing that is said, asserts A.
    """
    names = list(names)
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
            (excluded if out else left_open if named.open else asserted).add(named.value)
    others = set(universe) - asserted - excluded - left_open
    for named in quantified[OTHERS] + quantified[ALL]:
        (excluded if named.excluded else asserted).update(others)
    return Reading(frozenset(asserted), frozenset(excluded), frozenset(left_open), nothing)
