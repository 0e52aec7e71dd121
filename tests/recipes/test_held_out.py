"""Held-out scores: what the trainer is told, and the best weights taken back. Real runs: test_grpo_matrix.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from reasoner.errors import UserError
from recipes.held_out import HeldOut, arguments, take_best
from tests.recipes.scripted import policy


def test_the_trainer_scores_saves_and_compares_at_the_same_steps():
    assert arguments(None, {"save_steps": 7, "eval_strategy": "no"}, "grpo", ["answer"]) == {}
    sft = arguments(HeldOut(every=50), {"per_device_train_batch_size": 4, "save_steps": 7}, "sft")
    assert sft["eval_steps"] == sft["save_steps"] == 50 and sft["per_device_eval_batch_size"] == 4
    assert (sft["metric_for_best_model"], sft["greater_is_better"]) == ("eval_loss", False)
    grpo = arguments(HeldOut(every=5), {"num_generations_eval": 2}, "grpo", ["answer"])
    assert (grpo["metric_for_best_model"], grpo["greater_is_better"], grpo["num_generations_eval"]) == (
        "eval_reward",
        True,
        2,
    )
    named = arguments(HeldOut(every=5), {"metric_for_best_model": "eval_rewards/answer/mean"}, "grpo", ["answer"])
    assert named["metric_for_best_model"] == "eval_rewards/answer/mean" and named["greater_is_better"]
    scores = arguments(HeldOut(every=5, keep_best=False), {"save_steps": 7}, "grpo", ["answer"])
    assert not {"save_steps", "metric_for_best_model"} & scores.keys()


@pytest.mark.parametrize(
    ("chosen", "trainer", "rewards", "message"),
    [
        (None, {"load_best_model_at_end": True}, [], "sft.trainer.load_best_model_at_end: sft.held_out says when"),
        (None, {"eval_strategy": "epoch"}, [], "sft.held_out says when is scored and what is kept; set that instead"),
        (HeldOut(every=5), {"eval_steps": 7}, [], "sft.trainer.eval_steps: sft.held_out says when is scored"),
        (HeldOut(every=5), {"metric_for_best_model": "eval_los"}, [], "'eval_los'; did you mean 'eval_loss'?"),
        (HeldOut(every=5), {"metric_for_best_model": "eval_rewards/skill/mean"}, ["answer"], "unknown 'eval_rewards/"),
    ],
)
def test_what_held_out_decides_or_nobody_logs_is_refused_before_any_training(chosen, trainer, rewards, message):
    with pytest.raises(UserError) as raised:
        arguments(chosen, trainer, "sft", rewards)
    assert message in str(raised.value)


def test_the_best_weights_are_taken_back(tmp_path):
    from reasoner.models.load import load_model

    model = load_model(policy(tmp_path))
    best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "checkpoint-1")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    trainer = SimpleNamespace(
        args=SimpleNamespace(output_dir=str(tmp_path), metric_for_best_model="eval_reward"),
        state=SimpleNamespace(best_global_step=1, best_metric=0.51234, global_step=2),
        model=model,
        accelerator=SimpleNamespace(unwrap_model=lambda wrapped: wrapped),
        is_fsdp_enabled=False,
        is_deepspeed_enabled=False,
    )
    assert take_best(trainer) == "kept the weights of step 1: eval_reward 0.5123"
    assert all(tensor.equal(best[name]) for name, tensor in model.state_dict().items())
    trainer.args.metric_for_best_model = None
    assert take_best(trainer) is None
