import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from eval.benchmarks.abnormality_list import AbnormalityList
from eval.benchmarks.base import Item, Malformed
from eval.benchmarks.cases import NAMES, about_of, class_of, labels_of, vote
from eval.benchmarks.label_files import QUESTION, table_of
from reasoner.errors import UserError
from reasoner.findings.data import read_data
from reasoner.schema import CLASSES, NO_FINDING

#: CheXpert's own order.
ORDER = ("No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
         "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices")  # fmt: skip
HEAD = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{ORDER}"
VIEW = "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg"


def cells(**labels):
    return ",".join(str(labels.get(name.replace(" ", "_"), "")) for name in ORDER.split(","))


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def read(path, images=None):
    found = list(AbnormalityList().read(path, images))
    return [x for x in found if isinstance(x, Item)], [x for x in found if isinstance(x, Malformed)]


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)
    return path


def test_chexpert(tmp_path):
    file = write(
        tmp_path,
        "valid.csv",
        HEAD,
        f"{VIEW},Female,73,Frontal,AP,{cells(Cardiomegaly='1.0', Edema='-1.0', Fracture='0.0', Support_Devices='1.0')}",
        f"{VIEW.replace('64541', '64542')},Male,17,Lateral,,{cells(No_Finding='1.0')}",
    )
    (first, second), bad = read(file)
    assert not bad and (first.table, first.index, second.index) == ("valid", 0, 1)
    assert first.about == {"view": "frontal ap", "sex": "female", "age": "60-79"}
    assert second.about == {"view": "lateral", "sex": "male", "age": "0-17"}
    assert first.gold["classes"] == ["Cardiomegaly", "Support Devices"] and first.gold["free"] == ["Edema"]
    assert first.gold["solution"] == "Cardiomegaly, Support Devices"
    assert second.gold["classes"] == [NO_FINDING] and second.example.answer == "No Finding"
    example = first.example
    assert (example.id, example.study_id, example.split) == (VIEW, "patient64541/study1", "val")
    assert (example.question, example.report, example.images) == (QUESTION, "", ())
    assert example.labels["Edema"] == "uncertain" and example.labels["Pneumonia"] == "absent"  # blank: not mentioned


def test_pictures_are_found_beside_the_file_and_below_the_folder_that_is_named(tmp_path):
    home = tmp_path / "CheXpert-v1.0-small"
    file = write(home, "valid.csv", f"Path,{ORDER}", f"{VIEW},{cells(Edema=1)}")
    there = picture(tmp_path / VIEW)
    assert read(file)[0][0].example.images == read(file, home)[0][0].example.images == (str(there.resolve()),)
    with pytest.raises(UserError, match="none of the first pictures"):
        read(file, tmp_path / "elsewhere")


def test_a_row_whose_picture_is_missing_is_malformed_unless_it_was_answered(tmp_path):
    picture(tmp_path / VIEW)
    other = VIEW.replace("64541", "64542")
    rows = [f"{name},{cells(Edema=1)}" for name in (VIEW, other)]
    items, bad = read(write(tmp_path, "valid.csv", f"Path,{ORDER}", *rows))
    assert len(items) == 1 and bad == [Malformed(str(tmp_path / "valid.csv"), 3, f"the picture {other!r} is not there")]
    items, bad = read(write(tmp_path, "pred.csv", f"Path,{ORDER},pred", *(f"{row},x" for row in rows)))
    assert not bad and [item.example.images == () for item in items] == [False, True]


def test_predictions_are_read_from_any_layout(tmp_path):
    said = "<think>a, b</think><answer>Edema, Fracture</answer>"
    csv = write(
        tmp_path,
        "valid.csv",
        f"Path,{ORDER},Prediction",
        f'{VIEW},{cells(Edema=1)},"{said}"',
    )
    row = {"Path": VIEW, "Edema": 1.0, "No Finding": None, "completion": said}
    lines = write(tmp_path, "valid.jsonl", json.dumps(row))
    nv = write(tmp_path, "nv.jsonl", json.dumps({"id": "a", "solution": "Edema", "response": said}))
    assert [read(file)[0][0].completion for file in (csv, lines, nv)] == [said] * 3
    assert read(lines)[0][0].gold["classes"] == ["Edema"] and "Fracture" in read(lines)[0][0].gold["free"]


