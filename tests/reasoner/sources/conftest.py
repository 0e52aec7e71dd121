"""Small made-up collections in the layouts of the real ones; every sentence is our own."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reasoner.schema import Rejected, Study
from reasoner.sources import open_source

Item = Study | Rejected


def write_csv(path: Path, rows: Sequence[Sequence[object]], *, packed: bool = False) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    data = text.getvalue().encode()
    path.with_name(path.name + ".gz" * packed).write_bytes(gzip.compress(data) if packed else data)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (32, 32)).save(path)


def iu_xray(folder: Path, pictures: bool) -> Path:
    write_csv(
        folder / "indiana_reports.csv",
        [
            ["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"],
            ["1", "", "", "", "Cough", "", "The heart is enlarged.\nThere is a small left effusion.", "Cardiomegaly."],
            ["2", "", "", "", "Cough", "", "", ""],
            ["3", "", "", "", "Fall", "None", "The lungs are clear. No pneumothorax.", ""],
        ],
    )
    write_csv(
        folder / "indiana_projections.csv",
        [["uid", "filename", "projection"], ["1", "1.png", "Frontal"], ["3", "3.png", "Frontal"]],
    )
    for name in ("1", "3") if pictures else ():
        picture(folder / "images" / f"{name}.png")
    return folder


REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old with cough.

 COMPARISON:  ___.

 FINDINGS:

 There is a moderate right pleural effusion, increased
 since the prior study. No pneumothorax.

 IMPRESSION:

 1. Worsening right pleural effusion.
 2. Mild cardiomegaly.
"""
HEADLESS = """                                 FINAL REPORT
 CHEST RADIOGRAPH

 HISTORY:  Shortness of breath.

 COMPARISON:  None.

 The heart size is normal. The lungs are clear.
"""


def mimic_cxr(folder: Path, pictures: bool, *, packed: bool = True) -> Path:
    studies = {("10000001", "50000001"): HEADLESS, ("10000001", "50000002"): REPORT, ("11000002", "50000003"): ""}
    for (patient, study), text in studies.items():
        path = folder / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "files" / "p11" / "p11000002" / "s50000004.txt").write_bytes(b"\x00\x81\x8d\xfe\x01 FINDINGS: \x02")
    (folder / "files" / "p11" / "p11000002" / "index.html").write_text("not a report", encoding="utf-8")
    meta = ["dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate", "StudyTime"]
    rows: list[list[object]] = [
        ["aaa-1", 10000001, 50000001, "PA", 21800102, 101112.0],
        ["aaa-2", 10000001, 50000002, "LATERAL", 21800303, 91112.0],
        ["aaa-3", 10000001, 50000002, "AP", 21800303, 91112.0],
    ]
    write_csv(folder / "mimic-cxr-2.0.0-metadata.csv", [meta, *rows], packed=packed)
    splits = [["dicom_id", "study_id", "subject_id", "split"], *([r[0], r[2], r[1], "validate"] for r in rows)]
    write_csv(folder / "mimic-cxr-2.0.0-split.csv", splits, packed=packed)
    labels = [
        ["subject_id", "study_id", "Cardiomegaly", "Pleural Effusion", "Edema"],
        [10000001, 50000002, "1.0", "-1.0", ""],
    ]
    write_csv(folder / "mimic-cxr-2.0.0-chexpert.csv", labels, packed=packed)
    for dicom, patient, study, *_ in rows if pictures else ():
        picture(folder / "files" / f"p{str(patient)[:2]}" / f"p{patient}" / f"s{study}" / f"{dicom}.jpg")
    return folder


CHEXPERT_PLUS = """path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,
section_narrative,section_clinical_history,section_history,section_comparison,section_technique,
section_procedure_comments,section_findings,section_impression,section_end_of_impression,section_summary,
section_accession_number,age,sex,race,split"""


