"""Skill has a zero: what is said without looking earns nothing, what is seen earns by what it tells."""

from __future__ import annotations

import random
from functools import cache
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.errors import UserError
from reasoner.findings import extract_report
from reasoner.mining.chains import build_chain, merge
from reasoner.phantom.source import PhantomSource
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING
from rewards.credit import step_rewards
from rewards.radrscore import skill as rules
from rewards.radrscore.base_rates import BaseRates, Row, default_base_rates, learn_base_rates, read_base_rates
from rewards.radrscore.skill import PARTS, THRESHOLD
from rewards.registry import RewardSet, Score

REPORT = "There is a small left pleural effusion. The heart is enlarged. No pneumothorax."
NORMAL = "The lungs are clear. The heart is normal in size. No pleural effusion or pneumothorax."
NAMES = [name.lower() for name in CLASSES if name != NO_FINDING]


def skill(text: str, reference: str, report: str, labels: dict | None = None, rates: BaseRates | None = None) -> Score:
    row = Row(reference, report, tuple((labels or {}).items()))
    return rules.skill(text, row.truth, (rates or default_base_rates()).of(row))


def value(text: str, report: str = REPORT, labels: dict | None = None) -> float:
    found = skill(text, report, report, labels).value
    assert found is not None
    return found


@cache
def phantoms() -> tuple[tuple[str, str], ...]:
    """(chain, report) of drawn studies."""
    source = PhantomSource(None, "unused", train=600, val=0, test=0, site_b=0)
    rows = []
    for n in range(600):
        _, reading, _ = source.case("train", n)
        chain = build_chain(merge(extract_report(reading.report)), style="concise", key=(n, 0, "skill"))
        rows.append((" ".join(step.text for step in chain.steps), reading.report))
    return tuple(rows)


@cache
def rates() -> BaseRates:
    return learn_base_rates([Row(chain, report) for chain, report in phantoms()])


def blind(text: str) -> float:
    return fmean(skill(text, chain, report, None, rates()).value or 0.0 for chain, report in phantoms())


def test_the_reference_chains_of_the_training_split_earn_one_on_average():
    earned = [skill(chain, chain, report, None, rates()).value or 0.0 for chain, report in phantoms()]
    assert fmean(earned) == pytest.approx(1.0, abs=0.01)


BLIND = [
    "",
    "The lungs are clear. The heart is normal. No pleural effusion. No pneumothorax. The bones are intact.",
    "No acute cardiopulmonary abnormality.",
    " ".join(f"No {name}." for name in NAMES),
    " ".join(f"There may be {name}." for name in NAMES),
    " ".join(f"There is {name}." for name in NAMES),
    f"There is {' or '.join(NAMES)}.",
    "There is cardiomegaly or a pleural effusion.",
    "History of pneumothorax, effusion and cardiomegaly. Is there a nodule? We look for fractures.",
    *(frame.format(name) for name in NAMES for frame in ("There is {}.", "No {}.", "There may be {}.")),
    *(f"There is {name} at the base. No {name} at the apex." for name in NAMES),
    *(f"There is old {name}. No acute {name}." for name in NAMES),
    *(f"There is small {name}. There is moderate {name}. There is large {name}." for name in NAMES),
]


@pytest.mark.parametrize("text", BLIND)
def test_what_is_said_without_looking_earns_nothing(text):
    assert blind(text) <= 0.01


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(BLIND), min_size=1, max_size=6, unique=True))
def test_nor_does_any_combination_of_it(texts):
    assert blind(" ".join(texts)) <= 0.01


def test_each_part_moves_as_it_should():
    whole = skill(REPORT, REPORT, REPORT)
    assert set(whole.parts) == set(PARTS)
    assert sum(whole.parts.values()) == pytest.approx(whole.value)
    assert whole.parts["found"] > 0 and whole.parts["ruled_out"] > 0
    assert whole.parts["false_alarms"] == whole.parts["denied"] == 0.0
    missed = skill("There is a small left pleural effusion. No pneumothorax.", REPORT, REPORT)
    assert missed.parts["found"] == pytest.approx(whole.parts["found"] / 2)
    wrong = skill(f"{REPORT} There is a right pneumothorax.", REPORT, REPORT)
    assert wrong.parts["false_alarms"] < 0 and wrong.value < whole.value
    denied = skill("No effusion. The heart is normal. No pneumothorax.", REPORT, REPORT)
    assert denied.parts["denied"] < 0 and denied.value < 0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("There is a small left pleural effusion.", "There is a left pleural effusion."),
        ("There is a left pleural effusion.", "There is a pleural effusion."),
        ("There is a pleural effusion.", "There may be a pleural effusion."),
        ("There may be a pleural effusion.", ""),
        ("", "There is a right pleural effusion."),
        ("There is a left pleural effusion or pneumonia.", "No pleural effusion."),
        ("There is a left pleural effusion.", "There is a left pleural effusion or pneumonia."),
        ("There is a left pleural effusion.", "There is a left pleural effusion. There is a right pleural effusion."),
        ("", "No pleural effusion."),
        ("There is cardiomegaly.", "There is cardiomegaly. There is pneumonia."),
        ("There is cardiomegaly.", "There is cardiomegaly. No cardiomegaly."),
        ("There is a mass.", "There is a mass. There is pneumonia. There is a fracture."),
        ("", "There is a mass and the ribs are fractured."),
    ],
)
def test_what_is_truer_earns_more(better, worse):
    assert value(better) > value(worse)


