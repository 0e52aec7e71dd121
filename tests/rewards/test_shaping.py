import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.prompts import format_completion
from rewards.shaping import length, repetition


@pytest.mark.parametrize(
    ("words", "value"),
    [(0, -1.0), (5, -0.5), (10, 0.0), (100, 0.0), (125, -0.5), (150, -1.0), (5000, -1.0)],
)
def test_length_is_free_within_its_bounds_and_falls_linearly_outside(words, value):
    completion = format_completion("word " * words, "Edema")
    score = length(completion, words_min=10, words_max=100)
    assert score.value == pytest.approx(value)
    assert bool(score.evidence) == (value < 0)


def test_length_without_margin_is_a_step():
    completion = format_completion("a b c d", "Edema")
    assert length(completion, words_min=0, words_max=3, margin=0.0).value == -1.0
    assert length(completion, words_min=0, words_max=4, margin=0.0).value == 0.0


@pytest.mark.parametrize(
    ("tokens", "value"), [(0, -1.0), (100, -0.75), (399, -1 / 400), (400, 0.0), (1800, 0.0), (10**6, 0.0)]
)
def test_length_in_tokens_has_no_upper_end(tokens, value):
    """NV-Reason-CXR's: max(-1, (n - 400) / 400) below 400 completion tokens, whatever the words are."""
    score = length("no words", completion_tokens=tokens, tokens_min=400)
    assert score.value == pytest.approx(value) and bool(score.evidence) == (value < 0)


def test_length_in_tokens_abstains_where_nobody_counted():
    assert length("a b c", tokens_min=400).outcome == "abstained"
    assert length(format_completion("a b c", "x"), words_min=0).outcome == "scored"


def test_repetition_is_the_share_of_repeated_ngrams():
    assert repetition(format_completion("The heart is normal. The lungs are clear.", "x")).value == 0.0
    score = repetition(format_completion("a b c d " * 2, "x"))
    assert score.value == pytest.approx(-1 / 5)
    assert score.evidence[0]["words"] == "a b c d"
    assert repetition(format_completion("no edema " * 500, "x")).value < -0.99
    assert repetition(format_completion("a a", "x"), ngram=1).value == -0.5


@given(st.text(max_size=400), st.integers(0, 30), st.integers(0, 60), st.integers(1, 6))
def test_penalties_lie_between_minus_1_and_0(text, words_min, words_max, ngram):
    for score in (length(text, words_min=words_min, words_max=words_max), repetition(text, ngram=ngram)):
        assert score.value is not None and -1.0 <= score.value <= 0.0
