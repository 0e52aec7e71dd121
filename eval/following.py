"""Whether the answer follows from the chain: the answer that the claims of the reasoning imply, beside the one given.

Claims are read by the extractor, answers by the rules of the answer reward. "The answer is therefore edema" is no
evidence of edema, so that a chain which concludes what its findings do not say is found out. In words:
docs/evaluation.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from reasoner.findings import QUALITY, ancestors, region
from reasoner.findings.labels import labels_of
from reasoner.mining.chains import GENERAL
from reasoner.mining.questions import REGIONS, TEMPORAL_ANSWERS
from reasoner.prompts import parse_completion
from reasoner.schema import NO_FINDING, Change, Finding, Laterality, Status, present_classes
from rewards.answers import LIST_TASK, parse_class_list
from rewards.answers.choices import change, chosen, compiled
from rewards.answers.grading import ANY_ABNORMALITY
from rewards.answers.lists import plain_list
from rewards.answers.yes_no import asks, overall, reported, yes_or_no
from rewards.radrscore.reading import named, read_reasoning

#: Tasks with a rule.
TASKS = (LIST_TASK, "binary", "single", "multiple", "anomaly", "temporal")
#: What a sentence that announces the answer holds.
_ANNOUNCED = re.compile(r"\banswer\b", re.IGNORECASE)


class Implied(NamedTuple):
    """What the answer is to say - classes, letters of options, or a word - and what it may say or not because the
    reasoning leaves it open."""

    said: frozenset[str]
    free: frozenset[str] = frozenset()


def following_statistics(row: Mapping[str, Any]) -> dict[str, float]:
    """Counts of a prediction row: whether its answer follows from what its reasoning claims, and whether that is
    undecidable; none for a task without a rule."""
    if row["task"] not in TASKS:
        return {}
    follows = answer_follows(row)
    counts = {"n:answer_undecidable": 1.0, "sum:answer_undecidable": float(follows is None)}
    return counts if follows is None else counts | {"n:answer_follows": 1.0, "sum:answer_follows": float(follows)}


def answer_follows(row: Mapping[str, Any]) -> bool | None:
    """Whether the answer is what the claims imply; None where they imply none, or more than one, and where the answer
    cannot be read."""
    found = parse_completion(row["completion"])
    given = read_answer(row, found.answer) if found.answer else frozenset()
    implied = implied_answer(row, evidence(found.reasoning)) if given else None
    return given - implied.free == implied.said - implied.free if implied else None


def evidence(reasoning: str) -> list[Finding]:
    """What a reasoning text claims, but for the sentences that announce the answer; of alternatives ("a nodule or
    mass") each is uncertain."""
    return [
        Finding(
            fact.concept,
            "uncertain" if claim.alternatives else fact.status,
            cast(Laterality | None, fact.laterality),
            severity=fact.severity,
            change=cast(Change | None, fact.change),
        )
        for sentence in read_reasoning(reasoning)
        if not _ANNOUNCED.search(sentence.words)
        for claim in sentence.claims
        for fact in claim.facts
        if region(fact.concept) != QUALITY
    ]


def read_answer(row: Mapping[str, Any], answer: str) -> frozenset[str]:
    """What an answer says, as the answer reward reads it; empty where it says nothing clear."""
    task, question, options = row["task"], row["question"], tuple(row["options"])
    if options and task != LIST_TASK:
        return chosen(answer, options, question, task != "multiple").clear
    if task in (LIST_TASK, "multiple"):
        return frozenset(name for part in parse_class_list(answer) for name in part)
    said = change(answer) if task == "temporal" else yes_or_no(answer, _asked(row))
    return frozenset({said} if said else ())


def implied_answer(row: Mapping[str, Any], findings: Sequence[Finding]) -> Implied | None:
    """What the findings of a chain imply for the question; None where they leave it open."""
    question, options = row["question"], tuple(row["options"])
    match row["task"]:
        case "binary":
            return _word(reported(findings, question), options)
        case "temporal":
            return _word(_change(question, findings), options)
        case "anomaly":
            return _anomaly(row, _inside(question, findings), options)
        case "single" | "multiple" if options:
            implied = _options(options, findings)
            several = len(implied.said) > 1 and row["task"] == "single"
            return implied if implied.said and not several else None
        case "multiple":
            return _classes(_inside(question, findings))
        case _:
            return _classes(findings)


def _classes(findings: Sequence[Finding]) -> Implied | None:
    """The classes that are asserted, `No Finding` where none is; hedged ones are free, and so is `No Finding` beside
    them."""
    labels = labels_of(findings)
    said = frozenset(present_classes(labels))
    hedged = frozenset(name for name, status in labels.items() if status == "uncertain")
    vague = any(finding.concept in GENERAL and finding.status != "absent" for finding in findings)
    if not findings or (said == {NO_FINDING} and vague):
        return None
    return Implied(said, hedged | said if hedged and said == {NO_FINDING} else hedged)


def _word(said: str | None, options: tuple[str, ...]) -> Implied | None:
    """A word, or the option that says it."""
    if said and options:
        said = compiled(options).meanings.get(said)
    return Implied(frozenset({said})) if said else None


def _change(question: str, findings: Sequence[Finding]) -> str | None:
    """The one change that is told of what is asked about, or of a kind of it."""
    topics = set(named(question))
    told = {f.change for f in findings if f.change and not topics.isdisjoint((f.concept, *ancestors(f.concept)))}
    return TEMPORAL_ANSWERS[told.pop()] if len(told) == 1 else None


def _anomaly(row: Mapping[str, Any], findings: Sequence[Finding], options: tuple[str, ...]) -> Implied | None:
    """Abnormal where a finding is asserted, normal where all is denied."""
    if not options:
        return _word(reported(findings, _asked(row)), options)
    known, said = compiled(options), overall(findings)
    normal = known.meanings.get(NO_FINDING)
    if said is None or normal is None or len(known.words) != 2:
        return None
    return Implied(frozenset(label for label in known.words if (label == normal) == (said == "normal")))


def _options(options: tuple[str, ...], findings: Sequence[Finding]) -> Implied:
    """The options that are asserted, hedged ones free. Both sides assert each, unless an option reports both."""
    offered = [finding for reports in compiled(options).findings.values() for finding in reports]
    if not any(finding.laterality == "bilateral" for finding in offered):
        both = [finding for finding in findings if finding.laterality == "bilateral"]
        sides: tuple[Laterality, ...] = ("left", "right")
        findings = [*findings, *(replace(finding, laterality=side) for finding in both for side in sides)]
    by_status: dict[Status | None, set[str]] = {}
    for label, words in compiled(options).words.items():
        reports = () if plain_list(words) else compiled(options).findings[label]
        status = _of_reports(reports, findings) if reports else _of_classes(words, findings)
        by_status.setdefault(status, set()).add(label)
    return Implied(frozenset(by_status.get("present", ())), frozenset(by_status.get("uncertain", ())))


def _of_classes(words: str, findings: Sequence[Finding]) -> Status | None:
    """What is claimed of all the classes that an option names."""
    labels = labels_of(findings)
    statuses = {labels[name] for name in parse_class_list(words).classes}
    return cast(Status | None, statuses.pop()) if len(statuses) == 1 else None


def _of_reports(reports: Sequence[Finding], findings: Sequence[Finding]) -> Status | None:
    """`present` if all that an option reports is claimed, with its sides and degrees; `uncertain` if it is hedged."""
    for status in ("present", "uncertain"):
        if all(any(_is(finding, wanted, status) for finding in findings) for wanted in reports):
            return cast(Status, status)
    return None


def _is(finding: Finding, wanted: Finding, status: str) -> bool:
    """Whether a finding is what is wanted, or a kind of it, and as it is wanted or hedged."""
    return (
        finding.status == (wanted.status if status == "present" else status)
        and wanted.concept in (finding.concept, *ancestors(finding.concept))
        and wanted.laterality in (None, finding.laterality)
        and wanted.severity in (None, finding.severity)
    )


def _inside(question: str, findings: Sequence[Finding]) -> list[Finding]:
    """The findings of the region that a mined question names; all where it names none."""
    where = next((name for name, words in REGIONS.items() if re.search(rf"\bthe {words}\b", question)), None)
    return [finding for finding in findings if where in (None, region(finding.concept))]


def _asked(row: Mapping[str, Any]) -> str:
    return row["question"] if row["task"] == "binary" or asks(row["question"]) else ANY_ABNORMALITY
