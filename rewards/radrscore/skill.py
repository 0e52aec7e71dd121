"""Skill: what a reading earns beyond what a policy could earn that sees no image.

Each thing that a reading says is a bet, settled by the report and the verified labels. With n findings in the row
(at least 1), credits from 0 to 1 as in RadRScore, and all sums divided by n:

    finding found      + credit (1 - stake), once per finding of the row; a side, degree or change left out costs credit
    false assertion    - stake
    absence confirmed  + gain, once per absence that the report or the chain states
    finding denied     - (1 - credit), once per finding

The stake of a concept is `THRESHOLD`, or more where asserting it blindly would still pay; its gain is what makes
denying it blindly pay nothing on the training split. So every bet of a policy that sees no image earns 0 at best on
average, asserting pays from a probability of about `THRESHOLD` on, and an absence pays by what it tells. The sum is
scaled so that the reference chains of the training split earn 1 on average. Derived in `docs/rewards.md`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

from reasoner.errors import UserError
from reasoner.findings import QUALITY, ancestors, concept_class, extract_report, kin, region
from reasoner.findings.lexicon import load
from reasoner.schema import NO_FINDING, Status
from rewards.radrscore.claims import Claim, Fact, read_claims
from rewards.radrscore.parts import Gold, gold_of
from rewards.radrscore.reading import read_reasoning
from rewards.radrscore.verdicts import HEDGED, Match, apart, classes_below
from rewards.registry import Deferred, Score

#: From which probability on an assertion pays. The best threshold of an F1 is half of the F1 that it reaches (Lipton et
#: al. 2014, arXiv 1402.1892): 0.35 for the 0.7 that a trained reader has.
THRESHOLD = 0.35
#: What is left of the credit of a finding for each detail that the text leaves out.
LEFT_OUT = 0.9
#: What confirming one absence can earn at most, however seldom it is stated.
MOST_GAIN = 0.5
#: Gains are held below what pays nothing on the training split, for other splits differ by chance.
MARGIN = 0.9
#: Steps in which a stake is raised until blind assertions no longer pay.
_STEP = 0.05
PARTS = ("found", "false_alarms", "ruled_out", "denied")
DEFAULT = Path(__file__).with_name("base_rates.json")


@dataclass(frozen=True)
class BaseRates:
    """What a policy can know without an image, from the training split.

    `stakes` and `hedges` are what an assertion and a hedge of a concept risk (`THRESHOLD` where it is not listed);
    `gains` what confirming its absence earns (0 where it is not listed); `scale` the mean of what the reference chains
    earn before scaling; `studies` how many there were.
    """

    studies: int = 0
    scale: float = 1.0
    stakes: Mapping[str, float] = field(default_factory=dict)
    hedges: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)

    def stake(self, fact: Fact) -> float:
        table = self.hedges if fact.status == "uncertain" else self.stakes
        return table.get(fact.concept, THRESHOLD)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


@cache
def _default() -> BaseRates:
    return read_base_rates(DEFAULT)


def read_base_rates(path: Path) -> BaseRates:
    """BaseRates from the file that `BaseRates.write` made.

    Raises:
        UserError: no such file, or another kind of file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return BaseRates(**data)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: no base rates: {error}; give a mined data folder, or the file of GRPO or eval"
        ) from error


class Truth(NamedTuple):
    """What a row's report, chain and verified labels say: `findings` (present or uncertain) with their words, and the
    concepts whose absence they state."""

    gold: Gold
    findings: tuple[tuple[Fact, str], ...]
    absent: frozenset[str]

    @property
    def share(self) -> float:
        """What one finding weighs."""
        return 1.0 / max(1, len(self.findings))

    def credit(self, fact: Fact) -> Match:
        """How far the row bears the fact out; silence is read as normal."""
        return self.gold.judge(Claim.of([fact], "", 0)).fact


class Said(NamedTuple):
    """A claim of the text and where it stands there."""

    claim: Claim
    start: int
    end: int


class Bet(NamedTuple):
    """One thing said, or one finding missed: what it earned (before scaling) by the credit it has."""

    part: str
    verdict: str
    credit: float
    earned: float
    words: str
    against: str
    start: int = 0
    end: int = 0


def skill(
    text: str,
    reference: str,
    report: str,
    labels: Mapping[str, str | None] | None = None,
    rates: BaseRates | None = None,
) -> Score:
    """The skill of a reasoning text: about 1 for the reference, at most about 0 for what ignores the image.

    `labels` are verified ones; without `rates` those of a public collection of reports count (`DEFAULT`). `parts` are
    the four sums of which the value is made. An evidence entry holds `part`, `verdict`, `credit`, `weight` (one over
    the number of findings), `earned` (what it adds to the value), `words`, `against`, `start`, `end`.
    """
    rates = rates or _default()
    truth = truth_of(reference, report, tuple(labels.items()) if labels else ())
    bets = place_bets(text, truth, rates)
    unit = truth.share / rates.scale
    sums = dict.fromkeys(PARTS, 0.0)
    for bet in bets:
        sums[bet.part] += unit * bet.earned
    return Score(sum(sums.values()), Deferred(lambda: _written(bets, truth.share, unit)), sums)


