"""Each collection's layout: what becomes a study, what is quarantined and why, with and without pictures."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reasoner.errors import UserError
from reasoner.schema import Box, Target
from reasoner.sources import open_source

NAMES = ("iu_xray", "mimic_cxr", "chexpert_plus", "padchest_gr", "rexgradient", "cxrtrek", "radrbench", "jsonl")


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_used_when_there_and_not_missed_when_none_is(made: Any, name: str) -> None:
    text_only, rejected = made.read(name, made.write(name))
    assert text_only and not any(study.images for study in text_only.values())
    assert not {item.reason for item in rejected} & {"no image", "missing image"}
    shutil.rmtree(made.folder)
    input = made.write(name, pictures=True)
    with_pictures, again = made.read(name, input)
    assert all(study.images and Path(study.images[0]).is_file() for study in with_pictures.values())
    assert [study.report for study in with_pictures.values()] == [study.report for study in text_only.values()]
    assert [item.reason for item in again] == [item.reason for item in rejected]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "jsonl"])
def test_a_picture_that_is_missing_among_others_is_told(made: Any, name: str) -> None:
    input = made.write(name, pictures=True)
    good, before = made.read(name, input)
    lost = sorted(image for study in good.values() for image in study.images[:1])[-1]
    Path(lost).unlink()
    left, rejected = made.read(name, input)
    if len(good) == 1:  # the only picture: the user must name the folder to have it required
        left, rejected = made.read(name, input, images=str(Path(lost).parent))
    told = [item for item in rejected if item.reason == "missing image"]
    assert told and len(left) + len(rejected) == len(good) + len(before)
    assert all(Path(item.detail).name == Path(lost).name for item in told if len(good) > 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_picture_costs_its_study(made: Any, name: str) -> None:
    input = made.write(name, pictures=True)
    good, before = made.read(name, input)
    broken = Path(next(iter(good.values())).images[0])
    broken.write_bytes(broken.read_bytes()[:45])
    left, rejected = made.read(name, input)
    told = [item for item in rejected if item.reason == "damaged image"]
    assert told and len(left) + len(rejected) == len(good) + len(before)
    assert all(item.detail.startswith(f"{broken}: ") for item in told)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_decodes_only_what_has_changed(made: Any, name: str) -> None:
    input = made.write(name, pictures=True)
    (made.folder / "out").mkdir()
    good, _ = made.read(name, input)
    seen = {Path(image) for study in good.values() for image in (*study.images, *study.prior_images)}
    for path in seen:  # as long and as old as before, but no pictures any more: who decodes them finds out
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        path.write_bytes(bytes(path.stat().st_size))
        os.utime(path, ns=times)
    assert made.read(name, input)[0] == good
    for path in seen:
        os.utime(path)
    assert not made.read(name, input)[0]


def test_dicom_files_are_found_where_others_are_named(made: Any) -> None:
    input = made.write("mimic_cxr", pictures=True)
    expected = {key: [Path(i).stem for i in s.images] for key, s in made.read("mimic_cxr", input)[0].items()}
    for path in sorted(made.folder.rglob("*.jpg")):
        path.rename(path.with_suffix(".dcm"))  # the content decides
    studies, _ = made.read("mimic_cxr", input)
    assert {key: [Path(image).stem for image in study.images] for key, study in studies.items()} == expected
    assert all(image.endswith(".dcm") for study in studies.values() for image in study.images)
    for table in made.folder.glob("*metadata*"):
        table.unlink()
    without, _ = made.read("mimic_cxr", input, images=str(input))
    assert all(image.endswith(".dcm") for study in without.values() for image in study.images) and without


@pytest.mark.parametrize("name", NAMES)
def test_patients_are_never_split_and_ids_never_shared(made: Any, name: str) -> None:
    studies, _ = made.read(name, made.write(name))
    splits: dict[str, set[str]] = {}
    for study in studies.values():
        splits.setdefault(study.patient_id, set()).add(study.split)
    assert all(len(found) == 1 for found in splits.values())
    ids = [example.id for study in studies.values() for example in study.given]
    assert len(set(ids)) == len(ids)
    assert made.read(name, made.folder if name != "jsonl" else made.folder / "rows.jsonl")[0] == studies


def test_mimic_cxr(made: Any) -> None:
    studies, rejected = made.read("mimic_cxr", made.write("mimic_cxr", pictures=True))
    first, second = studies["50000001"], studies["50000002"]
    assert first.sections == {
        "indication": "Shortness of breath.",
        "comparison": "None.",
        "findings": "The heart size is normal. The lungs are clear.",
    }
    assert second.sections is not None and second.sections["impression"].startswith("1. Worsening right")
    assert second.views == ("frontal ap", "lateral") and [Path(i).stem for i in second.images] == ["aaa-3", "aaa-2"]
    assert (second.prior_study_id, [Path(i).stem for i in second.prior_images]) == ("50000001", ["aaa-1"])
    assert (first.prior_study_id, first.split, second.split) == (None, "val", "val")
    assert (first.prior_report, second.prior_report) == ("", first.report)
    assert second.official_labels is not None
    assert {n: s for n, s in second.official_labels.items() if s} == {
        "Cardiomegaly": "present",
        "Pleural Effusion": "uncertain",
    }
    assert [item.reason for item in rejected] == ["empty report", "undecodable"]
    assert rejected[1].where.endswith("s50000004.txt") and rejected[1].study_id == "50000004"


@pytest.mark.parametrize("below", ["files", "files/p10", "files/p10/p10000001", "files/p10/p10000001/s50000002.txt"])
def test_mimic_cxr_from_any_folder_of_its_tree(made: Any, below: str) -> None:
    root = made.write("mimic_cxr")
    studies, _ = made.read("mimic_cxr", root / below)
    assert studies["50000002"].views == ("frontal ap", "lateral") and studies["50000002"].split == "val"


def test_mimic_cxr_without_official_files(made: Any) -> None:
    root = made.write("mimic_cxr")
    for path in root.glob("*.csv.gz"):
        path.unlink()
    studies, _ = made.read("mimic_cxr", root)
    assert len(studies) == 2 and studies["50000002"].prior_study_id is None


def test_iu_xray_xml_and_csv_give_the_same(made: Any) -> None:
    folder = made.write("iu_xray")
    xml = folder / "xml"
    xml.mkdir()
    (xml / "1.xml").write_text(
        '<eCitation><uId id="CXR1"/><Abstract><AbstractText Label="COMPARISON"/><AbstractText Label="INDICATION">Cough'
        '</AbstractText><AbstractText Label="FINDINGS">The heart is enlarged.\nThere is a small left effusion.'
        '</AbstractText><AbstractText Label="IMPRESSION">Cardiomegaly.</AbstractText></Abstract>'
        '<parentImage id="CXR1_IM-1"/></eCitation>',
        encoding="utf-8",
    )
    (xml / "2.xml").write_text("<eCitation><uId", encoding="utf-8")
    (xml / "3.xml").write_text('<eCitation><uId id=""/></eCitation>', encoding="utf-8")
    from_csv, _ = made.read("iu_xray", folder)
    from_xml, rejected = made.read("iu_xray", xml)
    assert from_xml == {"1": from_csv["1"]}
    assert [(Path(item.where).name, item.reason) for item in rejected] == [("2.xml", "bad row"), ("3.xml", "bad row")]
    assert made.read("iu_xray", xml / "1.xml")[0] == from_xml


def test_chexpert_plus(made: Any) -> None:
    studies, rejected = made.read("chexpert_plus", made.write("chexpert_plus", pictures=True))
    later, first = studies["patient00007/study2"], studies["patient00007/study1"]
    assert later.report == "FINDINGS: New left lower lobe consolidation.\n\nIMPRESSION: Pneumonia."
    assert later.views == ("frontal ap", "lateral") and len(later.images) == 2 and "view1_frontal" in later.images[0]
    assert later.prior_study_id == first.study_id and later.prior_images == first.images
    assert later.prior_report == first.report and not first.prior_report
    assert first.sections == {"findings": "The heart is enlarged.", "impression": "1. Cardiomegaly."}
    assert [(item.reason, item.study_id) for item in rejected] == [("empty report", "patient00007/study3")]


def test_padchest_gr(made: Any) -> None:
    folder = made.write("padchest_gr", pictures=True)
    studies, rejected = made.read("padchest_gr", folder)
    (study,) = studies.values()
    assert study.report == "FINDINGS: Small left pleural effusion. Heart size is normal."
    assert (study.patient_id, study.split, study.prior_study_id) == ("P9", "val", "216840110")
    assert study.boxes[0] == Box("pleural effusion", 0.6, 0.7, 0.9, 0.95) and study.boxes[1].reader == 2
    assert [Path(image).name for image in study.prior_images] == ["216840110_01.png"]
    assert [item.reason for item in rejected] == ["wrong language", "empty report"]
    (folder / "master_table.csv").unlink()
    assert made.read("padchest_gr", folder / "grounded_reports_20240819.json")[0]["216840111"].patient_id == "216840111"


def test_rexgradient(made: Any) -> None:
    studies, rejected = made.read("rexgradient", made.write("rexgradient", pictures=True))
    assert list(studies) == ["pG1_2", "pG1_1", "pG3_1"]
    assert studies["pG1_2"].prior_study_id == "pG1_1" and len(studies["pG1_2"].images) == 2
    assert studies["pG1_2"].prior_report == studies["pG1_1"].report
    assert [study.split for study in studies.values()] == ["train", "train", "val"]
    assert studies["pG3_1"].views == ("frontal pa",)
    assert [(item.reason, item.study_id) for item in rejected] == [("duplicate", "pG1_2"), ("empty report", "pG2_1")]


def test_cxrtrek(made: Any) -> None:
    studies, rejected = made.read("cxrtrek", made.write("cxrtrek", pictures=True))
    study = studies["cheXpert_patient7/study5"]
    quality, choice, change, last = study.given
    assert quality.question == "How good is the image?" and quality.context == () and len(quality.images) == 1
    assert choice.options == ("A. Yes.", "B. No.") and [turn.answer for turn in choice.context] == ["Sharp."]
    assert change.question.endswith("What has changed?") and len(change.images) == 2
    assert [turn.question for turn in last.context][1:] == ["Is there an effusion?", "What has changed?"]
    assert [len(row.images) for row in study.given] == [1, 1, 2, 2], "what was shown stays in the conversation"
    assert choice.target == Target("captioning", ("A. Yes.", "B. No.")) and not choice.target.chosen
    assert study.report == last.answer and (last.stage, last.task) == (8, "stage")
    assert len(studies["cheXpert_patient7/study6"].given) == 2
    assert [item.reason for item in rejected] == ["bad row", "bad row"] and "'stage'" in rejected[0].detail


def test_cxrtrek_as_its_authors_write_it(made: Any) -> None:
    """Two views of one study are no comparison, and options that the question spells out are not listed again."""
    ask = {"stage": 3, "answer": "2. Left pleura.", "option_list": ["1. Lung.", "2. Left pleura."]}
    question = "Where is it? [ 1. Lung; or 2. Left pleura. ]"
    study = {"pat_id": "mimic_1", "study_id": "s12345", "ref_study_id": "", "image": ["a.png", "b.png"],
             "content": [ask | {"question": question, "image_input_count": count} for count in (2, 3, "two")]
             + [ask | {"question": "Where?"}]}  # fmt: skip
    made.folder.mkdir(parents=True)
    (made.folder / "demo.json").write_text(json.dumps([study]), encoding="utf-8")
    for name in study["image"]:
        Image.new("L", (32, 32)).save(made.folder / name)
    studies, rejected = made.read("cxrtrek", made.folder / "demo.json")
    spelled, listed = studies["s12345"].given
    assert (spelled.question, spelled.options, len(spelled.images)) == (question, (), 2)
    assert (listed.options, len(listed.images)) == (("1. Lung.", "2. Left pleura."), 2)
    assert ["found 3" in rejected[0].detail, "found 'two'" in rejected[1].detail] == [True, True]


def test_radrbench(made: Any) -> None:
    studies, rejected = made.read("radrbench", made.write("radrbench", pictures=True))
    binary, single = (study.given[0] for study in studies.values())
    assert (binary.task, binary.answer, binary.reasoning) == (
        "binary",
        "Yes",
        "The left costophrenic angle is blunted.",
    )
    assert (single.task, single.answer, single.options) == ("single", "B", ("A) edema", "B) nodule"))
    assert {study.patient_id for study in studies.values()} == {"p10000001"}
    assert [(item.reason, item.study_id) for item in rejected] == [("bad row", "b2")]


@pytest.mark.parametrize(
    "name, file, column, near",
    [
        ("iu_xray", "indiana_reports.csv", "findings", "findngs"),
        ("mimic_cxr", "mimic-cxr-2.0.0-metadata.csv.gz", "study_id", "studys_id"),
        ("chexpert_plus", "df_chexpert_plus_240401.csv", "section_findings", "sec_findings"),
        ("padchest_gr", "grounded_reports_20240819.json", "findings", "finding_list"),
        ("rexgradient", "metadata/train_metadata.csv", "Findings", "Findngs"),
        ("cxrtrek", "demo.json", "content", "contents"),
        ("radrbench", "openi.json", "question", "questions"),
        ("jsonl", "rows.jsonl", "report", "reports"),
    ],
)
def test_a_missing_column_is_told_with_the_nearest(made: Any, name: str, file: str, column: str, near: str) -> None:
    input = made.write(name)
    path = made.folder / file
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as before:
        data = before.read()
    quoted = (lambda word: f'"{word}"'.encode()) if "json" in file else str.encode
    with opened(path, "wb") as after:
        after.write(
            data.replace(b"cxrtrek_data", b"x").replace(b"data_dict", b"y").replace(quoted(column), quoted(near))
        )
    with pytest.raises(UserError) as error:
        open_source(name, str(input), made.folder / "out").partitions()
    assert file in str(error.value) and f"'{column}' is missing" in str(error.value) and near in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_that_are_not_there_or_empty(made: Any, name: str) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        open_source(name, str(made.folder / "gone"), made.folder).partitions()
    made.folder.mkdir()
    with pytest.raises(UserError, match=r"needs|give"):
        open_source(name, str(made.folder), made.folder).partitions()
    with pytest.raises(UserError, match="needs an input"):
        open_source(name, None, made.folder)


@pytest.mark.parametrize("name, file", [("padchest_gr", "grounded_reports_20240819.json"), ("cxrtrek", "demo.json"),
                                        ("radrbench", "openi.json")])  # fmt: skip
def test_json_in_other_wrappings(made: Any, name: str, file: str) -> None:
    """A list, JSON lines, an object of records, a wrapped list, gzipped: the same studies."""
    made.write(name)
    path = made.folder / file
    expected, rejected = made.read(name, path)
    rows = json.loads(path.read_text(encoding="utf-8"))
    forms = {
        "lines.jsonl": "\n".join(map(json.dumps, rows)),
        "one_line.json": json.dumps({"data": rows}),
        "wrapped.json": json.dumps({"data": rows}, indent=2),
        "keyed.json": json.dumps({str(n): row for n, row in enumerate(rows)}, indent=2),
        "single.json": json.dumps(rows[0], indent=2),
    }
    for form, content in forms.items():
        other = made.folder / form
        other.write_text(content, encoding="utf-8")
        found, bad = made.read(name, other)
        wanted = dict(list(expected.items())[:1]) if form.startswith("single") else expected
        assert found == wanted, form
        assert len(bad) == len(rejected) or form.startswith("single")
    packed = made.folder / "packed.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert made.read(name, packed)[0] == expected


@pytest.mark.parametrize("name", NAMES)
def test_pipes_and_links_to_nowhere_are_no_files_of_a_collection(made: Any, name: str) -> None:
    path = made.write(name)
    folder = path if path.is_dir() else path.parent
    whole = made.read(name, folder)
    for file in ("a.jsonl", "a.json", "a.csv", "a.xml", "test_metadata.json", "train_metadata_view_position.json"):
        os.mkfifo(folder / file)
    (folder / "b.jsonl").symlink_to("b.jsonl")
    assert made.read(name, folder) == whole
    with pytest.raises(UserError, match="neither a file nor a folder"):
        made.read(name, folder / "a.json")
