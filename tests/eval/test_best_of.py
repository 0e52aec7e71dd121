import pytest

from eval.best_of import agreement, answer_of, best_of_n, majority, quality, vote
from reasoner.prompts import format_completion
from reasoner.scores import BY_AGREEMENT, BY_REWARD, BY_VOTE
from rewards.claims import claims_of
from rewards.registry import Score

LEFT = "There is a small left pleural effusion. No pneumothorax."
RIGHT = "There is a small right pleural effusion. No pneumothorax."
NONE = "No pleural effusion. No pneumothorax."


def row(said, sample, question="a", answer="Edema", **more):
    asked = {"id": question, "task": "abnormality_list", "question": "Which?", "options": []}
    return {**asked, "sample": sample, "completion": format_completion(said, answer), **more}


def score(answer, radrscore):
    return {"answer": Score(answer), "process": Score(radrscore)}


def test_agreement_is_dice_with_the_vote_of_the_others():
    # a: both others back x, one y; its 2 claims, and (2 + 1) / 2 + 1 / 2 votes: 2 * 1.5 / (2 + 2)
    assert agreement([{"x", "y"}, {"x", "y"}, {"x", "z"}]) == pytest.approx([0.75, 0.75, 0.5])
    assert agreement([set(), set(), {"x"}]) == pytest.approx([0.0, 0.0, 0.0])
    assert agreement([set(), set()]) == [1.0, 1.0]
    assert agreement([{"x"}, {"x"}, set()]) == pytest.approx([2 * 0.5 / 1.5, 2 * 0.5 / 1.5, 0.0])


def test_a_reading_votes_for_names_and_once_more_for_sides():
    votes = [vote(claims_of(row(said, 0))) for said in (LEFT, RIGHT, NONE)]
    assert [len(one) for one in votes] == [3, 3, 2]
    assert len(votes[0] & votes[1]) == 2 and len(votes[0] & votes[2]) == 1


def test_the_sample_that_agrees_and_the_one_that_is_worth_most():
    rows = [row(said, sample, tokens=10 + sample) for sample, said in enumerate((NONE, RIGHT, LEFT, LEFT))]
    scores = [score(0.0, 0.5), score(1.0, 0.9), score(1.0, 0.4), score(1.0, 0.9)]
    found = best_of_n(rows, scores)
    assert found[BY_AGREEMENT].rows == [{**rows[2], "sample": 0, "tokens": 46}]  # the first of the two that agree
    assert found[BY_AGREEMENT].scores == [scores[2]]
    assert found[BY_REWARD].rows == [{**rows[1], "sample": 0, "tokens": 46}]  # the first of equals


def test_the_first_with_the_answer_of_most_is_chosen_by_vote():
    answers = ("Fracture", "Edema, Pneumonia", "pneumonia and edema", "Pulmonary edema; pneumonia", "Fracture")
    rows = [row(LEFT, sample, answer=answer) for sample, answer in enumerate(answers)]
    chosen = best_of_n(rows, [score(0.0, 0.0)] * 5)[BY_VOTE].rows
    assert [one["completion"] for one in chosen] == [rows[1]["completion"]]
    prose = row(LEFT, 0, answer="As it was.", task="stage")
    assert answer_of(prose) == "As it was." and not answer_of({**prose, "completion": "none"})
    assert majority(["", "", "a"]) == [0, 0, 1]


def test_questions_are_chosen_for_apart_and_costs_are_left_out_where_unknown():
    rows = [row(said, sample, question) for question in "ab" for sample, said in enumerate((LEFT, NONE))]
    scores = [score(None, 0.1), score(None, 0.2), score(0.0, None), score(1.0, None)]
    found = best_of_n(rows, scores)[BY_REWARD]
    assert [(r["id"], r["completion"], r["sample"]) for r in found.rows] == [
        ("a", rows[1]["completion"], 0),
        ("b", rows[3]["completion"], 0),
    ]
    assert "tokens" not in found.rows[0] and [quality(s) for s in found.scores] == [0.2, 1.0]
