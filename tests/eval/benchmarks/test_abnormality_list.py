import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks.abnormality_list import AbnormalityList, official_jaccard, official_names
from eval.benchmarks.base import Benchmark, Item
from eval.benchmarks.cases import Case
from reasoner.prompts import parse_completion
from reasoner.schema import CLASSES, NO_FINDING, Example

BENCHMARK: Benchmark = AbnormalityList()


def item(*names, uncertain=(), unlooked=(), outside=(), solution=None):
    labels = {name: "present" if name in names else "absent" for name in CLASSES if name not in unlooked}
    labels |= dict.fromkeys(uncertain, "uncertain")
    case = Case("a", "a", "", labels, ", ".join(names) if solution is None else solution, outside)
    gold = case.gold()
    example = Example("a", "a", "abnormality_list", "?", ", ".join(gold["classes"]), labels=labels)
    return Item("valid", 0, example, gold=gold)


def grade(item, answer, reader=lambda text: parse_completion(text).answer):
    return BENCHMARK.grade(item, f"<think>x</think><answer>{answer}</answer>", reader)


@pytest.mark.parametrize(
    ("names", "answer", "official", "strict", "jaccards"),
    [
        (("Edema", "Cardiomegaly"), "cardiomegaly, EDEMA", True, True, (1.0, 1.0)),
        (("Edema", "Cardiomegaly"), "Edema", False, False, (0.5, 0.5)),
        (("Edema",), "Edema, Scurvy", True, False, (1.0, 0.5)),  # theirs ignores it
        (("Edema",), "Pulmonary edema", False, True, (0.0, 1.0)),  # a synonym
        (("Edema",), "No Finding, Edema", False, False, (0.5, 0.0)),  # against itself
        (("No Finding",), "No Finding", True, True, (1.0, 1.0)),
        (("Edema", "Fracture"), "Edema and Fracture", False, True, (0.0, 1.0)),  # split at commas alone
    ],
)
def test_both_rules(names, answer, official, strict, jaccards):
    found = grade(item(*names), answer)
    assert (found.official, found.strict) == (official, strict)
    assert (found.values["jaccard_official"], found.values["jaccard"]) == jaccards
    assert found.values["exact_match"] == float(strict) and found.read == answer
    assert bool(found.note) is (official != strict)


def test_nothing_named_and_nothing_to_name_pays_1_by_the_official_rule():
    found = grade(item("No Finding", solution="Scurvy"), "Rickets")
    assert found.official is True and found.values["jaccard_official"] == 1.0 and found.strict is False


def test_an_answer_that_cannot_be_read_is_wrong_by_both_and_misses_every_class():
    found = BENCHMARK.grade(item("Edema"), "I see edema.", lambda text: None)
    assert found.official is False and found.strict is False and found.read is None
    assert found.counts["fn:Edema"] == found.counts["official_fn:Edema"] == 1.0
    assert BENCHMARK.grade(item("Edema"), "x", lambda text: "Edema " * 5000).strict is False


def test_prose_that_a_profile_reads_counts_in_ours_alone():
    found = BENCHMARK.grade(item("Edema"), "There is pulmonary edema.", lambda text: text)
    assert found.strict is True and found.official is False and "no answer block" in found.note


@pytest.mark.parametrize("answer", ["Edema", "Edema, Pneumonia"])
def test_uncertain_classes_count_neither_way_in_ours_and_as_absent_in_theirs(answer):
    found = grade(item("Edema", uncertain=["Pneumonia"]), answer)
    assert found.strict is True and found.official is (answer == "Edema")
    assert found.counts["fp:Pneumonia"] == found.counts["fn:Pneumonia"] == 0.0
    assert found.official or "free in ours: Pneumonia" in found.note


def test_classes_that_nobody_looked_for_are_free():
    assert grade(item("No Finding", unlooked=["Support Devices"]), "Support Devices").strict is True


def test_a_reference_that_finds_only_what_is_no_class_is_not_graded_by_ours():
    found = grade(item(outside=("Other lesion",)), "No Finding")
    assert found.strict is None and found.values["jaccard"] is None and found.official is False
    assert not any(found.counts[f"{kind}:{name}"] for kind in ("tp", "fp", "fn") for name in CLASSES)
    assert "Other lesion" in grade(item(outside=("Other lesion",), solution="Edema"), "Edema").note


def test_the_first_answer_block_counts_by_the_official_rule():
    assert official_names("<answer>Edema</answer><answer>Fracture</answer>") == {"Edema"}
    assert official_names("<answer>Edema\n, Lung\nLesion</answer>") == {"Edema"}
    assert official_names("<answer>Edema") is None
    assert official_jaccard(None, frozenset()) == 0.0


def test_metrics_of_both_rules_over_a_table():
    grades = [grade(item("Edema", "Fracture"), "Edema, Scurvy"), grade(item("Pneumonia"), "lung infection")]
    grades.append(grade(item("No Finding"), "No Finding"))
    totals = {name: np.array([sum(g.counts[name] for g in grades)]) for name in grades[0].counts}
    found = {name: float(value[0]) for name, value in BENCHMARK.metrics(totals).items()}
    ours = sum(g.counts["tp:Pneumonia"] for g in grades)
    assert found["micro_f1_official"] == pytest.approx(2 * 2 / (2 * 2 + 2))
    assert found["micro_f1"] == pytest.approx(2 * (2 + ours) / (2 * (2 + ours) + 1 + 1 + (1 - ours)))
    assert found["f1/Edema"] == found["f1_official/Edema"] == found["precision/Edema"] == 1.0
    assert found["macro_f1_5"] == found["weighted_f1_5_official"] == 1.0
    assert np.isnan(found["recall/Pneumothorax"])


@given(st.text(max_size=60), st.sets(st.sampled_from(CLASSES), min_size=1))
def test_no_answer_raises(answer, names):
    found = grade(item(*names), answer)
    assert all(value is None or 0.0 <= value <= 1.0 for value in found.values.values())
    assert found.official is (found.values["jaccard_official"] == 1.0)


@given(st.sets(st.sampled_from([name for name in CLASSES if name != NO_FINDING]), min_size=1))
def test_the_reference_itself_is_right_by_both(names):
    found = grade(item(*names), ", ".join(names))
    assert found.official is found.strict is True and not found.note