def chexpert_plus(folder: Path, pictures: bool) -> Path:
    columns = CHEXPERT_PLUS.replace("\n", "").split(",")

    def row(study: int, view: str, order: int, split: str = "train", **cells: str) -> list[str]:
        path = f"{split}/patient00007/study{study}/{view}.jpg"
        side = "Lateral" if "lateral" in view else "Frontal"
        known = {"path_to_image": path, "frontal_lateral": side, "ap_pa": "AP" if side == "Frontal" else ""}
        known |= {"deid_patient_id": "patient00007", "patient_report_date_order": str(order), "split": split, **cells}
        return [known.get(column, "") for column in columns]

    later = {
        "report": "x",
        "section_findings": "New left lower lobe consolidation.",
        "section_impression": "Pneumonia.",
    }
    raw = "NARRATIVE:\nCHEST, TWO VIEWS\n\nFINDINGS:\nThe heart is enlarged.\n\nIMPRESSION:\n1. Cardiomegaly.\n"
    rows = [
        row(2, "view2_lateral", 3, **later),
        row(2, "view1_frontal", 3, **later),
        row(1, "view1_frontal", 1, report=raw),
        row(3, "view1_frontal", 9, report=""),
    ]
    write_csv(folder / "df_chexpert_plus_240401.csv", [columns, *rows])
    for known in rows[:3] if pictures else ():
        picture(folder / known[0])
    return folder / "df_chexpert_plus_240401.csv"


def padchest_gr(folder: Path, pictures: bool) -> Path:
    effusion = {
        "sentence_en": "Small left pleural effusion",
        "sentence_es": "Pequeño derrame izquierdo",
        "abnormal": True,
        "boxes": [[0.6, 0.7, 0.9, 0.95]],
        "extra_boxes": [[0.61, 0.7, 0.88, 0.94]],
        "labels": ["pleural effusion"],
        "locations": ["left"],
        "progression": None,
    }
    normal = {"sentence_en": "Heart size is normal.", "sentence_es": "Corazón de tamaño normal.", "abnormal": False}
    spanish = {"sentence_es": "Sin hallazgos."}
    entries = [
        {"StudyID": "216840111", "ImageID": "216840111_01.png", "PreviousStudyID": "216840110",
         "PreviousImageID": "216840110_01.png", "findings": [effusion, normal]},
        {"StudyID": "216840112", "ImageID": "216840112_01.png", "PreviousImageID": None, "findings": [spanish]},
        {"StudyID": "216840113", "ImageID": "216840113_01.png", "findings": "none"},
    ]  # fmt: skip
    (folder / "grounded_reports_20240819.json").write_text(json.dumps(entries, ensure_ascii=False), "utf-8")
    head = ["StudyID", "ImageID", "PatientID", "label", "split"]
    row = ["216840111", "216840111_01.png", "P9", "pleural effusion", "validation"]
    write_csv(folder / "master_table.csv", [head, row])
    for name in ("216840111_01", "216840110_01") if pictures else ():
        picture(folder / "Padchest_GR_files" / "PadChest_GR" / f"{name}.png")
    return folder


def rexgradient(folder: Path, pictures: bool) -> Path:
    (folder / "metadata").mkdir()
    head = ["id", "StudyInstanceUid", "PatientID", "PatientAge", "StudyDate", "Indication", "Comparison", "Findings",
            "Impression", "ImagePath"]  # fmt: skip
    paths = ["../deid_png/G1/a.png", "../deid_png/G1/b.png"]
    rows = [
        [
            "pG1_2",
            "2.1",
            "G1",
            "070Y",
            "20200105",
            "Cough",
            "",
            "Right basilar atelectasis.",
            "Atelectasis.",
            str(paths),
        ],
        [
            "pG1_1",
            "2.0",
            "G1",
            "070Y",
            "20190105",
            "Cough",
            "",
            "No pleural effusion.",
            "Normal chest.",
            str(paths[:1]),
        ],
        ["pG1_2", "2.1", "G1", "070Y", "20200105", "Cough", "", "Twice.", "Twice.", str(paths)],
        ["pG2_1", "2.2", "G2", "070Y", "20190105", "Cough", "", "", "", "[]"],
    ]
    write_csv(folder / "metadata" / "train_metadata.csv", [head, *rows])
    valid = {"pG3_1": {"PatientID": "G3", "Findings": "Enlarged heart.", "Impression": "Cardiomegaly.", "ImagePath":
                       ["../deid_png/G3/a.png"], "ImageViewPosition": ["POSTERO_ANTERIOR"]}}  # fmt: skip
    (folder / "metadata" / "valid_metadata_view_position.json").write_text(json.dumps(valid), encoding="utf-8")
    for name in ("G1/a", "G1/b", "G3/a") if pictures else ():
        picture(folder / "deid_png" / f"{name}.png")
    return folder


