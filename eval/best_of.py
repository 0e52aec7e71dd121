"""Best of n: of the samples of a question the one that most agrees with the others, the first that gives the answer of
most, and the one that is worth most."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from eval.following import TASKS, read_answer
from reasoner.prompts import parse_completion
from reasoner.scores import BY_AGREEMENT, BY_REWARD, BY_VOTE, CHOICES
from rewards.claims import claims_of
from rewards.radrscore.claims import Claim
from rewards.registry import Score

Rows = list[dict[str, Any]]
Scores = Mapping[str, Score]


class Chosen(NamedTuple):
    """One completion for each question, with its scores."""

    rows: Rows
    scores: list[Scores]


def best_of_n(rows: Sequence[Mapping[str, Any]], scores: Sequence[Scores]) -> dict[str, Chosen]:
    """By mode (`CHOICES`) the best completion of each question, the first of equals.

    `rows` and `scores` are those of samples, at least two of a question. A chosen row is sample 0, and its `tokens` are
    those of all samples: what it cost to choose.
    """
    questions: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        questions[row["id"]].append(index)
    found = {mode: Chosen([], []) for mode in CHOICES}
    for samples in questions.values():
        worth: dict[str, Sequence[float]] = {
            BY_AGREEMENT: agreement([vote(claims_of(rows[index])) for index in samples]),
            BY_VOTE: majority([answer_of(rows[index]) for index in samples]),
            BY_REWARD: [quality(scores[index]) for index in samples],
        }
        cost = {"tokens": sum(rows[i]["tokens"] for i in samples)} if all("tokens" in rows[i] for i in samples) else {}
        for mode, values in worth.items():
            best = samples[values.index(max(values))]
            found[mode].rows.append({**rows[best], "sample": 0, **cost})
            found[mode].scores.append(scores[best])
    return found


def quality(scores: Scores) -> float:
    """Answer reward and RadRScore, added up; what does not apply adds nothing."""
    return (scores["answer"].value or 0.0) + (scores["process"].value or 0.0)


def majority(answers: Sequence[Hashable]) -> list[int]:
    """How many of n readings give the answer of each (self-consistency; Wang et al. 2022, arXiv 2203.11171); an answer
    that cannot be read (empty) has no votes."""
    times = Counter(answers)
    return [times[answer] if answer else 0 for answer in answers]


def answer_of(row: Mapping[str, Any]) -> Hashable:
    """What a prediction row answers, in whatever words; prose as it is written."""
    answer = parse_completion(row["completion"]).answer or ""
    return read_answer(row, answer) if row["task"] in TASKS else answer


def agreement(votes: Sequence[Set[Hashable]]) -> list[float]:
    """How far each of n readings agrees with the vote of the n - 1 others: 2 sum of v over its own claims / (number of
    its own + sum of v over all), where v is the share of the others that make a claim.

    It is the Dice coefficient with a vote in place of the second set, and choosing by it is minimum Bayes-risk decoding
    (Kumar and Byrne 2004, aclanthology.org/N04-1022) with that as the gain. Who says nothing agrees where nobody else
    says anything.
    """
    total = Counter(claim for own in votes for claim in own)
    others = max(1, len(votes) - 1)
    found = []
    for own in votes:
        backed = sum(total[claim] - 1 for claim in own) / others
        voted = (total.total() - len(own)) / others
        found.append(2 * backed / (len(own) + voted) if own or voted else 1.0)
    return found


def vote(claims: Sequence[Claim]) -> frozenset[Hashable]:
    """What a reading votes for: what it denies, what it asserts or holds possible, and this once more with its sides
    and degrees."""
    denied = {claim.meaning.subject for claim in claims if claim.status == "absent"}
    facts = {fact for claim in claims if claim.status != "absent" for fact in claim.facts}
    return frozenset((*denied, *(fact[:2] for fact in facts), *(fact[:4] for fact in facts)))
