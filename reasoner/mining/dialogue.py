"""The eight stages of a read as one conversation about one study (after CXRTrek): a draft for each stage, in order.

Where the report is silent the answer says so in the words of someone who looks at the image: there is no prior to
compare with, nothing to relate, no advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, product

from reasoner.findings import region
from reasoner.mining.advice import advice
from reasoner.mining.chains import GENERAL, build_chain, build_comparison
from reasoner.mining.drafts import Draft, Read, make_key
from reasoner.mining.quality import quality_steps, quality_wordings
from reasoner.mining.verify import NO_PRIOR, misread
from reasoner.mining.wording import choose, join_words, noun, noun_phrase, stable_hash, ways
from reasoner.schema import Chain, Evidence, Finding, Step, Study, Target

QUESTIONS: dict[int, tuple[str, ...]] = {
    1: ("Which views are shown, and is the quality sufficient?", "What is shown here, and how good is the image?"),
    2: ("Which findings do you identify?", "Go through the image. What is abnormal?"),
    3: ("Describe the findings: side, place and size.", "Where are the findings, and how large are they?"),
    4: ("How do the findings relate to one another?", "Are any of the findings related in place?"),
    5: ("How do the findings compare with the prior image?", "What has changed since the prior image?"),
    6: ("What is the outlook?", "How is the course to be judged?"),
    7: ("What is the diagnosis, and what do you advise?", "Which diagnosis do you make, and what should follow?"),
    8: ("Write the impression.", "Sum up the examination as an impression."),
}
TWO_IMAGES = "The prior examination is shown first, the current one last. "
#: Findings that are a disease rather than a sign of one.
DIAGNOSES = frozenset({
    "pneumonia", "heart_failure", "pulmonary_edema", "pulmonary_congestion", "emphysema", "tuberculosis",
    "pneumothorax", "hiatal_hernia", "aortic_aneurysm", "fracture", "pneumomediastinum", "scoliosis", "osteopenia",
})  # fmt: skip
COURSES = {
    frozenset({"worse"}): "worsening",
    frozenset({"new"}): "worsening",
    frozenset({"new", "worse"}): "worsening",
    frozenset({"improved"}): "improving",
    frozenset({"resolved"}): "improving",
    frozenset({"improved", "resolved"}): "improving",
    frozenset({"stable"}): "stable",
}
ONE_IMAGE = ("One image cannot tell the course.", "The course cannot be judged from a single examination.")
UNRELATED = ("I see no link in place between them.", "They stand by themselves.")
TOO_FEW = ("There is nothing to relate.", "There are not two of them to relate.")
NOTHING = ("There is nothing to describe.", "Nothing abnormal needs describing.")
NO_ADVICE = ("No further imaging is advised.", "Nothing further is advised.")
NO_DIAGNOSIS = ("The image alone gives no specific diagnosis.", "No specific diagnosis can be made.")
NORMAL = ("No acute cardiopulmonary abnormality.", "No acute abnormality.")
#: Sentences that mean the same.
WORDINGS = (ONE_IMAGE, UNRELATED, TOO_FEW, NOTHING, NO_ADVICE, NO_DIAGNOSIS, NORMAL, NO_PRIOR)
_MOST_WORDINGS = 24
#: The kind of all questions here (`Target.kind`).
TEXT = "captioning"


def dialogue(read: Read) -> Iterator[Draft]:
    """The drafts of the stages 1 to 8; `questions.py` adds to each the turns before it."""
    stages = (_quality, _findings, _attributes, _relations, _comparison, _outlook, _diagnosis, _impression)
    study, prior = read.study, bool(read.study.prior_images)
    for number, stage in enumerate(stages, 1):
        key = make_key(read, "stage", number)
        thought, said = stage(read, key)
        question = choose(QUESTIONS[number], *key, "question")
        yield Draft(
            TWO_IMAGES * (prior and number == 1) + question,
            " ".join(step.text for step in said),
            _always(Chain(tuple(thought))),
            images=(*study.prior_images, *study.images),
            prior=prior or number == 5,
            stage=number,
            said=tuple(said),
            target=Target(TEXT, chosen=_as_right(study, said)),
        )


def _as_right(study: Study, said: Sequence[Step]) -> tuple[str, ...]:
    """The answer in all other words that it has here; none where it names findings, which are compared as such."""
    if any(step.findings for step in said):
        return ()
    groups = (*WORDINGS, *quality_wordings(study))
    choices = [next((texts for texts in groups if step.text in texts), (step.text,)) for step in said]
    answer = " ".join(step.text for step in said)
    others = (" ".join(words) for words in islice(product(*choices), _MOST_WORDINGS))
    return tuple(text for text in others if text != answer)


def _always(chain: Chain) -> Callable[[int], Chain]:
    return lambda attempt: chain


Steps = tuple[Sequence[Step], Sequence[Step]]


def _asserted(read: Read) -> list[Finding]:
    """What is abnormal, the certain before the suspected, as one image shows it."""
    found = [replace(f, change=None) for f in read.findings if f.status != "absent" and f.concept not in GENERAL]
    return sorted(found, key=lambda f: f.status == "uncertain")


def _sentence(finding: Finding, texts: Sequence[str], key: tuple[object, ...], stage: str = "") -> Step | None:
    """The finding in the first of the wordings that reads back; None when none does."""
    start = stable_hash(*key, finding.concept)
    for n in range(len(texts)):
        text = texts[(start + n) % len(texts)]
        step = Step(text, stage or region(finding.concept), (finding,), finding.evidence)
        if not misread(step, (finding,), prior=finding.change is not None):
            return step
    return None


def _each(findings: Sequence[Finding], key: tuple[object, ...], *, short: bool = False) -> list[Step]:
    """One sentence for each finding; `short` is its name with its attributes."""
    steps: list[Step] = []
    for finding in findings:
        where = region(finding.concept)
        phrase = noun_phrase(finding, where)
        name = f"Possible {phrase}." if finding.status == "uncertain" else phrase[0].upper() + phrase[1:] + "."
        full = ways(finding, where)
        step = (_sentence(finding, [name], key) if short else None) or _sentence(finding, full, key)
        if step is not None and step.text not in {other.text for other in steps}:
            steps.append(step)
    return steps


def _plain(text: str, stage: str, evidence: Evidence | None = None) -> Step:
    return Step(text, stage, evidence=evidence)


def _quality(read: Read, key: tuple[object, ...]) -> Steps:
    shown = [_plain("The chest is shown.", "quality")]
    return quality_steps(read.study, key) or shown, quality_steps(read.study, (*key, "answer")) or shown


def _findings(read: Read, key: tuple[object, ...]) -> Steps:
    chain = build_chain(read.findings, style="systematic", key=key)
    thought = [step for step in chain.steps if step.stage != "conclusion"]
    bare = [replace(f, severity=None, location=None, laterality=None) for f in _asserted(read)]
    said: list[Step] = []
    for finding, full in zip(bare, _asserted(read), strict=True):
        name = noun(finding.concept)
        text = f"Possible {name}." if finding.status == "uncertain" else name[0].upper() + name[1:] + "."
        step = _sentence(finding, [text], key) or _sentence(full, ways(full, region(full.concept)), key)
        if step is not None and step.text not in {other.text for other in said}:
            said.append(step)
    return thought, said or [_normal(read, key)]


def _attributes(read: Read, key: tuple[object, ...]) -> Steps:
    found = _asserted(read)
    if not found:
        return [_plain(choose(NOTHING, *key), "conclusion")], [_plain(choose(NOTHING, *key, "answer"), "conclusion")]
    return _each(found, key), _each(found, key, short=True)


def _relations(read: Read, key: tuple[object, ...]) -> Steps:
    found = [f for f in _asserted(read) if f.status == "present"]
    if len(found) < 2:
        return [_plain(choose(TOO_FEW, *key), "conclusion")], [_plain(choose(TOO_FEW, *key, "answer"), "conclusion")]
    steps: list[Step] = []
    for side in ("left", "right"):
        group = tuple(f for f in found if f.laterality == side)
        names = list(dict.fromkeys(noun(f.concept) for f in group))
        if len(names) > 1:
            text = f"On the {side} side there are {join_words(names)}."
            step = Step(text, "conclusion", group, group[0].evidence)
            if not misread(step, read.findings):
                steps.append(step)
    if steps:
        sides = " and ".join(f"the {step.findings[0].laterality} side" for step in steps)
        return steps, [_plain(f"Several of the findings share {sides}.", "conclusion", steps[0].evidence)]
    unrelated = _plain(choose(UNRELATED, *key), "conclusion")
    return [unrelated], [unrelated]


def _changes(read: Read) -> list[Finding]:
    if not read.study.prior_images:
        return []
    return [f for f in read.findings if f.change and f.status != "uncertain" and f.concept not in GENERAL]


def _comparison(read: Read, key: tuple[object, ...]) -> Steps:
    if not read.study.prior_images:
        thought = [_plain(choose(NO_PRIOR, *key), "comparison")]
        return thought, [_plain(choose(NO_PRIOR, *key, "answer"), "comparison")]
    thought, said = [], []
    for finding in _changes(read):
        step = build_comparison(finding, style="systematic", key=key, answer="").steps[0]
        if not misread(step, read.findings, prior=True) and step.text not in {other.text for other in thought}:
            thought.append(step)
            texts = ways(finding, region(finding.concept), change=True)
            said.append(_sentence(finding, texts, (*key, "answer"), "comparison") or step)
    none = [_plain("No definite change can be stated.", "comparison")]
    return thought or none, list({step.text: step for step in said}.values()) or none


def _outlook(read: Read, key: tuple[object, ...]) -> Steps:
    changes = _changes(read)
    if not read.study.prior_images or not changes:
        thought = choose(ONE_IMAGE, *key) if not read.study.prior_images else "No change shows which way it goes."
        return [_plain(thought, "conclusion")], [_plain("The course is open.", "conclusion")]
    course = COURSES.get(frozenset(f.change or "" for f in changes), "mixed")
    evidence = changes[0].evidence
    thought = "Some findings are better and others are not." if course == "mixed" else f"All changes are {course}."
    return [_plain(thought, "conclusion", evidence)], [_plain(f"The course is {course}.", "conclusion", evidence)]


def _diagnosis(read: Read, key: tuple[object, ...]) -> Steps:
    diseases = [f for f in _asserted(read) if f.concept in DIAGNOSES]
    advised = advice(read.study.report)
    thought: list[Step] = [*_each(diseases, key)]
    said: list[Step] = [*_each(diseases, (*key, "answer"), short=True)]
    if not diseases and _asserted(read):
        thought.append(_plain(choose(NO_DIAGNOSIS, *key), "conclusion"))
        said.append(_plain(choose(NO_DIAGNOSIS, *key, "answer"), "conclusion"))
    elif not diseases:
        thought.append(_normal(read, key))
        said.append(_normal(read, key))
    rest = advised or [_plain(choose(NO_ADVICE, *key, "advice"), "conclusion")]
    return [*thought, *rest], [*said, *rest]


def _impression(read: Read, key: tuple[object, ...]) -> Steps:
    chain = build_chain(read.findings, style="systematic", key=key)
    thought = [step for step in chain.steps if step.stage == "conclusion"] or _each(_asserted(read), key)
    return thought or [_normal(read, key)], _each(_asserted(read), (*key, "answer")) or [_normal(read, key)]


def _normal(read: Read, key: tuple[object, ...]) -> Step:
    """Says that nothing is wrong, or that the report mentions something which the lexicon does not name."""
    vague = [replace(f, change=None) for f in read.findings if f.status != "absent" and f.concept in GENERAL]
    if vague:
        return next(iter(_each(vague, key)), _plain("Nothing specific can be named.", "conclusion"))
    evidence = next((f.evidence for f in read.findings if f.status == "absent" and f.concept in GENERAL), None)
    return _plain(choose(NORMAL, *key, "normal"), "conclusion", evidence)
