import doctest
import importlib
import math
import pickle
import re
from dataclasses import fields
from pathlib import Path

import pytest

import rewards
from reasoner.errors import UserError
from rewards import registry
from rewards.actor import Worker
from rewards.registry import REGISTRY, Deferred, RewardError, RewardSet, Score, gate, gated_total, load_rewards

DOCS = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")

ROW = {"id": "a", "completion": "<think>x</think><answer>Edema</answer>", "answer": "Edema", "task": "abnormality_list"}


@pytest.fixture
def user_file(tmp_path):
    """Writes a reward file, and forgets its rewards afterwards."""
    load_rewards()
    before = set(REGISTRY)

    def write(body, name="mine.py"):
        path = tmp_path / name
        path.write_text(
            body if "import Score" in body else f"from rewards import Score, reward\n\n{body}", encoding="utf-8"
        )
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
        ({"answer": 1.0}, {"answer": 3}, "options of reward 'answer' must be a mapping"),
        ({"format": 1.0}, {"format": {"x": 1}}, "unknown option of reward 'format': 'x'; known: form"),
        (
            {"length": 1.0},
            {"length": {"margin": -1}},
            r"'margin': input should be .* equal to 0 \(got -1\)",
        ),
        ({"length": 1.0}, {"length": {"margin": math.inf}}, "'margin': input should be a finite number"),
        ({"length": 1.0}, {"length": {"words_max": True}}, "option 'words_max': a number is needed, found true"),
        ({"repetition": 1.0}, {"repetition": {"ngram": 0}}, "option 'ngram': input should be greater"),
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


TYPED = """
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rewards import Score, reward

@dataclass(frozen=True)
class Inner:
    side: Literal["left", "right"] = "left"

@dataclass(frozen=True)
class Limits:
    words: int
    unit: Literal["word", "sign"] = "word"
    inner: Inner = Inner()

CALLS = []

@reward("whole", settings=Limits, start=lambda limits: CALLS.append(limits.words))
def whole(
    completions: Sequence[str], *, number: Sequence[int], extra: Sequence[str | None] = (), settings: Limits
) -> Iterator[Score]:
    CALLS.append(len(completions))
    if "wide" in completions and len(completions) > 1:
        raise ValueError("too wide")
    for text, place, more in zip(completions, number, extra, strict=True):
        if text == "raise":
            raise ValueError("cannot read this")
        if text == "few":
            return
        entry = {"verdict": "counted", "extra": more, "calls": list(CALLS)}
        yield Score(place + len(text.split()) / settings.words, (entry,))
    if "many" in completions:
        yield Score(0.0)
"""


def rows_of(*texts):
    return [{"id": f"r{n}", "number": n, "completion": text} for n, text in enumerate(texts)]


def test_a_reward_may_score_a_chunk_at_once_with_typed_settings(user_file):
    built = RewardSet.build({"whole": 1.0}, [user_file(TYPED)], {"whole": {"words": 4, "inner": {"side": "right"}}})
    assert built.columns() == {"number", "extra"} and built.settings["whole"].inner.side == "right"
    rows = rows_of("one", "one two", "")
    rows[1]["extra"] = "x"
    scores = list(built.score_chunk("whole", rows))
    assert [score.value for score in scores] == [0.25, 1.5, 2.0]
    assert [score.evidence[0]["extra"] for score in scores] == [None, "x", None]
    assert [built.score(row)["whole"].value for row in rows] == [0.25, 1.5, 2.0]
    assert built.score(rows[0])["whole"].evidence[0]["calls"] == [3, 4, 1, 1, 1, 1], "4: started, once"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "reward 'whole', option 'words': it is missing"),
        ({"words": 1, "unit": "line"}, r"option 'unit': input should be 'word' or 'sign' \(got 'line'\)"),
        ({"words": 1, "inner": {"side": "up"}}, "option 'inner.side': input should be 'left' or 'right'"),
        (
            {"words": 1, "inner": {"sides": "up"}},
            "option of reward 'whole': 'inner.sides'; did you mean 'side'",
        ),
        ({"word": 1}, "unknown option of reward 'whole': 'word'; did you mean 'words'|'words': it is missing"),
    ],
)
def test_typed_settings_are_checked_before_a_run(user_file, options, message):
    with pytest.raises(UserError, match=message):
        RewardSet.build({"whole": 1.0}, [user_file(TYPED)], {"whole": options})


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (("a", "b", "raise", "c"), [0.5, 1.5, None, 3.5]),
        (("a", "wide", "raise", "c"), [0.5, 1.5, None, 3.5]),
    ],
)
def test_a_row_that_a_chunk_fails_on_costs_no_other(user_file, texts, values):
    worker = Worker({"whole": 1.0, "format": 1.0}, [user_file(TYPED)], {"whole": {"words": 2}}, retries=1)
    scores = [scored.scores["whole"] for delivery in worker.score(rows_of(*texts)) for scored in delivery]
    assert [score.value for score in scores] == values
    assert scores[2].failure == "reward 'whole', row 'r2': ValueError: cannot read this"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("a", "few", "b"), "reward 'whole', row 'r1': no Score for this row"),
        (("a", "many"), "reward 'whole': more Scores than its 2 completions"),
    ],
)
def test_a_chunk_has_one_score_for_each_row(user_file, texts, message):
    worker = Worker({"whole": 1.0}, [user_file(TYPED)], {"whole": {"words": 2}}, retries=1)
    with pytest.raises(RewardError, match=message):
        list(worker.score(rows_of(*texts)))


