"""Findings into chains: the steps of a systematic read, each with the words of the report behind it.

Four styles: `concise` (abnormal findings and the key normal statements, for small models), `systematic` (quality,
every region in turn and a summary, after NV-Reason-CXR, arXiv 2510.23968), `question` (plan, examine, conclude,
after ChestX-Reasoner, arXiv 2504.20930) and `brief` (what `question` does, in as few words as `concise`).

`concise` and `brief` have one wording per concept. The other styles choose among many by a hash of the study, and take
the first that the verifier reads back unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from reasoner.findings import QUALITY, ancestors, concept_class, region
from reasoner.findings.lexicon import implied
from reasoner.mining.advice import advice, differentials
from reasoner.mining.quality import quality_steps
from reasoner.mining.verify import misread
from reasoner.mining.wording import (
    CLASS_CONCEPT,
    COMPARISON_PLANS,
    CONCLUSIONS,
    NORMAL_SUMMARIES,
    OPENERS,
    PLANS,
    READ_PLANS,
    REGION_WORDS,
    SUMMARIES,
    TOPIC_PLANS,
    choose,
    join_words,
    noun,
    noun_phrase,
    plural,
    stable_hash,
    state,
    ways,
    with_article,
)
from reasoner.schema import READ_ORDER, Chain, Finding, Laterality, Step, Study

STYLES = ("concise", "systematic", "question", "brief")
#: Styles with one wording per concept: a small model should learn images, not synonyms.
PLAIN = ("concise", "brief")
#: Styles that plan, examine and conclude.
PLANNED = ("question", "brief")
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
    #: Wordings that `concise` does not use.
    varied: tuple[str, ...] = ()


#: Per region, from the broadest statement to the narrowest: each is said unless a finding or a broader one forbids it.
NORMALS: tuple[tuple[Normal, ...], ...] = (
    (
        Normal("devices", ("support_device",), ("No support devices.", "No support devices are seen."),
               varied=("I see no support devices.", "There are no lines, tubes or other support devices.")),
    ),
    (
        Normal("airways", ("mediastinal_shift",), ("The trachea is midline.",), True,
               ("The trachea is in the midline.", "The trachea lies midline.", "There is no tracheal deviation.")),
    ),
    (
        Normal("lungs", _LUNGS, ("The lungs are clear.", "Lungs are clear."),
               varied=("Both lungs are clear.", "The lungs look clear.", "The lungs are clear on both sides.")),
        Normal("lungs", ("consolidation",), ("No consolidation.", "There is no consolidation."),
               varied=("I see no consolidation.", "No consolidation is seen.")),
        Normal("lungs", ("lung_nodule",), ("No lung nodule.", "There is no lung nodule."),
               varied=("I see no lung nodule.", "No lung nodule is seen.")),
    ),
    (
        Normal("pleura", ("pleural_effusion", "pneumothorax"),
               ("No pleural effusion or pneumothorax.", "There is no pleural effusion or pneumothorax."),
               varied=("I see neither pleural effusion nor pneumothorax.", "No effusion or pneumothorax is seen.")),
        Normal("pleura", ("pneumothorax",), ("No pneumothorax.", "There is no pneumothorax."),
               varied=("I see no pneumothorax.", "No pneumothorax is seen.")),
        Normal("pleura", ("pleural_effusion",), ("No pleural effusion.", "There is no pleural effusion."),
               varied=("I see no pleural effusion.", "No pleural effusion is seen.")),
    ),
    (
        Normal("mediastinum", ("enlarged_cardiomediastinum",), ("The mediastinum is not widened.",), True,
               ("There is no mediastinal widening.", "I see no widening of the mediastinum.")),
    ),
    (
        Normal("hila", ("hilar_enlargement",), ("The hila are normal.",), True,
               ("Both hila are normal.", "The hila are not enlarged.", "There is no hilar enlargement.")),
    ),
    (
        Normal("heart", ("cardiomegaly",), ("The heart is not enlarged.", "Heart size is normal."),
               varied=("The heart is normal in size.", "The cardiac silhouette is not enlarged.",
                       "There is no cardiomegaly.")),
    ),
    (
        Normal("abdomen", ("free_air",), ("There is no free air under the diaphragm.",), True,
               ("No free air is seen under the diaphragm.", "I see no free air below the diaphragm.")),
    ),
    (
        Normal("bones", ("fracture",), ("No fracture.", "No fracture is seen."),
               varied=("There is no fracture.", "I see no fracture.")),
    ),
)  # fmt: skip


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per concept and side, in READ_ORDER: the strongest status, the first value of each attribute.

    A mention without a side is merged into one that has a side. A concept that is asserted anywhere is not denied as
    well. Remarks on the quality of the image are left out: they are no findings of the chest (see `quality.py`).
    """
    by_concept: dict[str, list[Finding]] = {}
    for finding in findings:
        if region(finding.concept) == QUALITY:
            continue
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
        tip=strong.tip or weak.tip,
    )


