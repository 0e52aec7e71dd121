"""The abnormality list from every label file that it reads, its scores computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.eval.outside.runs import Run, evaluate, write_csv, write_lines

CLASSES = [
    *(
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
    ),
    *("Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
]
CHEXPERT = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CLASSES, "completion"]


def film(number: int, completion: str, **labels: Any) -> dict[str, Any]:
    """A row of CheXpert's `valid.csv`; a class not named is blank, names are written with underscores."""
    path = f"CheXpert-v1.0-small/valid/patient{64541 + number}/study1/view1_frontal.jpg"
    about = {"Path": path, "Sex": "Female", "Age": 20 + 20 * number, "Frontal/Lateral": "Frontal", "AP/PA": "AP"}
    return about | {"completion": completion} | {name.replace("_", " "): value for name, value in labels.items()}


def said(answer: str) -> str:
    return f"<think>I look.</think><answer>{answer}</answer>"


#: Strictly TP, FP, FN: 2 0 0; 1 0 0; 1 0 0 (Atelectasis is uncertain: free); 1 1 1; 0 1 1. Sums 5, 2, 2.
FILMS = [
    film(0, said("Cardiomegaly, Edema"), Cardiomegaly=1.0, Edema=1.0, Fracture=0.0),
    film(1, said("No Finding"), No_Finding=1.0),
    film(2, said("Pleural Effusion, Atelectasis"), Pleural_Effusion=1.0, Atelectasis=-1.0),
    film(3, said("Consolidation, Edema"), Lung_Opacity=1.0, Consolidation=1.0),
    film(4, said("Edema")),  # blanks alone: malformed
    film(5, said("Pneumothorax"), No_Finding=1.0),
]
BY_HAND = {
    "n": 5,
    "strict": 3 / 5,
    "exact_match": 3 / 5,
    "jaccard": (1 + 1 + 1 + 1 / 3 + 0) / 5,
    "micro_f1": 10 / 14,
    "micro_precision": 5 / 7,
    "micro_recall": 5 / 7,
    "micro_f1_13": 8 / 11,  # No Finding: one TP and one FN less
    "micro_f1_5": 8 / 9,  # TP 4 of Cardiomegaly, Edema, Effusion, Consolidation; FP Edema
    "f1/Cardiomegaly": 1.0,
    "f1/Edema": 2 / 3,
    "f1/Pleural Effusion": 1.0,
    "f1/Consolidation": 1.0,
    "f1/Lung Opacity": 0.0,
    "f1/No Finding": 2 / 3,
    "precision/Edema": 1 / 2,
    "recall/Edema": 1.0,
    "macro_f1": (1 + 2 / 3 + 1 + 1 + 0 + 2 / 3) / 6,
    "macro_f1_13": (1 + 2 / 3 + 1 + 1 + 0) / 5,
    "macro_f1_5": (1 + 2 / 3 + 1 + 1) / 4,
    "weighted_f1": (1 + 2 / 3 + 1 + 1 + 0 + 2 * 2 / 3) / 7,
    "weighted_f1_13": (1 + 2 / 3 + 1 + 1 + 0) / 5,
    "weighted_f1_5": (1 + 2 / 3 + 1 + 1) / 4,
    "official": 2 / 5,  # uncertain is absent: Atelectasis of the third film is wrong
    "jaccard_official": (1 + 1 + 1 / 2 + 1 / 3 + 0) / 5,
    "micro_f1_official": 10 / 15,
}


