"""What is said of the names within a clause: denials, predicates, coordination."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoner.findings.answers import NAME, is_attribute, vocabulary
from rewards.answers.phrases import end_of_choices, end_of_denied, kind_at
from rewards.answers.stances import ALL, NONE, OTHERS, Named
from rewards.answers.text import Item, Token

#: Between a name and its value.
VALUES = frozenset(":=|–")
#: A probability.
_SHARE = re.compile(r"0[.,]\d+")


_AFTER_ANSWERS = frozenset(("stop", ",", "and", "–", "("))
_PREDICATES = frozenset(("good", "bad", "one", "many", "modal", "verb"))


class Clauses:
    """The state of one walk over the items, and a step for each kind of item that acts within a clause.

    `group` holds the coordinated names that a predicate would be said of.
    """

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
        self.last_out = False  # the last predicate denied
        self.replied = False  # the sentence answers a question
        self.former: list[Named] = []  # what was said before it was taken back
        self.flat = False  # it was taken back by `no`
        self.taken: dict[str, int] = {}  # names that are taken back one by one, and up to where in `names`
        self.denied_to = 0  # the item up to which a list of denied names goes on
        self.chosen_from = 0  # the item up to which names are only what is chosen from
        self.outer: tuple[bool, bool, bool, list[Named]] = False, False, False, []  # what brackets interrupt
        self._open_clause()

    def _open_clause(self) -> None:
        self.group: list[Named] = []
        self.denied = self.used = False  # a denial is in force; it has met a name
        self.nots = 0  # denials that wait for the name they act on, or the end
        self.doubted = self.aside = self.excepted = False  # of the names to come
        self.valued = self.either = self.this = False  # met: a colon after a name, `either`, `this`
        self.verb = self.joined = self.predicate = ""  # last met, since the last name
        self.quantified: list[Named] = []  # `all` of this clause
        self.unreal = False  # `would` was met
        self.conceding = False  # the clause says what is granted
        self.second = False  # the next name comes second
        self.steady = False  # what is named is there as before
        self.withdrawing = False  # the next name is taken back
        self._weigh_none()

    def _weigh_none(self) -> None:
        self.rank = 0  # of the next name
        self.share: float | None = None

    def _close_clause(self) -> None:
        self._settle()
        before = self.group or self.before
        self._open_clause()
        self.before = before
        self.segment += 1
        if self.hushed != "text":
            self.hushed = ""

    def _kind(self, k: int) -> str:
        return kind_at(self.items, k)

    # Names

    def name(self, k: int, item: Item) -> None:
        if self.group and self.group is self.outer[3]:  # the first name in brackets
            self.group = []
        if self.predicate == "said" or (self.valued and self._kind(k + 1) in VALUES and not self.joined):
            self._settle()  # "A: no B: yes"
            self.group = []
        if self.nots:
            self.denied, self.nots = self.nots % 2 == 1, 0
        self.used = self.used or self.denied
        if (self.verb and self.joined != "or") or (self.group and self.group[-1].share is not None):
            self.group = []
        if self.withdrawing:
            self.taken[item.value] = len(self.names)
        named = Named(item.value, self.segment, self.denied, self.doubted, self.excepted)
        named.void = self.aside or bool(self.hushed) or k < self.chosen_from
        named.rank, named.share, named.second = self.rank, self.share, self.second
        named.void = named.void or (self.conceding and self.rank < 0)
        self._weigh_none()
        if self.joined == "or" and not self.denied:
            for other in (named, *(self.group if self.either else self.group[-1:])):
                other.open = not other.excluded
        self.verb = self.predicate = ""
        self.joined, self.valued = self.joined if self.group and self.joined == "and" else "", False
        self.group.append(named)
        self.names.append(named)

    def all(self, k: int, item: Item) -> None:
        floats = self.group and self._kind(k - 1) == NAME and self._kind(k + 1) in _PREDICATES  # "A and B all apply"
        if floats or (self.group and self.verb == "many"):  # "they are all wrong"
            return
        self.name(k, item._replace(value=ALL))
        self.quantified = self.names[-1:]

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
        alone = not self.group and (self.nots % 2 == 1 or self.denied)  # "no disease except A" is A
        self._settle()
        self.group, self.denied, self.excepted = [], False, not alone

    # Denials and predicates

    def negate(self, k: int, item: Item) -> None:
        self.nots += 1
        if item.value in ("none of", "neither of"):
            self.listed = True

    def withdraw(self, k: int, item: Item) -> None:
        if self._kind(k + 1) == NAME:
            self.nots, self.withdrawing = 1, True

    def than(self, k: int, item: Item) -> None:
        """`A over B`, `more likely A than B`: B is denied."""
        if item.value == "than" and not (self.group and self.group[-1].rank > 0):
            return
        if self.group and self._kind(k + 1) == NAME and (item.value != ">" or self.options):
            self._settle()
            self.group, self.denied, self.used, self.verb, self.predicate = [], True, False, "", ""
            self.listed = item.value == ">"

    def follow(self, k: int, item: Item) -> None:
        """`A is most likely, then B`: B is denied; elsewhere `then` begins a clause."""
        if (
            self.options
            and self._kind(k + 1) == NAME
            and self.group
            and (self.group[-1].rank > 0 or self.group[-1].second)
        ):
            self.than(k, item)
            self.second = True
        else:
            self.turn(k, item)

    def less(self, k: int, item: Item) -> None:
        if self.group and self._kind(k + 1) == NAME and (item.value != "<" or self.options):
            self.nots = 1 - self.nots % 2
            self.predicate = "met"
            self.turn(k, item)

    def too(self, k: int, item: Item) -> None:
        """`A is wrong, B too`."""
        if self.group and self.last_out and not self.verb and self.group[-1].segment == self.segment:
            self.nots, self.predicate = 1, "met"
            self._settle()

    def bad(self, k: int, item: Item) -> None:
        self.polar(k, 1)

    def good(self, k: int, item: Item) -> None:
        subjects = self._subjects() if self.group else []
        self.polar(k, 0)
        self._rank(item.value, subjects if self.predicate == "said" else [])

    def _rank(self, value: str, subjects: Sequence[Named] = ()) -> None:
        words = vocabulary()
        rank = 1 if value in words.surest else -1 if value in words.possible else 0
        for named in subjects if rank else ():
            named.rank = rank
            named.void = named.void or (self.conceding and rank < 0)
        if rank and not subjects:
            self.rank = rank

    def _weigh(self, share: float) -> None:
        near = self.group and (self.valued or self.group[-1].segment == self.segment)
        if near and self.group[-1].share is None:
            self.group[-1].share = share
        else:
            self.share = share

    def polar(self, k: int, bad: int) -> None:
        """`wrong` or `right`: of the group if it stands right after it, else of what comes."""
        self.nots += bad
        self.predicate = "met"
        said = self.verb or self.valued or (self.group and self.group[-1].segment == self.segment)
        if self.group and said and (self.verb or not self.nots - bad or self._kind(k + 1) != NAME):
            self.last_out = self.nots % 2 == 1
            self._settle()
            self.denied = self.used = self.valued = False
            self.verb, self.predicate = "", "said"

    def _settle(self) -> None:
        """Applies the denials that wait to the names before: they are what is said of them."""
        if self.nots % 2:
            targets = self._subjects() if self.group else self.before if self.this and self.predicate else []
            if self.group and self.group[-1].excepted:  # "all but A are wrong"
                targets = self.quantified or targets
            double = bool(self.verb or self.predicate)  # "not A is wrong", but "neither A nor"
            for named in targets:
                named.excluded = not (named.excluded and double)
        self.nots = 0

    def _subjects(self) -> list[Named]:
        """The names of the group that a predicate is said of: all for `are`, and where `and` closes a list."""
        last = self.group[-1]
        plural = self.joined == "and" or (self.options and self.verb != "modal")
        if self.verb == "many" or (self.verb != "one" and plural):
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

    def modal(self, k: int, item: Item) -> None:
        self.verb = self.verb or "modal"
        self.unreal = True
        if item.value in vocabulary().possible and self.group and self.group[-1].segment == self.segment:
            self.group[-1].rank = -1
            self.group[-1].void = self.group[-1].void or self.conceding
        elif item.value in vocabulary().possible and not self.group:  # "could be A"
            self.rank = -1

    def refer(self, k: int, item: Item) -> None:
        self.this = True

    def textbook(self, k: int, item: Item) -> None:
        for named in self.group:
            named.void = True
        if not self.group and item.value == "would not":  # "I would not choose A"
            self.negate(k, item)

    # Coordination

    def join(self, k: int, item: Item) -> None:
        if self.nots and (self.verb or self.valued):
            self._settle()
        after = self.tokens[item.last] if item.last < len(self.tokens) else None
        if self.used and after and after.article:  # "no edema and a small effusion"
            self.denied = self.used = False
        if self.predicate == "said":
            self.group, self.denied, self.predicate = [], False, ""
        if item.value == "also" and not self.names and not self.flat:  # "A; wait, also B"
            self.names, self.former = self.former, []
        self.joined = "and"

    def part(self, k: int, item: Item) -> None:
        """`or`: the names on both sides are open; with `either` or a comma before, all of the list."""
        if not self.group and not self.names and self.former:  # "A, wait, or B"
            self.names, self.former = self.former, []
            self.group = self.names[-1:]
        if not self.group:
            return
        self.joined = "and" if self.steady else "or"
        if self.steady:
            return
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
        if self.used and not self.listed and k > self.denied_to:
            self.denied_to = end_of_denied(self.items, k)
            self.denied = self.used = self.denied_to > 0
        if k == self.chosen_from:
            self.group = []
        self.nots = 0
        self.segment += 1
        if self.hushed == "clause" and (self.verb or self.predicate or not self.group):
            self.hushed = ""
        self.doubted = self.valued = self.aside = False
        self.verb = ""
        self._weigh_none()

    def turn(self, k: int, item: Item) -> None:
        """`but`: a new clause, which may go on about the same names."""
        self._settle()
        before = self.group or self.before
        self._open_clause()
        self.before, self.this = before, True
        self.conceding = item.value in vocabulary().concessive
        self.segment += 1
        if self.hushed == "case":
            self.hushed = ""

    def so(self, k: int, item: Item) -> None:
        if self._kind(k - 1) in ("not", "one", "many", "verb", "modal", "doubt"):
            return
        self.turn(k, item)
        if self.options and self._kind(k + 1) == NAME and self._kind(k + 2) in _AFTER_ANSWERS:  # "..., so A."
            self.begun = len(self.names)

    def exist(self, k: int, item: Item) -> None:
        if self.used and not self.listed:
            self.denied = self.used = False

    def affirm(self, k: int, item: Item) -> None:
        self.nots = 0
        self.steady = item.kind == "steady"  # "no change in A or B"

    def digress(self, k: int, item: Item) -> None:
        self.aside = True

    def word(self, k: int, item: Item) -> None:
        """What a denial acts on without being a name: another thing, or a degree or a place of it."""
        if _SHARE.fullmatch(item.value):
            self._weigh(float(item.value.replace(",", ".")))
        self._rank(item.value)
        if not self.nots:
            self._say_else(item)
            return
        degree = is_attribute(item.value)
        if degree and self.group and (self.verb or self.valued):  # "the effusion is not large"
            self.nots = 0
        elif (degree or item.value not in vocabulary().glue) and not self.verb and not self.valued:
            self.denied, self.used, self.nots = self.nots % 2 == 1, True, 0

    def _say_else(self, item: Item) -> None:
        """`A is tempting`: something else than that it is right."""
        said = self.group and self.verb in ("one", "many") and not self.predicate
        if said and self.group[-1].rank == 0 and item.value not in vocabulary().glue and not is_attribute(item.value):
            self.group[-1].rank = -1

    def among(self, k: int, item: Item) -> None:
        self.chosen_from = end_of_choices(self.items, k)

    def suppose(self, k: int, item: Item) -> None:
        if self._kind(k - 1) == "stop":
            self.hushed = self.hushed or "case"
        else:
            self.doubted = True
            for named in self.group if self.verb == "modal" or self.unreal else ():  # "A would be right if ..."
                named.void = True

    def doubt(self, k: int, item: Item) -> None:
        self.doubted = True
        if item.value != "whether" and self.group and self.verb:
            for named in self._subjects():
                named.open = True
