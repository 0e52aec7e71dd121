"""Whose labels a row carries, from mining to the rewards: verified ones may overrule the report, mined ones never."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.findings import extract_report, labels_of
from reasoner.mining.chains import merge
from reasoner.mining.pipeline.run import mine
from reasoner.mining.questions import Read, build_examples
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, LABEL_SOURCES, NO_FINDING, Example, Study, present_classes
from reasoner.sources import open_source
from reasoner.training.dataset import REWARD_COLUMNS, load_examples
from reasoner.training.feed import to_dataset
from rewards.registry import RewardSet, Score

REWARDS = RewardSet.build({"answer": 1.0, "process": 1.0, "format": 1.0})
TASKS = {"abnormality_list": 1.0}
NO_LABELS = {"labels": None, "label_source": None}
#: Reports with an abnormal finding and a normal statement that denies its class beside it.
REPORTS = (
    "Mild bibasilar atelectasis. The lungs are otherwise clear. No acute cardiopulmonary abnormality.",
    "Opacity in the right base is unchanged scarring. No focal airspace disease. No acute findings.",
    "Chronic interstitial opacities. No acute infiltrate. No acute pulmonary disease.",
)
SENTENCES = [
    *(f"{sentence.strip('. ')}." for report in REPORTS for sentence in report.split(". ")),
    "Small left pleural effusion.", "No pleural effusion.", "The heart is enlarged.", "Heart size is normal.",
    "Possible pneumonia at the left base.", "No pneumothorax.",
]  # fmt: skip


def scores(example: Example, reasoning: str, **fields) -> dict[str, Score]:
    row = {**example.to_dict(), **fields, "completion": format_completion(reasoning, example.answer)}
    return REWARDS.score(row)


def factuality(example: Example, reasoning: str, **fields) -> float:
    return scores(example, reasoning, **fields)["process"].parts["factuality"]


def by_labels(score: Score) -> list[dict]:
    return [entry for entry in score.evidence if entry["against"].startswith("verified")]


def mined(folder: Path, *studies: dict) -> list[Example]:
    """The lists asked of the studies, read back from Parquet."""
    rows = folder / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"study_id": f"s{n}", **study}) + "\n" for n, study in enumerate(studies)), encoding="utf-8"
    )
    source = open_source("jsonl", str(rows), folder, {"require_images": False})
    mine(source, folder / "data", tasks=TASKS, style="systematic", workers=0)
    return load_examples(folder / "data", "train")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("phantoms")
    source = open_source("phantom", None, folder, {"train": 120, "val": 0, "test": 0, "site_b": 0})
    mine(source, folder, tasks=TASKS, workers=0)
    return load_examples(folder, "train")


def test_a_report_read_out_is_not_contradicted_by_what_was_mined_from_it(tmp_path):
    examples = mined(tmp_path, *({"report": f"FINDINGS: {report}", "split": "train"} for report in REPORTS))
    assert len(examples) == len(REPORTS)
    for example, report in zip(examples, REPORTS, strict=True):
        assert example.label_source == "mined"
        score = scores(example, report)["process"]
        assert score.parts["factuality"] == 1.0 and not by_labels(score)
        assert by_labels(scores(example, report, label_source="verified")["process"]), "the case is none"


def test_labels_that_come_with_a_study_are_verified(tmp_path):
    labels = {"Fracture": "present"}
    study = {"report": f"FINDINGS: {REPORTS[0]}", "split": "train"}
    with_labels, without = mined(tmp_path, {**study, "labels": labels}, study)
    assert (with_labels.label_source, without.label_source) == ("verified", "mined")
    claim = "There is a rib fracture."
    assert (factuality(with_labels, claim), factuality(without, claim)) == (1.0, 0.0)


def test_what_a_phantom_report_leaves_out_is_rewarded(phantoms):
    assert {example.label_source for example in phantoms} == {"verified"}
    omitted = 0
    for example in phantoms:
        reported = labels_of(extract_report(example.report))
        for name in present_classes(example.labels):
            if name != NO_FINDING and reported[name] in (None, "absent"):
                omitted += 1
                claim, denial = f"There is {name.lower()}.", f"No {name.lower()}."
                assert (factuality(example, claim), factuality(example, denial)) == (1.0, 0.0)
                assert factuality(example, claim, label_source="mined") == 0.0
    assert omitted > 5


def test_the_rows_of_grpo_say_whose_labels_they_are(phantoms):
    examples = [phantoms[0], replace(phantoms[1], label_source="mined"), replace(phantoms[2], **NO_LABELS)]
    rows = to_dataset(examples, completions=False)[:]
    assert rows["label_source"] == ["verified", "mined", None]
    assert REWARDS.columns() <= {*REWARD_COLUMNS}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6), st.lists(st.sampled_from(SENTENCES), max_size=6))
def test_mined_labels_never_count_in_the_process_reward(sentences, said):
    report, reasoning = " ".join(sentences), " ".join(said)
    findings = extract_report(report)
    read = Read(Study("s", "p", report), tuple(merge(findings)), labels_of(findings), "systematic", 0)
    for example in build_examples(read, TASKS):
        if not isinstance(example, Example):  # rejected: the sentences contradict each other
            continue
        assert example.label_source == "mined"
        got, without = scores(example, reasoning), scores(example, reasoning, **NO_LABELS)
        assert got == without, "nor anywhere else: the answer names the same classes"


@given(st.dictionaries(st.sampled_from(CLASSES), st.sampled_from(["present", "absent", "uncertain", None])))
def test_an_example_keeps_whose_labels_it_has(labels):
    for owner in LABEL_SOURCES if labels else ():
        example = Example("e", "s", "binary", "?", "Yes", labels=labels, label_source=owner)
        assert Example.from_dict(example.to_dict()) == example
    unsaid = Example.from_dict({**Example("e", "s", "binary", "?", "Yes").to_dict(), "labels": labels})
    assert unsaid.label_source == ("mined" if labels else None)
