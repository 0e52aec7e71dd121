"""Chains say what the report says: on hand-written reports and on thousands of phantoms' reports, in every style."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reasoner.errors import UserError
from reasoner.findings import extract_report, labels_of
from reasoner.findings.lexicon import load
from reasoner.mining.chains import GENERAL, STYLES, build_chain, build_comparison, merge
from reasoner.mining.questions import BUILDERS, Read, build_examples, check_tasks
from reasoner.mining.verify import faults
from reasoner.mining.wording import CLASS_CONCEPT, state
from reasoner.schema import CLASSES, NO_FINDING, READ_ORDER, Chain, Example, Finding, Step, Study, present_classes

REPORT = (
    "INDICATION: Rule out fracture.\n\nFINDINGS: Small left pleural effusion. No pneumothorax. The heart is mildly "
    "enlarged. Possible nodule in the right upper lobe. Right IJ central venous catheter.\n\nIMPRESSION: Effusion."
)
TASKS = {"abnormality_list": 1.0, "binary": 4.0, "single": 2.0, "temporal": 3.0}


def chain_of(report: str, style: str = "concise") -> tuple[Chain, list[Finding]]:
    findings = merge(extract_report(report))
    return build_chain(findings, style=style, key=(0, "a"), conclusion="No"), findings


def test_a_chain_in_words() -> None:
    chain, _ = chain_of(REPORT)
    text = chain.text.lower()
    assert "right central venous catheter" in text
    assert "small left pleural effusion" in text
    assert "mildly enlarged" in text or "mild cardiomegaly" in text
    assert "nodule in the right upper lobe" in text
    assert "no pneumothorax" in text
    assert len(chain.text.split()) <= 50


def test_steps_point_at_their_words() -> None:
    chain, _ = chain_of(REPORT)
    spans = {step.findings[0].concept: step.evidence for step in chain.steps}
    effusion = spans["pleural_effusion"]
    assert effusion is not None and REPORT[effusion.start : effusion.end] == "Small left pleural effusion"
    assert spans["fracture"] is None  # never mentioned: silence is read as normal


@pytest.mark.parametrize("style", STYLES)
def test_stages_are_in_reading_order_and_faithful(style: str) -> None:
    chain, findings = chain_of(REPORT, style)
    stages = [READ_ORDER.index(step.stage) for step in chain.steps]
    assert stages == sorted(stages)
    assert faults(chain, findings, REPORT) == []


def test_styles_differ() -> None:
    assert chain_of(REPORT, "question")[0].steps[0].stage == "plan"
    assert {"airways", "hila"} <= {step.stage for step in chain_of(REPORT, "systematic")[0].steps}
    assert "airways" not in {step.stage for step in chain_of(REPORT)[0].steps}


def test_a_read_ends_in_a_summary() -> None:
    findings = merge(extract_report(REPORT))
    for style, last in (("systematic", "conclusion"), ("question", "conclusion"), ("concise", "bones")):
        chain = build_chain(findings, style=style, key=(0, "a"))
        assert chain.steps[-1].stage == last
        assert faults(chain, findings, REPORT) == []
    normal = build_chain(merge(extract_report("The lungs are clear.")), style="systematic", key=(0,))
    assert normal.steps[-1].text == "In summary, no acute abnormality."


def test_merging_mentions() -> None:
    (effusion,) = merge(extract_report("FINDINGS: Left effusion. No effusion. IMPRESSION: Small effusion."))
    assert (effusion.status, effusion.laterality, effusion.severity) == ("present", "left", "small")
    two = merge(extract_report("Left nodule in the upper lobe. Right nodule."))
    assert {f.laterality for f in two} == {"left", "right"}


@pytest.mark.parametrize("concept", sorted(load().concepts.keys() - GENERAL))
def test_every_concept_reads_back_from_its_own_sentences(concept: str) -> None:
    entry = load().concepts[concept]
    for side in ("left", "right", "bilateral", None) if entry.sided else (None,):
        for status in ("present", "uncertain"):
            for place in (None, "base"):
                for frame in range(3):
                    finding = Finding(concept, status, side, place)  # type: ignore[arg-type]
                    text = state(finding, entry.region, frame)
                    read = Chain((Step(text, entry.region, (finding,)),))
                    assert faults(read, [finding], "") == [], text


@pytest.mark.parametrize("change", ["new", "worse", "stable", "improved", "resolved"])
def test_comparisons_read_back(change: str) -> None:
    for concept, side in (("pleural_effusion", "left"), ("pneumothorax", "bilateral"), ("pulmonary_edema", None)):
        status = "absent" if change == "resolved" else "present"
        finding = Finding(concept, status, side, change=change)  # type: ignore[arg-type]
        for attempt in range(2):
            chain = build_comparison(finding, style="question", key=(0,), answer=change, attempt=attempt)
            assert faults(chain, [finding], "") == [], chain.text


def test_the_verifier_rejects_what_the_report_does_not_say() -> None:
    chain, findings = chain_of(REPORT)
    step = chain.steps[0]
    for text in ("There is a right pneumothorax.", "No pleural effusion.", "The report shows an effusion.", ""):
        assert faults(Chain((*chain.steps, replace(step, text=text))), findings, REPORT)
    assert faults(Chain((*chain.steps, step)), findings, REPORT) == ["a step is repeated"]
    assert faults(Chain(()), findings, REPORT) == ["empty chain"]
    swapped = replace(step, text=step.text.replace("right", "left"))
    assert faults(Chain((swapped,)), findings, REPORT)


def study(report: str, **fields: object) -> Study:
    return Study("s1", "p1", report, images=("now.png",), source="test", **fields)  # type: ignore[arg-type]


def examples(report: str, **fields: object) -> list[Example]:
    findings = extract_report(report)
    read = Read(study(report, **fields), tuple(merge(findings)), labels_of(findings), "concise", 0)
    rows = list(build_examples(read, TASKS))
    assert all(isinstance(row, Example) for row in rows), rows
    return [row for row in rows if isinstance(row, Example)]


def test_questions_and_answers() -> None:
    rows = examples(REPORT)
    by_task = {row.task: row for row in rows}
    assert by_task["abnormality_list"].answer == "Cardiomegaly, Pleural Effusion, Support Devices"
    assert "temporal" not in by_task
    for row in rows:
        if row.task == "binary":
            name = next(n for n, c in CLASS_CONCEPT.items() if n in _classes_named(row.question))
            status = labels_of(extract_report(REPORT))[name]
            assert (row.answer, status) in (("Yes", "present"), ("No", "absent"))
        if row.task == "single":
            chosen = dict(option.split(") ") for option in row.options)
            present = present_classes(labels_of(extract_report(REPORT)))
            assert [letter for letter, name in chosen.items() if name in present] == [row.answer]


def _classes_named(question: str) -> set[str]:
    from reasoner.findings import concept_class, extract_text

    return {concept_class(f.concept) or "" for f in extract_text(question.rstrip("?"))}


def test_temporal_questions_show_both_images() -> None:
    rows = examples("FINDINGS: The left effusion has increased. New right pneumothorax.", prior_images=("then.png",))
    temporal = [row for row in rows if row.task == "temporal"]
    assert {row.answer for row in temporal} == {"worsening", "new"}
    assert all(row.images == ("then.png", "now.png") for row in temporal)
    assert all("new" in row.reasoning.lower() or "has " in row.reasoning for row in temporal)


def test_a_single_image_shows_no_change() -> None:
    (row,) = [row for row in examples("FINDINGS: The left effusion has increased.") if row.task == "abnormality_list"]
    assert all(f.change is None for f in row.gold_findings)


def test_verified_labels_are_kept_beside_the_mined_answer() -> None:
    labels = {name: "present" if name == "Fracture" else "absent" for name in CLASSES}
    (row,) = [r for r in examples("FINDINGS: The lungs are clear.", labels=labels) if r.task == "abnormality_list"]
    assert row.answer == NO_FINDING
    assert row.labels == labels


def test_rates_choose_a_deterministic_share() -> None:
    findings = tuple(merge(extract_report(REPORT)))
    mined = labels_of(findings)
    counts = []
    for i in range(400):
        one = replace(study(REPORT), study_id=f"s{i}")
        counts.append(len(list(build_examples(Read(one, findings, mined, "concise", 7), {"binary": 0.25}))))
    assert set(counts) == {0, 1} and 60 < sum(counts) < 140


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(UserError, match="cannot be mined"):
        check_tasks({"juggling": 1.0})
    with pytest.raises(UserError, match="give 0 or more"):
        check_tasks({"binary": -1.0})
    assert set(BUILDERS) == set(TASKS)