def cxrtrek(folder: Path, pictures: bool) -> Path:
    def ask(stage: object, question: str, answer: str, **more: object) -> dict[str, Any]:
        return {"stage": stage, "task_type": "T", "qtype": "captioning", "question": question, "answer": answer, **more}

    content = [
        ask(1, "How good is the image? Here is the current X-ray image: <image> .", "Sharp.", image_input_count=1),
        ask(2, "Is there an effusion?", "A. Yes.", option_list=["A. Yes.", "B. No."], image_input_count=1),
        ask(5, "What has changed? Reference X-ray: <image> .", "The effusion has grown.", image_input_count=2),
        ask(8, "Final impression: ____.", "Growing left pleural effusion. The heart is normal in size."),
        ask(9, "What?", "Nothing."),
    ]  # fmt: skip
    study = {"source": "chexpert-mtxray", "pat_id": "cheXpert_patient7", "study_id": "study5", "ref_study_id": "study3",
             "image": ["chexpert/train/p7/s5.png", "chexpert/train/p7/s3.png"], "content": content}  # fmt: skip
    wrapped = {"messages": [], "data_dict": {"cxrtrek_data": {**study, "study_id": "study6", "content": content[:2]}}}
    (folder / "demo.json").write_text(
        json.dumps([study, wrapped, {**study, "study_id": "study7", "content": []}], indent=1), encoding="utf-8"
    )
    for name in ("s5", "s3") if pictures else ():
        picture(folder / "chexpert" / "train" / "p7" / f"{name}.png")
    return folder / "demo.json"


def radrbench(folder: Path, pictures: bool) -> Path:
    rows = [
        {"item_id": "b0", "question": "Is there a pleural effusion?", "answer": "<answer>Yes</answer>", "dataset_name":
         "mimic_binary", "process": "<think>The left costophrenic angle is blunted.</think>",
         "original_report": "Findings: Small left pleural effusion.", "image_path": ["p10000001/s1/a.jpg"]},
        {"item_id": "b1", "question": "Which is it? A) edema B) nodule", "answer": "B", "report":
         "Impression: Lung nodule.", "image_path": ["p10000001/s2/b.jpg"], "options": {"A": "edema", "B": "nodule"},
         "reasoning": "A small round opacity is seen."},
        {"item_id": "b2", "question": "", "answer": "B"},
    ]  # fmt: skip
    (folder / "openi.json").write_text(json.dumps(rows), encoding="utf-8")
    for name in ("s1/a", "s2/b") if pictures else ():
        picture(folder / "p10000001" / f"{name}.jpg")
    return folder / "openi.json"


def jsonl(folder: Path, pictures: bool) -> Path:
    rows: list[dict[str, Any]] = [
        {"study_id": "s1", "patient_id": "p1", "report": "The heart is enlarged."},
        {"study_id": "s2", "patient_id": "p1", "report": "El corazón está aumentado de tamaño y hay derrame."},
    ]
    if pictures:
        picture(folder / "a.png")
        rows = [{**row, "images": ["a.png"]} for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n", encoding="utf-8")
    return folder / "rows.jsonl"


LAYOUTS: dict[str, Callable[[Path, bool], Path]] = {
    layout.__name__: layout  # type: ignore[attr-defined]
    for layout in (iu_xray, mimic_cxr, chexpert_plus, padchest_gr, rexgradient, cxrtrek, radrbench, jsonl)
}


class Collections:
    """Writes a collection into a folder of its own, and reads what there is."""

    names = tuple(LAYOUTS)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, *, pictures: bool = False) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return LAYOUTS[name](self.folder, pictures)

    def items(self, name: str, input: Path, **options: Any) -> Iterator[Item]:
        source = open_source(name, str(input), self.folder / "out", options)
        for part in source.partitions():
            yield from source.read(json.loads(json.dumps(part)))

    def read(self, name: str, input: Path, **options: Any) -> tuple[dict[str, Study], list[Rejected]]:
        items = list(self.items(name, input, **options))
        good = {item.study_id: item for item in items if isinstance(item, Study)}
        return good, [item for item in items if isinstance(item, Rejected)]


@pytest.fixture
def made(tmp_path: Path) -> Collections:
    return Collections(tmp_path / "in")