@pytest.fixture(scope="module")
def chexpert(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("chexpert")
    path = write_csv(folder / "valid.csv", CHEXPERT, FILMS)
    return evaluate("abnormality_list", folder / "run", "--predictions", f"m={path}")


@pytest.mark.parametrize("metric", BY_HAND)
def test_chexpert_metric(chexpert: Run, metric: str):
    assert chexpert.scores["m"]["valid"][metric] == pytest.approx(BY_HAND[metric])


@pytest.mark.parametrize("name", ["Pneumothorax", "Atelectasis", "Fracture"])
def test_class_that_no_reference_holds_has_no_f1(chexpert: Run, name: str):
    assert chexpert.scores["m"]["valid"].get(f"f1/{name}") is None


def test_chexpert_rows(chexpert: Run):
    assert [item["index"] for item in chexpert.items] == [0, 1, 2, 3, 5]
    (bad,) = chexpert.malformed("valid.csv")
    assert bad["line"] == 6  # the heading is line 1
    about = chexpert.question("valid", 3)["about"]
    assert (about["sex"], about["age"]) == ("female", "80+")
    assert "frontal" in about["view"]
    assert chexpert.question("valid")["labels"]["Fracture"] == "absent"
    assert chexpert.question("valid", 2)["labels"]["Atelectasis"] == "uncertain"


def test_columns_in_any_case_and_a_column_pred(tmp_path: Path):
    rows = [{"path": "a.jpg", "EDEMA": 1, "no finding": 0, "pred": said("Edema")}]
    path = write_csv(tmp_path / "mine.csv", ["path", "EDEMA", "no finding", "pred"], rows)
    run = evaluate("abnormality_list", tmp_path / "run", "--predictions", f"m={path}")
    assert run.item("mine")["strict"] is True


def test_class_without_a_column_was_not_looked_for(tmp_path: Path):
    rows = [
        {"Path": "p1/s1/a.jpg", "Edema": 1, "Cardiomegaly": 0, "completion": said("Edema, Fracture")},
        {"Path": "p2/s1/a.jpg", "Edema": 0, "Cardiomegaly": 0, "completion": said("No Finding")},
        {"Path": "p3/s1/a.jpg", "Edema": 0, "Cardiomegaly": 0, "completion": said("Cardiomegaly")},
    ]
    path = write_csv(tmp_path / "two.csv", ["Path", "Edema", "Cardiomegaly", "completion"], rows)
    run = evaluate("abnormality_list", tmp_path / "run", "--predictions", f"m={path}")
    assert [item["strict"] for item in run.items] == [True, True, False]
    assert [item["official"] for item in run.items] == [False, True, False]
    assert run.scores["m"]["two"]["micro_f1"] == pytest.approx(4 / 6)  # TP 2; FP Cardiomegaly; FN No Finding


def test_mimic_labels(tmp_path: Path):
    columns = ["subject_id", "study_id", *CLASSES, "completion"]
    rows = [
        {"subject_id": 10000032, "study_id": 50414267, "No Finding": 1.0, "completion": said("No Finding")},
        {"subject_id": 10000032, "study_id": 53189527, "Edema": 1.0, "completion": said("pulmonary edema")},
        {"subject_id": 10000764, "study_id": 57375967, "Consolidation": 1.0, "completion": said("Edema")},
    ]
    path = write_csv(tmp_path / "mimic-cxr-2.0.0-chexpert.csv", columns, rows)
    run = evaluate("abnormality_list", tmp_path / "run", "--predictions", f"m={path}")
    assert [(item["official"], item["strict"]) for item in run.items] == [(True, True), (False, True), (False, False)]
    assert [item["index"] for item in run.items] == [0, 1, 2]
    assert all(study in item["id"] for study, item in zip(("50414267", "53189527", "57375967"), run.items, strict=True))
    (table,) = run.scores["m"]
    assert table == "mimic-cxr-2.0.0-chexpert"


#: VinDr-CXR, three readers a picture. a: 2 of 3 see an enlarged heart. b: all normal. c: 1 of 3 an effusion. d: masses.
FINDINGS = [
    *(("a", "R1", "Cardiomegaly"), ("a", "R2", "Cardiomegaly"), ("a", "R3", "No finding")),
    *(("b", "R1", "No finding"), ("b", "R2", "No finding"), ("b", "R3", "No finding")),
    *(("c", "R1", "Pleural effusion"), ("c", "R2", "No finding"), ("c", "R3", "No finding")),
    *(("d", f"R{n}", name) for n in (1, 2, 3) for name in ("Nodule/Mass", "Infiltration", "ILD")),
    *(("e", "R1", "Pleural effusion"), ("e", "R2", "No finding")),
]
VINDR = [
    ("a", said("Cardiomegaly"), True, True),
    ("b", said("No Finding"), True, True),
    ("c", said("Pleural Effusion"), False, False),
    ("d", said("Lung Lesion, Lung Opacity"), True, True),  # ILD is no class, and left out
    ("e", said("Pleural Effusion"), False, None),  # one of two readers: uncertain, and nothing else is there
]


@pytest.fixture(scope="module")
def vindr(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("vindr")
    columns = ["image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max"]
    labels = write_csv(folder / "train.csv", columns, [dict(zip(columns, row, strict=False)) for row in FINDINGS])
    plain = write_lines(
        folder / "plain.jsonl", [{"table": "train", "id": id, "completion": text} for id, text, _, _ in VINDR]
    )
    return evaluate("abnormality_list", folder / "run", "--input", labels, "--predictions", f"m={plain}")


@pytest.mark.parametrize(("id", "official", "strict"), [(id, *rest) for id, _, *rest in VINDR])
def test_one_row_per_finding(vindr: Run, id: str, official: bool, strict: bool | None):
    (item,) = [item for item in vindr.items if item["id"] == id]
    assert item["strict"] is strict
    assert item["official"] is official


def test_class_that_no_row_names_is_free(vindr: Run):
    labels = vindr.question("train")["labels"]
    assert labels.get("Fracture") not in ("present", "absent")
    assert labels["Cardiomegaly"] == "present" and labels["Pleural Effusion"] == "absent"


def exchange(solution: str | None, completion: str | None, number: int = 0, reference: str = "") -> dict[str, Any]:
    """A row as NVIDIA publishes them."""
    turns = [
        {"from": "human", "value": "<image>\nFind abnormalities and support devices."},
        {"from": "gpt", "value": reference},
    ]
    row = {"id": f"n{number}", "image": f"{number}.png", "conversations": turns, "completion": completion}
    return row if solution is None else row | {"solution": solution}


#: What NVIDIA's rule says (names outside the list ignored, both empty right, no block wrong), and ours.
NVIDIA = [
    ("same", "Atelectasis, Edema", said("Atelectasis, Edema"), True, True),
    ("other_order", "Atelectasis, Edema", said("Edema, Atelectasis"), True, True),
    ("case_and_space", "Atelectasis, Edema", said(" atelectasis ,EDEMA "), True, True),
    ("said_twice", "Edema", said("Edema, Edema"), True, True),
    ("one_missing", "Atelectasis, Edema", said("Edema"), False, False),
    ("name_outside_the_list", "Edema", said("Edema, Scoliosis"), True, False),
    ("only_names_outside", "Scoliosis", said("Kyphosis"), True, None),
    ("synonym", "Support Devices", said("Pacemaker"), False, True),
    ("prose", "Edema", said("There is an edema."), False, True),
    ("both_empty", "", said(""), True, None),
    ("empty_for_a_class", "Edema", said(""), False, False),
    ("no_block", "Edema", "Edema", False, False),
    ("first_of_two_blocks", "Edema", "<answer>Edema</answer><answer>Fracture</answer>", True, True),
    ("normal", "No Finding", said("No Finding"), True, True),
    ("normal_beside_another", "Edema", said("Edema, No Finding"), False, False),
    ("no_finding_missed", "No Finding", said("Edema"), False, False),
]


@pytest.fixture(scope="module")
def nvidia(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("nvidia")
    rows = [exchange(solution, text, number) for number, (_, solution, text, _, _) in enumerate(NVIDIA)]
    path = write_lines(folder / "nv.jsonl", rows)
    return evaluate("abnormality_list", folder / "run", "--profile", "nv_reason", "--predictions", f"m={path}")


@pytest.mark.parametrize("number", range(len(NVIDIA)), ids=[case[0] for case in NVIDIA])
def test_nvidias_rule_and_ours(nvidia: Run, number: int):
    _, solution, _, official, strict = NVIDIA[number]
    (item,) = [item for item in nvidia.items if item["id"] == f"n{number}"]
    assert item["official"] is official
    if solution:  # what an empty reference means strictly is not said
        assert item["strict"] is strict


def test_nvidias_jaccard(nvidia: Run):
    values = {item["id"]: item["values"]["jaccard_official"] for item in nvidia.items}
    assert values["n4"] == pytest.approx(1 / 2) and values["n14"] == pytest.approx(1 / 2)
    assert values["n5"] == values["n6"] == values["n9"] == 1.0 and values["n11"] == 0.0


def test_reference_from_the_models_turn(tmp_path: Path):
    reference = "<think>The heart is large.</think><answer>Cardiomegaly</answer>"
    path = write_lines(tmp_path / "nv.jsonl", [exchange(None, said("Cardiomegaly"), reference=reference)])
    run = evaluate("abnormality_list", tmp_path / "run", "--predictions", f"m={path}")
    assert run.question("nv")["answer"] == "Cardiomegaly"
    assert run.question("nv")["reasoning"] == "The heart is large."
    assert run.item("nv")["strict"] is True


def test_question_is_the_profiles(nvidia: Run):
    assert nvidia.question("nv")["question"] == "Find abnormalities and support devices."
    assert nvidia.meta["profiles"]["m"]["name"] == "nv_reason"
    assert nvidia.meta["profiles"]["m"]["max_new_tokens"] == 2048
    assert (nvidia.meta["profiles"]["m"]["min_pixels"], nvidia.meta["profiles"]["m"]["max_pixels"]) == (128**2, 476**2)


def test_an_empty_completion_is_graded(tmp_path: Path):
    path = write_csv(tmp_path / "valid.csv", CHEXPERT, [film(0, "", Edema=1.0), film(1, said("Edema"), Edema=1.0)])
    run = evaluate("abnormality_list", tmp_path / "run", "--predictions", f"m={path}")
    assert [(item["official"], item["strict"]) for item in run.items] == [(False, False), (True, True)]
    path = write_lines(tmp_path / "nv.jsonl", [exchange("Edema", said("Edema")), exchange("Edema", None, 1)])
    run = evaluate("abnormality_list", tmp_path / "run2", "--predictions", f"m={path}")
    assert [(item["official"], item["strict"]) for item in run.items] == [(True, True), (False, False)]


def test_a_completion_may_stand_in_any_row_of_a_picture(tmp_path: Path):
    columns = ["image_id", "rad_id", "class_name", "completion"]
    cells = [
        ("a", "R1", "Edema", ""),
        ("a", "R1", "Cardiomegaly", said("Cardiomegaly, Edema")),
        ("b", "R1", "Edema", ""),
    ]
    path = write_csv(tmp_path / "vin.csv", columns, [dict(zip(columns, row, strict=True)) for row in cells])
    run = evaluate("abnormality_list", tmp_path / "run", "--predictions", f"m={path}")
    assert [(item["id"], item["strict"]) for item in run.items] == [("a", True), ("b", False)]


#: Cells of a label file that are wrong by themselves.
CELLS = [("text", "maybe"), ("number", "7"), ("fraction", "0.5"), ("infinite", "inf")]


@pytest.mark.parametrize("cell", [cell for _, cell in CELLS], ids=[name for name, _ in CELLS])
def test_a_wild_cell_is_malformed(tmp_path: Path, cell: str):
    rows = [film(0, said("Edema"), Edema=1.0), film(1, said("Edema"), Edema=cell), film(2, said("Edema"), Edema=1.0)]
    path = write_csv(tmp_path / "valid.csv", CHEXPERT, rows)
    run = evaluate("abnormality_list", tmp_path / "run", "--predictions", f"m={path}")
    (bad,) = run.meta["malformed"]["rows"]
    assert bad["line"] == 3 and "Edema" in bad["problem"]
    assert [item["index"] for item in run.items] == [0, 2]