def _written(bets: Sequence[Bet], share: float, unit: float) -> Iterator[dict[str, Any]]:
    for bet in bets:
        yield {**bet._asdict(), "earned": unit * bet.earned, "weight": share}


def place_bets(text: str, truth: Truth, rates: BaseRates) -> list[Bet]:
    """What a text says, each thing settled once."""
    asserted: list[Said] = []
    denials: list[Said] = []
    for sentence in read_reasoning(text):
        for claim in sentence.claims:
            said = Said(claim, sentence.start + claim.start, sentence.start + claim.end)
            (denials if claim.status == "absent" else asserted).append(said)
    found: dict[Fact, Bet] = {}
    alarms: dict[tuple[str, str | None], Bet] = {}
    for said in asserted:
        fact, match = _best(truth, said.claim)
        finding, stake = _finding(truth, match), rates.stake(fact)
        where = said.claim.words, match.words, said.start, said.end
        if finding is not None:
            credit = match.credit * _details_kept(fact, finding)
            bet = Bet("found", "supported" if credit == 1.0 else "partial", credit, _won(credit, stake), *where)
            if finding not in found or bet.earned > found[finding].earned:
                found[finding] = bet
        elif match.other is None or match.other.status == "absent" or match.credit == 0.0:
            verdict = "contradicted" if match.words else "unsupported"
            bet = Bet("false_alarms", verdict, 0.0, -stake, *where)
            alarms.setdefault((fact.concept, fact.laterality), bet)
    refuted = list(_refuted(truth, denials, found))
    return [*found.values(), *alarms.values(), *refuted, *_confirmed(truth, denials, rates)]


def _won(credit: float, stake: float) -> float:
    """What a true assertion earns, by how far it is true."""
    return credit * (1.0 - stake)


def _best(truth: Truth, claim: Claim) -> tuple[Fact, Match]:
    """Of alternatives ("a nodule or mass") the one that holds best."""
    return max(((fact, truth.credit(fact)) for fact in claim.facts), key=lambda pair: pair[1].credit)


def _finding(truth: Truth, match: Match) -> Fact | None:
    """The finding of the row that an assertion is right about."""
    other = match.other
    if match.credit == 0.0 or other is None or other.status == "absent":
        return None
    there = [fact for fact, _ in truth.findings if fact.concept == other.concept]
    if not there and (name := concept_class(other.concept)):  # a verified class knows no narrower name
        there = [fact for fact, _ in truth.findings if concept_class(fact.concept) == name]
    same = [fact for fact in there if fact.laterality == other.laterality]
    return next(iter(same or there), None)


def _details_kept(said: Fact, finding: Fact) -> float:
    """Who gives the side of a finding knows more than who does not: each detail left out lowers the credit."""
    pairs = zip(said[2:], finding[2:], strict=True)
    return float(LEFT_OUT ** sum(bool(theirs and not ours) for ours, theirs in pairs))


def _refuted(truth: Truth, denials: Sequence[Said], found: dict[Fact, Bet]) -> Iterator[Bet]:
    """The findings that the text denies, which are then no longer found, and those that it does not mention."""
    for finding, words in truth.findings:
        said = next((said for said in denials if _denies(said.claim, finding, truth, finding in found)), None)
        if said is not None:
            found.pop(finding, None)
            credit = HEDGED["absent", "uncertain"] if finding.status == "uncertain" else 0.0
            verdict = "partial" if credit else "contradicted"
            yield Bet("denied", verdict, credit, credit - 1.0, said.claim.words, words, said.start, said.end)
        elif finding not in found:
            yield Bet("found", "missed", 0.0, 0.0, "", words)


def _denies(claim: Claim, finding: Fact, truth: Truth, asserted: bool) -> bool:
    """Whether a denial is one of the finding: of it or of what it is a kind of, on its side. A normal statement is
    none beside an assertion ("otherwise clear"), or where the report makes it, too."""
    own = {finding.concept, *ancestors(finding.concept)}
    if claim.general and (asserted or truth.gold.report.restates(claim)):
        return False
    return any(
        fact.concept in own and fact.laterality in (None, "bilateral", finding.laterality) for fact in claim.facts
    )


def _confirmed(truth: Truth, denials: Sequence[Said], rates: BaseRates) -> Iterator[Bet]:
    """The absences of the row that the text states, themselves or by denying what they are kinds of."""
    left = set(truth.absent)
    for said in denials:
        plain = {fact.concept for fact in said.claim.facts if fact.laterality in (None, "bilateral")}
        covered = {concept for concept in left if not plain.isdisjoint((concept, *ancestors(concept)))}
        if covered:
            left -= covered
            earned = sum(rates.gains.get(concept, 0.0) for concept in covered)
            yield Bet("ruled_out", "supported", 1.0, earned, said.claim.words, "", said.start, said.end)


