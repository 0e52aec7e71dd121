"""Findings into chains: the steps of a systematic read, each with the words of the report behind it.

Three styles: `concise` (abnormal findings and the key normal statements, for small models), `systematic` (every region
in turn and a summary, after NV-Reason-CXR, arXiv 2510.23968) and `question` (plan, examine, conclude, after
ChestX-Reasoner, arXiv 2504.20930).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from reasoner.findings import concept_class, parents, region
from reasoner.findings.lexicon import implied
from reasoner.mining.wording import CLASS_CONCEPT, choose, join_words, noun, noun_phrase, plural, stable_hash, state
from reasoner.schema import READ_ORDER, Chain, Finding, Laterality, Step

STYLES = ("concise", "systematic", "question")
_RANK = {"absent": 0, "uncertain": 1, "present": 2}
#: Concepts too general to be a step of their own.
GENERAL = frozenset({"cardiopulmonary_abnormality", "lung_disease", "pleural_abnormality", "bone_abnormality"})
_LUNGS = ("lung_opacity", "consolidation", "pneumonia", "pulmonary_edema", "infiltrate", "airspace_disease",
          "atelectasis", "lung_nodule")  # fmt: skip


@dataclass(frozen=True)
class Normal:
    """A normal statement: the concepts it denies, its wordings, and whether only the systematic style says it."""

    region: str
    denies: tuple[str, ...]
    texts: tuple[str, ...]
    systematic: bool = False


#: Per region, from the broadest statement to the narrowest: each is said unless a finding or a broader one forbids it.
NORMALS: tuple[tuple[Normal, ...], ...] = (
    (Normal("devices", ("support_device",), ("No support devices.", "No support devices are seen.")),),
    (Normal("airways", ("mediastinal_shift",), ("The trachea is midline.",), True),),
    (
        Normal("lungs", _LUNGS, ("The lungs are clear.", "Lungs are clear.")),
        Normal("lungs", ("consolidation",), ("No consolidation.", "There is no consolidation.")),
        Normal("lungs", ("lung_nodule",), ("No lung nodule.", "There is no lung nodule.")),
    ),
    (
        Normal("pleura", ("pleural_effusion", "pneumothorax"),
               ("No pleural effusion or pneumothorax.", "There is no pleural effusion or pneumothorax.")),
        Normal("pleura", ("pneumothorax",), ("No pneumothorax.", "There is no pneumothorax.")),
        Normal("pleura", ("pleural_effusion",), ("No pleural effusion.", "There is no pleural effusion.")),
    ),
    (Normal("mediastinum", ("enlarged_cardiomediastinum",), ("The mediastinum is not widened.",), True),),
    (Normal("hila", ("hilar_enlargement",), ("The hila are normal.",), True),),
    (Normal("heart", ("cardiomegaly",), ("The heart is not enlarged.", "Heart size is normal.")),),
    (Normal("abdomen", ("free_air",), ("There is no free air under the diaphragm.",), True),),
    (Normal("bones", ("fracture",), ("No fracture.", "No fracture is seen.")),),
)  # fmt: skip

PLANS = (
    "To answer this, the {r} must be examined.",
    "First the {r} must be examined.",
)
REGION_WORDS = {"bones": "bones", "pleura": "pleural spaces", "lungs": "lungs", "heart": "heart", "devices": "chest"}


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per concept and side, in READ_ORDER: the strongest status, the first value of each attribute.

    A mention without a side adds to one with a side; a concept that is asserted anywhere is not also denied.
    """
    by_concept: dict[str, list[Finding]] = {}
    for finding in findings:
        group = by_concept.setdefault(finding.concept, [])
        for i, other in enumerate(group):
            if _same(finding, other):
                group[i] = _join(other, finding)
                break
        else:
            group.append(finding)
    merged: list[Finding] = []
    for group in by_concept.values():
        best = max(_RANK[f.status] for f in group)
        # Denied here, asserted there: the assertion stands, unless the denial is of another side.
        kept = [f for f in group if _RANK[f.status] == best]
        both = [f for f in kept if f.laterality == "bilateral"]
        merged += both[:1] or kept
    return sorted(merged, key=lambda f: READ_ORDER.index(region(f.concept)))


def _same(a: Finding, b: Finding) -> bool:
    return a.laterality == b.laterality or a.laterality is None or b.laterality is None


def _join(a: Finding, b: Finding) -> Finding:
    strong, weak = (b, a) if _RANK[b.status] > _RANK[a.status] else (a, b)
    if weak.status == "absent" and strong.status != "absent":
        return strong
    side: Laterality | None = strong.laterality or weak.laterality
    return replace(
        strong,
        laterality=side,
        location=strong.location or weak.location,
        severity=strong.severity or weak.severity,
        change=strong.change or weak.change,
    )


