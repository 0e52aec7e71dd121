"""The process reward: RadRScore (ChestX-Reasoner, arXiv 2504.20930, section 3.4), by rules instead of a judge.

    factuality    consistent claims / claims of the completion, against the report (silence is read as normal)
    completeness  recalled claims / claims of the reference chain
    effectiveness supported steps / asserting steps of the completion, against the reference chain
    RadRScore     their mean

Sentences that assert nothing (plans, textbook knowledge, questions) are neither claims nor steps. What was said before
earns nothing again. Verified labels, where the study has them, outweigh the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from reasoner.errors import UserError
from reasoner.prompts import parse_completion
from reasoner.schema import Finding
from rewards.judge import Judge, request
from rewards.registry import Score, reward
from rewards.steps import Claim, Sentence, read_reasoning
from rewards.terms import Spoken, spoken
from rewards.verdicts import (
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

PARTS = ("factuality", "completeness", "effectiveness")
Entry = dict[str, Any]
#: A concept weighs this much in completeness; every other term, a pair and a normal statement's place weigh 1.
CONCEPT = 1.5
#: A concept that the completion speaks of without a claim that could be read.
MENTIONED = 1.0
#: A completion may speak of this many times as many terms as the reference, and SPARE more, before recall is diluted.
EXCESS, SPARE = 1.0, 5.0


def _ask_ahead(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Asks the judge about a whole chunk at once; each row then finds its reply in the cache."""
    if settings["judge"] == "llm":
        who = Judge(settings["url"], settings["model"], settings["judge_timeout_s"], settings["cache"])
        who.ask([_request(row["completion"], row["reasoning"], row["report"], who) for row in rows if _scorable(**row)])


def _scorable(*, reasoning: str | None, report: str | None, **_: Any) -> bool:
    return bool(reasoning and report and reasoning.strip() and report.strip())


def _request(completion: str, reasoning: str, report: str, who: Judge) -> dict[str, Any]:
    return request(parse_completion(completion).reasoning, reasoning, report, who.model)


@reward("process", settings=("judge", "url", "model", "judge_timeout_s", "cache"), prepare=_ask_ahead)
def process(
    completion: str,
    *,
    reasoning: str | None,
    report: str | None,
    labels: Mapping[str, str | None] | None = None,
    judge: str = "rules",
    url: str = "",
    model: str = "",
    judge_timeout_s: float = 8.0,
    cache: str = "~/.cache/cxr-reasoner/judge.sqlite",
) -> Score:
    """RadRScore of a completion; abstains on a row without reference chain (`reasoning`) or report.

    `judge` is `rules` (below; deterministic) or `llm` (`rewards.judge`; what it leaves unanswered falls back to the
    rules, counted in the part `judge_fallback`).

    Raises:
        UserError: another judge, or no server for it.
    """
    if judge not in ("rules", "llm") or (judge == "llm" and not (url and model)):
        raise UserError(f"reward 'process': judge {judge!r} must be rules, or llm with `url` and `model`")
    if not _scorable(reasoning=reasoning, report=report):
        return Score(None, ({"verdict": "abstained", "why": "the row has no reference reasoning or no report"},))
    assert reasoning is not None and report is not None
    text = parse_completion(completion).reasoning
    if judge == "rules":
        return radrscore(text, reasoning, report, labels)
    score = Judge(url, model, judge_timeout_s, cache).score(text, request(text, reasoning, report, model))
    fallback = score is None
    score = score or radrscore(text, reasoning, report, labels)
    return replace(score, parts={**score.parts, "judge_fallback": float(fallback)})


def radrscore(text: str, reference: str, report: str, labels: Mapping[str, str | None] | None = None) -> Score:
    """The score of a reasoning text with one evidence entry per claim, reference claim and step.

    An entry holds `part`, `verdict`, `credit` (0 to 1), `words` (of the completion, or of the reference for part
    completeness), `against` (the words on the other side, empty where it is silent) and `start`, `end` (offsets of
    `words` in their text).
    """
    gold, verified = read_reference(reference), Labels(labels)
    sentences = read_reasoning(text)
    claims = [claim for sentence in sentences for claim in sentence.claims]
    repeats = _repeats(claims, gold.facts.claims)
    entries = [
        *_factuality(claims, repeats, facts_of_report(report), verified),
        *_completeness(sentences, claims, gold, verified),
        *_effectiveness(sentences, repeats, gold.facts, verified),
    ]
    parts = {part: _share([e for e in entries if e["part"] == part and e["credit"] is not None]) for part in PARTS}
    return Score(sum(parts.values()) / len(PARTS), tuple(entries), parts)


