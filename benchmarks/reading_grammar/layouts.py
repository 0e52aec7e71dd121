"""The same facts in many layouts: each must be read, and score as the prose does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from benchmarks.reading_grammar.cases import Case
from benchmarks.reading_grammar.meaning import Expected, failure
from benchmarks.reading_grammar.words import ORGANS, SIDES, THINGS, Organ, Thing, family
from rewards.radrscore import radrscore

SETS, TOLERANCE = 16, 0.05


class Said(NamedTuple):
    """A finding with its status, side and severity, or a normal organ."""

    about: Thing | Organ
    status: str = "absent"
    side: str = ""
    severity: str = ""

    @property
    def label(self) -> str:
        """What it is about: `Pleural effusion`, `Heart`."""
        return self.about.name[0].upper() + self.about.name[1:]

    @property
    def value(self) -> str:
        """What is said of it: `present (small, left)`, `absent`, `normal in size`."""
        if isinstance(self.about, Organ):
            return self.about.good
        if self.status == "uncertain":
            return "possible"
        details = ", ".join(filter(None, (self.severity, self.side)))
        return f"{self.status} ({details})" if details else self.status

    @property
    def noun(self) -> str:
        """`small left pleural effusion`."""
        return " ".join(filter(None, (self.severity, self.side, self.about.name)))

    @property
    def short(self) -> str:
        """`No pneumothorax`, `Small left pleural effusion`, `Heart normal in size`."""
        if isinstance(self.about, Organ):
            return f"{self.label} {self.about.good}"
        words = {"absent": "no ", "uncertain": "possible ", "present": ""}[self.status] + self.noun
        return words[0].upper() + words[1:]

    @property
    def sentence(self) -> str:
        if isinstance(self.about, Organ):
            return f"The {self.about.name} {'are' if self.about.plural else 'is'} {self.about.good}."
        if self.status == "absent":
            return f"There is no {self.noun}."
        verb = "may be" if self.status == "uncertain" else "is"
        return f"There {verb} {self.about.article} {self.noun}.".replace("  ", " ")

    @property
    def expected(self) -> Expected:
        if isinstance(self.about, Organ):
            return Expected(self.about.denied, frozenset({"absent"}))
        return Expected(self.about.concept, frozenset({self.status}), self.side or None, self.severity or None)

    @property
    def heading(self) -> str:
        """The part of the body."""
        if isinstance(self.about, Organ):
            return self.label
        return (self.about.organ or "other findings").capitalize()


Layout = Callable[[Sequence[Said]], str]


def _each(form: str, end: str = "\n") -> Layout:
    """A layout that writes every fact alike; `{i}` is its number, `{letter}` its letter."""
    return lambda facts: end.join(
        form.format(f=fact, i=i + 1, letter="abcdefgh"[i], value=_upper(fact.value), words=fact.sentence.rstrip("."))
        for i, fact in enumerate(facts)
    )


def _upper(words: str) -> str:
    return words[0].upper() + words[1:]


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]


def _grouped(present: str, absent: str, uncertain: str, normal: str, end: str = "\n") -> Layout:
    """All that is present after one heading, all that is absent after another."""

    def lay(facts: Sequence[Said]) -> str:
        groups = {present: [], absent: [], uncertain: [], normal: []}  # type: dict[str, list[str]]
        for fact in facts:
            heads = {"present": present, "absent": absent, "uncertain": uncertain}
            groups[normal if isinstance(fact.about, Organ) else heads[fact.status]].append(fact.noun
                if isinstance(fact.about, Thing) else fact.about.name)  # fmt: skip
        return end.join(f"{head}{', '.join(names)}." for head, names in groups.items() if names)

    return lay


def _run_on(facts: Sequence[Said]) -> str:
    return _upper(" and ".join(_lower(fact.sentence.rstrip(".")) for fact in facts)) + "."


def _ordered(facts: Sequence[Said]) -> str:
    words = ("First", "Second", "Third", "Next", "Finally")
    return " ".join(f"{word}, {_lower(fact.sentence)}" for word, fact in zip(words, facts, strict=False))


def _asked(facts: Sequence[Said]) -> str:
    replies = {"present": "Yes", "absent": "No", "uncertain": "Possibly"}
    return "\n".join(
        f"{fact.label}? {fact.value.capitalize() if isinstance(fact.about, Organ) else replies[fact.status]}."
        for fact in facts
    )


def _boxes(facts: Sequence[Said]) -> str:
    marks = [(fact, isinstance(fact.about, Organ) or fact.status != "absent") for fact in facts]
    return "\n".join(f"- [{'x' if on else ' '}] {fact.short if on else fact.label}" for fact, on in marks)


def _table(head: str) -> Layout:
    columns = head.count("|") - 1
    return lambda facts: f"{head}\n{'|---' * columns}|\n" + _each("| {f.label} | {f.value} |")(facts)


def _prose(facts: Sequence[Said]) -> str:
    return " ".join(fact.sentence for fact in facts)


LAYOUTS: dict[str, Layout] = {
    "prose": _prose,
    "lines": _each("{f.sentence}"),
    "paragraphs": _each("{f.sentence}", "\n\n"),
    "windows_lines": _each("{f.sentence}", "\r\n"),
    "bullets": _each("- {f.sentence}"),
    "stars": _each("* {f.sentence}"),
    "round_bullets": _each("• {f.sentence}"),
    "bullets_short": _each("- {f.short}"),
    "numbered": _each("{i}. {f.sentence}"),
    "numbered_short": _each("{i}. {f.short}"),
    "numbered_paren": _each("{i}) {f.sentence}"),
    "numbered_inline": _each("({i}) {f.sentence}", " "),
    "numbered_run": _each("{i}. {f.short}", " "),
    "lettered": _each("{letter}) {f.sentence}"),
    "subject_value": _each("{f.label}: {f.value}"),
    "subject_value_stop": _each("{f.label}: {value}.", " "),
    "subject_value_semicolons": _each("{f.label}: {f.value}", "; "),
    "subject_value_commas": _each("{f.label} - {f.value}", ";\n"),
    "bold_heading": _each("**{f.label}:** {value}"),
    "bold_heading_bullet": _each("- **{f.label}:** {value}."),
    "bold_heading_outside": _each("- **{f.label}**: {value}"),
    "bold_sentence": _each("**{f.sentence}**"),
    "bold_words": _each("{i}. **{f.label}**: {f.sentence}"),
    "italic_heading": _each("*{f.label}*: {f.value}"),
    "organ_heading": _each("**{f.heading}:** {f.sentence}"),
    "organ_heading_line": _each("### {f.heading}\n{f.sentence}"),
    "organ_heading_bullet": _each("- {f.heading}: {f.sentence}"),
    "organ_heading_numbered": _each("{i}. **{f.heading}**\n   - {f.sentence}"),
    "heading_sentence": _each("### {f.label}\n{f.sentence}"),
    "heading_value": _each("### {f.label}\n{value}."),
    "heading_colon_value": _each("{f.label}:\n{value}."),
    "heading_colon_bullet": _each("{f.label}:\n- {value}"),
    "table": _table("| Finding | Status |"),
    "table_observation": _table("| Structure | Observation |"),
    "table_bare": _each("{f.label} | {f.value}"),
    "json": lambda facts: json.dumps({fact.label: fact.value for fact in facts}),
    "json_lines": lambda facts: json.dumps({fact.label: fact.value for fact in facts}, indent=2),
    "json_list": lambda facts: json.dumps([{"finding": fact.label, "status": fact.value} for fact in facts]),
    "yaml": _each("- {f.label}: {f.value}"),
    "equals": _each("{f.label} = {f.value}"),
    "arrow": _each("{f.label} → {f.value}"),
    "arrow_ascii": _each("{f.label} -> {f.value}"),
    "brackets": _each("[{f.label}] {f.value}"),
    "dash": _each("{f.label} – {f.value}"),
    "parentheses": _each("{f.label} ({f.value})", ", "),
    "all_caps": lambda facts: _prose(facts).upper(),
    "all_lower": lambda facts: _prose(facts).lower(),
    "no_stops": _each("{words}"),
    "run_on": _run_on,
    "semicolons": _each("{words}", "; "),
    "short_semicolons": _each("{f.short}", "; "),
    "short_stops": _each("{f.short}.", " "),
    "short_commas": _each("{f.short}", ", "),
    "steps": _each("Step {i}: {f.sentence}"),
    "steps_bold": _each("**Step {i}:** {f.sentence}"),
    "ordered": _ordered,
    "observation": _each("Observation: {f.sentence}"),
    "finding_i": _each("Finding {i}: {f.short}"),
    "quoted": _each("> {f.sentence}"),
    "html": _each("<li>{f.sentence}</li>"),
    "findings_head": lambda facts: "FINDINGS:\n" + _prose(facts),
    "impression_head": lambda facts: "Impression: " + _prose(facts),
    "intro": lambda facts: "Here is what the image shows:\n" + _each("- {f.sentence}")(facts),
    "asked": _asked,
    "boxes": _boxes,
    "grouped": _grouped("Present: ", "Absent: ", "Possible: ", "Normal: "),
    "grouped_findings": _grouped("Positive findings: ", "Negative for: ", "Uncertain: ", "Normal: "),
    "grouped_bold": _grouped("**Present:** ", "**Absent:** ", "**Possible:** ", "**Normal:** "),
    "grouped_prose": _grouped("There is ", "There is no ", "There may be ", "Normal ", " "),
}  # fmt: skip
#: These leave details out, or say less than the prose, so that they cannot score the same.
INCOMPLETE = {"asked", "boxes"}


def fact_sets(number: int = SETS) -> Iterator[tuple[Said, ...]]:
    """Sets of 3 to 5 facts that have nothing to do with each other, always the same."""
    rng = Random(11)
    for _ in range(number):
        chosen: list[Said] = []
        taken: set[str] = set()
        size = rng.randint(3, 5)
        organ = rng.choice(ORGANS)
        for thing in rng.sample(THINGS, len(THINGS)):
            if len(chosen) < size - 1 and not taken & set(family(thing)) and thing.organ != organ.name:
                taken |= set(family(thing))
                chosen.append(
                    _said(thing, ("present", "absent", "uncertain")[min(len(chosen), rng.randint(0, 2))], rng)
                )
        if not taken & {organ.name, organ.denied} and organ.name in {thing.organ for thing in THINGS}:
            chosen.append(Said(organ))
        rng.shuffle(chosen)
        yield tuple(chosen)


def _said(thing: Thing, status: str, rng: Random) -> Said:
    if status != "present":
        return Said(thing, status)
    side = rng.choice(SIDES) if thing.sided and rng.random() < 0.6 else ""
    return Said(thing, status, side, rng.choice(thing.severities) if thing.severities and rng.random() < 0.6 else "")


def layout_cases() -> Iterator[Case]:
    for facts in fact_sets():
        prose = _prose(facts)
        for name, lay in LAYOUTS.items():
            text = lay(facts)
            yield Case("layout", f"layout/{name}", text, partial(_misread, text, facts, name))
            if name not in INCOMPLETE:
                yield Case("layout_score", f"layout/{name}", text, partial(_shifted, text, prose, facts))


def _misread(text: str, facts: Sequence[Said], name: str) -> str | None:
    expected = [fact.expected for fact in facts]
    if name in INCOMPLETE:
        expected = [one._replace(side=None, severity=None) for one in expected]
    if name == "boxes":  # an empty box may also mean that nobody looked
        expected = [
            one._replace(allowed=one.allowed | {"none"}) if "absent" in one.allowed else one for one in expected
        ]
    wrong = [words for one in expected if (words := failure(text, one))]
    return "; ".join(wrong) or None


def _shifted(text: str, prose: str, facts: Sequence[Said]) -> str | None:
    """How far a layout's parts are from those of the prose; the report differs from both in its last fact."""
    last = facts[-1]
    other = Said(last.about, "present" if last.status == "absent" else "absent")
    report = _prose([*facts[:-1], other] if isinstance(last.about, Thing) else facts[:-1])
    there, here = radrscore(prose, report, report).parts, radrscore(text, report, report).parts
    gaps = {part: here[part] - there[part] for part in there if abs(here[part] - there[part]) > TOLERANCE}
    return ", ".join(f"{part} {gap:+.2f}" for part, gap in gaps.items()) or None
