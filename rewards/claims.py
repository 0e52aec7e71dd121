"""What the reasoning claims: F1 of present findings, and how often hedged and confident claims hold.

Claims are read as the process rewards read them (`rewards.radrscore`). The rules in words: docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any, NamedTuple

from reasoner.findings import QUALITY, ancestors, concept_class, kin, region
from reasoner.mining.chains import GENERAL
from reasoner.mining.wording import CLASS_CONCEPT
from reasoner.prompts import parse_completion
from reasoner.schema import NO_FINDING, verified_labels
from rewards.radrscore.claims import Claim, Fact
from rewards.radrscore.details import degrees_agree
from rewards.radrscore.reading import read_reasoning
from rewards.radrscore.skill import WHOLE_FILM
from rewards.radrscore.verdicts import VAGUER, Labels, classes_below

#: Counts of the F1 with side and degree, and without.
DETAILED, NAMED = "claims", "named claims"
#: What is asserted, hedged and denied: the shares of it that are there.
CONFIDENT, HEDGED, DENIED = "confident_true", "hedged_true", "denied_there"


class Present(NamedTuple):
    """A finding that a text says is there; one on both sides is two. `label`: its class, where no more is known."""

    concept: str
    side: str | None = None
    degree: str | None = None
    label: str | None = None


class Reference(NamedTuple):
    """The findings that are to be claimed, and those that may be claimed or not."""

    wanted: frozenset[Present]
    free: frozenset[Present]


def claims_of(row: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The claims of a prediction row's reasoning, in its order."""
    return _read(parse_completion(row["completion"]).reasoning)


def claim_statistics(row: Mapping[str, Any], claims: Sequence[Claim]) -> dict[str, float]:
    """Counts of a prediction row that makes these claims; without a reference chain those of the hedges alone."""
    labels = verified_labels(row.get("labels"), row.get("label_source"))
    counts = _hedges(claims, Labels(labels)) if labels else {}
    if (row.get("reasoning") or "").strip():
        reference = read_reference(row["reasoning"], tuple(labels.items()), row["task"] in WHOLE_FILM)
        said = findings(claims, "present")
        counts |= _matched(DETAILED, said, reference)
        counts |= _matched(NAMED, _names(said), Reference(*map(_names, reference)))
    return counts


def text_counts(given: str, gold: str, task: str = "report") -> dict[str, float]:
    """Counts of the findings that a text names, against those of another: `tp`, `fp` and `fn` of each kind."""
    row = {"reasoning": gold, "task": task, "labels": None}
    found = claim_statistics(row, claims_of({"completion": given}))
    return {name: count for name, count in found.items() if name.startswith(("tp:", "fp:", "fn:"))}


@lru_cache(maxsize=1 << 14)
def read_reference(reasoning: str, labels: tuple[tuple[str, str], ...], whole_film: bool) -> Reference:
    """The findings of a reference chain; verified labels (class, status) overrule it.

    A hedged finding is free unless its class is verified. A class that is verified present and of which the chain is
    silent is wanted where the question is about the `whole_film`, else free.
    """
    claims, known = _read(reasoning), Labels(dict(labels))
    stated, hedged = findings(claims, "present"), findings(claims, "uncertain")
    wanted = {one for one in stated if _verified(one, known) in (None, "present")}
    wanted |= {one for one in hedged if _verified(one, known) == "present" and not any(_says(w, one) for w in wanted)}
    free = {one for one in stated | hedged if _verified(one, known) != "absent"} - wanted
    for name, status in labels:
        if status == "absent" or name == NO_FINDING:
            continue
        bare = Present(CLASS_CONCEPT[name], label=name)
        if not any(_alike(one, bare) for one in wanted):
            (wanted if status == "present" and whole_film else free).add(bare)
    return Reference(frozenset(wanted), frozenset(free))