@lru_cache(maxsize=4096)
def truth_of(reference: str, report: str, labels: tuple[tuple[str, str | None], ...] = ()) -> Truth:
    """The findings and stated absences of a row, by its report, its chain and its verified labels."""
    gold = gold_of(reference, report, labels)
    bare = Truth(gold, (), frozenset())
    claims = [*read_claims(report, extract_report(report))]
    claims += [claim for sentence in read_reasoning(reference) for claim in sentence.claims]
    findings: dict[Fact, str] = {}
    absent: set[str] = set()
    for claim in claims:
        for fact in claim.facts:
            if region(fact.concept) == QUALITY or (fact.status == "absent" and fact.laterality):
                continue
            credit = bare.credit(fact).credit
            if fact.status == "absent" and credit == 1.0:
                absent.add(fact.concept)
            elif fact.status != "absent" and credit > 0.0 and not gold.report.opposes(fact):
                _add(findings, fact, claim.words)
    for name, status in labels:
        if status in ("present", "uncertain") and name != NO_FINDING:
            _add_class(findings, name, cast(Status, status))
    there = {name for fact in findings for name in (fact.concept, *ancestors(fact.concept))}
    return Truth(gold, tuple(findings.items()), frozenset(absent - there))


def _add(findings: dict[Fact, str], fact: Fact, words: str) -> None:
    """One finding per concept and side: the first mention that gives most details, present before uncertain."""
    for other in list(findings):
        if other.concept == fact.concept and not apart(other.laterality, fact.laterality):
            if _wealth(fact) <= _wealth(other):
                return
            del findings[other]
    findings[fact] = words


def _wealth(fact: Fact) -> tuple[bool, int]:
    return fact.status == "present", sum(detail is not None for detail in fact[2:])


def _add_class(findings: dict[Fact, str], name: str, status: Status) -> None:
    """A class that is verified and that no finding of the report belongs to; classes know no sides."""
    narrower = classes_below().get(name, ())
    if not any(concept_class(fact.concept) in (name, *narrower) for fact in findings):
        findings[Fact(class_concepts()[name], status)] = f"verified: {name} {status}"


@cache
def class_concepts() -> dict[str, str]:
    """For each CheXpert class the concept that stands for it: the first of the lexicon that has it."""
    found: dict[str, str] = {}
    for name, concept in load().concepts.items():
        if concept.label:
            found.setdefault(concept.label, name)
    return found


#: Text of a reference chain, report, verified labels.
Row = tuple[str, str, Mapping[str, str | None] | None]
#: (weight of the row, credit) wherever asserting a concept is not plainly wrong.
Credits = dict[str, list[tuple[float, float]]]


def learn_base_rates(rows: Sequence[Row]) -> BaseRates:
    """BaseRates from a training split.

    For each concept, over the rows weighted by one over their number of findings: the stake at which asserting it in
    every row earns nothing, at least `THRESHOLD`; and the gain at which denying it in every row earns nothing.

    Raises:
        UserError: no rows.
    """
    if not rows:
        raise UserError("base rates need at least one row with a reference chain and a report")
    truths = [truth_of(reference, report, tuple((labels or {}).items())) for reference, report, labels in rows]
    whole = sum(truth.share for truth in truths)
    stakes, hedges = (_stakes(_credits(truths, status), whole) for status in ("present", "uncertain"))
    rates = BaseRates(len(rows), 1.0, stakes, hedges, _gains(truths))
    earned = [
        truth.share * sum(bet.earned for bet in place_bets(reference, truth, rates))
        for truth, (reference, _, _) in zip(truths, rows, strict=True)
    ]
    return replace(rates, scale=max(round(fmean(earned), 4), 0.01))


def _credits(truths: Sequence[Truth], status: Status) -> Credits:
    """The credits of asserting (or hedging) each concept in every row."""
    credits: Credits = defaultdict(list)
    for truth in truths:
        for concept in sorted({name for finding, _ in truth.findings for name in kin(finding.concept)}):
            fact = Fact(concept, status)
            match = truth.credit(fact)
            finding = _finding(truth, match)
            if finding is not None:
                credits[concept].append((truth.share, match.credit * _details_kept(fact, finding)))
    return credits


def _stakes(credits: Credits, whole: float) -> dict[str, float]:
    """The concepts whose stake exceeds `THRESHOLD`."""
    stakes = {}
    for concept, found in credits.items():
        wrong, stake = whole - sum(weight for weight, _ in found), THRESHOLD
        while stake < 1.0 and sum(weight * _won(credit, stake) for weight, credit in found) > wrong * stake:
            stake += _STEP
        if stake > THRESHOLD:
            stakes[concept] = round(stake, 4)
    return stakes


def _gains(truths: Sequence[Truth]) -> dict[str, float]:
    """What confirming an absence earns: what denying the concept loses in all rows, spread over those that state it."""
    lost: dict[str, float] = defaultdict(float)
    stated: dict[str, float] = defaultdict(float)
    for truth in truths:
        for finding, _ in truth.findings:
            hedged = HEDGED["absent", "uncertain"] if finding.status == "uncertain" else 0.0
            lost[finding.concept] += truth.share * (1.0 - hedged)
        for concept in truth.absent:
            stated[concept] += truth.share
    return {name: round(min(MOST_GAIN, MARGIN * lost[name] / stated[name]), 4) for name in sorted(stated) if lost[name]}
