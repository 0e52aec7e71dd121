"""A truer reading earns more, in RadRScore and in skill: age, place, size, tip and form of a finding count."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from rewards.radrscore import details, radrscore
from rewards.radrscore.base_rates import Row, default_base_rates
from rewards.radrscore.reading import read_reasoning
from rewards.radrscore.skill import skill

PAIRS = Path(__file__).parent / "data" / "pairs.txt"


def pairs() -> list[tuple[str, ...]]:
    lines = PAIRS.read_text(encoding="utf-8").splitlines()
    return [tuple(line.split(" | ")) for line in lines if line and not line.startswith("#")]


def process(text: str, report: str) -> float:
    return radrscore(text, report, report).value or 0.0


def skilled(text: str, report: str) -> float:
    row = Row(report, report)
    return skill(text, row.truth, default_base_rates().of(row)).value or 0.0


def said(text: str) -> list[str | None]:
    return [fact.details for sentence in read_reasoning(text) for claim in sentence.claims for fact in claim.facts]


def test_the_examples_are_true():
    assert doctest.testmod(details).failed == 0


@pytest.mark.parametrize("reward", [process, skilled])
@pytest.mark.parametrize(("name", "report", "truer", "other"), pairs())
def test_the_truer_reading_earns_more(reward, name, report, truer, other):
    assert reward(truer, report) > reward(other, report) + 0.001


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The left clavicle fracture is not displaced.", "displacement=undisplaced"),
        ("Fractures of the left 4th through 6th ribs.", "level=4 5 6; location=rib"),
        ("Compression fracture of T8.", "level=t8"),
        ("Bilateral effusions, less on the left.", "greater=right"),
        ("The endotracheal tube is 3 cm above the carina.", "tip=30 mm above carina"),
        ("The endotracheal tube is appropriately positioned.", "tip=well placed"),
        ("A small left effusion.", None),
        ("No displaced fracture.", None),
    ],
)
def test_details_go_to_the_finding_that_they_are_of(text, wanted):
    assert said(text) == [wanted]


def test_each_finding_has_the_word_nearest_to_it():
    text = "Displaced left clavicle fracture, nondisplaced left humeral fracture."
    assert ["undisplaced" in (one or "") for one in said(text)] == [False, True]


def test_details_may_be_given_in_several_places():
    whole, apart = "Small left pleural effusion, increased.", "Left pleural effusion. It is small. Small left effusion."
    report = "FINDINGS: Small left pleural effusion. The left pleural effusion has increased."
    assert process(whole, report) > process("Small left pleural effusion, decreased.", report) + 0.1
    assert skilled(whole, report) == pytest.approx(skilled(report.removeprefix("FINDINGS: "), report))
    assert skilled(apart, "Small left pleural effusion.") == pytest.approx(
        skilled("Small left pleural effusion.", "Small left pleural effusion.")
    )


def test_a_place_denied_leaves_another():
    report = "FINDINGS: Old left rib fractures. No acute fracture."
    assert process("Old left rib fractures. No acute fracture.", report) == pytest.approx(1.0)
    assert radrscore("Acute left rib fracture.", report, report).parts["factuality"] == 0.0
    assert skilled("Old left rib fractures. No acute fracture.", report) > skilled("No acute fracture.", report)


def test_a_normal_statement_is_of_its_side():
    report = "FINDINGS: The left lung is clear. Right pneumothorax."
    assert process("The left lung is clear.", report) > process("The right lung is clear.", report)
    assert process("The left lung is clear.", report) > process("Both lungs are clear.", report)