def findings(claims: Iterable[Claim], status: str) -> frozenset[Present]:
    """The findings that claims of one status assert, each once for its side; `A or B` is uncertain.

    A mention without a side is of the mentions that have one, and gives them its degree.
    """
    degrees: dict[tuple[str, str | None], str | None] = {}
    for claim in claims:
        if claim.status == "absent" or status != ("uncertain" if claim.alternatives else claim.status):
            continue
        for fact in claim.facts:
            if fact.concept in GENERAL or region(fact.concept) == QUALITY:
                continue
            for side in ("left", "right") if fact.laterality == "bilateral" else (fact.laterality,):
                degrees[fact.concept, side] = degrees.get((fact.concept, side)) or fact.severity
    sided = {concept for concept, side in degrees if side}
    return frozenset(
        Present(concept, side, degree or degrees.get((concept, None)))
        for (concept, side), degree in degrees.items()
        if side or concept not in sided
    )


@lru_cache(maxsize=1 << 14)
def _read(text: str) -> tuple[Claim, ...]:
    return tuple(claim for sentence in read_reasoning(text) for claim in sentence.claims)


def _names(some: Set[Present]) -> frozenset[Present]:
    return frozenset(one._replace(side=None, degree=None) for one in some)


def _matched(kind: str, said: Set[Present], reference: Reference) -> dict[str, float]:
    """True positives, false positives and false negatives."""
    wanted, free = reference
    found = sum(any(_says(claim, one) and _agrees(claim, one) for claim in said) for one in wanted)
    right = sum(
        any(_says(one, claim) and _agrees(claim, one) for one in wanted)
        or any(_says(one, claim) and (None in (one.side, claim.side) or one.side == claim.side) for one in free)
        for claim in said
    )
    return {
        f"tp:{kind}": float(found),
        f"fp:{kind}": float(len(said) - right),
        f"fn:{kind}": float(len(wanted) - found),
    }


def _says(one: Present, other: Present) -> bool:
    """Whether who names the one finding has named the other: it is the same, or what the one is a kind of; within a
    CheXpert class also a kind of the one."""
    return other.concept in (one.concept, *ancestors(one.concept)) or _alike(one, other)


def _alike(one: Present, other: Present) -> bool:
    a, b = concept_class(one.concept), concept_class(other.concept)
    if other.label or one.label:
        return a in _classes(other.label) or b in _classes(one.label)
    return a is not None and a == b and other.concept in kin(one.concept)


def _classes(label: str | None) -> tuple[str, ...]:
    return (label, *classes_below().get(label, ())) if label else ()


def _agrees(claim: Present, wanted: Present) -> bool:
    """Whether a claim gives the side and the degree of a finding, as far as it has any."""
    return wanted.side in (None, claim.side) and (
        wanted.degree is None or (claim.degree is not None and degrees_agree(claim.degree, wanted.degree) == 1.0)
    )


def _verified(one: Present, labels: Labels) -> str | None:
    """What the labels say of a finding."""
    match = labels.match(Fact(one.concept, "present"))
    if match is None:
        return None
    return "present" if match.credit >= VAGUER else "uncertain" if match.credit else "absent"


def _hedges(claims: Iterable[Claim], labels: Labels) -> dict[str, float]:
    """How many findings are asserted, hedged and denied, and how many of these are verified to be there. One that is
    asserted and hedged counts as asserted, one that is denied besides (on another side, say) not as denied; one that
    labels do not tell does not count."""
    claims = tuple(claims)
    confident = {one.concept for one in findings(claims, "present")}
    hedged = {one.concept for one in findings(claims, "uncertain")} - confident
    told = {
        CONFIDENT: [_verified(Present(name), labels) for name in confident],
        HEDGED: [_verified(Present(name), labels) for name in hedged],
        DENIED: [_denial(name, labels) for name in _denied(claims) - confident - hedged],
    }
    counts = {}
    for kind, statuses in told.items():
        counts[f"n:{kind}"] = float(statuses.count("present") + statuses.count("absent"))
        counts[f"sum:{kind}"] = float(statuses.count("present"))
    return counts


def _denied(claims: Iterable[Claim]) -> set[str]:
    """The concepts that are denied on both sides: labels know none."""
    facts = (fact for claim in claims if claim.status == "absent" for fact in claim.facts)
    return {f.concept for f in facts if not f.laterality and f.concept not in GENERAL and region(f.concept) != QUALITY}


def _denial(concept: str, labels: Labels) -> str | None:
    """What the labels say of a denied finding; that a class is there says little of one of its kinds."""
    match = labels.match(Fact(concept, "absent"))
    return match.other.status if match and match.other else None
