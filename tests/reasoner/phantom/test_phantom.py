"""The phantom source: deterministic, truthful, incomplete only where it says so, and visible."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reasoner.errors import UserError
from reasoner.findings import concept_class, extract_report, labels_of
from reasoner.phantom.body import MAX_DEGREE, Anatomy, Sign
from reasoner.phantom.case import Case
from reasoner.phantom.draw import draw
from reasoner.phantom.report import write_report
from reasoner.phantom.sample import ORDER, sample_case
from reasoner.phantom.sheet import contact_sheet
from reasoner.phantom.source import PhantomSource
from reasoner.phantom.words_few import FEW
from reasoner.schema import CLASSES, NO_FINDING, SPLITS, Study, present_classes

#: Words that only ever speak of one class in phantom reports.
WORDS = {
    "Cardiomegaly": r"cardi\w+ (silhouette|enlargement)|cardiomegaly|heart",
    "Consolidation": r"consolidation|lungs are clear",
    "Fracture": r"fracture|osseous",
    "Lung Lesion": r"nodule|mass|lungs are clear",
    "Pleural Effusion": r"effusion|costophrenic",
    "Pneumothorax": r"pneumothorax",
    "Support Devices": r"catheter|\bline\b|tube|pacemaker",
}


def small(output: Path, **options: object) -> PhantomSource:
    return PhantomSource(None, output, **{"train": 12, "val": 3, "test": 4, "site_b": 4, "site_c": 4, **options})  # type: ignore[arg-type]


def studies(source: PhantomSource) -> list[Study]:
    rows = [row for partition in source.partitions() for row in source.read(partition)]
    assert all(isinstance(row, Study) for row in rows)
    return [row for row in rows if isinstance(row, Study)]


def body(report: str) -> str:
    """FINDINGS and IMPRESSION; the indication may name what is merely feared."""
    return report[report.index("FINDINGS:") :].lower()


def cases(split: str, count: int, **options: object):
    source = small(Path("."), **options)
    return [source.case(split, index)[:2] for index in range(count)]


def classes(case: Case, keys: tuple[str, ...]) -> list[str]:
    """Of the findings with these keys."""
    return [sign.label for sign in case.signs if sign.key in keys]


def test_studies_carry_what_the_pipeline_needs(tmp_path: Path) -> None:
    rows = studies(small(tmp_path, prior_rate=0.5))
    assert [sum(row.split == split for row in rows) for split in SPLITS] == [12, 3, 4, 4, 4]
    assert len({row.study_id for row in rows}) == len(rows)
    for row in rows:
        assert row.source == "phantom" and row.labels is not None and set(row.labels) == set(CLASSES)
        assert (row.labels[NO_FINDING] == "present") == (present_classes(row.labels) == (NO_FINDING,))
        assert row.sections is not None and {"indication", "findings", "impression"} <= set(row.sections)
        assert all(text in row.report for text in row.sections.values())
        assert bool(row.prior_images) == (row.prior_study_id is not None) == ("comparison" in row.sections)
        for path in row.images + row.prior_images:
            assert Path(path).is_relative_to(tmp_path / "images" / row.split)
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "L", (112, 112))
                assert np.asarray(image).std() > 20


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    first, again, other = (studies(small(tmp_path / name, seed=seed)) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    read = lambda rows: [Path(path).read_bytes() for row in rows for path in row.images + row.prior_images]  # noqa: E731
    assert read(first) == read(again) and [row.report for row in first] == [row.report for row in again]
    assert not set(read(first)) & set(read(other))


def test_what_six_minutes_can_teach_stays_as_it_was() -> None:
    """Reports to the letter; of the pictures, whose last bits depend on the CPU, the means of 16 squares."""
    source = PhantomSource(None, ".")
    reports = "".join(source.case(split, index)[1].report for split in SPLITS for index in range(60))
    digest = hashlib.sha256(reports.encode()).hexdigest()
    assert digest == "ad4aeda6fd8e96748de4930f70fa44bfa747ce3c8ddb75dbe06532d91fb0830f"
    known = {
        "train": "40.6 105.3 104.8 36.5 83.9 103.0 98.0 86.0 79.3 146.0 168.3 72.4 105.2 183.9 195.8 94.3",
        "site_b": "42.6 114.3 126.7 51.1 73.7 128.7 152.3 113.0 65.2 163.8 195.9 102.5 101.3 155.6 159.8 127.0",
        "site_c": "36.7 42.9 57.8 38.8 40.5 39.6 69.0 49.7 26.6 61.6 98.5 38.3 61.5 130.5 150.7 71.2",
    }
    for split, means in known.items():
        squares = source.draw(split, 0)[2].reshape(4, 28, 4, 28).mean((1, 3))
        assert np.abs(squares.ravel() - np.array(means.split(), dtype=float)).max() < 0.5, split


def test_partitions_are_independent_and_cover_each_study_once(tmp_path: Path) -> None:
    source = small(tmp_path, train=450)
    train = [part for part in source.partitions() if part["split"] == "train"]
    assert [(part["start"], part["stop"]) for part in train] == [(0, 200), (200, 400), (400, 450)]
    alone = next(iter(source.read({"split": "train", "start": 7, "stop": 8})))
    assert isinstance(alone, Study) and alone.report == source.case("train", 7)[1].report


def test_splits_never_share_an_image(tmp_path: Path) -> None:
    rows = studies(small(tmp_path, train=30, val=30, test=30, site_b=30, site_c=30, image_size=48))
    pixels = [Path(path).read_bytes() for row in rows for path in row.images]
    assert len(set(pixels)) == len(pixels)


def test_label_prior_of_each_site() -> None:
    def prevalence(split: str) -> dict[str, float]:
        found = [present_classes(case.labels) for case, _ in cases(split, 1500)]
        return {name: sum(name in labels for labels in found) / len(found) for name in (*ORDER, NO_FINDING)}

    a, b = prevalence("train"), prevalence("site_b")
    assert 0.24 <= a.pop(NO_FINDING) <= 0.31 and all(0.14 <= share <= 0.26 for share in a.values()), a
    assert b[NO_FINDING] < 0.19
    assert b["Support Devices"] > 1.4 * a["Support Devices"] and b["Pleural Effusion"] > 1.4 * a["Pleural Effusion"]


def test_reports_leave_out_and_hedge_at_the_given_rates_and_only_in_training() -> None:
    drawn = omitted = hedged = 0
    for case, reading in cases("train", 2000):
        drawn += len(case.signs)
        omitted += len(reading.omitted)
        hedged += len(reading.hedged)
    assert abs(omitted / drawn - 0.25) < 0.03
    assert abs(hedged / (drawn - omitted) - 0.08) < 0.02
    for split in ("test", "site_b", "site_c"):
        assert all(not reading.omitted and not reading.hedged for _, reading in cases(split, 300))


def test_an_omitted_finding_is_neither_named_nor_denied() -> None:
    checked = 0
    for case, reading in cases("train", 2000):
        for label in classes(case, reading.omitted):
            checked += 1
            assert not re.search(WORDS[label], body(reading.report)), (label, reading.report)
        if reading.omitted:
            assert "no acute" not in reading.sections["impression"].lower()
    assert checked > 400


def test_every_finding_that_is_not_omitted_is_named_with_its_side() -> None:
    for split in SPLITS:
        for case, reading in cases(split, 500):
            for sign in case.signs:
                if sign.key in reading.omitted:
                    continue
                sentence = next(
                    s for s in re.split(r"(?<=\.)\s", body(reading.report)) if re.search(WORDS[sign.label], s)
                )
                assert not sentence.startswith(("no ", "there is no ")), reading.report
                assert sign.side is None or sign.side in sentence or sign.side in body(reading.report)


@pytest.mark.parametrize("split", ["test", "site_b", "site_c"])
def test_the_miner_reads_the_truth_from_complete_reports(split: str) -> None:
    decisions = wrong = 0
    for case, reading in cases(split, 300, prior_rate=0.3):
        mined = labels_of(extract_report(reading.report))
        decisions += len(CLASSES)
        wrong += sum((mined[name] == "present") != (case.labels[name] == "present") for name in CLASSES)
    assert wrong / decisions <= 0.005


def test_the_miner_finds_omitted_findings_unmentioned_and_hedged_ones_uncertain() -> None:
    for case, reading in cases("train", 500):
        mined = labels_of(extract_report(reading.report))
        assert all(mined[label] is None for label in classes(case, reading.omitted)), reading.report
        assert all(mined[label] == "uncertain" for label in classes(case, reading.hedged)), reading.report


def test_the_miner_reads_the_changes() -> None:
    for case, reading in cases("test", 200, prior_rate=1.0):
        mined = {(concept_class(f.concept), f.change) for f in extract_report(reading.report) if f.change}
        assert case.changes is not None
        assert {(sign.label, case.changes[sign.key]) for sign in case.signs} <= mined, reading.report
        assert {(sign.label, "resolved") for sign in case.resolved} <= mined, reading.report


@pytest.mark.parametrize("classes, sentences", FEW.normal)
def test_normal_statements_deny_no_more_than_they_declare(classes: tuple[str, ...], sentences: tuple[str, ...]) -> None:
    for sentence in sentences:
        for label, pattern in WORDS.items():
            assert label in classes or not re.search(pattern, sentence.lower()), (sentence, label)


def test_change_words_agree_with_the_two_drawings() -> None:
    seen = set()
    for case, _ in cases("train", 1500, prior_rate=1.0):
        assert case.prior is not None and case.changes is not None
        before = {sign.label: sign for sign in case.prior}
        for sign in case.signs:
            change = case.changes[sign.key]
            seen.add(change)
            if change == "new":
                assert sign.label not in before
            else:
                old = before[sign.label]
                assert old.side == sign.side and old.spot == sign.spot
                assert np.sign(sign.degree - old.degree) == {"worse": 1, "improved": -1, "stable": 0}[change]
        if case.resolved:
            seen.add("resolved")
            assert not {sign.label for sign in case.resolved} & {sign.label for sign in case.signs}
    assert seen == {"new", "worse", "improved", "stable", "resolved"}


def test_report_words_for_each_change() -> None:
    effusion = Sign("Pleural Effusion", "left", 2)
    words = {
        "new": r"new",
        "worse": r"increase|worsening",
        "improved": r"decrease|improving",
        "stable": r"unchanged|stable",
    }
    before = {
        "new": (),
        "worse": (replace(effusion, degree=1),),
        "improved": (replace(effusion, degree=3),),
        "stable": (effusion,),
    }
    for change, pattern in words.items():
        for seed in range(20):
            case = Case((effusion,), before[change])
            assert case.changes == {"Pleural Effusion": change}
            reading = write_report(np.random.default_rng(seed), case)
            assert re.search(pattern, body(reading.report)) and "COMPARISON: " in reading.report
    gone = write_report(np.random.default_rng(0), Case((), (effusion,)))
    assert "resol" in body(gone.report) and "no pleural effusion" not in body(gone.report)


@pytest.mark.parametrize("site", ["a", "b"])
@pytest.mark.parametrize("sign", [
    *(Sign("Cardiomegaly", degree=degree) for degree in (1, 2)),
    *(Sign("Pleural Effusion", side, degree) for side, degree in (("left", 1), ("right", 3), ("bilateral", 2))),
    *(Sign("Pneumothorax", "right", degree) for degree in (1, 2)),
    *(Sign(label, "left", degree, "mid") for label in ("Consolidation", "Lung Lesion") for degree in (1, 2)),
    *(Sign("Support Devices", "right", kind=kind) for kind in ("central_line", "pacemaker")),
    Sign("Support Devices", kind="endotracheal_tube"),
    Sign("Fracture", "left"),
])  # fmt: skip
def test_each_finding_changes_the_image_on_its_side(sign: Sign, site: str) -> None:
    for seed in range(4):
        anatomy = Anatomy.sample(np.random.default_rng(seed), site)
        normal, ill = (draw(anatomy, signs, site, 112, [seed]).astype(int) for signs in ((), (sign,)))
        changed = np.abs(ill - normal) > 12
        assert changed.sum() >= 40
        columns = np.nonzero(changed)[1] / 112
        if sign.side in ("left", "right") and not sign.kind:
            assert (columns.mean() > 0.5) == (sign.side == "left")  # the patient's left is on the image's right


def test_nodules_and_consolidations_are_placed_in_plain_sight() -> None:
    for seed in range(2000):
        case: Case = sample_case(np.random.default_rng(seed), "b", 0.3)
        for signs in (case.signs, case.prior or ()):
            fluid = {side: s.degree for s in signs if s.label == "Pleural Effusion" for side in s.sides}
            heart = any(s.label == "Cardiomegaly" for s in signs)
            for sign in signs:
                assert 1 <= sign.degree <= MAX_DEGREE[sign.label]
                if sign.zone:
                    covered = ("lower", "mid", "upper")[: fluid.get(sign.side or "", 0)]
                    assert sign.zone not in covered
                    assert not (heart and sign.side == "left" and sign.zone != "upper")


@pytest.mark.parametrize(
    "options, word",
    [
        ({"omit_rate": 1.5}, "omit_rate"),
        ({"train": -1}, "train"),
        ({"image_size": 8}, "size"),
        ({"findings": "some"}, "few or all"),
        ({"films": "ab"}, "letters ade"),
        ({"films": ""}, "letters ade"),
    ],
)
def test_bad_options_are_named(options: dict, word: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=word):
        PhantomSource(None, tmp_path, **options)


@pytest.mark.parametrize("findings", ["few", "all"])
def test_contact_sheets_are_small_enough_for_the_docs(findings: str, tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", findings)
    assert (tmp_path / "sheet.png").stat().st_size < 300_000
