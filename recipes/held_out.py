"""Scores on studies that are not trained on, while a stage trains, and the best checkpoint by them as its result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.settings import Count, Section

if TYPE_CHECKING:
    from transformers import TrainingArguments


class HeldOut(Section):
    """Scores on held-out studies while training goes on."""

    every: Count
    """Optimizer steps between two scores; where `keep_best`, a checkpoint is written each time."""
    examples: Count = 64
    """Rows that are scored, the first of the split `val`: what results are told of, nothing is chosen by."""
    keep_best: bool = True
    """Whether the checkpoint with the best score is the stage's result, rather than the last: by
    `trainer.metric_for_best_model`, which is `eval_loss` for SFT and `eval_reward` for GRPO."""


def arguments(chosen: HeldOut | None, trainer: dict[str, Any], *, rewards: bool) -> dict[str, Any]:
    """What the trainer is told, for a recipe's `trainer` block; `rewards`: it earns them (GRPO)."""
    if chosen is None:
        return {}
    told: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": chosen.every}
    if "per_device_train_batch_size" in trainer:
        told["per_device_eval_batch_size"] = trainer["per_device_train_batch_size"]
    if rewards:
        told["num_generations_eval"] = 1
    told |= {name: trainer[name] for name in told if name in trainer and not name.startswith("eval_")}
    if chosen.keep_best:
        metric = trainer.get("metric_for_best_model", "eval_reward" if rewards else "eval_loss")
        told |= {
            "metric_for_best_model": metric,
            "greater_is_better": trainer.get("greater_is_better", not metric.endswith("loss")),
            "save_strategy": "steps",
            "save_steps": chosen.every,
            "load_best_model_at_end": False,  # `take_best` does: the Trainer misreads a Qwen-VL's names without a word
        }
    return told


def best_checkpoint(args: TrainingArguments, state: Any) -> Path | None:
    """The folder of the checkpoint with the best score, if there is one."""
    folder = Path(args.output_dir or "") / f"checkpoint-{state.best_global_step}"
    return folder if state.best_global_step and folder.is_dir() else None


def take_best(trainer: Any) -> str | None:
    """Gives the trained model the weights of its best checkpoint; returns words for that, None where nothing was to do.

    All processes call this together.
    """
    args, state = trainer.args, trainer.state
    best = best_checkpoint(args, state)
    if args.metric_for_best_model is None or best is None:
        return None
    from peft import PeftModel

    from reasoner.models.load import load_model

    if state.best_global_step < state.global_step:
        model = trainer.accelerator.unwrap_model(trainer.model)
        sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        if sharded or isinstance(model, PeftModel):
            state.best_model_checkpoint = str(best)
            trainer._load_best_model()
        else:
            kept = load_model(best, dtype=str(model.dtype).removeprefix("torch."))
            model.load_state_dict(kept.state_dict())
    return f"kept the weights of step {state.best_global_step}: {args.metric_for_best_model} {state.best_metric:.4g}"