def _share(entries: Sequence[Entry]) -> float:
    weight = sum(entry["weight"] for entry in entries)
    return sum(entry["credit"] * entry["weight"] for entry in entries) / weight if weight else 0.0


def _mean(credits: Sequence[float]) -> float:
    return sum(credits) / len(credits) if credits else 0.0


def _repeats(claims: Sequence[Claim], reference: Sequence[Claim]) -> set[int]:
    """Identities of the claims that only repeat. What the reference says twice may be said twice."""
    allowed = Counter(map(_key, reference))
    made: Counter[tuple] = Counter()
    details: dict[tuple, set[tuple]] = {}
    repeats = set()
    for claim in claims:
        key, own = _key(claim), _details(claim)
        known = details.setdefault(key, set())
        if made[key] >= max(1, allowed[key]) and (own in known or any(_covers(other, own) for other in known)):
            repeats.add(id(claim))
        made[key] += 1
        known.add(own)
    return repeats


def _key(claim: Claim) -> tuple:
    return claim.concepts, claim.status


def _details(claim: Claim) -> tuple:
    finding = claim.findings[0]
    return finding.laterality, finding.severity, finding.change


def _covers(earlier: tuple, later: tuple) -> bool:
    """Whether the later claim adds no detail to the earlier one of the same concepts and status."""
    return all(b is None or a == b for a, b in zip(earlier, later, strict=True))


def _factuality(claims: Sequence[Claim], repeats: set[int], report: Facts, labels: Labels) -> Iterator[Entry]:
    for claim in claims:
        if id(claim) in repeats:
            yield _entry("factuality", "repeated", None, claim, "")
            continue
        match = _consistent(claim, report, labels)
        verdict = _verdict(match)
        if not match.said:  # the report is silent: normal
            match = Match(1.0 if claim.status == "absent" else 0.0)
            verdict = "supported" if match.credit else "unsupported"
        yield _entry("factuality", verdict, match.credit, claim, match.words)


def _consistent(claim: Claim, report: Facts, labels: Labels) -> Match:
    """The claim against the report and the labels: absences stand together, alternatives stand by the best."""
    matches = [_verified(finding, report.match(finding), labels) for finding in claim.findings]
    if claim.status != "absent":
        return max(matches, key=lambda match: match.credit)
    said = [match._replace(credit=1.0) if _denied(match) else match for match in matches if match.said]
    worst = min(said, key=lambda match: match.credit, default=SILENT)
    if claim.general and not any(m.credit < 1.0 for m in map(labels.match, claim.findings) if m):
        return report.restates(claim) or worst
    return worst


def _denied(match: Match) -> bool:
    """The report denies a kind of it and is silent on the rest: that is normal."""
    return match.other is not None and match.other.status == "absent"


def _verified(finding: Finding, said: Match, labels: Labels) -> Match:
    """The report's word on the finding, corrected by the labels where they know better."""
    known = labels.match(finding)
    if known is None:
        return said
    if finding.status == "absent":
        # "No right effusion" beside a left one is a question of side, which labels do not know.
        return said if said.said and finding.laterality and said.credit == 1.0 else known
    if known.credit == 0.0 or not said.said:
        return known
    return said if said.credit > 0.0 or _wrong_side(finding, said) else known


def _wrong_side(finding: Finding, said: Match) -> bool:
    other = said.other
    return other is not None and other.status != "absent" and apart(finding.laterality, other.laterality)


class _Recall(NamedTuple):
    """How a reference claim fares in the completion: `factor` of what its words are worth there."""

    factor: float
    match: Match


def _completeness(
    sentences: Sequence[Sentence], claims: Sequence[Claim], reference: Reference, labels: Labels
) -> Iterator[Entry]:
    """One entry per sentence of the reference: how much of what it adds comes up, by what is said about it."""
    facts, said = Facts.of(claims), spoken(sentences)
    room = EXCESS * reference.terms + SPARE
    focus = min(1.0, (room / max(1, len(said.single))) ** 0.5)
    for topic in reference.topics:
        asked = [claim for claim in topic.claims if not _refuted(claim, labels)]
        if topic.claims and not asked:  # nobody should be asked to recall what verified labels deny
            continue
        recalls = {claim: _recall(claim, facts, said) for claim in asked}
        weight, got = _weigh(topic, recalls, said)
        if weight:
            credit = focus * got / weight
            matches = [recall.match for recall in recalls.values()]
            best = max(matches, key=lambda match: (match.credit, match.said), default=SILENT)
            yield _entry("completeness", _recalled(credit, best), credit, topic.sentence, best.words, weight)


