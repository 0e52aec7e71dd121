"""How a reasoning text is read: what it claims in whatever words and layout, where, and what it takes back."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reasoner.findings import ancestors
from rewards.radrscore.claims import Fact
from rewards.radrscore.reading import read_reasoning

DATA = Path(__file__).parent / "data" / "reading.txt"
#: Organs and findings with what may be said of them in a word or two.
SUBJECTS = {
    "Heart": ("normal", "enlarged", "not enlarged"),
    "Lungs": ("clear", "hyperinflated"),
    "Pleural effusion": ("absent", "present", "none", "small, left"),
    "Pneumothorax": ("absent", "present", "no", "yes"),
    "Consolidation": ("absent", "present, right", "not seen"),
}
LAYOUTS = (
    "{subject}: {value}.",
    "- {subject}: {value}",
    "**{subject}:** {value}",
    "- **{subject}**: {value}.",
    "1. {subject}: {value}",
    "| {subject} | {value} |",
    "## {subject}\n{value}",
    "{subject}:\n- {value}",
    '"{subject}": "{value}",',
    "* {subject}\n    * {value}",
)
facts = st.lists(
    st.sampled_from([(subject, value) for subject, values in SUBJECTS.items() for value in values]),
    min_size=1,
    max_size=5,
    unique_by=lambda pair: pair[0],
)
ASSERTIONS = (
    "There is a left pleural effusion.",
    "There is no pneumothorax.",
    "The heart is enlarged.",
    "Consolidation in the right lower lobe.",
    "There may be a nodule.",
)
RETRACTIONS = (
    "Scratch that.",
    "This is not true.",
    "I take that back.",
    "No, that is wrong.",
    "On second thought, no.",
)
PARTS = (
    *ASSERTIONS,
    *RETRACTIONS,
    *(
        "No",
        "**Lungs:**",
        "Clear.",
        "- ",
        "\n",
        "\n\n",
        "| a | b |",
        "|---|---|",
        "## Heart",
        "Effusion?",
        "Yes.",
        "[x]",
    ),
    *("not", "if", "a colleague claims", "or", ":", ",", "{", '"finding":', '"status":', "Option B:", "☐", "—"),
)


def cases() -> list[tuple[set[str], str, str]]:
    lines = [line for line in DATA.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    split = (line.split(" ", 2) for line in lines)
    return [(set(statuses.split("|")), concept, text.replace("\\n", "\n")) for statuses, concept, text in split]


def said(text: str, concept: str) -> str:
    """The statuses that a text claims of a concept; an alternative ("A or B") leaves each of the two open."""
    found = set()
    for claim in (claim for sentence in read_reasoning(text) for claim in sentence.claims):
        for fact in claim.facts:
            denied = claim.status == "absent" and fact.concept in (concept, *ancestors(concept))
            if denied and fact.laterality in (None, "bilateral"):
                found.add("absent")
            elif claim.status != "absent" and concept in (fact.concept, *ancestors(fact.concept)):
                found.add(claim.status if len(claim.facts) == 1 or fact.concept != concept else "uncertain")
    return "+".join(sorted(found)) or "none"


def claimed(text: str) -> list[frozenset[Fact]]:
    return [frozenset(claim.facts) for sentence in read_reasoning(text) for claim in sentence.claims]


@pytest.mark.parametrize("statuses, concept, text", cases())
def test_a_text_is_read_as_a_person_reads_it(statuses: set[str], concept: str, text: str) -> None:
    assert said(text, concept) in statuses


@settings(max_examples=150, deadline=None)
@given(facts, st.sampled_from(LAYOUTS))
def test_the_layout_changes_no_claim(pairs: list[tuple[str, str]], layout: str) -> None:
    plain = "\n".join(LAYOUTS[0].format(subject=subject, value=value) for subject, value in pairs)
    other = "\n".join(layout.format(subject=subject, value=value) for subject, value in pairs)
    assert set(claimed(other)) == set(claimed(plain))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=12), max_size=24).map(" ".join))
@example("0~~ ~~0")
def test_offsets_are_those_of_the_words(text: str) -> None:
    text = text.replace("~~", "~")  # what is struck through is blank
    sentences = read_reasoning(text)
    assert all(a.end <= b.start for a, b in pairwise(sentences))
    for sentence in sentences:
        assert text[sentence.start : sentence.end] == sentence.words
        for claim in sentence.claims:
            assert 0 <= claim.start < claim.end <= len(sentence.words)
            assert sentence.words[claim.start : claim.end] == claim.words


@given(st.lists(st.sampled_from(ASSERTIONS), max_size=3, unique=True), st.sampled_from(RETRACTIONS))
def test_a_retraction_leaves_no_claim_standing(before: list[str], retraction: str) -> None:
    for last in (text for text in ASSERTIONS if text not in before):
        kept = set(claimed(" ".join([*before, last, retraction])))
        assert not kept & set(claimed(last))
        assert set(claimed(" ".join(before))) <= kept


@given(st.sampled_from(ASSERTIONS), st.sampled_from(("A colleague claims that", "I wonder whether", "If", "Last year")))
def test_the_words_of_others_and_of_other_times_claim_nothing(text: str, opening: str) -> None:
    past = text.replace(" is ", " was ") if opening == "Last year" else text
    assert "There" not in past or not claimed(f"{opening} {past[0].lower()}{past[1:]}")


def test_an_alternative_is_one_claim_and_its_denial_two() -> None:
    assert [len(claim) for claim in claimed("There is a lung nodule or mass.")] == [2]
    assert [len(claim) for claim in claimed("There is no lung nodule or mass.")] == [1, 1]


def test_what_and_joins_makes_a_claim_each() -> None:
    text = "There is a left pleural effusion and the heart is enlarged and there is no pneumothorax."
    assert [len(claim) for claim in claimed(text)] == [1, 1, 1]