def build_chain(
    findings: Sequence[Finding],
    *,
    style: str,
    key: tuple[object, ...],
    classes: Collection[str] | None = None,
    regions: Collection[str] | None = None,
    conclusion: str | None = None,
    attempt: int = 0,
    study: Study | None = None,
    extra: Collection[str] = (),
    only: bool = False,
) -> Chain:
    """The chain over merged `findings` of one report.

    Args:
        findings: what `merge` returned; evidence in the report.
        style: one of `STYLES`.
        key: what the choice of words depends on (study, seed, task).
        classes: only steps about these CheXpert classes; None for the whole read.
        regions: only steps about these regions; None for the whole read.
        conclusion: the answer, for the last step of `PLANNED` styles; None for a summary of the findings instead.
        attempt: counts up when the verifier asks for other words.
        study: whose views and remarks on quality open a `systematic` read; None leaves them out.
        extra: what closes one: `differential` and `recommendation`, where the study's report gives them.
        only: these findings are not all that the report says: nothing else is called normal.
    """
    words = _Words(style, _wording_key(style, key), attempt, tuple(findings))
    asserted = [f for f in findings if f.status != "absent"]
    if classes is not None:
        asserted = [f for f in asserted if not _classes(f).isdisjoint(classes)]
    if regions is not None:
        asserted = [f for f in asserted if region(f.concept) in regions]
    said_already = {name for f in asserted for name in implied(f.concept)}
    abnormal = [f for f in asserted if f.concept not in GENERAL | said_already]
    steps = [words.abnormal(f) for f in abnormal]
    if only:
        pass
    elif classes is None:
        steps += _normal_steps(findings, words, regions)
    else:
        steps += _denials(findings, classes, words)
    steps.sort(key=lambda step: READ_ORDER.index(step.stage))
    whole = classes is None and regions is None and not only
    if style == "systematic" and whole:
        steps = words.opened(steps)
        if study is not None:
            steps = [*quality_steps(study, words.key, attempt), *steps]
    if style in PLANNED:
        steps = [_plan(steps, classes, whole, words), *steps]
    if style in PLANNED and conclusion is not None:
        steps.append(Step(choose(CONCLUSIONS, *words.key, "conclusion").format(c=conclusion), "conclusion"))
    elif style not in PLAIN and whole and attempt == 0:  # a summary that reads wrong is left out
        steps += words.summary(abnormal)
    if style == "systematic" and whole and study is not None:
        steps += differentials(study.report, findings, words.key) if "differential" in extra else []
        steps += advice(study.report) if "recommendation" in extra else []
    return Chain(tuple(steps))


@dataclass(frozen=True)
class _Words:
    """The choice of words for one chain: fixed in `PLAIN` styles, else the first varied wording that reads back."""

    style: str
    key: tuple[object, ...]
    attempt: int
    findings: tuple[Finding, ...]

    @property
    def varied(self) -> bool:
        return self.style not in PLAIN

    def abnormal(self, finding: Finding) -> Step:
        stage = region(finding.concept)
        finding = replace(finding, change=None)  # one image shows no change
        frame = stable_hash(*self.key, finding.concept) + self.attempt
        step = Step(state(finding, stage, frame), stage, (finding,), finding.evidence)
        ends = self.style != "concise" and finding.tip is not None
        return self.first_that_reads(step, ways(finding, stage), frame) if self.varied or ends else step

    def normal(self, stage: str, denies: Sequence[str], texts: Sequence[str], varied: Sequence[str]) -> Step:
        denied = {f.concept: f for f in self.findings if f.status == "absent"}
        own = tuple(
            Finding(concept, "absent", evidence=denied[concept].evidence if concept in denied else None)
            for concept in denies
        )
        evidence = next((f.evidence for f in own if f.evidence is not None), None)
        frame = stable_hash(*self.key, denies[0]) + self.attempt
        step = Step(texts[frame % len(texts)], stage, own, evidence)
        return self.first_that_reads(step, [*texts, *varied], frame) if self.varied else step

    def opened(self, steps: Sequence[Step]) -> list[Step]:
        """The steps with words that turn to a region before its first, where they read the same."""
        found: list[Step] = []
        stage = ""
        for step in steps:
            if step.stage != stage and self.attempt == 0:
                stage = step.stage
                words = REGION_WORDS.get(stage, stage)
                opener = choose(OPENERS, *self.key, "opener", stage).format(r=words, R=words.capitalize())
                text = opener + (
                    step.text[0].lower() + step.text[1:] if opener and step.text[:2] != "I " else step.text
                )
                step = self.first_that_reads(step, [text, step.text], 0)
            found.append(step)
        return found

    def summary(self, abnormal: Sequence[Finding]) -> list[Step]:
        """The findings once more. Those without a side come first, because a side carries over to what follows it."""
        ordered = sorted(abnormal, key=lambda f: (f.status == "uncertain", f.laterality is not None))
        phrases = [
            "possible " * (f.status == "uncertain")
            + noun_phrase(replace(f, location=None), region(f.concept), degree=False)
            for f in ordered
        ]
        bodies = [join_words(phrases)] if phrases else NORMAL_SUMMARIES
        own = tuple(replace(f, change=None) for f in ordered)
        texts = [frame.format(x=body) for body in bodies for frame in SUMMARIES]
        step = Step(texts[0], "conclusion", own, own[0].evidence if own else None)
        step = self.first_that_reads(step, texts, stable_hash(*self.key, "summary"))
        return [] if misread(step, self.findings) else [step]

    def first_that_reads(self, step: Step, texts: Sequence[str], start: int) -> Step:
        """The step in the first wording from `start` on that reads back unchanged; the step as it is when none does."""
        for n in range(len(texts)):
            other = replace(step, text=texts[(start + n) % len(texts)])
            if not misread(other, self.findings):
                return other
        return step


