"""Examples: a question, its chain and its answer, made from what one report says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reasoner.errors import UserError
from reasoner.mining.chains import GENERAL, build_chain, build_comparison, deniable
from reasoner.mining.verify import faults
from reasoner.mining.wording import CLASS_CONCEPT, choose, noun, stable_hash, with_article
from reasoner.schema import NO_FINDING, Chain, Change, Example, Finding, Rejected, Study, present_classes

LIST_QUESTION = "Which abnormalities are present? List the classes, separated by commas, or No Finding."
SINGLE_QUESTION = "Which of these is present? Answer with the letter."
TEMPORAL_QUESTION = (
    "The first image is the prior, the second the current one. How has the {n} changed? "
    "Answer with new, worsening, stable, improving or resolved."
)
TEMPORAL_ANSWERS: dict[Change, str] = {
    "new": "new",
    "worse": "worsening",
    "stable": "stable",
    "improved": "improving",
    "resolved": "resolved",
}
OPTIONS = 4
ATTEMPTS = 3
#: Classes that are easily taken for one another: the harder distractors.
ALIKE = (
    ("Pleural Effusion", "Pneumothorax", "Pleural Other"),
    ("Consolidation", "Atelectasis", "Pneumonia", "Edema", "Lung Opacity", "Lung Lesion"),
    ("Cardiomegaly", "Enlarged Cardiomediastinum"),
)


@dataclass(frozen=True)
class Read:
    """A study, what its report says, and how to word things."""

    study: Study
    findings: tuple[Finding, ...]
    mined: dict[str, str | None]
    style: str
    seed: int

    @property
    def labels(self) -> dict[str, str | None]:
        return self.study.labels or self.mined

    def deniable(self, name: str) -> bool:
        """Whether the class may be called absent: a distractor, or a No."""
        return deniable(name, self.findings)


@dataclass(frozen=True)
class Draft:
    """An example before its chain is verified; `chain` takes the attempt's number."""

    question: str
    answer: str
    chain: Callable[[int], Chain]
    options: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


def build_examples(read: Read, tasks: Mapping[str, float]) -> Iterator[Example | Rejected]:
    """The examples of one study, each with a verified chain; one whose chain stays unfaithful comes as `Rejected`."""
    for task, rate in tasks.items():
        build = BUILDERS[task]
        for number in range(_count(rate, read, task)):
            draft = build(read, number)
            if draft is not None:
                yield _finish(read, task, number, draft)


def check_tasks(tasks: Mapping[str, float]) -> None:
    """Raises `UserError` for an unknown task or a negative rate."""
    for task, rate in tasks.items():
        if task not in BUILDERS:
            raise UserError(f"task '{task}' cannot be mined; choose among {', '.join(BUILDERS)}")
        if rate < 0:
            raise UserError(f"task '{task}': {rate} examples per study; give 0 or more")


def _count(rate: float, read: Read, task: str) -> int:
    share = stable_hash(read.seed, read.study.study_id, task) / 2**64
    return int(rate) + (share < rate % 1)


def _finish(read: Read, task: str, number: int, draft: Draft) -> Example | Rejected:
    study, found = read.study, [""]
    for attempt in range(ATTEMPTS):
        chain = draft.chain(attempt)
        found = faults(chain, read.findings, study.report)
        if not found:
            return Example(
                id=f"{study.study_id}-{task}-{number}",
                study_id=study.study_id,
                task=task,
                question=draft.question,
                answer=draft.answer,
                reasoning=chain.text,
                options=draft.options,
                images=draft.images or study.images,
                gold_findings=chain.findings,
                labels=read.labels,
                report=study.report,
                steps=chain.steps,
                split=study.split,
                source=study.source,
            )
    return Rejected(study.source, study.study_id, "unfaithful chain", found[0], study.study_id)


def _key(read: Read, task: str, number: int) -> tuple[object, ...]:
    return (read.seed, read.study.study_id, task, number)


def _abnormality_list(read: Read, number: int) -> Draft | None:
    if number > 0:
        return None
    answer = ", ".join(present_classes(read.mined))
    key = _key(read, "abnormality_list", number)
    return Draft(LIST_QUESTION, answer, _chain(read, key, None, None))


def _chain(
    read: Read, key: tuple[object, ...], classes: Sequence[str] | None, conclusion: str | None
) -> Callable[[int], Chain]:
    def build(attempt: int) -> Chain:
        return build_chain(
            read.findings, style=read.style, key=key, classes=classes, conclusion=conclusion, attempt=attempt
        )

    return build


def _binary(read: Read, number: int) -> Draft | None:
    key = _key(read, "binary", number)
    wanted = ("present", "absent") if stable_hash(*key, "polarity") % 2 else ("absent", "present")
    for status in wanted:
        names = [n for n in CLASS_CONCEPT if read.mined[n] == status and (status == "present" or read.deniable(n))]
        if len(names) > number // 2:
            name = names[(stable_hash(*key[:3], status) + number // 2) % len(names)]
            answer = "Yes" if status == "present" else "No"
            return Draft(f"Is there {_class_words(name)}?", answer, _chain(read, key, (name,), answer))
    return None


def _class_words(name: str) -> str:
    concept = CLASS_CONCEPT[name]
    if name == "Lung Lesion":
        return "a lung nodule or mass"
    return with_article(noun(concept), concept)


def _single(read: Read, number: int) -> Draft | None:
    key = _key(read, "single", number)
    present = [name for name in present_classes(read.mined) if name != NO_FINDING]
    right = choose(present, *key) if present else NO_FINDING
    wrong = [name for name in CLASS_CONCEPT if read.deniable(name) and read.labels[name] != "present"]
    near = next((group for group in ALIKE if right in group), ())
    wrong.sort(key=lambda n: (read.mined[n] is None, n not in near, stable_hash(*key, n)))
    if len(wrong) < OPTIONS - 1 or (right == NO_FINDING and read.mined[NO_FINDING] != "present"):
        return None
    names = sorted([right, *wrong[: OPTIONS - 1]], key=lambda n: stable_hash(*key, "shuffle", n))
    options = tuple(f"{letter}) {name}" for letter, name in zip("ABCD", names, strict=True))
    answer = "ABCD"[names.index(right)]
    classes = tuple(name for name in names if name != NO_FINDING)
    return Draft(SINGLE_QUESTION, answer, _chain(read, key, classes, answer), options)


def _temporal(read: Read, number: int) -> Draft | None:
    study = read.study
    if not study.prior_images:
        return None
    changed = [
        f for f in read.findings if f.change is not None and f.concept not in GENERAL and f.status != "uncertain"
    ]
    if len(changed) <= number:
        return None
    key = _key(read, "temporal", number)
    finding = changed[(stable_hash(*key[:3]) + number) % len(changed)]
    assert finding.change is not None
    answer = TEMPORAL_ANSWERS[finding.change]
    words = noun(finding.concept)
    return Draft(
        TEMPORAL_QUESTION.format(n=words),
        answer,
        lambda attempt: build_comparison(finding, style=read.style, key=key, answer=answer, attempt=attempt),
        images=(*study.prior_images, *study.images),
    )


BUILDERS: dict[str, Callable[[Read, int], Draft | None]] = {
    "abnormality_list": _abnormality_list,
    "binary": _binary,
    "single": _single,
    "temporal": _temporal,
}
