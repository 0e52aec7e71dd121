import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.prompts import TAGS, format_completion
from rewards.format import format_reward


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ("", "<think> occurs 0 times"),
        ("<think>a</think>", "<answer> occurs 0 times"),
        ("<think>a</think><answer>b</answer><answer>c</answer>", "<answer> occurs 2 times"),
        ("<answer>b</answer><think>a</think>", "out of order"),
        ("<think>a<answer>b</answer></think>", "out of order"),
        ("<think> </think><answer>b</answer>", "<think> block is empty"),
        ("<think>a</think><answer>\n</answer>", "<answer> block is empty"),
        ("So: <think>a</think><answer>b</answer>", "text outside"),
        ("<think>a</think> hm <answer>b</answer>", "text outside"),
        ("<think>a</think><answer>b</answer> Done.", "text outside"),
        ("<THINK>a</THINK><answer>b</answer>", "<think> occurs 0 times"),
    ],
)
def test_what_is_wrong_is_said(completion, why):
    score = format_reward(completion)
    assert score.value == 0.0
    assert why in score.evidence[0]["why"]


def test_a_well_formed_completion_earns_one():
    assert format_reward(format_completion("Clear lungs.", "No Finding")).value == 1.0
    assert format_reward("\n <think>\na\n</think>\n\n<answer>\nb\n</answer>\n").value == 1.0


@given(st.lists(st.sampled_from([*TAGS, "a", " ", "​", "<", "\n"]), max_size=12).map("".join))
def test_only_one_shape_earns_anything(completion):
    score = format_reward(completion)
    assert score.value in (0.0, 1.0)
    assert bool(score.evidence) == (score.value == 0.0)
    if score.value:
        assert [completion.count(tag) for tag in TAGS] == [1, 1, 1, 1]
        assert completion.strip().startswith("<think>") and completion.strip().endswith("</answer>")
