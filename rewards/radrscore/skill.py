"""Skill: what a reading earns beyond what a policy could earn that sees no image.

Each thing that a reading says is a bet, settled by the report and the verified labels. With credits c from 0 to 1 as in
RadRScore, and all sums divided by the number of the row's findings (at least 1):

    finding found      + (c - stake), once per finding; a detail left out or wrong lowers the credit
    false assertion    - stake, once per concept and side
    absence confirmed  + gain, once per absence that is asked for
    finding denied     - (1 - c), once per finding

The stake of a concept is `THRESHOLD`, or more where asserting it blindly would still pay; its gain is what makes
denying it blindly pay nothing (`rewards.radrscore.base_rates`). So every bet of a policy that sees no image earns 0 at
best on average, asserting pays from a probability of about `THRESHOLD` on, and an absence pays by what it tells. The
sum is scaled so that reference chains earn 1 on average. Derived in `docs/rewards.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, cast

from reasoner.findings import QUALITY, ancestors, concept_class, extract_report, kin, region
from reasoner.mining.wording import CLASS_CONCEPT
from reasoner.schema import NO_FINDING, Status
from rewards.radrscore.claims import Claim, Fact, read_claims
from rewards.radrscore.details import left_out
from rewards.radrscore.gold import Gold, read_gold
from rewards.radrscore.places import Placement, placed, places_in
from rewards.radrscore.reading import named, read_reasoning
from rewards.radrscore.verdicts import HEDGED, Match, apart, classes_below, elsewhere, wealth
from rewards.registry import Deferred, Score

#: From which probability on an assertion pays. The best threshold of an F1 is half of the F1 that it reaches (Lipton et
#: al. 2014, arXiv 1402.1892): 0.35 for the 0.7 that a trained reader has.
THRESHOLD = 0.35
#: What is left of the credit of a finding for each detail that the text leaves out; for each of the finer ones.
LEFT_OUT, LEFT_OUT_FINE = 0.9, 0.95
PARTS = ("found", "false_alarms", "ruled_out", "denied")
#: Tasks that ask for the whole film, as rows without a task do; the others ask for what their chain speaks of.
WHOLE_FILM = (None, "", "abnormality_list", "grounding", "report")
Labels = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Table:
    """What bets are worth by concept: the stakes of assertions and hedges, `THRESHOLD` where not listed, and the gains
    of absences, 0 where not listed."""

    stakes: Mapping[str, float] = field(default_factory=dict)
    hedges: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rates:
    """What bets are worth in the answers to one kind of question: on the concepts that the question names, and on the
    others; `scale` is what the reference chains earn on average before scaling."""

    named: Table = Table()
    others: Table = Table()
    scale: float = 1.0

    def of(self, concept: str, named: frozenset[str]) -> Table:
        return self.named if concept in named else self.others


class Truth(NamedTuple):
    """What a row's report, chain and verified labels say.

    `findings` (present or uncertain, with their words) and `absent` concepts are asked for; `beside` are findings that
    are there, too; `named` are the concepts that the question names, with their kin.
    """

    gold: Gold
    findings: tuple[tuple[Fact, str], ...] = ()
    beside: tuple[tuple[Fact, str], ...] = ()
    absent: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()

    @property
    def share(self) -> float:
        """What one finding weighs."""
        return 1.0 / max(1, len(self.findings))

    def credit(self, fact: Fact) -> Match:
        """How far the row bears the fact out; silence is read as normal."""
        return self.gold.judge(Claim.of([fact], "", 0)).report


class Said(NamedTuple):
    """A claim of the text and where it stands there."""

    claim: Claim
    start: int
    end: int


class Hit(NamedTuple):
    """An assertion of a finding that is there: by which fact it is right, the match of that, the credit that it would
    have without side and details, and its stake."""

    said: Said
    fact: Fact
    match: Match
    named: float
    stake: float

    @property
    def borne_out(self) -> float:
        """What is left of the credit by side and details."""
        return min(1.0, self.match.credit / self.named) if self.named else 1.0


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
    box: dict[str, Any] | None = None


def skill(text: str, truth: Truth, rates: Rates) -> Score:
    """The skill of a reasoning text: about 1 for a reference chain, at most about 0 for what ignores the image.

    `parts` are the four sums of which the value is made. An evidence entry holds `part`, `verdict`, `credit`, `weight`
    (one over the number of findings), `earned` (what it adds to the value), `words`, `against`, `start`, `end`, and
    `box` where boxes are asked for.
    """
    bets = place_bets(text, truth, rates)
    unit = truth.share / rates.scale
    sums = dict.fromkeys(PARTS, 0.0)
    for bet in bets:
        sums[bet.part] += unit * bet.earned
    return Score(sum(sums.values()), Deferred(lambda: _written(bets, truth.share, unit)), sums)


def _written(bets: Sequence[Bet], share: float, unit: float) -> Iterator[dict[str, Any]]:
    for bet in bets:
        entry = {**bet._asdict(), "earned": unit * bet.earned, "weight": share}
        yield entry if bet.box else {name: value for name, value in entry.items() if name != "box"}


def place_bets(text: str, truth: Truth, rates: Rates) -> list[Bet]:
    """What a text says, each thing settled once."""
    asserted: list[Said] = []
    denials: list[Said] = []
    sentences, wanted = read_reasoning(text), truth.gold.reference.places
    for sentence in sentences:
        for claim in sentence.claims:
            said = Said(claim, sentence.start + claim.start, sentence.start + claim.end)
            (denials if claim.status == "absent" else asserted).append(said)
    hits: dict[Fact, list[Hit]] = {}
    alarms: dict[tuple[str, str | None], Bet] = {}
    for said in asserted:
        fact, match = _best(truth, said.claim)
        finding, stake = find(truth, match), _stake(said.claim, truth, rates)
        if finding is not None:
            hits.setdefault(finding, []).append(Hit(said, fact, match, truth.credit(Fact(*fact[:2])).credit, stake))
        elif match.other is None or match.other.status == "absent" or match.credit == 0.0:
            verdict = "contradicted" if match.words else "unsupported"
            bet = Bet("false_alarms", verdict, 0.0, -stake, said.claim.words, match.words, said.start, said.end)
            alarms.setdefault((fact.concept, fact.laterality), bet)
    places = places_in(text, sentences) if wanted else ()
    found = {
        finding: _found(finding, claims, placed(finding, places, wanted) if wanted else None)
        for finding, claims in hits.items()
    }
    refuted = list(_refuted(truth, denials, found))
    return [*found.values(), *alarms.values(), *refuted, *_confirmed(truth, asserted, denials, rates)]


def _found(finding: Fact, hits: Sequence[Hit], place: Placement | None) -> Bet:
    """What all that a text asserts of a finding earns: it is named as well as by the claim that names it best, each
    detail is given if one claim gives it, its details are as wrong as those of the claim that is most wrong, and its
    boxes are those of all claims."""
    best = max(hits, key=lambda hit: hit.named - hit.stake)
    credit = best.named * min(hit.borne_out for hit in hits)
    told = zip(*(hit.fact[2:5] for hit in hits), strict=True)
    credit *= LEFT_OUT ** sum(bool(detail) and not any(given) for detail, given in zip(finding[2:5], told, strict=True))
    credit *= LEFT_OUT_FINE ** left_out(finding.details, [hit.fact.details for hit in hits])
    credit *= place.factor if place else 1.0
    said, match = best.said, best.match
    verdict, box = "supported" if credit == 1.0 else "partial", place.written() if place else None
    words = said.claim.words, match.words
    return Bet("found", verdict, credit, credit - best.stake, *words, said.start, said.end, box)


def _stake(claim: Claim, truth: Truth, rates: Rates) -> float:
    """The stake of a claim; of alternatives their sum, since one of them is there at most as often as all together."""
    stakes = []
    for fact in claim.facts:
        table = rates.of(fact.concept, truth.named)
        stakes.append((table.hedges if fact.status == "uncertain" else table.stakes).get(fact.concept, THRESHOLD))
    return min(1.0, sum(stakes)) if claim.alternatives else max(stakes)


def _best(truth: Truth, claim: Claim) -> tuple[Fact, Match]:
    """Of alternatives ("a nodule or mass") the one that holds best."""
    return max(((fact, truth.credit(fact)) for fact in claim.facts), key=lambda pair: pair[1].credit)


def find(truth: Truth, match: Match) -> Fact | None:
    """The finding of the row that an assertion is right about."""
    other = match.other
    if match.credit == 0.0 or other is None or other.status == "absent":
        return None
    there = [fact for fact, _ in truth.findings if fact.concept == other.concept]
    if not there and (name := concept_class(other.concept)):  # a verified class knows no narrower name
        there = [fact for fact, _ in truth.findings if concept_class(fact.concept) == name]
    same = [fact for fact in there if fact.laterality == other.laterality]
    return next(iter(same or there), None)


def _refuted(truth: Truth, denials: Sequence[Said], found: dict[Fact, Bet]) -> Iterator[Bet]:
    """The findings that the text denies, which are then no longer found, and those asked for that it passes over."""
    for finding, words in (*truth.findings, *truth.beside):
        said = next((said for said in denials if _denies(said.claim, finding, truth, finding in found)), None)
        if said is not None:
            found.pop(finding, None)
            credit = credit_of_denial(finding)
            verdict = "partial" if credit else "contradicted"
            yield Bet("denied", verdict, credit, credit - 1.0, said.claim.words, words, said.start, said.end)
        elif finding not in found and (finding, words) in truth.findings:
            yield Bet("found", "missed", 0.0, 0.0, "", words)


def credit_of_denial(finding: Fact) -> float:
    return HEDGED["absent", "uncertain"] if finding.status == "uncertain" else 0.0


def _denies(claim: Claim, finding: Fact, truth: Truth, asserted: bool) -> bool:
    """Whether a denial is one of the finding: of it or of what it is a kind of, on its side. Beside an assertion a
    normal statement is none ("otherwise clear"), nor is the denial of another age or place ("no acute fracture"); a
    normal statement that the report makes, too, is never one."""
    own = {finding.concept, *ancestors(finding.concept)}
    if claim.general and (asserted or truth.gold.report.restates(claim)):
        return False
    return any(
        fact.concept in own
        and fact.laterality in (None, "bilateral", finding.laterality)
        and not (asserted and elsewhere(fact, finding))
        for fact in claim.facts
    )


def _confirmed(truth: Truth, asserted: Sequence[Said], denials: Sequence[Said], rates: Rates) -> Iterator[Bet]:
    """The absences of the row that the text states, themselves or by denying what they are kinds of. A side, or the age
    or place of what is asserted besides, leaves the rest open."""
    there = {name for said in asserted for concept in said.claim.concepts for name in (concept, *ancestors(concept))}
    left = set(truth.absent)
    for said in denials:
        plain = {
            fact.concept
            for fact in said.claim.facts
            if fact.laterality in (None, "bilateral") and not (fact.details and fact.concept in there)
        }
        covered = {concept for concept in left if not plain.isdisjoint((concept, *ancestors(concept)))}
        if covered:
            left -= covered
            earned = sum(rates.of(concept, truth.named).gains.get(concept, 0.0) for concept in covered)
            yield Bet("ruled_out", "supported", 1.0, earned, said.claim.words, "", said.start, said.end)


@lru_cache(maxsize=4096)
def truth_of(
    reference: str,
    report: str,
    labels: Labels = (),
    task: str | None = None,
    asked: str = "",
) -> Truth:
    """The truth of a row, by its report, its chain and its verified labels; `asked` are the words of question and
    options."""
    bare = Truth(read_gold(reference, report, labels))
    chain = _states(bare, [claim for sentence in read_reasoning(reference) for claim in sentence.claims])
    every = _states(bare, [*read_claims(report, extract_report(report)), *chain.claims])
    for name, status in labels:
        if status in ("present", "uncertain") and name != NO_FINDING:
            _add_class(every.findings, name, cast(Status, status))
    wanted = every if task in WHOLE_FILM else chain
    findings = tuple(wanted.findings.items())
    asked_for = {fact.concept for fact in wanted.findings}
    beside = tuple((fact, words) for fact, words in every.findings.items() if fact.concept not in asked_for)
    there = {name for fact in every.findings for name in (fact.concept, *ancestors(fact.concept))}
    return Truth(bare.gold, findings, beside, frozenset(chain.absent - there), _asked_about(asked))


class _Stated(NamedTuple):
    claims: Sequence[Claim]
    findings: dict[Fact, str]
    absent: set[str]


def _states(truth: Truth, claims: Sequence[Claim]) -> _Stated:
    """What of the claims holds: findings with their words, and concepts that are absent."""
    findings: dict[Fact, str] = {}
    absent: set[str] = set()
    for claim in claims:
        for fact in claim.facts:
            if region(fact.concept) == QUALITY or (fact.status == "absent" and fact.laterality):
                continue
            credit = truth.credit(fact).credit
            if fact.status == "absent" and credit == 1.0:
                absent.add(fact.concept)
            elif fact.status != "absent" and credit > 0.0 and not truth.gold.report.opposes(fact):
                _add(findings, fact, claim.words)
    return _Stated(claims, findings, absent)


def _add(findings: dict[Fact, str], fact: Fact, words: str) -> None:
    """One finding per concept and side: the first mention that gives most details, present before uncertain."""
    for other in list(findings):
        if other.concept == fact.concept and not apart(other.laterality, fact.laterality):
            if _wealth(fact) <= _wealth(other):
                return
            del findings[other]
    findings[fact] = words


def _wealth(fact: Fact) -> tuple[bool, int]:
    return fact.status == "present", wealth(fact)


def _add_class(findings: dict[Fact, str], name: str, status: Status) -> None:
    """A class that is verified and that no finding of the report belongs to; classes know no sides."""
    narrower = classes_below().get(name, ())
    if not any(concept_class(fact.concept) in (name, *narrower) for fact in findings):
        findings[Fact(CLASS_CONCEPT[name], status)] = f"verified: {name} {status}"


@lru_cache(maxsize=4096)
def _asked_about(words: str) -> frozenset[str]:
    """The concepts that a question names, with their kin: what it is about is known without the image."""
    if not words:
        return frozenset()
    found = set(named(words))
    found |= {concept for name, concept in CLASS_CONCEPT.items() if name.lower() in words.lower()}
    return frozenset().union(*map(kin, found))
