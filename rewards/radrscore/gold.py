"""What is known of a row - its report, its reference chain, its verified labels - and how a claim fares against it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

from rewards.radrscore.claims import Claim, Fact
from rewards.radrscore.places import Place, placement
from rewards.radrscore.recall import Reference, read_reference
from rewards.radrscore.verdicts import SILENT, Facts, Labels, Match, apart, best_of, facts_of_report

#: With more alternatives than this, "A or B or ..." tells too little to be worth a claim that is true.
CHOICES = 2
NORMAL = Match(1.0)
#: Judgements of one row that are kept.
MOST_JUDGED = 4096


class Judgement(NamedTuple):
    """A claim against the report and the labels (factuality), and against the reference chain and the labels
    (effectiveness)."""

    report: Match
    reference: Match


class Gold:
    """A row's report, reference chain and labels. Its completions make much the same claims: each is judged once."""

    def __init__(self, reference: Reference, report: Facts, labels: Labels) -> None:
        self.reference, self.report, self.labels = reference, report, labels
        self._judged: dict[str, Judgement] = {}
        self._quotes = report.quotes | reference.facts.quotes

    def judge(self, claim: Claim) -> Judgement:
        judged = self._judged.get(claim.meaning.key)
        if judged is None:
            if len(self._judged) >= MOST_JUDGED:
                self._judged.clear()
            judged = self._judged[claim.meaning.key] = self._weigh_up(claim)
        if claim.quote in self._quotes:
            return self._quoted(claim, judged)
        return judged

    def place(self, claim: Claim, judged: Judgement, said: Sequence[Place]) -> Judgement:
        """The judgement of a claim in a text that gives these boxes."""
        found = placement(claim, said, self.reference.places)
        if found is None:
            return judged
        report, reference = (Match(found.factor * m.credit, m.words, m.other, found) for m in judged)
        return Judgement(report, reference)

    def _quoted(self, claim: Claim, judged: Judgement) -> Judgement:
        """What a text says in these very words is so for it, whatever else it says; unless labels know better."""
        if self.labels.refute(claim):
            return judged
        so = Match(1.0, claim.words, claim.facts[0])
        return Judgement(
            so if claim.quote in self.report.quotes else judged.report,
            so if claim.quote in self.reference.facts.quotes else judged.reference,
        )

    def _weigh_up(self, claim: Claim) -> Judgement:
        """By what the claim means, whatever its words."""
        if len(claim.facts) == 1 and not self.labels.labels:
            return self._weigh_one(claim.facts[0])
        report = self._restated(claim, self.report) or self._against_report(claim)
        reference = self._restated(claim, self.reference.facts) or self._against_reference(claim)
        if report.other is None:  # silence is normal
            report = NORMAL if claim.status == "absent" else SILENT
        if claim.alternatives and len(claim.facts) > CHOICES:
            share = CHOICES / len(claim.facts)
            report, reference = (Match(m.credit * share, m.words, m.other) for m in (report, reference))
        return Judgement(report, reference)

    def _weigh_one(self, fact: Fact) -> Judgement:
        """What `_weigh_up` comes to for most claims."""
        report, reference = self.report.match(fact), self.reference.facts.match(fact)
        if fact.status == "absent" and (report.other is None or _denied(report)):
            report = Match(1.0, report.words, report.other)
        return Judgement(report, reference)

    def _restated(self, claim: Claim, text: Facts) -> Match | None:
        """The text's own normal statement or alternatives, unless labels know better."""
        if len(claim.facts) == 1 or self.labels.refute(claim):
            return None
        return text.restates(claim)

    def _against_report(self, claim: Claim) -> Match:
        """Absences stand together, alternatives and names of one thing by the best."""
        matches = [self.report.match(fact) for fact in claim.facts]
        if self.labels.labels:
            matches = [self._corrected(fact, said) for fact, said in zip(claim.facts, matches, strict=True)]
        if claim.status != "absent":
            return best_of(matches)
        matches = [Match(1.0, match.words, match.other) if _denied(match) else match for match in matches]
        if len(matches) == 1:
            return matches[0]
        return min((match for match in matches if match.other), key=lambda match: match.credit, default=SILENT)

    def _against_reference(self, claim: Claim) -> Match:
        """A normal statement is refuted by one abnormal mention of what it denies, and else backed for its share."""
        matches = [self.reference.facts.match(fact) for fact in claim.facts]
        if self.labels.labels:
            matches = [self._vouched(fact, said) for fact, said in zip(claim.facts, matches, strict=True)]
        best = best_of(matches)
        if claim.status != "absent" or len(matches) == 1:
            return best
        refuted = next((match for match in matches if match.other and match.credit == 0.0), None)
        return refuted or Match(fmean(match.credit for match in matches), best.words, best.other)

    def _corrected(self, fact: Fact, said: Match) -> Match:
        """The report's word on the fact, corrected by the labels where they know better."""
        known = self.labels.match(fact)
        if known is None:
            return said
        if fact.status == "absent":
            # "No right effusion" beside a left one is a question of side, which labels do not know.
            return said if said.other and fact.laterality and said.credit == 1.0 else known
        if known.credit == 0.0 or not said.other:
            return known
        return said if said.credit > 0.0 or _wrong_side(fact, said) else known

    def _vouched(self, fact: Fact, said: Match) -> Match:
        """What the chain says on the fact; what the labels say where they refute it, or verify what the chain omits."""
        known = self.labels.match(fact)
        if known is None:
            return said
        omitted = fact.status == "present" and said.credit == 0.0 and not _wrong_side(fact, said)
        return known if known.credit == 0.0 or omitted else said


@lru_cache(maxsize=256)
def read_gold(reference: str, report: str, labels: tuple[tuple[str, str | None], ...] = ()) -> Gold:
    """The gold of a row, kept for its other completions. `labels` are verified ones: pairs of class and status."""
    return Gold(read_reference(reference), facts_of_report(report), Labels(dict(labels)))


def _denied(match: Match) -> bool:
    """The report denies a kind of it and is silent on the rest: that is normal."""
    return match.other is not None and match.other.status == "absent"


def _wrong_side(fact: Fact, said: Match) -> bool:
    other = said.other
    return other is not None and other.status != "absent" and apart(fact.laterality, other.laterality)