def _classes(finding: Finding) -> set[str | None]:
    return {concept_class(name) for name in (finding.concept, *implied(finding.concept))}


def build_comparison(finding: Finding, *, style: str, key: tuple[object, ...], answer: str, attempt: int = 0) -> Chain:
    """The chain of a temporal question: how one finding differs from the prior image."""
    key = _wording_key(style, key)
    frame = stable_hash(*key, finding.concept) + attempt
    stage = region(finding.concept)
    step = Step(state(finding, stage, frame, change=True), "comparison", (finding,), finding.evidence)
    if style not in PLAIN:
        texts = ways(finding, stage, change=True)
        others = (replace(step, text=texts[(frame + n) % len(texts)]) for n in range(len(texts)))
        step = next((other for other in others if not misread(other, (finding,), prior=True)), step)
    if style not in PLANNED:
        return Chain((step,))
    plan = Step(choose(COMPARISON_PLANS, *key, "plan"), "plan")
    end = Step(choose(CONCLUSIONS, *key, "conclusion").format(c=answer), "conclusion")
    return Chain((plan, step, end))


def _wording_key(style: str, key: tuple[object, ...]) -> tuple[object, ...]:
    """Nothing, where there is one wording."""
    return () if style in PLAIN else key


def _normal_steps(findings: Sequence[Finding], words: _Words, regions: Collection[str] | None) -> list[Step]:
    steps: list[Step] = []
    for group in NORMALS:
        said: set[str] = set()
        for normal in group:
            if regions is None and normal.systematic and words.style != "systematic":
                continue
            if regions is not None and normal.region not in regions:
                continue
            if said & set(normal.denies) or _contradicted(normal.denies, normal.region, findings):
                continue
            said |= set(normal.denies)
            steps.append(words.normal(normal.region, normal.denies, normal.texts, normal.varied))
    return steps


def _denials(findings: Sequence[Finding], classes: Collection[str], words: _Words) -> list[Step]:
    steps = []
    for name in sorted(classes):
        concept = CLASS_CONCEPT.get(name)
        if concept is None or not deniable(name, findings):
            continue
        many = concept == "support_device"
        said, verb = plural(noun(concept)) if many else noun(concept), "are" if many else "is"
        texts = (f"No {said}.", f"There {verb} no {said}.")
        varied = (f"I see no {said}.", f"No {said} {verb} seen.", f"No {said} {verb} visible.")
        steps.append(words.normal(region(concept), (concept,), texts, varied))
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
        if finding.concept in denies or not set(denies).isdisjoint(ancestors(finding.concept)):
            return True
    return False


def _plan(steps: Sequence[Step], classes: Collection[str] | None, whole: bool, words: _Words) -> Step:
    """What must be examined to answer; for one class, what is looked for. A plan asserts nothing."""
    stages = list(dict.fromkeys(step.stage for step in steps))
    regions = join_words(list(dict.fromkeys(REGION_WORDS.get(stage, stage) for stage in stages)) or ["chest"])
    frames: tuple[str, ...] = (*READ_PLANS, PLANS[0]) if whole else PLANS
    topic = ""
    if classes is not None and len(classes) == 1:
        concept = CLASS_CONCEPT[next(iter(classes))]
        topic, frames = with_article(noun(concept), concept), (*TOPIC_PLANS, *PLANS)
    start = stable_hash(*words.key, "plan") + words.attempt
    step = Step(PLANS[1].format(r=regions), "plan")
    return words.first_that_reads(step, [frame.format(r=regions, t=topic) for frame in frames], start)
