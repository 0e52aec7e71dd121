"""The process reward: RadRScore (ChestX-Reasoner, arXiv 2504.20930, section 3.4), by rules instead of a judge.

    factuality    consistent claims / claims of the completion, against the report (silence is read as normal)
    completeness  recalled claims / claims of the reference chain
    effectiveness supported steps / asserting steps of the completion, against the reference chain
    RadRScore     their mean

Sentences that assert nothing (plans, textbook knowledge, questions) are neither claims nor steps. What was said before
earns nothing again. Verified labels, where the study has them, outweigh the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from rewards.radrscore.claims import Claim, Fact
from rewards.radrscore.reading import Sentence, read_reasoning
from rewards.radrscore.terms import Spoken, spoken
from rewards.radrscore.verdicts import (
    SILENT,
    Facts,
    Labels,
    Match,
    Reference,
    Topic,
    Verdict,
    apart,
    facts_of_report,
    read_reference,
)
from rewards.registry import Deferred, Score

PARTS = ("factuality", "completeness", "effectiveness")
Entry = dict[str, Any]
#: What becomes an entry: credit (None: it only repeats), weight, verdict, whose words, the words against it, an offset.
Mark = tuple[float | None, float, Verdict, Claim | Sentence, str, int]
#: A completion may speak of this many more terms than the reference before recall is diluted.
SPARE = 5.0


def radrscore(text: str, reference: str, report: str, labels: Mapping[str, str | None] | None = None) -> Score:
    """The score of a reasoning text with one evidence entry per claim, reference sentence and step.

    `labels` are verified ones. An entry holds `part`, `verdict`, `credit` (0 to 1), `words` (of the completion, or of
    the reference for part completeness), `against` (the words on the other side, empty where it is silent) and `start`,
    `end` (offsets of `words` in their text).
    """
    gold = gold_of(reference, report, tuple(labels.items()) if labels else ())
    sentences = read_reasoning(text)
    facts, steps = _judged(sentences, gold)
    recalled = list(_completeness(sentences, gold.reference, gold.labels))
    marks = dict(zip(PARTS, (facts, recalled, steps), strict=True))
    parts = {part: _share(marked) for part, marked in marks.items()}
    return Score(sum(parts.values()) / len(PARTS), Deferred(partial(_written, marks)), parts)


def _share(marks: Sequence[Mark]) -> float:
    """The mean credit by weight; what only repeats (credit None) does not count."""
    earned = total = 0.0
    for credit, weight, _, _, _, _ in marks:
        if credit is not None:
            earned += credit * weight
            total += weight
    return earned / total if total else 0.0


def _mean(credits: Sequence[float]) -> float:
    return sum(credits) / len(credits) if credits else 0.0


class _Judgement(NamedTuple):
    """A claim against the report (`verdict` on `fact`) and against the reference chain."""

    verdict: Verdict
    fact: Match
    backed: Match


class Gold:
    """What is known of a row. Its completions make much the same claims: each is judged once for all of them."""

    def __init__(self, reference: Reference, report: Facts, labels: Labels) -> None:
        self.reference, self.report, self.labels = reference, report, labels
        self._judged: dict[int, _Judgement] = {}

    def judge(self, claim: Claim) -> _Judgement:
        judged = self._judged.get(claim.meaning)
        if judged is None:
            fact = _consistent(claim, self.report, self.labels)
            verdict = _verdict(fact)
            if not fact.other:  # the report is silent: normal
                fact = Match(1.0 if claim.status == "absent" else 0.0)
                verdict = "supported" if fact.credit else "unsupported"
            judged = _Judgement(verdict, fact, _backed(claim, self.reference.facts, self.labels))
            self._judged[claim.meaning] = judged
        return judged


@lru_cache(maxsize=256)
def gold_of(reference: str, report: str, labels: tuple[tuple[str, str | None], ...]) -> Gold:
    return Gold(read_reference(reference), facts_of_report(report), Labels(dict(labels)))


def _judged(sentences: Sequence[Sentence], gold: Gold) -> tuple[list[Mark], list[Mark]]:
    """The claims for factuality, and the sentences that make some for effectiveness."""
    facts: list[Mark] = []
    steps: list[Mark] = []
    heard: set[int] = set()
    spare = dict(gold.reference.times)  # what the reference says twice may be said twice
    for sentence in sentences:
        backed: list[Match] = []
        for claim in sentence.claims:
            left = spare.get(claim.subject, 1)
            spare[claim.subject] = left - 1
            if claim.gist not in heard:
                heard |= claim.implied
            elif left <= 0:
                facts.append((None, 1.0, "repeated", claim, "", sentence.start))
                continue
            verdict, fact, match = gold.judge(claim)
            facts.append((fact.credit, 1.0, verdict, claim, fact.words, sentence.start))
            backed.append(match)
        if backed:
            match = backed[0] if len(backed) == 1 else _together(backed)
            steps.append((match.credit, 1.0, _verdict(match), sentence, match.words, 0))
        elif sentence.claims:
            steps.append((0.0, 1.0, "repeated", sentence, "", 0))
    return facts, steps


def _together(matches: Sequence[Match]) -> Match:
    words = " | ".join(dict.fromkeys(match.words for match in matches if match.words))
    other = next((match.other for match in matches if match.other), None)
    return Match(_mean([match.credit for match in matches]), words, other)


def _consistent(claim: Claim, report: Facts, labels: Labels) -> Match:
    """The claim against the report and the labels: absences stand together, alternatives stand by the best."""
    matches = [report.match(finding) for finding in claim.facts]
    if labels.labels:
        matches = [_verified(finding, said, labels) for finding, said in zip(claim.facts, matches, strict=True)]
    if claim.status != "absent":
        return _best(matches)
    matches = [Match(1.0, match.words, match.other) if _denied(match) else match for match in matches]
    if len(matches) == 1:
        return matches[0]
    worst = min((match for match in matches if match.other), key=lambda match: match.credit, default=SILENT)
    if claim.general and not any(m.credit < 1.0 for m in map(labels.match, claim.facts) if m):
        return report.restates(claim) or worst
    return worst


def _denied(match: Match) -> bool:
    """The report denies a kind of it and is silent on the rest: that is normal."""
    return match.other is not None and match.other.status == "absent"


def _verified(finding: Fact, said: Match, labels: Labels) -> Match:
    """The report's word on the finding, corrected by the labels where they know better."""
    known = labels.match(finding)
    if known is None:
        return said
    if finding.status == "absent":
        # "No right effusion" beside a left one is a question of side, which labels do not know.
        return said if said.other and finding.laterality and said.credit == 1.0 else known
    if known.credit == 0.0 or not said.other:
        return known
    return said if said.credit > 0.0 or _wrong_side(finding, said) else known


