"""What an evaluation refuses before anything heavy runs."""

from __future__ import annotations

import json

import pytest

from eval.run import run
from eval.settings import EvalSettings, Run
from reasoner.errors import UserError


@pytest.fixture
def subject(tmp_path):
    """A run with an SFT checkpoint of nothing but its configuration."""
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "config.json").write_text(json.dumps({"max_position_embeddings": 512}), encoding="utf-8")
    return Run(
        name="phantom",
        source="phantom",
        output=tmp_path,
        folder=tmp_path / "eval.part",
        base="tiny",
        seed=0,
        workers=1,
        max_length=256,
        dtype="auto",
        min_pixels=None,
        max_pixels=None,
    )


def test_rows_that_do_not_fit_the_model_are_refused(subject):
    with pytest.raises(UserError, match=r"model\.max_length \(256\) \+ eval\.max_new_tokens \(257\) = 513 tokens"):
        run(subject, EvalSettings(max_new_tokens=257))
    with pytest.raises(UserError, match="no 'test' split"):
        run(subject, EvalSettings(max_new_tokens=256))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"log_history": 1}', '{"log_history": [1]}', '{"log_history": [{"a": 1}]}']
)
def test_a_damaged_trainer_state_is_named_with_the_fix(content, subject):
    (subject.output / "sft" / "trainer_state.json").write_text(content, encoding="utf-8")
    with pytest.raises(
        UserError, match=r"sft/trainer_state\.json: damaged.*delete it to evaluate without learning curves"
    ):
        run(subject, EvalSettings())


def test_missing_models_say_what_to_run(subject):
    with pytest.raises(UserError, match=r"no grpo checkpoint in .*: run `make grpo RECIPE=phantom` first"):
        run(subject, EvalSettings(models=["grpo"]))
    with pytest.raises(UserError, match=r"no base checkpoint in .*: run `make sft RECIPE=phantom` first"):
        run(subject, EvalSettings(models=["base"]))
    (subject.output / "sft" / "config.json").unlink()
    with pytest.raises(UserError, match=r"no trained model in .*: run `make sft RECIPE=phantom` first"):
        run(subject, EvalSettings())