def build_chain(
    findings: Sequence[Finding],
    *,
    style: str,
    key: tuple[object, ...],
    classes: Collection[str] | None = None,
    conclusion: str | None = None,
    attempt: int = 0,
) -> Chain:
    """The chain over merged `findings` of one report.

    Args:
        findings: what `merge` returned; evidence in the report.
        style: one of `STYLES`.
        key: what the choice of words depends on (study, seed, task).
        classes: only steps about these CheXpert classes; None for the whole read.
        conclusion: the answer, for the last step of the `question` style; None for a summary of the findings instead.
        attempt: counts up when the verifier asks for other words.
    """
    key = _wording_key(style, key)
    asserted = [f for f in findings if f.status != "absent"]
    if classes is not None:
        asserted = [f for f in asserted if not _classes(f).isdisjoint(classes)]
    said_already = {name for f in asserted for name in implied(f.concept)}
    abnormal = [f for f in asserted if f.concept not in GENERAL | said_already]
    steps = [_abnormal_step(f, key, attempt) for f in abnormal]
    if classes is None:
        steps += _normal_steps(findings, style, key, attempt)
    else:
        steps += _denials(findings, classes, key, attempt)
    steps.sort(key=lambda step: READ_ORDER.index(step.stage))
    if style == "question":
        steps = [_plan(steps, key, attempt), *steps]
    if style == "question" and conclusion is not None:
        steps.append(Step(f"The answer is therefore {conclusion}.", "conclusion"))
    elif style != "concise" and classes is None and attempt == 0:  # a summary that reads wrong is left out
        steps.append(_summary(abnormal))
    return Chain(tuple(steps))


def _classes(finding: Finding) -> set[str | None]:
    return {concept_class(name) for name in (finding.concept, *implied(finding.concept))}


def _summary(abnormal: Sequence[Finding]) -> Step:
    """What was found, once more; those without a side first, as a side carries over to what follows it."""
    ordered = sorted(abnormal, key=lambda f: (f.status == "uncertain", f.laterality is not None))
    phrases = [
        "possible " * (f.status == "uncertain")
        + noun_phrase(replace(f, location=None), region(f.concept), degree=False)
        for f in ordered
    ]
    text = f"In summary, {join_words(phrases)}." if phrases else "In summary, no acute abnormality."
    return Step(text, "conclusion", tuple(replace(f, change=None) for f in ordered))


def build_comparison(finding: Finding, *, style: str, key: tuple[object, ...], answer: str, attempt: int = 0) -> Chain:
    """The chain of a temporal question: how one finding differs from the prior image."""
    frame = stable_hash(*_wording_key(style, key), finding.concept) + attempt
    steps = [
        Step(state(finding, region(finding.concept), frame, change=True), "comparison", (finding,), finding.evidence)
    ]
    if style == "question":
        plan = Step("First the two images must be compared.", "plan")
        steps = [plan, *steps, Step(f"The answer is therefore {answer}.", "conclusion")]
    return Chain(tuple(steps))


def _wording_key(style: str, key: tuple[object, ...]) -> tuple[object, ...]:
    """`concise` has one wording per concept: a small model should spend itself on the image, not on synonyms."""
    return () if style == "concise" else key


def _abnormal_step(finding: Finding, key: tuple[object, ...], attempt: int) -> Step:
    stage = region(finding.concept)
    finding = replace(finding, change=None)  # one image shows no change
    text = state(finding, stage, stable_hash(*key, finding.concept) + attempt)
    return Step(text, stage, (finding,), finding.evidence)


def _normal_steps(findings: Sequence[Finding], style: str, key: tuple[object, ...], attempt: int) -> list[Step]:
    steps: list[Step] = []
    for group in NORMALS:
        said: set[str] = set()
        for normal in group:
            if normal.systematic and style != "systematic":
                continue
            if said & set(normal.denies) or _contradicted(normal.denies, normal.region, findings):
                continue
            said |= set(normal.denies)
            steps.append(_normal_step(normal.region, normal.denies, normal.texts, findings, key, attempt))
    return steps


def _normal_step(
    stage: str,
    denies: Sequence[str],
    texts: Sequence[str],
    findings: Sequence[Finding],
    key: tuple[object, ...],
    attempt: int,
) -> Step:
    denied = {f.concept: f for f in findings if f.status == "absent"}
    own = tuple(
        Finding(concept, "absent", evidence=denied[concept].evidence if concept in denied else None)
        for concept in denies
    )
    evidence = next((f.evidence for f in own if f.evidence is not None), None)
    text = texts[(stable_hash(*key, denies[0]) + attempt) % len(texts)]
    return Step(text, stage, own, evidence)


def _denials(
    findings: Sequence[Finding], classes: Collection[str], key: tuple[object, ...], attempt: int
) -> list[Step]:
    steps = []
    for name in sorted(classes):
        concept = CLASS_CONCEPT.get(name)
        if concept is None or not deniable(name, findings):
            continue
        words = plural(noun(concept)) if concept == "support_device" else noun(concept)
        texts = (f"No {words}.", f"There {'are' if words.endswith('devices') else 'is'} no {words}.")
        steps.append(_normal_step(region(concept), (concept,), texts, findings, key, attempt))
    return steps


def deniable(name: str, findings: Sequence[Finding]) -> bool:
    """Whether nothing in the report speaks for this class, for one of its concepts, or for a narrower one."""
    asserted = any(f.status != "absent" and concept_class(f.concept) == name for f in findings)
    return not asserted and not _contradicted((CLASS_CONCEPT[name],), "", findings)


def _contradicted(denies: Sequence[str], stage: str, findings: Sequence[Finding]) -> bool:
    """Whether a finding that holds, or may hold, forbids denying these concepts."""
    for finding in findings:
        if finding.status == "absent":
            continue
        if denies is _LUNGS and region(finding.concept) == stage:
            return True
        if finding.concept in denies or not set(denies).isdisjoint(parents(finding.concept)):
            return True
    return False


def _plan(steps: Sequence[Step], key: tuple[object, ...], attempt: int) -> Step:
    stages = list(dict.fromkeys(step.stage for step in steps))
    words = list(dict.fromkeys(REGION_WORDS.get(stage, stage) for stage in stages)) or ["chest"]
    return Step(choose(PLANS, *key, "plan", attempt).format(r=join_words(words)), "plan")