def test_a_score_says_whether_there_is_one():
    assert (Score(0.0).outcome, Score(None).outcome) == ("scored", "abstained")
    abstained, failed = Score.abstained("no report"), Score.failed("it hung")
    assert abstained.value is None and abstained.evidence == ({"verdict": "abstained", "why": "no report"},)
    assert (abstained.outcome, abstained.failure) == ("abstained", "")
    assert failed.value is None and failed.evidence == ({"verdict": "failed", "why": "it hung"},)
    assert (failed.outcome, failed.failure) == ("failed", "it hung")
    assert pickle.loads(pickle.dumps(failed)) == failed


MODULES = ["rewards", "rewards.registry", "rewards.format", "rewards.shaping", "rewards.process"]


@pytest.mark.parametrize("name", [*MODULES, pytest.param("rewards.workers", marks=pytest.mark.slow)])
def test_the_examples_in_the_docstrings_are_right(name, monkeypatch):
    load_rewards()
    monkeypatch.setattr(registry, "REGISTRY", dict(REGISTRY))
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted and not found.failed


def test_all_that_the_package_exports_is_there_and_documented():
    for name in rewards.__all__:
        assert getattr(rewards, name).__doc__, name


def test_the_code_in_the_docs_runs(user_file, capsys):
    section = DOCS.split("## A reward of your own")[1].split("\n## ")[0]
    one, many, script = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    weights = {"brevity": 1.0, "fluency": 1.0}
    options = {"brevity": {"words": 3}, "fluency": {"size": "large"}}
    built = RewardSet.build(weights, [user_file(one), user_file(many, "model.py")], options)
    scores = built.score({"completion": "Two words.", "question": "?"})
    assert {name: score.value for name, score in scores.items()} == {"brevity": 1.0, "fluency": 1.0}
    scores = built.score({"completion": "Zwei.", "question": "", "language": "German"})
    assert [score.outcome for score in scores.values()] == ["abstained", "abstained"]
    exec(script, {})
    assert capsys.readouterr().out == "1.0 1.2\n"


def test_the_docs_name_the_columns_and_options_of_every_built_in_reward():
    load_rewards()
    built_in = {name: f for name, f in REGISTRY.items() if f.function.__module__ in registry.BUILT_IN}
    for name, function in built_in.items():
        (columns,) = re.findall(rf"^\| `{name}` \|[^|]*\|([^|]*)\|", DOCS, re.MULTILINE)
        assert set(re.findall(r"\w+", columns.replace("if there", ""))) == {*function.columns, *function.defaults}, name
        for setting in fields(function.settings):
            assert re.search(rf"`{setting.name}`|\b{setting.name}: ", DOCS), f"{name}: {setting.name}"


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


def test_a_format_of_weight_0_gates_and_pays_nothing():
    """NV-Reason-CXR's `accuracy_reward_hard` with its soft punishment of short completions."""
    rewards = RewardSet.build({"answer": 1.0, "length": 1.0, "format": 0.0}, options={"length": {"tokens_min": 400}})
    row = {"answer": "Edema, Fracture", "task": "abnormality_list", "completion_tokens": 300}
    totals = []
    for text in ("<think>x</think><answer>Edema</answer>", "<think>x</think><answer>Edema</answer>.", "no tags"):
        scores = rewards.score({**row, "completion": text})
        totals.append(gated_total(scores, rewards.weights))
    assert totals == pytest.approx([0.5 - 0.25, -0.25, -0.25])


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