def test_mimic(tmp_path):
    head = f"subject_id,study_id,{ORDER}"
    rows = [f"10000032,50414267,{cells(Edema='1.0')}", f"10000032,53189527,{cells(No_Finding='1.0')}"]
    file = tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"
    file.write_bytes(gzip.compress("\n".join([head, *rows]).encode()))
    items, bad = read(file)
    assert not bad and [item.example.id for item in items] == ["50414267", "53189527"]
    assert items[0].table == "mimic-cxr-2.0.0-chexpert" and items[0].about == {}
    write(
        tmp_path,
        "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id,subject_id,study_id,ViewPosition",
        "aa,10000032,50414267,LATERAL",
        "bb,10000032,50414267,PA",
        "cc,10000032,50414267,AP",
    )
    write(tmp_path, "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split", "aa,50414267,10000032,validate")
    there = picture(tmp_path / "files/p10/p10000032/s50414267/bb.jpg")
    items, bad = read(file)
    assert items[0].about == {"view": "frontal pa"} and items[0].example.split == "val"
    assert items[0].example.images == (str(there.resolve()),)
    assert [(row.line, "not there" in row.problem) for row in bad] == [(3, True)]


def test_nv_reason(tmp_path):
    turns = [{"from": "human", "value": "<image>\nFind abnormalities."}]
    rows = [
        {"id": "test/patient64741/study1/view1_frontal.jpg", "image": "images/a.jpg", "conversations": turns,
         "solution": "Enlarged Cardiomediastinum, Support Devices"},
        {"id": "b", "image": "b.jpg", "conversations": turns, "solution": "No Finding"},
        {"id": "c", "image": "c.jpg", "conversations": [*turns, {"from": "gpt", "value":
         "<think>Large heart.</think><answer>Cardiomegaly</answer>"}]},
        {"id": "d", "solution": ""},
        {"id": "e", "solution": "Scurvy"},
    ]  # fmt: skip
    items, bad = read(write(tmp_path, "grpo.jsonl", *map(json.dumps, rows)))
    assert not bad and items[0].about == {"view": "frontal"} and items[0].example.study_id == "patient64741/study1"
    assert items[0].example.question == "Find abnormalities." and items[3].example.question == QUESTION
    wanted = [["Enlarged Cardiomediastinum", "Support Devices"], [NO_FINDING], ["Cardiomegaly"], [NO_FINDING], []]
    assert [item.gold["classes"] for item in items] == wanted
    assert items[2].example.reasoning == "Large heart." and items[2].gold["solution"] == "Cardiomegaly"


def test_vindr_takes_the_majority_of_its_readers_and_names_what_is_no_class(tmp_path, capsys):
    rows = [
        ("a", "R1", "Nodule/Mass"), ("b", "R1", "No finding"), ("a", "R2", "Nodule/Mass"), ("a", "R2", "ILD"),
        ("a", "R3", "Pleural effusion"), ("b", "R2", "No finding"), ("b", "R3", "Cardiomegaly"), ("a", "R3", "ILD"),
        ("c", "R1", "Other lesion"), ("c", "R1", "Other lesion"), ("d", "R1", "Infiltration"),
        ("d", "R2", "No finding"),
    ]  # fmt: skip
    items, bad = read(write(tmp_path, "train.csv", "image_id,class_name,rad_id,x_min", *(
        f"{image},{name},{reader}," for image, reader, name in rows)))  # fmt: skip
    assert not bad and [(item.example.id, item.index) for item in items] == [("a", 0), ("b", 1), ("c", 8), ("d", 10)]
    a, b, c, d = items
    assert a.gold["classes"] == ["Lung Lesion"] and a.gold["outside"] == ["ILD"]
    assert b.gold["classes"] == [NO_FINDING] and "Support Devices" in b.gold["free"]  # nobody looked for them
    assert "Cardiomegaly" not in b.gold["free"]
    assert c.gold["classes"] == d.gold["classes"] == []  # something, and no majority says which class
    assert "ILD (1), Other lesion (1)" in capsys.readouterr().err


def test_votes():
    looked = frozenset({"Edema", "Fracture"})
    labels, outside = vote([frozenset({"Edema", "COPD"}), frozenset({"Edema"}), frozenset({"COPD"})], looked)
    assert labels == {"Edema": "present", "Fracture": "absent", NO_FINDING: "absent"} and outside == ("COPD",)
    labels, _ = vote([frozenset({"Rib fracture"}), frozenset({"Clavicle fracture"})], looked)
    assert labels["Fracture"] == "present"


def test_the_table_of_names_maps_to_classes_alone_and_knows_all_of_vindr():
    table = read_data(NAMES)
    assert {known for known in table.values() if known} <= set(CLASSES) and len(table) >= 28
    assert class_of("no_finding") == NO_FINDING and class_of("pleural EFFUSION") == "Pleural Effusion"
    assert class_of("Support Devices") == "Support Devices" and class_of("ILD") is None


@pytest.mark.parametrize("row", [{}, {"edema": ""}, {"edema": "2"}, {"edema": "yes"}, {"edema": [1]}, {"edema": {}}])
def test_labels_that_are_none(row):
    with pytest.raises(ValueError, match="label"):
        labels_of(row)


