"""Phantoms with all 14 classes: read back as drawn, in plain sight, with causes that hold on the film."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reasoner.findings import concept_class, extract_report, labels_of
from reasoner.mining.chains import merge
from reasoner.mining.drafts import Read
from reasoner.mining.questions import build_examples
from reasoner.phantom.body import MAX_DEGREE, Anatomy, Sign
from reasoner.phantom.case import Case
from reasoner.phantom.causes import EFFECTS, LUNG, covers, fits, needs
from reasoner.phantom.devices import ASTRAY, KINDS, SIDED
from reasoner.phantom.draw import draw
from reasoner.phantom.film import SITES
from reasoner.phantom.report import WrittenReport
from reasoner.phantom.source import TRAINED, PhantomSource
from reasoner.phantom.words_all import ALL
from reasoner.schema import CHANGES, CLASSES, Example, Study, present_classes

SPLITS = ("train", "site_b", "site_c")
TASKS = dict.fromkeys(("abnormality_list", "binary", "single", "multiple", "anomaly", "temporal"), 1.0)


def source(folder: Path = Path("."), **options: object) -> PhantomSource:
    settings = {"findings": "all", "films": "ade", "omit_rate": 0.0, "hedge_rate": 0.0, "prior_rate": 0.5, **options}
    return PhantomSource(None, folder, **settings)  # type: ignore[arg-type]


def cases(split: str, count: int, **options: object) -> Iterator[tuple[Case, WrittenReport]]:
    drawn = source(**options)
    yield from (drawn.case(split, index)[:2] for index in range(count))


@pytest.mark.parametrize("split", SPLITS)
def test_the_miner_reads_what_was_drawn(split: str) -> None:
    for case, reading in cases(split, 300):
        mined = labels_of(extract_report(reading.report))
        for name in CLASSES:
            assert (mined[name] == "present") == (case.labels[name] == "present"), (name, reading.report)
        for name in (name for sign in case.hidden for name in sign.classes):
            assert mined[name] == case.labels[name] == "uncertain", reading.report


def test_the_miner_reads_changes_tips_and_what_findings_are_known_by() -> None:
    wanted = {
        ("central_line", False): "superior vena cava",
        ("central_line", True): "right atrium",
        ("endotracheal_tube", False): "above carina",
        ("endotracheal_tube", True): "right main bronchus",
        ("enteric_tube", False): "stomach",
        ("enteric_tube", True): "esophagus",
    }
    signs = {"Pneumonia": "air_bronchogram", "Edema": "septal_thickening", "Atelectasis": "elevated_diaphragm"}
    seen = Counter[str]()
    for case, reading in cases("train", 600):
        found = extract_report(reading.report)
        changes = {(name, f.change) for f in found for name in (f.concept, concept_class(f.concept))}
        known: dict[str, str] = {**(case.changes or {}), **{sign.key: "resolved" for sign in case.resolved}}
        for key, change in known.items():
            assert ({"compressive": "compressive_atelectasis"}.get(key, key), change) in changes, reading.report
            seen[change] += 1
        for sign in case.signs:
            if tip := wanted.get((sign.kind, sign.astray)):
                assert {f.tip for f in found if f.concept == sign.kind} - {None} == {tip}, reading.report
            if concept := signs.get(sign.key):
                assert any(f.concept == concept and f.status == "present" for f in found), reading.report
    assert min(seen[change] for change in CHANGES) > 50


@pytest.mark.parametrize("split", SPLITS)
def test_each_class_is_common_enough_to_be_learned(split: str) -> None:
    found = Counter(name for case, _ in cases(split, 1500) for name in present_classes(case.labels))
    assert all(found[name] / 1500 >= 0.03 for name in CLASSES), found


def test_every_finding_is_in_plain_sight() -> None:
    for split in SPLITS:
        for case, _ in cases(split, 400):
            for signs in (case.signs, case.prior or ()):
                assert len({sign.key for sign in signs}) == len(signs)
                for sign in signs:
                    assert 1 <= sign.degree <= MAX_DEGREE[sign.label]
                    others = [other for other in signs if other is not sign]
                    assert sign.kind == "compressive" or fits(sign, others), signs


def test_places_that_are_needed_and_covered() -> None:
    fluid = Sign("Pleural Effusion", "right", 2)
    assert covers(fluid) == {("right", "lower"), ("right", "mid")}
    assert covers(Sign("Pneumothorax", "left")) == LUNG["left"]
    lesion = Sign("Lung Lesion", "right", zone="mid")
    assert needs(lesion) == {("right", "mid")} and not fits(lesion, [fluid])
    assert fits(replace(lesion, zone="upper"), [fluid]) and fits(replace(lesion, side="left"), [fluid])


def test_causes_hold_on_the_film_and_the_report_explains_them() -> None:
    seen = Counter[tuple[str, str]]()
    for case, reading in cases("site_b", 1500):
        there = {sign.key: sign for sign in case.signs}
        for sign in case.signs:
            if not sign.cause:
                continue
            cause = there[sign.cause]
            assert sign.key in dict(EFFECTS[cause.key])
            assert cause.side in (None, sign.side) or sign.side in (None, "bilateral")
            assert any(text in reading.report for text in ALL.because[cause.key, sign.key]), reading.report
            if case.changes and sign.kind != "chest_tube" and case.changes[cause.key] == "new":
                assert case.changes[sign.key] == "new", reading.report
            seen[cause.key, sign.key] += 1
    assert set(seen) == set(ALL.because) == {(cause, effect) for cause in EFFECTS for effect, _ in EFFECTS[cause]}


def test_what_fluid_hides_is_in_the_prior_alone() -> None:
    hidden = 0
    for case, reading in cases("site_b", 1500):
        for lesion in case.hidden:
            hidden += 1
            fluid = next(sign for sign in case.signs if sign.label == "Pleural Effusion")
            assert lesion in (case.prior or ()) and needs(lesion) <= covers(fluid)
            assert "behind the effusion" in reading.report and lesion not in case.resolved
    assert hidden > 10


@pytest.mark.parametrize("omit_rate", [0.0, 0.3])
def test_questions_are_worked_out_before_they_are_answered(omit_rate: float) -> None:
    tasks = Counter[str]()
    for index in range(120):
        case, reading, _ = source(omit_rate=omit_rate).case("train", index)
        images = ("x.png",)
        study = Study(f"s{index}", f"p{index}", reading.report, images, labels=case.labels, source="phantom",
                      prior_images=images * (case.prior is not None))  # fmt: skip
        found = extract_report(reading.report)
        read = Read(study, tuple(merge(found)), labels_of(found), "question", 0)
        for row in build_examples(read, TASKS):
            assert isinstance(row, Example), row
            tasks[row.task] += 1
            plan, last = row.steps[0], row.steps[-1]
            assert plan.stage == "plan" and not plan.findings and len(row.steps) > 1
            if row.task in ("binary", "single", "anomaly", "temporal"):
                assert row.answer in last.text and row.answer not in plan.text.split()
    assert min(tasks[task] for task in TASKS) > 20


@pytest.mark.parametrize("site", SITES)
def test_each_finding_is_seen_on_each_film(site: str) -> None:
    places = {"Consolidation": "mid", "Lung Lesion": "mid", "Lung Opacity": "mid", "Pneumonia": "mid"}
    sided = (*places, "Atelectasis", "Fracture", "Pleural Effusion", "Pleural Other", "Pneumothorax")
    signs = [
        Sign(label, "left" if label in sided else None, degree, places.get(label), kind)
        for label, most in MAX_DEGREE.items()
        for degree in range(1, most + 1)
        for kind in (KINDS if label == "Support Devices" else ("",))
    ]
    for sign in signs:
        sign = replace(sign, side="left") if sign.kind in SIDED else sign
        anatomy = Anatomy.sample(np.random.default_rng(1), site)
        normal, ill = (draw(anatomy, drawn, site, 140, [1]).astype(int) for drawn in ((), (sign,)))
        changed = np.abs(ill - normal) > 12
        assert changed.sum() >= 40, sign
        if sign.label in sided:  # the patient's left is on the image's right
            assert (np.nonzero(changed)[1] / 140).mean() > 0.5, sign


@pytest.mark.parametrize(
    "signs",
    [
        tuple(Sign(label, "left", 2, "mid") for label in ("Consolidation", "Pneumonia", "Lung Opacity")),
        tuple(Sign(label, degree=2) for label in ("Enlarged Cardiomediastinum", "Cardiomegaly")),
        tuple(Sign(label, "left", 1) for label in ("Pleural Effusion", "Pleural Other", "Atelectasis")),
        tuple(Sign("Edema", degree=degree) for degree in (1, 2)),
        *(tuple(Sign("Support Devices", kind=kind, astray=astray) for astray in (False, True)) for kind in ASTRAY),
    ],
)  # fmt: skip
def test_findings_that_are_alike_are_drawn_apart(signs: tuple[Sign, ...]) -> None:
    anatomy = Anatomy.sample(np.random.default_rng(2), "a")
    drawn = [draw(anatomy, (sign,), "a", 140, [2]).astype(int) for sign in signs]
    for n, one in enumerate(drawn):
        assert all((np.abs(one - other) > 12).sum() >= 40 for other in drawn[:n])


def test_training_mixes_films_and_other_sites_keep_theirs(tmp_path: Path) -> None:
    mixed, one = (source(tmp_path, films=films) for films in (TRAINED, "a"))
    differ = [index for index in range(9) if (mixed.draw("train", index)[2] != one.draw("train", index)[2]).any()]
    assert differ == [1, 2, 4, 5, 7, 8]
    assert (mixed.draw("site_b", 1)[2] == one.draw("site_b", 1)[2]).all()
    assert mixed.case("train", 1)[1] == one.case("train", 1)[1]


def test_same_seed_same_pictures() -> None:
    for split in SPLITS:
        first, again = (source().draw(split, 3) for _ in range(2))
        assert first[:2] == again[:2] and (first[2] == again[2]).all()
