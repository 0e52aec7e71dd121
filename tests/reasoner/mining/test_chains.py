"""Chains say what the report says: on hand-written reports and on thousands of phantoms' reports, in every style."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner.errors import UserError
from reasoner.findings import QUALITY, concept_class, extract_report, labels_of
from reasoner.findings.lexicon import load
from reasoner.mining.chains import GENERAL, STYLES, build_chain, build_comparison, merge
from reasoner.mining.grounding import PLACED
from reasoner.mining.pipeline.partition import mine_study
from reasoner.mining.questions import BUILDERS, Read, build_examples, check_tasks
from reasoner.mining.verify import faults, read
from reasoner.mining.wording import CLASS_CONCEPT, state
from reasoner.schema import (
    CLASSES,
    NO_FINDING,
    READ_ORDER,
    Chain,
    Evidence,
    Example,
    Finding,
    Rejected,
    Step,
    Study,
    complete_labels,
    present_classes,
    verified_labels,
)

REPORT = (
    "INDICATION: Rule out fracture.\n\nFINDINGS: Small left pleural effusion. No pneumothorax. The heart is mildly "
    "enlarged. Possible nodule in the right upper lobe. Right IJ central venous catheter.\n\nIMPRESSION: Effusion."
)
TASKS = {"abnormality_list": 1.0, "binary": 4.0, "single": 2.0, "temporal": 3.0, "multiple": 2.0, "anomaly": 3.0}


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
    assert normal.steps[-1].stage == "conclusion" and "no acute" in normal.steps[-1].text


def test_brief_plans_and_concludes_in_the_same_few_words_for_every_study() -> None:
    findings = merge(extract_report(REPORT))
    briefs = [build_chain(findings, style="brief", key=(n,), conclusion="No") for n in range(5)]
    assert {chain.text for chain in briefs} == {briefs[0].text}
    assert [step.stage for step in briefs[0].steps[:: len(briefs[0].steps) - 1]] == ["plan", "conclusion"]
    concise = build_chain(findings, style="concise", key=(0,))
    assert set(concise.steps) < set(briefs[0].steps)
    change = build_comparison(replace(findings[0], change="new"), style="brief", key=(0,), answer="new")
    assert [step.stage for step in change.steps] == ["plan", "comparison", "conclusion"]


@pytest.mark.parametrize("tip", ["right main bronchus", "40 mm above carina", "below diaphragm", "stomach"])
def test_chains_say_where_a_device_ends(tip: str) -> None:
    tube = Finding("enteric_tube", "present", evidence=Evidence("findings", 0, 4), tip=tip)
    for style in STYLES:
        chain = build_chain([tube], style=style, key=(0,), classes=("Support Devices",), conclusion="Yes")
        told = {finding.tip for finding in read(chain.text) if finding.concept == tube.concept}
        assert told == {None if style == "concise" else tip}, chain.text
        assert faults(chain, [tube], "Tube") == []
    wrong = Step("There is an enteric tube with its tip in the esophagus.", "devices", (tube,), tube.evidence)
    assert faults(Chain((wrong,)), [tube], "Tube")


def test_merging_mentions() -> None:
    (effusion,) = merge(extract_report("FINDINGS: Left effusion. No effusion. IMPRESSION: Small effusion."))
    assert (effusion.status, effusion.laterality, effusion.severity) == ("present", "left", "small")
    two = merge(extract_report("Left nodule in the upper lobe. Right nodule."))
    assert {f.laterality for f in two} == {"left", "right"}


@pytest.mark.parametrize(
    "concept", sorted(n for n, c in load().concepts.items() if n not in GENERAL and c.region != QUALITY)
)
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
            assert faults(chain, [finding], "", prior=True) == [], chain.text
            assert faults(chain, [finding], ""), "one image shows no change"


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
    return Study("s1", "p1", report, **({"images": ("now.png",), "source": "test"} | fields))  # type: ignore[arg-type]


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


@pytest.mark.parametrize(
    "text",
    [
        "The report mentions a central venous catheter.",
        "Compared with the prior image, a central venous catheter is seen.",
        "As on 3/14/2019, a central venous catheter is seen.",
        "On March 3 there was a central venous catheter.",
        "A central venous catheter is again seen.",
        "A central venous catheter is unchanged.",
        "A new central venous catheter is seen.",
        "In this 70-year-old, a central venous catheter is seen.",
        "Given the clinical history, there is a central venous catheter.",
        "The radiologist saw a central venous catheter.",
        "A central venous catheter of XXXX is seen.",
    ],
)
def test_what_one_image_cannot_show_is_refused(text: str) -> None:
    _, findings = chain_of(REPORT)
    line = next(f for f in findings if f.concept == "central_line")
    assert faults(Chain((Step(text, "devices", (line,), line.evidence),)), findings, REPORT)
    plain = Step("A central venous catheter is seen.", "devices", (line,), line.evidence)
    assert faults(Chain((plain,)), findings, REPORT) == []


def test_evidence_must_be_that_of_the_finding() -> None:
    chain, findings = chain_of(REPORT)
    step = chain.steps[0]
    (finding,) = step.findings
    for wrong in (Evidence("findings", 0, 5), Evidence("findings", 3, 3), Evidence("findings", 0, len(REPORT) + 1)):
        assert faults(Chain((replace(step, evidence=wrong),)), findings, REPORT)
        moved = replace(step, evidence=wrong, findings=(replace(finding, evidence=wrong),))
        assert faults(Chain((moved,)), findings, REPORT)
    bare = replace(step, evidence=None, findings=(replace(finding, evidence=None),))
    assert faults(Chain((bare,)), findings, REPORT), "a finding without words of the report"


def test_wording_varies_by_study_and_repeats_for_the_same() -> None:
    findings = merge(extract_report(REPORT))
    for style in ("systematic", "question"):
        texts = [build_chain(findings, style=style, key=(0, f"s{i}")).text for i in range(30)]
        assert len(set(texts)) > 25
        assert texts[7] == build_chain(findings, style=style, key=(0, "s7")).text
    concise = {build_chain(findings, style="concise", key=(0, f"s{i}")).text for i in range(30)}
    assert len(concise) == 1


def test_the_question_style_plans_for_its_question() -> None:
    findings = merge(extract_report(REPORT))
    for i in range(20):
        chain = build_chain(findings, style="question", key=(i,), classes=("Pneumothorax",), conclusion="No")
        plan, *middle, end = chain.steps
        assert (plan.stage, end.stage) == ("plan", "conclusion") and not plan.findings
        assert "pneumothorax" in plan.text or "pleural spaces" in plan.text
        assert read(plan.text) == () and "No" in end.text
        assert {step.stage for step in middle} == {"pleura"}


def test_the_systematic_style_opens_with_views_and_quality() -> None:
    def quality(report: str, **fields: object) -> list[str]:
        one = study(report, **fields)
        chain = build_chain(merge(extract_report(report)), style="systematic", key=(1,), study=one)
        assert faults(chain, merge(extract_report(report)), report) == []
        return [step.text for step in chain.steps if step.stage == "quality"]

    views, good = quality("FINDINGS: The lungs are clear.", images=("a", "b"), views=("Frontal", "LATERAL"))
    assert "a frontal and a lateral view" in views.lower() and "quality" in good
    (limit,) = quality("FINDINGS: The patient is rotated. The lungs are clear.")
    assert "rotated" in limit or "turned" in limit
    assert quality("FINDINGS: The patient is not rotated. Lungs are clear.") == []
    assert quality("FINDINGS: Portable view. The lungs are clear.") == []  # silence is no praise here


def _classes_named(question: str) -> set[str]:
    from reasoner.findings import extract_text

    return {
        concept_class(f.concept) or ""
        for f in extract_text(re.sub(r"^(?:Is|Are) there", "There is", question).rstrip("?"))
    }


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
    assert row.labels == labels and row.label_source == "verified"


SICK = "FINDINGS: There is a small right pneumothorax. No pleural effusion. The heart is normal in size."


def _said(row: Example) -> tuple[str, str, str]:
    """Question and answer, a letter by its words: the other options may be others."""
    chosen = [option[3:] for option in row.options if option.startswith(f"{row.answer})")]
    return row.task, row.question, chosen[0] if chosen else row.answer


@pytest.mark.parametrize(
    "labels", [{"Pneumothorax": "present"}, {"Edema": None}, {}, {"Pleural Effusion": "uncertain"}, {NO_FINDING: None}]
)
def test_partial_verified_labels_leave_the_other_classes_to_the_report(labels: dict[str, str | None]) -> None:
    rows, plain = examples(SICK, labels=labels), examples(SICK)
    assert set(map(_said, rows)) <= set(map(_said, plain))
    assert {row.task for row in rows} == {row.task for row in plain} >= {"single", "abnormality_list"}
    assert {row.label_source for row in rows} == {"verified" if any(labels.values()) else "mined"}
    assert all(row.labels == (labels if any(labels.values()) else plain[0].labels) for row in rows)


def test_verified_labels_are_completed_in_one_way() -> None:
    mined = {**dict.fromkeys(CLASSES), "Edema": "present", NO_FINDING: "absent"}
    assert complete_labels({}, mined) == mined
    assert complete_labels({"Edema": "absent"}, mined)[NO_FINDING] == "present"
    assert complete_labels({"Edema": "absent", NO_FINDING: "absent"}, mined)[NO_FINDING] == "absent"
    normal = complete_labels(verified_labels({NO_FINDING: "present"}, None), mined)
    assert normal == {**dict.fromkeys(CLASSES, "absent"), NO_FINDING: "present"}
    assert verified_labels({NO_FINDING: "present", "Edema": "present"}, "verified").keys() == {NO_FINDING, "Edema"}
    assert verified_labels({"Edema": "present"}, "mined") == {}


@pytest.mark.parametrize(
    ("labels", "disputed"),
    [
        ({"Pleural Effusion": "present"}, {"Pleural Effusion"}),
        ({"Pneumothorax": "absent"}, {"Pneumothorax"}),
        ({NO_FINDING: "present"}, {"Pneumothorax"}),
        ({**dict.fromkeys(CLASSES, "absent"), "Pleural Effusion": "present"}, {"Pleural Effusion", "Pneumothorax"}),
    ],
)
def test_nothing_is_asked_of_what_verified_labels_dispute(labels: dict[str, str | None], disputed: set[str]) -> None:
    findings = tuple(merge(extract_report(SICK)))
    read = Read(study(SICK, labels=labels), findings, labels_of(findings), "concise", 0)
    rows = list(build_examples(read, {task: 8.0 for task in BUILDERS} | {"stage": 1.0}))
    refused = [row for row in rows if isinstance(row, Rejected)]
    assert set(read.disputed) == disputed
    assert refused and {row.reason for row in refused} == {"labels disagree"}
    for row in rows:
        if isinstance(row, Example):
            options = {option.partition(") ")[2] for option in row.options}
            assert disputed.isdisjoint(_classes_named(row.question) | options)
            assert row.task not in ("abnormality_list", "stage")  # about all classes
            assert disputed.isdisjoint(concept_class(f.concept) for f in row.gold_findings)
    assert any(isinstance(row, Example) and row.task == "binary" for row in rows), "of other classes one may ask"


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
    for rate in (-1.0, float("nan"), float("inf"), 1e9, 1001, None, "1"):
        with pytest.raises(UserError, match=r"task 'binary': .* give a number from 0 to 1000"):
            check_tasks({"binary": rate})  # type: ignore[dict-item]
    check_tasks({"binary": 0, "single": 1000.0})
    assert set(BUILDERS) == {*TASKS, *PLACED}


def test_chains_over_real_reports_are_faithful(data_dir: Path) -> None:
    """Every eighth report of the public Indiana collection: all steps have their words, and no chain is lost."""
    with (data_dir / "iu" / "indiana_reports.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::8]
    tasks = {name: 1.0 for name in (*BUILDERS, "stage")}
    for style in STYLES:
        kinds: Counter[str] = Counter()
        for row in rows:
            text = f"FINDINGS: {row['findings']}\n\nIMPRESSION: {row['impression']}"
            one = Study(row["uid"], row["uid"], text, images=("a.png",), views=("Frontal",))
            findings = merge(extract_report(text))
            for kind, record in mine_study(one, tasks, style, 0):
                kinds[record["reason"] if kind == "rejected" else kind] += 1
                if kind == "example":
                    assert faults(Chain(record["steps"]), findings, text, prior=record["stage"] == 5) == []
                    for step in record["steps"]:
                        asserted = [f for f in step.findings if f.status != "absent"]
                        assert all(f.evidence is not None for f in asserted), step
                        assert not asserted or step.evidence is not None
        assert kinds["unfaithful chain"] == 0, kinds
        assert kinds["example"] > 10 * len(rows)
