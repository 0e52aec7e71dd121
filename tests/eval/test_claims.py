import numpy as np
import pytest

from eval.bootstrap import evaluate
from eval.metrics import metrics, statistics
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING
from rewards.claims import DETAILED, NAMED, claim_statistics, claims_of, findings
from rewards.registry import Score

CHAIN = "There is a small left pleural effusion. A nodule in the right lower lung zone is seen. No pneumothorax."


def row(said, chain=CHAIN, labels=None, task="abnormality_list", study="a"):
    return {
        "id": study,
        "study_id": study,
        "task": task,
        "question": "Which abnormalities are present?",
        "options": [],
        "answer": "Edema",
        "reasoning": chain,
        "labels": labels,
        "label_source": "verified" if labels else None,
        "sample": 0,
        "completion": format_completion(said, "Edema"),
    }


def counts(kind, said, **more):
    asked = row(said, **more)
    found = claim_statistics(asked, claims_of(asked))
    return tuple(int(found[f"{count}:{kind}"]) for count in ("tp", "fp", "fn"))


def verified(*present, uncertain=()):
    labels = {name: "present" if name in present else "absent" for name in CLASSES if name != NO_FINDING}
    return labels | dict.fromkeys(uncertain, "uncertain")


@pytest.mark.parametrize(
    ("said", "detailed", "named"),
    [
        (CHAIN, (2, 0, 0), (2, 0, 0)),
        ("", (0, 0, 2), (0, 0, 2)),
        # The side and the degree that the reference gives must be given; a mild and a small one are the same degree.
        ("There is a mild left pleural effusion.", (1, 0, 1), (1, 0, 1)),
        ("There is a large left pleural effusion.", (0, 1, 2), (1, 0, 1)),
        ("There is a small right pleural effusion.", (0, 1, 2), (1, 0, 1)),
        ("There is a small pleural effusion.", (0, 1, 2), (1, 0, 1)),
        ("There is a left pleural effusion.", (0, 1, 2), (1, 0, 1)),
        # Both sides are two findings. What the reference does not give costs nothing.
        ("There are small bilateral pleural effusions.", (1, 1, 1), (1, 0, 1)),
        ("A large nodule in the right lower lung zone is seen.", (1, 0, 1), (1, 0, 1)),
        # Two mentions are of one finding.
        ("There is a left pleural effusion. The pleural effusion is small.", (1, 0, 1), (1, 0, 1)),
        ("There is a small left pleural effusion. There is a pleural effusion.", (1, 0, 1), (1, 0, 1)),
        # Denials, hedges and alternatives assert nothing.
        (
            "No pneumothorax. Possible fracture of a right rib. There is a pneumonia or atelectasis.",
            (0, 0, 2),
            (0, 0, 2),
        ),
        ("There is a fracture of a right rib.", (0, 1, 2), (0, 1, 2)),
        ("There is a right lung mass.", (0, 1, 2), (0, 1, 2)),
    ],
)
def test_claims_are_counted_once_with_and_without_details(said, detailed, named):
    assert counts(DETAILED, said) == detailed
    assert counts(NAMED, said) == named


def test_within_a_class_a_kind_of_the_finding_is_the_finding():
    line, device = "There is a central venous catheter.", "There is a support device."
    assert counts(NAMED, device, chain=line) == counts(NAMED, line, chain=device) == (1, 0, 0)
    assert counts(NAMED, "There is a pacemaker.", chain=line) == (0, 1, 1)


def test_across_classes_what_is_vaguer_finds_nothing_and_is_not_false():
    chain = "There is consolidation in the left lower lung zone."
    assert counts(NAMED, "There is an opacity in the left lower lung zone.", chain=chain) == (0, 0, 1)
    assert counts(NAMED, chain, chain="There is an opacity in the left lower lung zone.") == (1, 1, 0)


def test_verified_labels_overrule_the_chain():
    chain = "There is a left pleural effusion. Possible consolidation in the right lower lung zone. No pneumothorax."
    assert counts(DETAILED, chain, chain=chain) == (1, 0, 0)  # a hedge is free
    labels = verified("Consolidation", "Fracture", uncertain=["Edema"])
    said = "There is a left pleural effusion. There is consolidation in the right lower lung zone."
    assert counts(DETAILED, said, chain=chain, labels=labels) == (1, 1, 1)  # no effusion; the fracture is missed
    said = "There is consolidation in the left lower lung zone. A left rib fracture. Edema is seen."
    assert counts(DETAILED, said, chain=chain, labels=labels) == (
        1,
        1,
        1,
    )  # the wrong side; any fracture; edema is free
    assert counts(DETAILED, "", chain=chain, labels=labels) == (0, 0, 2)
    assert counts(DETAILED, "", chain=chain, labels=labels, task="binary") == (0, 0, 1)  # nobody asked for fractures
    fracture = "There is a fracture of a left rib."
    assert counts(DETAILED, fracture, chain=chain, labels=labels, task="binary") == (0, 0, 1)


def test_f1_and_hedges_add_up_over_rows():
    labels = verified("Pleural Effusion", "Lung Lesion", uncertain=["Edema"])
    rows = [
        row("There is a small left pleural effusion. Possible nodule. There may be a fracture.", labels=labels),
        row("Pneumonia is present. Pulmonary edema is seen. Possible pneumonia.", labels=labels, study="b"),
    ]
    scores = {name: Score(1.0) for name in ("format", "answer", "process", "skill")}
    found = statistics(rows, [scores] * 2)
    values = {name: value[0] for name, value in evaluate(found, metrics, np.ones((1, 2))).items()}
    # 1 found, 1 false (pneumonia; edema is free), 3 missed
    assert values["claim_f1"] == values["claim_f1_names"] == pytest.approx(2 / (2 + 1 + 3))
    # hedged: a nodule, which is there, and a fracture, which is not; pneumonia is asserted as well
    assert values["hedged_true"] == 0.5 and values["hedged_claims"] == 2
    assert values["confident_true"] == 0.5 and values["confident_claims"] == 2  # effusion, pneumonia


def test_denials_are_counted_where_labels_can_tell():
    labels = verified("Pleural Effusion", "Fracture", uncertain=["Edema"])
    said = (
        "No pleural effusion. No pneumothorax. No left pneumonia. No edema. No clavicle fracture. Possible atelectasis."
    )
    asked = row(said, labels=labels)
    found = claim_statistics(asked, claims_of(asked))
    # An effusion is there, a pneumothorax is not; of one side, a kind, and what is uncertain labels do not tell.
    assert (found["n:denied_there"], found["sum:denied_there"]) == (2, 1)
    asked = row(
        "No left pleural effusion. There is a pleural effusion. No pleural effusion on the left.", labels=labels
    )
    assert claim_statistics(asked, claims_of(asked))["n:denied_there"] == 0


def test_without_reference_or_labels_nothing_is_counted():
    asked = {**row("Edema is seen."), "reasoning": ""}
    assert claim_statistics(asked, claims_of(asked)) == {}


def test_a_mention_without_a_side_is_of_those_that_have_one():
    asked = row("There are bilateral pleural effusions. The pleural effusions are small. Cardiomegaly is present.")
    said = findings(claims_of(asked), "present")
    assert {(one.concept, one.side, one.degree) for one in said} == {
        ("pleural_effusion", "left", "small"),
        ("pleural_effusion", "right", "small"),
        ("cardiomegaly", None, None),
    }
