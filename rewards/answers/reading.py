"""What an answer asserts, excludes and leaves open: constructions, whatever it is that is named.

`read` walks once over the items of a text (names of options, classes or changes, and the words that change what is
said of them) and gives every name a stance:

    not A; neither A nor B; A is wrong; A: no        excluded: a denial before acts up to the end of its list, one
                                                     after on the names that it is said of; two make an assertion
    A or B; A?; unsure whether A                     open
    all except A; none but A                         the other way round than the rest
    ... the answer is A; ..., so A; B... no, A       what stands before led there, or is withdrawn; what only denies
                                                     (A, B. Actually, not B) leaves the rest of it
    A would show ...; history of A; if it were A     says nothing about A
    A because ...                                    what explains an option chooses none

All is linear in the length of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reasoner.findings.answers import NAME
from rewards.answers.clauses import VALUES, Clauses
from rewards.answers.phrases import is_no, reply_at, withdraws
from rewards.answers.stances import Named
from rewards.answers.text import Item, Token


def read(items: Sequence[Item], tokens: Sequence[Token], *, options: bool = False) -> list[Named]:
    """The names among the items with their stances; `options`: what is named as an explanation is not chosen."""
    return _Reader(items, tokens, options).run()


class _Reader(Clauses):
    """The steps that act beyond a clause, and the walk."""

    def run(self) -> list[Named]:
        for k, item in enumerate(self.items):
            if withdraws(self.items, k):
                self.retract(is_no(self.items, k))
            elif step := _STEPS.get(item.kind):
                step(self, k, item)
        self._close_clause()
        return self._said()

    def _said(self) -> list[Named]:
        """The names that count: those after the answer is announced, or after what stood before is taken back.

        Words that only deny what was said before leave the rest of it.
        """
        for n, named in enumerate(self.names):
            if n < self.taken.get(named.value, 0):
                named.void, named.excluded = True, False
        names = self.names[self.begun :]
        if not any(named.chosen for named in names):
            names = self.names
        if not self.former or any(named.chosen for named in names):
            return names
        denied = {named.value for named in names if named.excluded}
        return [named for named in self.former if named.value not in denied and (denied or not self.flat)] + names

    # Answers, reasons, withdrawals

    def answer(self, k: int, item: Item) -> None:
        if self.group and self.verb and not self.nots:  # "B is the answer"
            self.polar(k, 0)
            return
        announced = self._kind(k + 1) in (*VALUES, "one", "modal", NAME) or " " in item.value
        if announced and not self.nots and not self.denied and (item.kind == "final" or self.begun is None):
            self.begun = len(self.names)
            self.group, self.hushed, self.doubted, self.aside = [], "", False, False

    def because(self, k: int, item: Item) -> None:
        self._settle()
        if self.options:
            self.hushed = "sentence" if self.names else "clause"
        self.group, self.denied = [], False

    def reasons(self, k: int, item: Item) -> None:
        if self.options and self.names and self._kind(k + 1) == ":":
            self.turn(k, item)
            self.hushed = "text"

    def retract(self, flat: bool) -> None:
        """Takes back what stands before; `flat`: by `no`, whatever follows."""
        self._settle()
        if self.names:
            self.former, self.flat = self._said(), False
        self.flat = self.flat or flat
        self.names, self.taken, self.asked = [], {}, []
        self.begun, self.sentence = None, 0
        self._open_clause()

    # Marks

    def mark(self, k: int, item: Item) -> None:
        """`80%`: of the name that it stands after, else of the next."""
        before = self.tokens[item.first - 1].word if item.first else ""
        if item.value == "%" and before[:1].isdecimal():
            self._weigh(float(before.replace(",", ".")) / 100)

    def value(self, k: int, item: Item) -> None:
        if self.group and (self.group[-1].segment == self.segment or not self._is_key(k)):
            self._settle()
            self.valued = True
            if self.used and self._kind(k + 1) == NAME:  # "not A: B"
                self.group, self.denied, self.used, self.valued = [], False, False, False
        elif self.replied:  # "A? No: B"
            self.nots = 0
        elif item.kind == ":" or (item.kind == "–" and self.predicate):  # "Absent: A, B"
            self.denied = self.listed = self.heading = self.nots % 2 == 1
            self.nots, self.used, self.group = 0, False, []

    def _is_key(self, k: int) -> bool:
        """Whether what stands before the colon at item k is a key of its own, and no further one of the names before:
        `"answer": "A", "reason": "no B"`, but `"name": "A", "status": "absent"`."""
        if self._kind(k + 1) == NAME:
            return self.nots % 2 == 1
        polar = self._kind(k + 1) in ("good", "bad", "not", "none") and self._kind(k + 2) in (",", "stop", "|", ")")
        return self._kind(k - 1) == "word" and not polar

    def bracket(self, k: int, item: Item) -> None:
        self.outer = self.denied, self.doubted, self.listed, self.group
        self.group, self.valued = self.group or [], bool(self.group)

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
        reply = reply_at(self.items, k + 1) if self.asked else None
        self.replied = reply is not None
        for named in self.asked if reply is not None else ():  # "Is it A? No."
            named.open, named.excluded = False, not reply


_STEPS: dict[str, Callable[[_Reader, int, Item], None]] = {
    NAME: _Reader.name,
    "all": _Reader.all,
    "none": _Reader.none,
    "others": _Reader.others,
    "allbut": _Reader.allbut,
    "except": _Reader.exclude,
    "not": _Reader.negate,
    "than": _Reader.than,
    "less": _Reader.less,
    "too": _Reader.too,
    "withdraw": _Reader.withdraw,
    "bad": _Reader.bad,
    "good": _Reader.good,
    "one": _Reader.one,
    "many": _Reader.many,
    "verb": _Reader.any,
    "modal": _Reader.modal,
    "this": _Reader.refer,
    "textbook": _Reader.textbook,
    "and": _Reader.join,
    "/": _Reader.join,
    "or": _Reader.part,
    "either": _Reader.choose,
    ",": _Reader.comma,
    "but": _Reader.turn,
    "next": _Reader.follow,
    "so": _Reader.so,
    "if": _Reader.suppose,
    "among": _Reader.among,
    "exists": _Reader.exist,
    "only": _Reader.affirm,
    "beyond": _Reader.affirm,
    "steady": _Reader.affirm,
    "aside": _Reader.digress,
    "word": _Reader.word,
    "doubt": _Reader.doubt,
    "answer": _Reader.answer,
    "final": _Reader.answer,
    "because": _Reader.because,
    "reasons": _Reader.reasons,
    "mark": _Reader.mark,
    "(": _Reader.bracket,
    ")": _Reader.unbracket,
    "stop": _Reader.stop,
    **dict.fromkeys(VALUES, _Reader.value),
}
