"""Sources: good rows become studies, bad ones say where and why, and the caller's mistakes are told in one line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from reasoner.errors import UserError
from reasoner.mining.pipeline.partition import mine_study
from reasoner.schema import Rejected, Study
from reasoner.sources import open_source
from reasoner.verified import Verified


def read_all(source: object) -> list[Study | Rejected]:
    return [item for part in source.partitions() for item in source.read(part)]  # type: ignore[attr-defined]


def write_jsonl(folder: Path, rows: Sequence[object]) -> Path:
    Image.new("L", (32, 32)).save(folder / "a.png")
    (folder / "text.png").write_text("no picture", encoding="utf-8")
    path = folder / "rows.jsonl"
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", encoding="utf-8"
    )
    return path


GOOD = {"study_id": "s1", "report": "The heart is enlarged.", "images": ["a.png"]}


def test_jsonl_rows(tmp_path: Path) -> None:
    rows = [GOOD, "{broken", ["list"], {**GOOD, "report": " "}, {**GOOD, "images": ["gone.png"]},
            {**GOOD, "images": ["text.png"]}, {**GOOD, "images": "a.png"}, {**GOOD, "split": "later"},
            {**GOOD, "labels": {"Gout": "present"}}, {**GOOD, "images": []}, {**GOOD, "split": "site_b"}]  # fmt: skip
    read = read_all(open_source("jsonl", str(write_jsonl(tmp_path, rows)), tmp_path))
    good = [item for item in read if isinstance(item, Study)]
    bad = [item for item in read if isinstance(item, Rejected)]
    assert [study.split for study in good][1:] == ["site_b"] and good[0].images == (str(tmp_path / "a.png"),)
    reasons = ["not JSON", "bad row", "empty report", "missing image", "not an image", *["bad row"] * 3, "no image"]
    assert [item.reason for item in bad] == reasons
    assert bad[0].where.endswith("rows.jsonl:2") and "gone.png" in bad[3].detail


def test_jsonl_partitions_cover_every_row(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, [{**GOOD, "study_id": f"s{i}", "report": "é" * (i % 7 + 1)} for i in range(2345)])
    source = open_source("jsonl", str(path), tmp_path)
    assert len(source.partitions()) == 3
    assert [getattr(s, "study_id", None) for s in read_all(source)] == [f"s{i}" for i in range(2345)]


def test_undecodable_lines_are_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"study_id": "\xff\xfe"}\n')
    (item,) = read_all(open_source("jsonl", str(path), tmp_path))
    assert isinstance(item, Rejected) and item.reason == "undecodable"


def write_iu(folder: Path) -> None:
    with (folder / "indiana_reports.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"])
        writer.writerow(["1", "", "", "", "Cough", "", "The heart is enlarged.", "Cardiomegaly."])
        writer.writerow(["2", "", "", "", "Cough", "", "", ""])
    with (folder / "indiana_projections.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["uid", "filename", "projection"], ["1", "1.png", "Frontal"]])


def test_iu_xray(tmp_path: Path) -> None:
    write_iu(tmp_path)
    study, rejected = read_all(open_source("iu_xray", str(tmp_path), tmp_path))
    assert isinstance(study, Study) and study.views == ("frontal",) and study.images == ()
    assert study.report == "INDICATION: Cough\n\nFINDINGS: The heart is enlarged.\n\nIMPRESSION: Cardiomegaly."
    assert isinstance(rejected, Rejected) and rejected.reason == "empty report" and rejected.where.endswith(":3")


def test_iu_xray_with_pictures(tmp_path: Path) -> None:
    write_iu(tmp_path)
    options = {"images": str(tmp_path)}
    first = read_all(open_source("iu_xray", str(tmp_path), tmp_path, options))[0]
    assert isinstance(first, Rejected) and first.reason == "missing image"
    Image.new("L", (32, 32)).save(tmp_path / "1.png")
    first = read_all(open_source("iu_xray", str(tmp_path), tmp_path, options))[0]
    assert isinstance(first, Study) and first.images == (str(tmp_path / "1.png"),)


@pytest.mark.parametrize(
    "name, input, options, message",
    [
        ("phantm", None, {}, "did you mean 'phantom'"),
        ("jsonl", None, {}, "needs an input"),
        ("iu_xray", None, {}, "needs an input"),
        ("phantom", None, {"trane": 3}, "did you mean 'train'"),
        ("jsonl", "a\0b", {}, "cannot be the name of a file"),
    ],
)
def test_callers_mistakes(tmp_path: Path, name: str, input: str | None, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(name, input, tmp_path, options)


@pytest.mark.parametrize("name", ["jsonl", "iu_xray"])
def test_missing_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="no such file"):
        open_source(name, str(tmp_path / "loop"), tmp_path).partitions()
    with pytest.raises(UserError, match="no such file"):
        open_source(name, str(tmp_path / "gone"), tmp_path).partitions()


def test_missing_column(tmp_path: Path) -> None:
    write_iu(tmp_path)
    (tmp_path / "indiana_reports.csv").write_text("uid,findings\n1,clear\n", encoding="utf-8")
    with pytest.raises(UserError, match="column 'indication' is missing"):
        open_source("iu_xray", str(tmp_path), tmp_path).partitions()


def test_a_name_that_is_not_utf8_costs_its_row_or_is_told(tmp_path: Path) -> None:
    name = "lat\udce9.png"
    rows = [GOOD, {**GOOD, "study_id": "s2", "images": [name]}]
    path = write_jsonl(tmp_path, rows)
    shutil.copy(tmp_path / "a.png", tmp_path / name)
    good, bad = read_all(open_source("jsonl", str(path), tmp_path))
    assert isinstance(good, Study) and isinstance(bad, Rejected) and bad.reason == "bad row"
    assert "not UTF-8" in bad.detail and bad.detail.isascii()
    with Verified(tmp_path) as verified:  # asked directly, it does not remember, nor raise
        verified.check(str(tmp_path / name))
    shutil.copytree(tmp_path, folder := tmp_path.with_name("caf\udce9"))
    with pytest.raises(UserError, match="not UTF-8; rename it"):
        open_source("jsonl", str(folder), tmp_path / "out").partitions()


@pytest.mark.parametrize("option", ["gone", "caf\udce9", "1.txt"])
def test_a_folder_of_pictures_that_cannot_be_one_is_told_before_anything_starts(tmp_path: Path, option: str) -> None:
    write_iu(tmp_path)
    (tmp_path / "1.txt").touch()
    with pytest.raises(UserError, match="option 'images'"):
        open_source("iu_xray", str(tmp_path), tmp_path, {"images": str(tmp_path / option)}).partitions()


def test_jsonl_splits_are_known_by_their_usual_names(tmp_path: Path) -> None:
    names = ["validate", "valid", "Dev", "TRAIN", " val ", "testing", "site_b"]
    rows = [{**GOOD, "study_id": name, "split": name} for name in names]
    read = read_all(open_source("jsonl", str(write_jsonl(tmp_path, rows)), tmp_path))
    assert [getattr(item, "split", item) for item in read] == ["val"] * 3 + ["train", "val", "test", "site_b"]


@pytest.mark.parametrize("prior", ["gone.png", "text.png", "lat\udce9.png"])
def test_a_prior_of_jsonl_is_never_required(tmp_path: Path, prior: str) -> None:
    rows = [{**GOOD, "prior_images": ["a.png"]}, {**GOOD, "prior_images": ["a.png", prior]}]
    with_prior, without = read_all(open_source("jsonl", str(write_jsonl(tmp_path, rows)), tmp_path))
    assert isinstance(with_prior, Study) and with_prior.prior_images == (str(tmp_path / "a.png"),)
    assert isinstance(without, Study) and without.prior_images == () and without.images == with_prior.images


def test_a_missing_picture_of_iu_xray_is_told_at_its_documented_place(tmp_path: Path) -> None:
    write_iu(tmp_path)
    with (tmp_path / "indiana_projections.csv").open("a", encoding="utf-8") as file:
        file.write("1,2.png,Lateral\n")
    (tmp_path / "images").mkdir()
    Image.new("L", (32, 32)).save(tmp_path / "images" / "2.png")
    first = read_all(open_source("iu_xray", str(tmp_path), tmp_path))[0]
    assert isinstance(first, Rejected) and first.detail == str(tmp_path / "images" / "1.png")


def test_a_study_without_a_finding_is_told_with_its_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, [GOOD, {**GOOD, "report": "Please call back tomorrow."}])
    _, study = read_all(open_source("jsonl", str(path), tmp_path))
    assert isinstance(study, Study)
    ((kind, record),) = mine_study(study, {"abnormality_list": 1.0}, "concise", 0)
    assert (kind, record["reason"], record["where"]) == ("rejected", "no finding read", f"{path}:2")