def _wrong_side(finding: Fact, said: Match) -> bool:
    other = said.other
    return other is not None and other.status != "absent" and apart(finding.laterality, other.laterality)


class _Recall(NamedTuple):
    """How a reference claim fares in the completion: `factor` of what its words are worth there."""

    factor: float
    match: Match


def _completeness(sentences: Sequence[Sentence], reference: Reference, labels: Labels) -> Iterator[Mark]:
    """One entry per sentence of the reference: how much of what it adds the completion recalls, and rightly."""
    claims = [claim for sentence in sentences for claim in sentence.claims]
    facts, said = Facts(claims, reference.about), spoken(sentences)
    room = reference.terms + SPARE
    focus = min(1.0, (room / max(1, len(said.single))) ** 0.5)
    for topic in reference.topics:
        asked: Sequence[Claim] = topic.sentence.claims
        if labels.labels:
            asked = [claim for claim in asked if not _refuted(claim, labels)]
        if topic.sentence.claims and not asked:  # nobody should be asked to recall what verified labels deny
            continue
        recalls = [_recall(claim, facts, said) for claim in asked]
        weight, got = _weigh(topic, asked, recalls, said)
        if weight:
            credit = focus * got / weight
            best = _best([recall.match for recall in recalls]) if recalls else SILENT
            yield credit, weight, _recalled(credit, best), topic.sentence, best.words, 0


