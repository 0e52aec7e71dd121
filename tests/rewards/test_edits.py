"""Controlled edits of faithful readings move the right parts of RadRScore: on drawn phantoms, and on real reports."""

from __future__ import annotations

import csv

import pytest

from benchmarks.reward_edits import check_discrimination, check_edits, check_probes, read_reports
from reasoner.phantom.source import PhantomSource


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> list[tuple[str, str]]:
    source = PhantomSource(None, tmp_path_factory.mktemp("phantom"), train=120, val=0, test=0, site_b=0)
    return [(str(n), source.case("train", n)[1].report) for n in range(120)]


def test_phantom_readings(phantoms):
    table, wrong = check_edits(phantoms)
    assert table["all"]["n"] > 500 and table["all"]["right"] >= 0.98, wrong[:3]
    assert check_discrimination(phantoms)["right"] >= 0.95  # many of the drawn studies are alike


def test_real_readings(data_dir):
    folder = data_dir / "iu"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not at hand")
    reports = read_reports(folder / "indiana_reports.csv", 250)
    table, _ = check_edits(reports)
    assert all(row["right"] >= 0.98 for row in table.values()), {k: r for k, r in table.items() if r["right"] < 0.98}
    assert check_discrimination(reports)["right"] >= 0.99
    with (folder / "gold_dev.csv").open(encoding="utf-8") as file:
        gold = {row["uid"]: row for row in csv.DictReader(file)}
    assert all(probe["right"] >= 0.97 for probe in check_probes(reports, gold).values())
