"""Edits that make a reading less true, alone and one after another: none may pay.

An edit changes only what is true in the reading, so that it cannot mend it by chance. Those that `lower` leave less
truth, the others (`form`) the same: a denial said once more with a side, two sentences joined, another order.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from reasoner.findings import extract_report, kin
from reasoner.mining.wording import noun, with_article
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING, Example, Finding, Step


@dataclass(frozen=True)
class Said:
    """A sentence of a reading; `true` while the row bears it out, with the step that it was."""

    text: str
    step: Step | None = None
    true: bool = True

    @property
    def status(self) -> str:
        """Of its one finding: present, absent or uncertain; empty where there are several or none."""
        findings = self.step.findings if self.step and self.true else ()
        return findings[0].status if len({(f.concept, f.status) for f in findings}) == 1 else ""

    @property
    def finding(self) -> Finding:
        assert self.step is not None
        return self.step.findings[0]


class Reading(NamedTuple):
    said: tuple[Said, ...]
    answer: str
    layout: str = " "
    #: Whether the answer is still the right one.
    right: bool = True

    def write(self) -> str:
        return format_completion(self.layout.join(said.text for said in self.said) or "-", self.answer)


@dataclass
class Context:
    """What an edit may need of the row."""

    example: Example
    #: Assertions of other patients that nothing in this row bears out.
    wrong: Sequence[Step]
    rng: random.Random
    used: set[str] = field(default_factory=set)

    def another(self) -> Step | None:
        fresh = [step for step in self.wrong if step.text not in self.used]
        if not fresh:
            return None
        step = self.rng.choice(fresh)
        self.used.add(step.text)
        return step


Edit = Callable[[Reading, Context], Reading | None]
LOWER: dict[str, Edit] = {}
FORM: dict[str, Edit] = {}


def _with(reading: Reading, at: int, *new: Said) -> Reading:
    return reading._replace(said=(*reading.said[:at], *new, *reading.said[at + 1 :]))


def _pick(reading: Reading, context: Context, *statuses: str) -> int | None:
    """A true sentence of one finding with such a status."""
    found = [i for i, said in enumerate(reading.said) if said.status in statuses]
    return context.rng.choice(found) if found else None


def _replacing(statuses: tuple[str, ...], write: Callable[[Said], str], *, all_: bool = False) -> Edit:
    """Rewrites one true sentence (or all) with such a status; what is left is not true."""

    def edit(reading: Reading, context: Context) -> Reading | None:
        at = _pick(reading, context, *statuses)
        if at is None:
            return None
        if not all_:
            return _with(reading, at, Said(write(reading.said[at]), None, False))
        new = (Said(write(said), None, False) if said.status in statuses else said for said in reading.said)
        return reading._replace(said=tuple(new))

    return edit


def _name(said: Said) -> str:
    side = said.finding.laterality
    return f"{side} {noun(said.finding.concept)}" if side else noun(said.finding.concept)


def _bare(said: Said) -> str:
    return said.text.rstrip(".")[:1].lower() + said.text.rstrip(".")[1:]


def _dropping(status: str) -> Edit:
    def edit(reading: Reading, context: Context) -> Reading | None:
        at = _pick(reading, context, status)
        return None if at is None or len(reading.said) < 2 else _with(reading, at)

    return edit


def _flip(said: Said) -> str:
    name = noun(said.finding.concept)
    return f"There is {with_article(name, said.finding.concept)}." if said.status == "absent" else f"No {name}."


HOLLOW: dict[str, Callable[[Said], str]] = {
    "a question": lambda s: f"Is there {_name(s)}?",
    "a plan": lambda s: f"We look for {_name(s)}.",
    "a history": lambda s: f"History of {_name(s)}.",
    "an indication": lambda s: f"Indication: {_name(s)}.",
    "textbook knowledge": lambda s: f"{_name(s).capitalize()} would typically appear as an opacity.",
    "a condition": lambda s: f"If there is {_name(s)}, it would be treated.",
    "the past": lambda s: f"Previously, {_bare(s)}.",
    "another patient": lambda s: f"In another patient, {_bare(s)}.",
    "a heading": lambda s: f"**{_name(s).capitalize()}:**",
    "a heading line": lambda s: f"## {s.text}",
    "a name alone": lambda s: f"Regarding {_name(s)}.",
    "retracted before": lambda s: f"It is false that {_bare(s)}.",
    "retracted after": lambda s: f"{s.text} This is not true.",
    "reported speech": lambda s: f"Somebody claimed that {_bare(s)}, wrongly.",
    "far from": lambda s: f"It is far from true that {_bare(s)}.",
}
EITHER = ("present", "absent")
for _kind, _write in HOLLOW.items():
    LOWER[f"{_kind} for a finding"] = _replacing(("present",), _write)
    LOWER[f"{_kind} for a denial"] = _replacing(("absent",), _write)
    LOWER[f"{_kind} for everything"] = _replacing(EITHER, _write, all_=True)
LOWER |= {
    "flip a finding": _replacing(("present",), _flip),
    "flip a denial": _replacing(("absent",), _flip),
    "hedge a finding": _replacing(("present",), lambda s: f"There may be {_name(s)}."),
    "hedge a denial": _replacing(("absent",), lambda s: f"There may be {_name(s)}."),
    "hedge everything": _replacing(EITHER, lambda s: f"There may be {_name(s)}.", all_=True),
    "present or absent": _replacing(EITHER, lambda s: f"There is or is not {_name(s)}."),
    "drop a finding": _dropping("present"),
    "drop a denial": _dropping("absent"),
}


def edit(name: str, table: dict[str, Edit]) -> Callable[[Edit], Edit]:
    def register(function: Edit) -> Edit:
        table[name] = function
        return function

    return register


@edit("swap a side", LOWER)
def _swap_side(reading: Reading, context: Context) -> Reading | None:
    both = {(f.concept, f.laterality) for f in extract_report(context.example.report) if f.status != "absent"}
    for at, said in enumerate(reading.said):
        if said.status == "present" and said.finding.laterality in ("left", "right"):
            old = said.finding.laterality
            new = "right" if old == "left" else "left"
            concepts = kin(said.finding.concept)
            if f" {old} " in f" {said.text} " and not any((c, s) in both for c in concepts for s in (new, "bilateral")):
                return _with(reading, at, Said(said.text.replace(old, new), None, False))
    return None


def _worded(pattern: str, new: Callable[[re.Match[str]], str]) -> Edit:
    """The first true assertion in which the pattern is found, changed there."""

    def edit(reading: Reading, context: Context) -> Reading | None:
        for at, said in enumerate(reading.said):
            if said.status == "present" and re.search(pattern, said.text):
                return _with(reading, at, Said(re.sub(pattern, new, said.text, count=1), None, False))
        return None

    return edit


_DEGREES = {"small": "large", "mild": "severe", "severe": "mild", "large": "small", "moderate": "trace",
            "increased": "decreased", "decreased": "increased", "worsened": "improved", "improved": "worsened",
            "unchanged": "new", "stable": "new", "new": "unchanged", "resolved": "worsened"}  # fmt: skip
LOWER["change a degree"] = _worded(rf"\b({'|'.join(_DEGREES)})\b", lambda m: _DEGREES[m[1]])
LOWER["leave a side out"] = _worded(r"\b(?:left|right|bilateral) ", lambda m: "")
LOWER["leave a degree out"] = _worded(r"\b(?:small|mild|moderate|large|severe) ", lambda m: "")


@edit("add an unsupported finding", LOWER)
def _add(reading: Reading, context: Context) -> Reading | None:
    step = context.another()
    at = context.rng.randrange(len(reading.said) + 1)
    new = Said(step.text, step, False) if step else None
    return reading._replace(said=(*reading.said[:at], new, *reading.said[at:])) if new else None


@edit("see another patient", LOWER)
def _substitute(reading: Reading, context: Context) -> Reading | None:
    at, step = _pick(reading, context, *EITHER), context.another()
    return None if at is None or step is None else _with(reading, at, Said(step.text, step, False))


def _adding(write: Callable[[str], str]) -> Edit:
    """Says one thing more that is not so, in some hollow or joined form."""

    def edit(reading: Reading, context: Context) -> Reading | None:
        step = context.another()
        if step is None or not step.findings:
            return None
        name = noun(step.findings[0].concept)
        return reading._replace(said=(*reading.said, Said(write(name), None, False)))

    return edit


for _kind, _frame in {
    "add a question": "Is there {}?", "add a plan": "We look for {}.", "add a history": "History of {}.",
    "add a hedge": "There may be {}.", "add a past": "Previously, there was {}.", "add a heading": "**{}:**",
}.items():  # fmt: skip
    LOWER[_kind] = _adding(_frame.format)


def _joining(word: str) -> Edit:
    """Adds an unsupported finding to a sentence rather than after it."""

    def edit(reading: Reading, context: Context) -> Reading | None:
        step = context.another()
        if step is None or not reading.said:
            return None
        at = context.rng.randrange(len(reading.said))
        joined = f"{reading.said[at].text.rstrip('.')}{word}{step.text[0].lower()}{step.text[1:]}"
        return _with(reading, at, Said(joined, None, False))

    return edit


for _word in (" and ", ", ", "; ", " but ", " with "):
    LOWER[f"add an unsupported finding by `{_word.strip()}`"] = _joining(_word)


@edit("retract all", LOWER)
def _retract_all(reading: Reading, context: Context) -> Reading | None:
    if not all(said.true for said in reading.said):
        return None
    said = (*(replace(said, true=False) for said in reading.said), Said("None of this is true.", None, False))
    return reading._replace(said=said)


def _answering(write: Callable[[Reading, Context], str | None]) -> Edit:
    def edit(reading: Reading, context: Context) -> Reading | None:
        answer = write(reading, context) if reading.right and context.example.task != "stage" else None
        return reading._replace(answer=answer, right=False) if answer else None

    return edit


def _other_answers(context: Context) -> list[str]:
    example, right = context.example, [part.strip() for part in context.example.answer.split(",")]
    if example.options:
        every = [option[0] for option in example.options]
    else:
        every = {
            "binary": ["Yes", "No"], "temporal": ["new", "worsening", "stable", "improving", "resolved"],
        }.get(example.task, [name for name in CLASSES if name != NO_FINDING])  # fmt: skip
    return [answer for answer in every if answer not in right]


def _open(frame: str) -> Edit:
    """An answer in words that leave open, deny or crowd out the right one; {a} is that, {b} another."""
    return _answering(
        lambda reading, context: (
            frame.format(a=reading.answer, b=context.rng.choice(_other_answers(context)))
            if _other_answers(context) and (frame != "{a}, {b}" or context.example.answer != NO_FINDING)
            else None
        )
    )


for _frame in (
    "{b}", "{a} or {b}", "{a}, {b}", "{a}? {b}?", "not {a}", "Not {a}.", "Anything but {a}", "Neither {a} nor {b}",
    "{a}. No, {b}.", "{b}. Not {a}.", "not {a} but {b}", "It is not {a}", "Hardly {a}", "{a} is wrong",
    "If not {b}, {a}",
):  # fmt: skip
    LOWER[f"answer `{_frame}`"] = _open(_frame)


@edit("repeat denials with sides", FORM)
def _sided(reading: Reading, context: Context) -> Reading | None:
    at = _pick(reading, context, "absent")
    if at is None or reading.said[at].finding.laterality:
        return None
    name = noun(reading.said[at].finding.concept)
    more = (Said(f"No {side} {name}.", None, True) for side in ("left", "right"))
    return _with(reading, at, reading.said[at], *more)


@edit("repeat a sentence", FORM)
def _repeat(reading: Reading, context: Context) -> Reading | None:
    return reading._replace(said=(*reading.said, context.rng.choice(reading.said))) if reading.said else None


@edit("reword a repetition", FORM)
def _reword(reading: Reading, context: Context) -> Reading | None:
    at = _pick(reading, context, *EITHER)
    if at is None:
        return None
    said = reading.said[at]
    text = f"{_name(said).capitalize()} is {'not ' * (said.status == 'absent')}seen."
    return reading._replace(said=(*reading.said, Said(text, None, True)))


def _merging(word: str) -> Edit:
    """Two neighbours in one sentence."""

    def edit(reading: Reading, context: Context) -> Reading | None:
        if len(reading.said) < 2:
            return None
        at = context.rng.randrange(len(reading.said) - 1)
        a, b = reading.said[at : at + 2]
        joined = Said(f"{a.text.rstrip('.')}{word}{b.text[0].lower()}{b.text[1:]}", None, a.true and b.true)
        return reading._replace(said=(*reading.said[:at], joined, *reading.said[at + 2 :]))

    return edit


for _word in (" and ", ", ", "; "):
    FORM[f"join by `{_word.strip()}`"] = _merging(_word)


@edit("another order", FORM)
def _reorder(reading: Reading, context: Context) -> Reading | None:
    return reading._replace(said=tuple(context.rng.sample(reading.said, len(reading.said))))


def _laid_out(layout: str) -> Edit:
    return lambda reading, context: reading._replace(layout=layout) if reading.layout != layout else None


FORM["a line each"], FORM["a bullet each"] = _laid_out("\n"), _laid_out("\n- ")
EDITS: dict[str, Edit] = {**LOWER, **FORM}
