import numpy as np
import pytest

from eval.bootstrap import evaluate
from eval.metrics import metrics, statistics
from eval.specificity import OTHER, held_to, partners
from reasoner.prompts import format_completion
from reasoner.schema import NO_FINDING
from rewards.process import process
from rewards.registry import Score

EDEMA, NORMAL, FRACTURE = "Pulmonary edema is seen.", "No pulmonary edema.", "There is a fracture of a left rib."


def row(name, chain, task="abnormality_list", question="Which?", study=None):
    return {
        "id": name,
        "study_id": study or name,
        "task": task,
        "question": question,
        "options": [],
        "answer": NO_FINDING,
        "reasoning": chain,
        "report": chain,
        "labels": None,
        "label_source": None,
        "sample": 0,
        "completion": format_completion(EDEMA, "Edema"),
    }


def paired(rows):
    return {name: other["id"] for name, other in partners(rows).items()}


def test_the_partner_is_the_next_study_with_other_findings():
    rows = [row("d", FRACTURE), row("a", EDEMA), row("b", f"{EDEMA} {NORMAL}"), row("c", NORMAL)]
    assert paired(rows) == paired(rows[::-1]) == {"a": "c", "b": "c", "c": "d", "d": "a"}
    assert paired(rows[1:3]) == {}  # sides and degrees aside, both have edema


def test_the_same_words_come_first_and_another_study_is_needed():
    asked = [
        row("a", EDEMA, "binary", "Edema?"),
        row("b", FRACTURE, "binary", "Fracture?"),
        row("c", NORMAL, "binary", "Edema?"),
        row("d", NORMAL, "abnormality_list", "Edema?"),
        row("e", FRACTURE, "binary", "Something else?", study="a"),
    ]
    assert paired(asked) == {"a": "c", "b": "c", "c": "a", "e": "c"}
    assert paired([row("a", EDEMA), row("b", NORMAL, study="a")]) == {}
    assert paired([row("a", EDEMA), row("b", "")]) == {}


def test_verified_labels_are_findings_too():
    rows = [row("a", NORMAL), {**row("b", NORMAL), "labels": {"Fracture": "present"}, "label_source": "verified"}]
    assert paired(rows) == {"a": "b", "b": "a"}


def test_a_chain_is_held_to_the_others_reference():
    right, wrong = row("a", EDEMA), row("b", NORMAL)
    swapped = held_to(right, wrong)
    assert swapped["id"] != right["id"] and swapped["completion"] == right["completion"]
    names = ("completion", "reasoning", "report", "labels", "label_source")
    own, other = (process(**{name: one[name] for name in names}).value for one in (right, swapped))
    assert own == 1.0 and other == 0.0


def test_specificity_is_a_mean_over_rows_with_a_partner():
    rows = [
        {**row("a", EDEMA), OTHER: 0.3},
        {**row("b", EDEMA), OTHER: 0.5},
        row("c", EDEMA),
        {**row("d", ""), OTHER: 1.0},
    ]
    scores = [
        {"format": Score(1.0), "answer": Score(1.0), "skill": Score(1.0), "process": Score(value)}
        for value in (0.9, 0.5, 0.1, None)
    ]
    values = evaluate(statistics(rows, scores), metrics, np.ones((1, 4)))
    assert values["specificity"][0] == pytest.approx(0.3) and values["wrong_study"][0] == 0.5
