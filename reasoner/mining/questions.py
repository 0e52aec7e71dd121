"""Examples: a question, its chain and its answer, made from what one report says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from reasoner.dialogues import turn_of
from reasoner.errors import UserError
from reasoner.findings import concept_class, region
from reasoner.mining.chains import GENERAL, build_chain, build_comparison
from reasoner.mining.comparison import compared
from reasoner.mining.dialogue import dialogue
from reasoner.mining.drafts import LETTERS, Draft, Read, ask, chain_of, class_words, lettered, make_key
from reasoner.mining.grounding import DETECTION, GROUNDING, detection, grounding
from reasoner.mining.level import level_choice, level_sets, level_yes_no
from reasoner.mining.verify import faults, leak, unseeable
from reasoner.mining.wording import CLASS_CONCEPT, choose, noun, stable_hash
from reasoner.schema import NO_FINDING, Chain, Change, Example, Rejected, Turn, present_classes

LIST_QUESTION = "Which abnormalities are present? List the classes, separated by commas, or No Finding."
#: Ways to ask, for the styles of large models; the plain ones have one.
LIST_QUESTIONS = (
    LIST_QUESTION,
    "List the abnormalities in this chest X-ray as class names, separated by commas, or write No Finding.",
    "What abnormalities does this chest X-ray show? Name the classes, separated by commas, or No Finding.",
)
BINARY_QUESTIONS = ("Is there {t}?", "Does this chest X-ray show {t}?", "Can {t} be seen?", "Is {t} present?")
#: Each binary question -> the class that it asks about.
ASKED = {frame.format(t=class_words(name)): name for name in CLASS_CONCEPT for frame in BINARY_QUESTIONS}
MULTIPLE_QUESTION = "Which of these are present? Answer with all letters that apply, separated by commas."
MULTIPLE_QUESTIONS = (
    MULTIPLE_QUESTION,
    "Select every finding that this chest X-ray shows. Answer with the letters, separated by commas.",
)
OPEN_QUESTION = "Which findings are present in the {r}? Name all, separated by commas."
ANOMALY_QUESTION = "How is this chest X-ray best described? Answer with the letter."
REGION_QUESTION = "What holds for the {r} in this chest X-ray? Answer with the letter."
ANOMALY = ("Normal", "Abnormal")
#: The regions of open questions and of `anomaly`, and their names there.
REGIONS = {
    "lungs": "lungs",
    "pleura": "pleural spaces",
    "heart": "heart",
    "mediastinum": "mediastinum",
    "bones": "bones",
}
SINGLE_QUESTION = "Which of these is present? Answer with the letter."
SINGLE_QUESTIONS = (
    SINGLE_QUESTION,
    "Which of these does this chest X-ray show? Answer with the letter.",
    "Which one of the following can be seen? Answer with the letter.",
)
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
#: Examples of one task that may be asked for per study.
MOST = 1000
#: Why an example is left out, in `quarantine.jsonl`.
UNFAITHFUL, LEAK, UNSEEABLE = "unfaithful chain", "question gives its answer away", "question beyond the image"
#: No chain can be true to a report and to verified labels that contradict it.
DISPUTED = "labels disagree"
#: Classes that are easily taken for one another: the harder distractors.
ALIKE = (
    ("Pleural Effusion", "Pneumothorax", "Pleural Other"),
    ("Consolidation", "Atelectasis", "Pneumonia", "Edema", "Lung Opacity", "Lung Lesion"),
    ("Cardiomegaly", "Enlarged Cardiomediastinum"),
)


def build_examples(read: Read, tasks: Mapping[str, float]) -> Iterator[Example | Rejected]:
    """The examples of one study, each with a verified chain; where no faithful chain is found, a `Rejected` instead."""
    for task, rate in tasks.items():
        if task == "stage":
            if _count(rate, read, task):
                yield from _dialogue(read)
            continue
        build = BUILDERS[task]
        for number in range(_count(rate, read, task)):
            draft = build(read, number)
            if draft is not None:
                yield _finish(read, task, number, draft)


def check_tasks(tasks: Mapping[str, float]) -> None:
    """Raises `UserError` for an unknown task or a rate that is no number from 0 to `MOST`."""
    for task, rate in tasks.items():
        if task not in MINED_TASKS:
            raise UserError(f"task '{task}' cannot be mined; choose among {', '.join(MINED_TASKS)}")
        if not isinstance(rate, int | float) or not 0 <= rate <= MOST:  # nan is neither
            raise UserError(f"task '{task}': {rate!r} examples per study; give a number from 0 to {MOST}")


def _count(rate: float, read: Read, task: str) -> int:
    share = stable_hash(read.seed, read.study.study_id, task) / 2**64
    return int(rate) + (share < rate % 1)


def _finish(read: Read, task: str, number: int, draft: Draft) -> Example | Rejected:
    study, found = read.study, [""]
    if names := [name for name in read.disputed if name in draft.classes]:
        detail = ", ".join(f"{name}: verified {read.labels[name]}, reported {read.mined[name]}" for name in names)
        return Rejected(study.source, study.study_id, DISPUTED, detail, study.study_id)
    if words := leak(draft.question, draft.answer, draft.options, draft.offered):
        return Rejected(study.source, study.study_id, LEAK, f"{words!r} in {draft.question!r}", study.study_id)
    if words := unseeable(draft.question, prior=draft.prior):
        return Rejected(study.source, study.study_id, UNSEEABLE, f"{words!r} in {draft.question!r}", study.study_id)
    for attempt in range(ATTEMPTS):
        chain = draft.chain(attempt)
        found = faults(chain, read.findings, study.report, prior=draft.prior)
        if draft.said:
            found += faults(Chain(draft.said), read.findings, study.report, prior=draft.prior)
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
                labels=study.rewarded_labels(read.mined),
                label_source=study.label_source,
                report=study.report,
                steps=chain.steps,
                stage=draft.stage,
                split=study.split,
                source=study.source,
                context=draft.context,
                target=draft.target,
            )
    return Rejected(study.source, study.study_id, UNFAITHFUL, found[0], study.study_id)


def _dialogue(read: Read) -> Iterator[Example | Rejected]:
    """The eight stages of one study as one conversation: each example carries the turns before it."""
    context: tuple[Turn, ...] = ()
    for draft in dialogue(read):
        row = _finish(read, "stage", draft.stage or 0, replace(draft, context=context))
        yield row
        if isinstance(row, Rejected):
            return  # a conversation has no holes
        context = (*context, turn_of(row))


def _abnormality_list(read: Read, number: int) -> Draft | None:
    if number > 0:
        return None
    answer = ", ".join(present_classes(read.mined))
    key = make_key(read, "abnormality_list", number)
    question = ask(read, LIST_QUESTIONS, key)
    return Draft(question, answer, chain_of(read, key, None, None), offered=(NO_FINDING,))


def _binary(read: Read, number: int) -> Draft | None:
    if read.design.choices == "level":
        return level_yes_no(read, number, BINARY_QUESTIONS)
    key = make_key(read, "binary", number)
    wanted = ("present", "absent") if stable_hash(*key, "polarity") % 2 else ("absent", "present")
    for status in wanted:
        names = [n for n in CLASS_CONCEPT if read.mined[n] == status and (status == "present" or read.deniable(n))]
        if len(names) > number // 2:
            name = names[(stable_hash(*key[:3], status) + number // 2) % len(names)]
            answer = "Yes" if status == "present" else "No"
            question = ask(read, BINARY_QUESTIONS, key).format(t=class_words(name))
            return Draft(question, answer, chain_of(read, key, (name,), answer), classes=(name,))
    return None


def _single(read: Read, number: int) -> Draft | None:
    """`No Finding` is always offered, but only one of four normal studies is asked, so that it is no safe guess."""
    if read.design.choices == "level":
        return level_choice(read, number, SINGLE_QUESTIONS)
    key = make_key(read, "single", number)
    present = [name for name in present_classes(read.mined) if name != NO_FINDING]
    right = choose(present, *key) if present else NO_FINDING
    wrong = [name for name in CLASS_CONCEPT if read.offerable(name)]
    near = next((group for group in ALIKE if right in group), ())
    wrong.sort(key=lambda n: (read.mined[n] is None, n not in near, stable_hash(*key, n)))
    if len(wrong) < OPTIONS - 1 or (right == NO_FINDING and read.mined[NO_FINDING] != "present"):
        return None
    if right == NO_FINDING and stable_hash(*key, "normal") % OPTIONS:
        return None
    if right != NO_FINDING:
        wrong.insert(0, NO_FINDING)
    names = sorted([right, *wrong[: OPTIONS - 1]], key=lambda n: stable_hash(*key, "shuffle", n))
    answer = LETTERS[names.index(right)]
    classes = tuple(name for name in names if name != NO_FINDING)
    chain = chain_of(read, key, classes, answer)
    return Draft(ask(read, SINGLE_QUESTIONS, key), answer, chain, lettered(names), classes=classes)


def _multiple(read: Read, number: int) -> Draft | None:
    """Lettered with several right options, or open: the findings of a region."""
    key = make_key(read, "multiple", number)
    first = (stable_hash(*key[:3], "kind") + number) % 2 == 0
    if read.design.choices == "level":
        return level_sets(read, number // 2) if first else _open(read, key) if number < 2 else None
    return (_several(read, key) or _open(read, key)) if first else (_open(read, key) or _several(read, key))


def _several(read: Read, key: tuple[object, ...]) -> Draft | None:
    present = [name for name in present_classes(read.mined) if name != NO_FINDING and name in CLASS_CONCEPT]
    if len(present) < 2:
        return None
    right = sorted(present, key=lambda n: stable_hash(*key, n))[:3]
    wrong = [name for name in CLASS_CONCEPT if read.offerable(name)]
    near = {name for group in ALIKE if not set(group).isdisjoint(right) for name in group}
    wrong.sort(key=lambda n: (n not in near, read.mined[n] is None, stable_hash(*key, n)))
    if len(wrong) < 2:
        return None
    names = sorted([*right, *wrong[: len(LETTERS) - 1 - len(right)]], key=lambda n: stable_hash(*key, "shuffle", n))
    answer = ", ".join(LETTERS[i] for i, name in enumerate(names) if name in right)
    chain = chain_of(read, key, names, answer)
    return Draft(ask(read, MULTIPLE_QUESTIONS, key), answer, chain, lettered(names), classes=names)


def _open(read: Read, key: tuple[object, ...]) -> Draft | None:
    """All classes that are present in one region, by name, where there are at least two."""
    by_region: dict[str, list[str]] = {}
    for name in present_classes(read.mined):
        if name in CLASS_CONCEPT and region(CLASS_CONCEPT[name]) in REGIONS:
            by_region.setdefault(region(CLASS_CONCEPT[name]), []).append(name)
    regions = sorted(where for where, names in by_region.items() if len(names) > 1)
    if not regions:
        return None
    where = choose(regions, *key, "region")
    names = [n for n in CLASS_CONCEPT if region(CLASS_CONCEPT[n]) == where]
    question, answer = OPEN_QUESTION.format(r=REGIONS[where]), ", ".join(by_region[where])
    return Draft(question, answer, chain_of(read, key, names, None), classes=names)


def _anomaly(read: Read, number: int) -> Draft | None:
    """Normal or abnormal: the whole image, or one region of it."""
    key = make_key(read, "anomaly", number)
    where = (None, *REGIONS)[(stable_hash(*key[:3], "region") + number) % (len(REGIONS) + 1)]
    inside = [f for f in read.findings if where is None or region(f.concept) == where]
    holds = {f.status for f in inside if f.concept not in GENERAL}
    vague = any(f.status != "absent" for f in read.findings if f.concept in GENERAL)
    if "present" not in holds and ("uncertain" in holds or vague):
        return None
    right = ANOMALY["present" in holds]
    if where is None and (right == "Abnormal") != (read.labels[NO_FINDING] != "present"):
        return None  # incidental findings alone: whether that is normal is a matter of taste
    names = sorted(ANOMALY, key=lambda n: stable_hash(*key, "shuffle", n))
    answer = LETTERS[names.index(right)]
    question = ANOMALY_QUESTION if where is None else REGION_QUESTION.format(r=REGIONS[where])

    def build(attempt: int) -> Chain:
        return build_chain(
            read.findings,
            style=read.style,
            key=key,
            regions=(where,) if where else None,
            conclusion=answer,
            attempt=attempt,
            study=read.study,
        )

    if not build(0).findings:
        return None  # something else forbids the one statement that could be made
    return Draft(question, answer, build, lettered(names), classes={concept_class(f.concept) or "" for f in inside})


def _temporal(read: Read, number: int) -> Draft | None:
    study = read.study
    if not study.prior_images and not (read.design.compare == "reports" and study.prior_report and not study.images):
        return None
    findings = compared(study.prior_report, read.findings) if read.design.compare == "reports" else read.findings
    changed = [f for f in findings if f.change is not None and f.concept not in GENERAL and f.status != "uncertain"]
    if len(changed) <= number:
        return None
    key = make_key(read, "temporal", number)
    finding = changed[(stable_hash(*key[:3]) + number) % len(changed)]
    assert finding.change is not None
    answer = TEMPORAL_ANSWERS[finding.change]
    words = noun(finding.concept)
    return Draft(
        TEMPORAL_QUESTION.format(n=words),
        answer,
        lambda attempt: build_comparison(finding, style=read.style, key=key, answer=answer, attempt=attempt),
        images=(*study.prior_images, *study.images),
        offered=tuple(TEMPORAL_ANSWERS.values()),
        prior=True,
        classes=(concept_class(finding.concept) or "",),
    )


BUILDERS: dict[str, Callable[[Read, int], Draft | None]] = {
    "abnormality_list": _abnormality_list,
    "binary": _binary,
    "single": _single,
    "multiple": _multiple,
    "anomaly": _anomaly,
    "temporal": _temporal,
    DETECTION: detection,
    GROUNDING: grounding,
}
#: What a recipe may ask for; `stage` is the dialogue.
MINED_TASKS = (*BUILDERS, "stage")
