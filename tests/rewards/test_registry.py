import math
import pickle

import pytest

from reasoner.errors import UserError
from rewards.registry import REGISTRY, Deferred, RewardError, RewardSet, Score, gate, gated_total, load_rewards

ROW = {"id": "a", "completion": "<think>x</think><answer>Edema</answer>", "answer": "Edema", "task": "abnormality_list"}


@pytest.fixture
def user_file(tmp_path):
    """Writes a reward file, and forgets its rewards afterwards."""
    load_rewards()
    before = set(REGISTRY)

    def write(body, name="mine.py"):
        path = tmp_path / name
        path.write_text("from rewards.registry import Score, reward\n\n" + body, encoding="utf-8")
        return str(path)

    yield write
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


BRIEF = """
@reward("brief", settings=("words",))
def brief(completion, *, question, extra=None, words=3):
    return Score(float(len(completion.split()) <= words), ({"verdict": "counted", "extra": extra},))
"""


def test_a_users_file_adds_a_reward_with_columns_and_settings(user_file):
    rewards = RewardSet.build({"brief": 0.5}, [user_file(BRIEF)], {"brief": {"words": 1}})
    assert rewards.weights == {"brief": 0.5}
    assert rewards.columns() == {"question", "extra"}
    row = {"completion": "two words", "question": "?", "words": 99, "extra": 7}
    assert rewards.score(row)["brief"] == Score(0.0, ({"verdict": "counted", "extra": 7},))


def test_a_file_may_be_loaded_again_but_not_take_a_name(user_file):
    path = user_file(BRIEF)
    RewardSet.build({"brief": 1.0}, [path])
    RewardSet.build({"brief": 1.0}, [path])
    with pytest.raises(UserError, match=r"'brief' exists in .*mine\.py; rename yours"):
        RewardSet.build({"brief": 1.0}, [path, user_file(BRIEF, "other.py")])


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ({"anwser": 1.0}, None, "unknown reward 'anwser'; did you mean 'answer'"),
        ({"answer": math.nan}, None, "weight of reward 'answer' must be a finite number"),
        ({"answer": 1.0}, {"answer": {"metrics": "f1"}}, "did you mean 'metric'"),
        ({"answer": 1.0}, {"length": {"words_max": 9}}, "unknown reward with options 'length'"),
    ],
)
def test_mistakes_in_a_recipe_are_named(spec, options, message):
    with pytest.raises(UserError, match=message):
        RewardSet.build(spec, options=options)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("@reward('bad')\ndef bad(completion, answer):\n    return Score(1.0)\n", "write the reward 'bad' as"),
        ("@reward('bad', settings=('n',))\ndef bad(completion, *, n):\n    return Score(1.0)\n", "needs `n=<default>`"),
    ],
)
def test_mistakes_in_a_reward_file_are_named(user_file, body, message):
    with pytest.raises(UserError, match=message):
        RewardSet.build({"answer": 1.0}, [user_file(body)])
    with pytest.raises(UserError, match="missing"):
        RewardSet.build({"answer": 1.0}, ["no/such.py"])


def test_missing_columns_are_found_before_the_run():
    rewards = RewardSet.build({"answer": 1.0, "process": 1.0})
    rewards.check_columns(["answer", "reasoning", "report"])
    with pytest.raises(UserError, match="reward 'process' needs the column 'report'"):
        rewards.check_columns(["answer", "reasoning"])
    with pytest.raises(UserError, match="'reasoning'"):
        rewards.score(ROW)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("Score(float('nan'))", "value is nan"),
        ("Score(1.0, (), {'p': float('inf')})", "p is inf"),
        ("1.0", "returned float"),
    ],
)
def test_a_reward_that_returns_no_number_raises_with_its_name_and_row(user_file, result, message):
    path = user_file(f"@reward('broken')\ndef broken(completion):\n    return {result}\n")
    with pytest.raises(RewardError, match=f"reward 'broken', row 'a': {message}"):
        RewardSet.build({"broken": 1.0}, [path]).score(ROW)


def test_the_gate_takes_what_a_malformed_completion_earned_and_leaves_its_penalties():
    def scores(form):
        return {"format": Score(form), "answer": Score(0.8), "length": Score(-0.5), "process": Score(None)}

    assert [gate(name, scores(1.0)) for name in scores(1.0)] == [1.0, 0.8, -0.5, None]
    assert [gate(name, scores(0.0)) for name in scores(0.0)] == [0.0, 0.0, -0.5, None]
    weights = {"format": 0.2, "answer": 1.0, "length": 0.1, "process": 0.5}
    assert gated_total(scores(1.0), weights) == pytest.approx(0.2 + 0.8 - 0.05)
    assert gated_total(scores(0.0), weights) == pytest.approx(-0.05)
    assert gate("answer", {"answer": Score(0.8)}) == 0.8


def test_deferred_evidence_is_written_once_and_only_when_it_is_read():
    written = []

    def write():
        written.append(1)
        yield {"verdict": "supported"}

    score = Score(1.0, Deferred(write))
    assert not written
    assert list(score.evidence) == [score.evidence[0]] == [{"verdict": "supported"}] and len(written) == 1
    assert score == Score(1.0, ({"verdict": "supported"},)) != Score(1.0, ())
    sent = pickle.loads(pickle.dumps(score))
    assert sent == score and isinstance(sent.evidence, tuple) and len(written) == 1
