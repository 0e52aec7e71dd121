import numpy as np
import pytest

from eval.bootstrap import differences, estimates, evaluate
from eval.metrics import gold_classes, metrics, statistics
from eval.trivial import PRIOR_DRAWS, as_predictions, training_guesses, trivial_guesses
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING, Example
from rewards.registry import Score

NORMAL: dict[str, str | None] = {}


def row(study, answer, labels, sample=0, task="abnormality_list", completion=None):
    return {
        "id": f"{study}-{task}",
        "study_id": study,
        "task": task,
        "question": "Which abnormalities are present?",
        "options": [],
        "answer": "",
        "labels": labels,
        "sample": sample,
        "completion": completion if completion is not None else format_completion("The heart is large.", answer),
    }


def score(answer=1.0, radrscore=0.5, well_formed=1.0):
    parts = {} if radrscore is None else {"factuality": 1.0, "completeness": 0.5, "effectiveness": 0.0}
    process = Score(radrscore, parts=parts)
    return {"format": Score(well_formed), "answer": Score(answer), "process": process, "skill": Score(radrscore)}


def value(rows, scores=None):
    found = statistics(rows, scores or [score() for _ in rows])
    return {name: v[0] for name, v in evaluate(found, metrics, np.ones((1, len(found.studies)))).items()}


def present(*names):
    return {name: "present" if name in names else "absent" for name in CLASSES if name != NO_FINDING}


def test_list_metrics_of_known_answers():
    rows = [
        row("a", "Cardiomegaly, Pneumothorax", present("Cardiomegaly", "Pleural Effusion")),  # tp, fp, fn
        row("b", "No Finding", present()),  # tp of No Finding
        row("c", "No Finding", present("Cardiomegaly")),  # fp of No Finding, fn
    ]
    found = value(rows)
    assert found["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))
    assert found["micro_precision"] == found["micro_recall"] == pytest.approx(0.5)
    assert found["micro_f1_13"] == pytest.approx(2 / (2 + 1 + 2))
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["f1/Cardiomegaly"] == pytest.approx(2 / 3)
    assert found["f1/No Finding"] == pytest.approx(2 / 3)
    assert found["f1/Pleural Effusion"] == 0.0
    assert np.isnan(found["f1/Pneumothorax"])  # never in the references
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_unknown_names_are_false_positives_and_spoil_the_exact_list():
    found = value([row("a", "Cardiomegaly, Scurvy", present("Cardiomegaly"))])
    assert found["micro_f1"] == pytest.approx(2 / 3)
    assert found["exact_match"] == 0.0


def test_an_unreadable_answer_misses_every_class():
    found = value([row("a", "", present("Cardiomegaly", "Edema"), completion="no tags at all")])
    assert found["micro_f1"] == 0.0 and found["micro_recall"] == 0.0 and found["exact_match"] == 0.0


def test_perfect_answers_score_one_whatever_their_order():
    rows = [
        row("a", "Edema, Cardiomegaly", present("Cardiomegaly", "Edema")),
        row("b", "no finding", present()),
    ]
    found = value(rows)
    assert found["micro_f1"] == found["macro_f1"] == found["exact_match"] == 1.0


def test_without_labels_the_reference_answer_counts():
    asked = {**row("a", "Edema", None), "answer": "Edema, Pneumonia"}
    assert gold_classes(asked).classes == ("Edema", "Pneumonia")


def test_partial_labels_overrule_the_reference_answer_class_by_class():
    asked = {**row("a", "Edema", {"Edema": "absent", "Fracture": "uncertain"}), "answer": "Edema, Pneumonia"}
    found = value([{**asked, "completion": format_completion("x", "Pneumonia, Fracture")}])
    assert found["exact_match"] == 1.0 and found["micro_precision"] == 1.0
    assert found["micro_f1"] == 1.0 and np.isnan(found["f1/Edema"])


def test_means_leave_out_rows_on_which_a_reward_abstains():
    rows = [
        row("a", "A", None, task="single"),
        row("b", "B", None, task="single"),
        row("c", "yes", None, task="binary"),
    ]
    found = value(rows, [score(1.0, radrscore=0.8), score(0.0, radrscore=None), score(1.0, radrscore=0.4)])
    assert found["accuracy/single"] == 0.5 and found["accuracy/binary"] == 1.0
    assert found["radrscore"] == pytest.approx(0.6)
    assert found["answer"] == pytest.approx(2 / 3)
    assert found["format"] == 1.0
    assert "micro_f1" not in found


def test_samples_must_be_complete():
    with pytest.raises(ValueError, match="complete samples"):
        statistics(
            [row("a", "Edema", present()), row("b", "Edema", present(), sample=1), row("c", "", NORMAL)], [score()] * 3
        )
    with pytest.raises(ValueError, match="no prediction rows"):
        statistics([], [])


def test_differences_pair_greedy_studies():
    labels = [present("Cardiomegaly") if n % 2 else present() for n in range(200)]
    right = [row(f"s{n:03}", "Cardiomegaly" if n % 2 else "No Finding", labels[n]) for n in range(200)]
    worse = [
        {**r, "completion": format_completion("x", "No Finding")} if n % 10 == 1 else r for n, r in enumerate(right)
    ]
    ours, theirs = (statistics(rows, [score()] * 200) for rows in (right, worse))
    found = differences(ours, theirs, metrics, resamples=500)["micro_f1"]
    assert found.value == pytest.approx(0.1) and found.excludes_zero
    single = estimates(theirs, metrics, resamples=500)["micro_f1"]
    assert single.low < 0.9 < single.high


def test_trivial_policies_know_only_the_training_studies():
    labels = [present("Cardiomegaly"), present("Cardiomegaly"), present("Edema", "Fracture"), None, present()]
    chains = ["Large heart.", "Large heart.", "Edema. Broken rib.", "?", "Normal."]
    train = training_guesses(
        [
            Example(f"e{n}", f"s{n}", "abnormality_list", "Which?", "", reasoning=chain, labels=found)
            for n, (found, chain) in enumerate(zip(labels, chains, strict=True))
        ]
    )
    policies = trivial_guesses(train, 50, seed=1)
    assert policies["always No Finding"] == [[(NO_FINDING, "Normal.")] * 50]
    assert policies["every class"][0][0] == ("Cardiomegaly, Edema, Fracture", "")
    assert policies["majority"][0][0] == ("Cardiomegaly", "Large heart.")
    prior = policies["label prior"]
    assert len(prior) == PRIOR_DRAWS and {reading for draw in prior for reading in draw} == set(train)
    assert policies == trivial_guesses(train, 50, seed=1)
    made = as_predictions([row("a", "", present())], [[train[0]], [train[2]]])
    assert [r["sample"] for r in made] == [0, 1]
    assert made[0]["completion"] == format_completion("Large heart.", "Cardiomegaly")