def _weigh(topic: Topic, asked: Sequence[Claim], recalls: Sequence[_Recall], said: Spoken) -> tuple[float, float]:
    """What a reference sentence weighs, and how much of that the completion earns.

    Words that name a finding earn what its claim earns; other words what the best claim of the sentence earns; a pair
    what the worse of its two words earns. A claim recalled in full needs none of its words. Otherwise a word counts if
    it or another name of the finding is said, a pair if one sentence holds both words.
    """
    best = max([recall.factor for recall in recalls], default=1.0)
    places = got = 0.0
    own: dict[str | None, float] = {}
    for claim, recall in zip(asked, recalls, strict=True):
        for concept in claim.concepts & topic.named:
            term = f"concept:{concept}"
            own[term] = max(own.get(term, 0.0), recall.factor)
        if claim.general:
            places, got = places + 1.0, got + recall.factor
    if best:
        single = said.single
        for stem, worth, name in topic.stems:
            if stem in single or name in single or own.get(name) == 1.0:
                got += worth * own.get(name, best)
        for (a, b), worth, name, other in topic.pairs:
            if (name == other and own.get(name) == 1.0) or said.together(a, b):
                got += worth * min(own.get(name, best), own.get(other, best))
    return topic.weight + places, got


def _recall(claim: Claim, facts: Facts, said: Spoken) -> _Recall:
    restated = facts.restates(claim) if claim.general else None
    if restated:
        return _Recall(1.0, restated)
    matches = [facts.match(finding) for finding in claim.facts]
    credits = [
        match.credit / 2 if match.credit and facts.opposes(finding) else match.credit
        for match, finding in zip(matches, claim.facts, strict=True)
    ]
    best = _best(matches)
    if claim.general:
        return _Recall(_mean(credits), best)
    if best.other:
        return _Recall(max(credits) ** (1 / 3), best)  # a detail that differs is missed among the terms as well
    # Spoken of without a claim that could be read: its words count as they are.
    return _Recall(float(any(f"concept:{finding.concept}" in said.single for finding in claim.facts)), best)


def _refuted(claim: Claim, labels: Labels) -> bool:
    return any(match.credit == 0.0 for match in map(labels.match, claim.facts) if match)


def _recalled(credit: float, best: Match) -> Verdict:
    if best.other:
        return _grade(credit)
    return "partial" if credit else "missed"


def _backed(claim: Claim, reference: Facts, labels: Labels) -> Match:
    """The claim against the reference chain and the labels."""
    matches = [reference.match(finding) for finding in claim.facts]
    if labels.labels:
        matches = [_vouched(finding, said, labels) for finding, said in zip(claim.facts, matches, strict=True)]
    best = _best(matches)
    if claim.status != "absent" or len(matches) == 1:
        return best
    refuted = next((match for match in matches if match.other and match.credit == 0.0), None)
    return refuted or Match(_mean([match.credit for match in matches]), best.words, best.other)


def _vouched(finding: Fact, said: Match, labels: Labels) -> Match:
    """What the chain says on the finding; what the labels say where they refute it, or verify what the chain omits."""
    known = labels.match(finding)
    if known is None:
        return said
    omitted = finding.status == "present" and said.credit == 0.0 and not _wrong_side(finding, said)
    return known if known.credit == 0.0 or omitted else said


def _best(matches: Sequence[Match]) -> Match:
    """The one of the highest credit, of equals the first that has words for it."""
    return matches[0] if len(matches) == 1 else max(matches, key=lambda match: (match.credit, match.other is not None))


def _verdict(match: Match) -> Verdict:
    return _grade(match.credit) if match.other else "unsupported"


def _grade(credit: float) -> Verdict:
    if credit >= 1.0:
        return "supported"
    return "partial" if credit > 0.0 else "contradicted"


def _written(marks: Mapping[str, Sequence[Mark]]) -> Iterator[Entry]:
    """The evidence of each part, as `radrscore` describes it."""
    for part, marked in marks.items():
        for credit, weight, verdict, said, against, offset in marked:
            yield {
                "part": part,
                "verdict": verdict,
                "credit": credit,
                "weight": weight,
                "words": said.words,
                "against": against,
                "start": offset + said.start,
                "end": offset + said.end,
            }