@pytest.mark.parametrize(
    "more",
    [
        "There is a small left pleural effusion.",
        "No left pneumothorax. No right pneumothorax. No pneumothorax at all.",
        "History of pneumonia.",
        "Is there pneumonia?",
        "To assess for pneumonia, we look at the lungs.",
    ],
)
def test_what_was_said_before_or_claims_nothing_changes_nothing(more):
    assert value(f"{REPORT} {more}") == pytest.approx(value(REPORT))


def test_two_false_assertions_cost_twice_as_much_however_they_are_joined():
    one = value(f"{REPORT} There is pneumonia.") - value(REPORT)
    apart = value(f"{REPORT} There is pneumonia. There is a rib fracture.") - value(REPORT)
    joined = value(f"{REPORT} There is pneumonia and there is a rib fracture.") - value(REPORT)
    assert one < 0 and apart == pytest.approx(2 * one) and joined == pytest.approx(apart)


def test_asserting_pays_from_the_threshold_on():
    """A finding that a reader thinks there with probability p, in a row that has nothing else."""
    there, absent = "There is a small left pleural effusion.", NORMAL
    said = "There is a small left pleural effusion."

    def expected(p: float) -> float:
        return p * value(said, there) + (1 - p) * value(said, absent)

    assert expected(THRESHOLD - 0.02) < 0 < expected(THRESHOLD + 0.02)


def test_presences_are_never_outvoted_by_safe_absences():
    assert value("The lungs are clear. No pneumothorax. The bones are intact. No pleural effusion.") < 0
    assert value("There is a small left pleural effusion.") > value(NORMAL, NORMAL) / 2


def test_verified_labels_outweigh_the_report():
    assert value("There is pneumonia.", NORMAL) < 0 < value("There is pneumonia.", NORMAL, {"Pneumonia": "present"})
    assert value("There is cardiomegaly.", labels={"Cardiomegaly": "absent"}) < 0 < value("There is cardiomegaly.")


def test_the_evidence_adds_up_and_points_at_its_words():
    text = "There is a right pneumothorax. There is a small left pleural effusion. No cardiomegaly."
    score = skill(text, REPORT, REPORT)
    assert sum(entry["earned"] for entry in score.evidence) == pytest.approx(score.value)
    assert {entry["part"] for entry in score.evidence} == {"found", "false_alarms", "denied"}
    for entry in score.evidence:
        assert text[entry["start"] : entry["end"]] == entry["words"]
    steps = step_rewards(format_completion(text, "x"), score)
    assert [step.reward > 0 for step in sorted(steps)] == [False, True, False]


def test_order_does_not_matter():
    sentences = ["There is a small left pleural effusion.", "The heart is enlarged.", "No pneumothorax."]
    values = {round(value(" ".join(random.Random(n).sample(sentences, 3))), 9) for n in range(6)}
    assert len(values) == 1


def test_the_reward_abstains_and_names_a_file_that_is_none(tmp_path):
    row = {"completion": format_completion(REPORT, "x"), "reasoning": REPORT, "report": REPORT}
    rewards = RewardSet.build({"skill": 1.0})
    assert rewards.score({**row, "reasoning": None})["skill"].value is None
    assert rewards.score(row)["skill"].value == value(REPORT)
    mine = tmp_path / "base_rates.json"
    rates().write(mine)
    assert read_base_rates(mine) == rates()
    with pytest.raises(UserError, match=r"nowhere\.json: no base rates"):
        read_base_rates(tmp_path / "nowhere.json")
    mine.write_text('{"gains": 3', encoding="utf-8")
    with pytest.raises(UserError, match="no base rates"):
        read_base_rates(mine)
    with pytest.raises(UserError, match="at least one row"):
        learn_base_rates([])


QUESTION = "Is there a pleural effusion?"
YES, NO = "There is a small left pleural effusion.", "No pleural effusion."


def questions() -> list[Row]:
    """Every second study has what is asked for; some have other findings beside."""
    others = ["", "The heart is enlarged."]
    return [
        Row(chain, f"{chain} {other}", task="binary", question=QUESTION)
        for chain in (YES, NO)
        for other in others
        for _ in range(30)
    ]


def test_what_the_question_tells_is_known_without_looking():
    rows = questions()
    learned = learn_base_rates(rows)

    def mean(text: str) -> float:
        return fmean(rules.skill(text, row.truth, learned.of(row)).value or 0.0 for row in rows)

    for text in (
        YES,
        NO,
        "There is an effusion.",
        "There may be an effusion.",
        "The heart is enlarged.",
        f"{NO} {YES}",
    ):
        assert mean(text) <= 0.01, text


def test_a_question_asks_for_what_its_chain_speaks_of():
    row = Row(NO, f"{NO} The heart is enlarged.", task="binary", question=QUESTION)
    rates = learn_base_rates(questions()).of(row)
    alone = rules.skill(NO, row.truth, rates).value
    assert rules.skill(f"{NO} The heart is enlarged.", row.truth, rates).value == pytest.approx(alone)
    assert rules.skill(f"{NO} The heart is normal.", row.truth, rates).value < alone
    assert rules.skill(f"{NO} There is a fracture.", row.truth, rates).value < alone
