"""Headings of reports, the language of reports, and the split words of collections."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.schema import Study
from reasoner.sources import open_source
from reasoner.sources.io.checks import check_report, official_split
from reasoner.sources.io.language import foreign_language
from reasoner.sources.io.sections import ORDER, compose, split_headings


@pytest.mark.parametrize(
    "text, sections",
    [
        ("FINAL REPORT\n CHEST, PORTABLE AP:  The heart is enlarged.\n", {"findings": "The heart is enlarged."}),
        ("REASON FOR EXAM:  Cough.\n FINDINGS:  Clear lungs.\n IMPRESSION:\n 1. Normal.\n 2. No change.",
         {"indication": "Cough.", "findings": "Clear lungs.", "impression": "1. Normal.\n2. No change."}),
        ("WET READ: ___ 8:00 PM\n  Possible pneumonia.\n ____________\n FINAL REPORT\n IMPRESSION:  No pneumonia.",
         {"impression": "No pneumonia."}),
        ("WET READ: ___ 8:00 PM\n  Large effusion.\n", {"findings": "___ 8:00 PM\nLarge effusion."}),
        ("FINAL REPORT\n IMPRESSION:  Small effusion.\n ADDENDUM:  The tube is in the oesophagus.",
         {"impression": "Small effusion.\nThe tube is in the oesophagus."}),
        ("TECHNIQUE:  AP view.\n COMPARISON:  None.\n \n Stable heart size.\n \n No effusion.",
         {"comparison": "None.", "technique": "AP view.", "findings": "Stable heart size.\n\nNo effusion."}),
        ("IMPRESSION:  Mass.\n RECOMMENDATION(S):  CT.\n NOTIFICATION:  By telephone.", {"impression": "Mass."}),
        ("Indication: cough\nImpression: no acute disease\n",
         {"indication": "cough", "impression": "no acute disease"}),
        ("The study is limited. Clear lungs.", {"findings": "The study is limited. Clear lungs."}),
        ("FINDINGS\nThe lungs are clear.\nIMPRESSION\nNormal.",
         {"findings": "The lungs are clear.", "impression": "Normal."}),
        ("INDICATION:  Cough.", {"indication": "Cough."}),
        ("", {}),
    ],
)  # fmt: skip
def test_headings(text: str, sections: dict[str, str]) -> None:
    assert split_headings(text) == sections


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("FINDINGS: IMPRESSION\n ab.ADDENDUM_"), max_size=200))
def test_headings_never_fail_and_keep_their_order(text: str) -> None:
    sections = split_headings(text)
    assert list(sections) == [name for name in ORDER if name in sections] and all(sections.values())
    kept, report = compose(sections)
    assert all(body.strip() in report for body in kept.values())


@pytest.mark.parametrize(
    "text, language",
    [
        ("Sin hallazgos patológicos. Silueta cardiaca de tamaño normal.", "Spanish"),
        ("Derrame pleural izquierdo.", "Spanish"),
        ("Kein Nachweis eines Pneumothorax. Das Herz ist vergrößert.", "German"),
        ("Pas d'épanchement pleural. Le coeur est de taille normale.", "French"),
        ("Não há derrame pleural. O coração está aumentado.", "Portuguese"),
        ("Non versamento pleurico. Il cuore è nei limiti.", "Italian"),
        ("Сердце увеличено. Лёгкие чистые.", "another script"),
        ("心影增大，双肺清晰。", "another script"),
        ("No hay derrame pleural, no neumotórax. Pulmones normales.", "Spanish"),
        ("The heart is enlarged. No pneumothorax.", None),
        ("No pneumothorax. Normal heart.", None),
        ("Edema. Scoliosis. No hernia.", None),
        ("Cardiomegaly.", None),
        ("ET tube 3 cm above the carina. NG tube in stomach. LA enlarged.", None),
        ("CABG. PICC. s/p TAVR. Port-a-cath.", None),
        ("Mitral valve prosthesis, ICD in situ, de novo nodule.", None),
        ("XXXX XXXX. No XXXX.", None),
        ("", None),
    ],
)
def test_languages(text: str, language: str | None) -> None:
    assert foreign_language(text) == language


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_no_text_makes_the_check_of_a_report_fail(text: str) -> None:
    fault = check_report(text)
    assert fault is None or fault[0] in ("empty report", "wrong language")


def test_no_real_report_is_taken_for_another_language(data_dir: Path) -> None:
    source = open_source("iu_xray", str(data_dir / "iu"), data_dir)
    items = [item for part in source.partitions() for item in source.read(part)]
    assert sum(isinstance(item, Study) for item in items) > 1800
    assert {item.reason for item in items if not isinstance(item, Study)} <= {"empty report"}


def test_real_xml_and_csv_give_the_same_studies(data_dir: Path) -> None:
    found = []
    for folder in (data_dir / "iu", data_dir / "iu" / "ecgen-radiology"):
        source = open_source("iu_xray", str(folder), data_dir)
        items = [item for part in source.partitions() for item in source.read(part)]
        found.append({i.study_id: (i.report, i.sections, i.patient_id, i.split) for i in items if isinstance(i, Study)})
    from_csv, from_xml = found
    assert len(from_xml) == 60 and all(from_csv[uid] == study for uid, study in from_xml.items())


@pytest.mark.parametrize(
    "name, split",
    [("validate", "val"), ("train_metadata.csv", "train"), ("valid", "val"), ("Test", "test"), ("validation", "val"),
     ("rows.json", None), ("latest", None), (None, None), ("mimic-test-2", "test")],
)  # fmt: skip
def test_split_words(name: str | None, split: str | None) -> None:
    assert official_split(name) == split