def test_no_finding_without_a_column_holds_where_no_class_may():
    assert labels_of({"edema": 0})[NO_FINDING] == "present"
    assert labels_of({"edema": -1})[NO_FINDING] == labels_of({"edema": True})[NO_FINDING] == "absent"


@pytest.mark.parametrize(
    ("age", "band"), [("0", "0-17"), ("067Y", "60-79"), ("80", "80+"), ("39.0", "18-39"), ("x", "")]
)
def test_ages_are_banded(age, band):
    assert about_of({"age": age}) == ({"age": band} if band else {})


def test_malformed_rows_are_named_with_their_line(tmp_path):
    good = f"{VIEW},{cells(Edema=1)}"
    rows = [good, "a.jpg,2", f"b.jpg,{cells(Edema='maybe')}", f"c.jpg,{cells()}", f",{cells(Edema=1)}", "", good]
    file = write(tmp_path, "valid.csv", f"Path,{ORDER}", *rows)
    items, bad = read(file)
    assert len(items) == 1 and [row.line for row in bad] == [3, 4, 5, 6, 8] and {row.file for row in bad} == {str(file)}
    words = ("2 cells", "'Edema' holds 'maybe'", "all labels are empty", "'Path' is empty", "earlier row")
    assert all(said in row.problem for said, row in zip(words, bad, strict=True))


def test_malformed_json_rows_are_named_with_their_line(tmp_path):
    rows = ['{"id": "a", "solution": "Edema"}', "[]", '{"id": "b"}', '{"id": "c", "solution": 3}', "{broken",
            '{"id": "d", "solution": "Edema", "completion": 5}', '{"id": "e", "solution": "Edema"}']  # fmt: skip
    items, bad = read(write(tmp_path, "x.jsonl", *rows))
    assert [item.example.id for item in items] == ["a", "e"]
    assert [row.line for row in bad] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "head", "why"),
    [
        ("x.csv", "id,completion", "looked for columns Path"),
        ("x.csv", "Path,Sex", "looked for columns Path"),
        ("x.csv", "Path,Edema,Pleural Efusion", "'Pleural Efusion' looks like 'Pleural Effusion'"),
        ("x.jsonl", '{"id": "a", "completion": "x"}', "found id, completion"),
        ("x.jsonl", "", "no record found"),
    ],
)
def test_other_files_are_refused_before_anything_is_read(tmp_path, name, head, why):
    with pytest.raises(UserError, match=why):
        AbnormalityList().read(write(tmp_path, name, head), None)


def test_tables_are_named_as_their_files():
    names = ("valid.csv", "mimic-cxr-2.0.0-chexpert.csv.gz", "grpo.jsonl")
    assert [table_of(Path(name)) for name in names] == ["valid", "mimic-cxr-2.0.0-chexpert", "grpo"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=8) | st.sampled_from(CLASSES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["from", "value"]), inner),
    max_leaves=6,
)
GENERIC = ("id", "image", "rad_id", "Fracture", "No Finding", "completion", "Sex", "Age", "ViewPosition", "dicom_id")
FIRST = (
    {"id": "first", "solution": "Edema"},
    {"Path": "first", "Edema": 1},
    {"image_id": "first", "class_name": "Edema"},
    {"subject_id": "1", "study_id": "2", "Edema": 1},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.sampled_from(FIRST), st.data())
def test_wild_rows_become_items_or_are_malformed(tmp_path, first, data):
    rows = data.draw(st.lists(st.dictionaries(st.sampled_from([*first, *GENERIC]), JSON), max_size=6))
    file = write(tmp_path, "wild.jsonl", *(json.dumps(row) for row in [first, *rows]))
    items, bad = read(file)
    assert any("first" in item.example.id or item.example.id == "2" for item in items)
    for item in items:
        found = AbnormalityList().grade(item, item.completion or "", lambda text: text)
        json.dumps([item.example.to_dict(), item.gold, dict(item.about), found.note]).encode("utf-8")
        assert f"{item.example.id}{item.example.question}{found.note}".encode()
    assert all(1 <= row.line <= 1 + len(rows) and "\n" not in row.problem for row in bad)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.lists(st.sampled_from(["", "1.0", "0", "-1", "x", '"', "2", "é", "a\nb"]), max_size=17), max_size=5))
def test_wild_cells_become_items_or_are_malformed(tmp_path, rows):
    file = write(tmp_path, "wild.csv", f"Path,{ORDER}", f"first,{cells(Edema=1)}", *(",".join(row) for row in rows))
    items, bad = read(file)
    assert items[0].example.id == "first" and all(row.line > 1 for row in bad)