def _weigh(topic: Topic, recalls: Mapping[Claim, _Recall], said: Spoken) -> tuple[float, float]:
    """What the new terms of a reference sentence weigh, and how much of that the completion earns."""
    factor = _mean([recall.factor for recall in recalls.values()]) if recalls else 1.0
    claimed = {f"concept:{finding.concept}" for claim in recalls for finding in claim.findings}
    general = sum(claim.general for claim in recalls)
    weight, got = float(general), factor * general
    for term in topic.single:
        worth = CONCEPT if term.startswith("concept:") else 1.0
        weight += worth
        if term in said.single or term in claimed:
            got += worth * factor
    return weight + len(topic.pairs), got + factor * sum(pair in said.pairs for pair in topic.pairs)


def _recall(claim: Claim, facts: Facts, said: Spoken) -> _Recall:
    restated = facts.restates(claim) if claim.general else None
    if restated:
        return _Recall(1.0, restated)
    matches = [facts.match(finding) for finding in claim.findings]
    credits = [m.credit / 2 if facts.opposes(f) else m.credit for m, f in zip(matches, claim.findings, strict=True)]
    best = max(matches, key=lambda match: (match.credit, match.said))
    if claim.general:
        return _Recall(_mean(credits), best)
    if best.said:
        return _Recall(max(credits) ** 0.5, best)  # a detail that differs is missed among the terms as well
    named = any(f"concept:{finding.concept}" in said.single for finding in claim.findings)
    return _Recall(MENTIONED * named, best)


def _refuted(claim: Claim, labels: Labels) -> bool:
    return any(match.credit == 0.0 for match in map(labels.match, claim.findings) if match)


def _recalled(credit: float, best: Match) -> Verdict:
    if credit and not best.said:
        return "partial"
    return _verdict(best._replace(credit=credit)) if best.said else "missed"


def _effectiveness(
    sentences: Sequence[Sentence], repeats: set[int], reference: Facts, labels: Labels
) -> Iterator[Entry]:
    for step in sentences:
        if not step.claims:
            continue
        fresh = [claim for claim in step.claims if id(claim) not in repeats]
        if not fresh:
            yield _entry("effectiveness", "repeated", 0.0, step, "")
            continue
        matches = [_backed(claim, reference, labels) for claim in fresh]
        credit = _mean([match.credit for match in matches])
        against = " | ".join(dict.fromkeys(match.words for match in matches if match.words))
        verdict = _verdict(max(matches, key=lambda match: match.said)._replace(credit=credit))
        yield _entry("effectiveness", verdict, credit, step, against)


def _backed(claim: Claim, reference: Facts, labels: Labels) -> Match:
    """The claim against the reference chain; a finding that the chain omits but the labels verify is backed too."""
    matches = []
    for finding in claim.findings:
        match, known = reference.match(finding), labels.match(finding)
        if (known is not None and known.credit == 0.0) or (
            known is not None
            and finding.status == "present"
            and match.credit == 0.0
            and not _wrong_side(finding, match)
        ):
            match = known
        matches.append(match)
    best = max(matches, key=lambda match: (match.credit, match.said))
    if claim.status != "absent":
        return best
    refuted = next((match for match in matches if match.said and match.credit == 0.0), None)
    return refuted or best._replace(credit=_mean([match.credit for match in matches]))


def _verdict(match: Match) -> Verdict:
    if not match.said:
        return "unsupported"
    if match.credit >= 1.0:
        return "supported"
    return "partial" if match.credit > 0.0 else "contradicted"


def _entry(
    part: str, verdict: Verdict, credit: float | None, claim: Claim | Sentence, against: str, weight: float = 1.0
) -> Entry:
    return {
        "part": part,
        "verdict": verdict,
        "credit": credit,
        "weight": weight,
        "words": claim.words,
        "against": against,
        "start": claim.start,
        "end": claim.end,
    }
