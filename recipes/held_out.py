"""Scores on studies that are not trained on, while a stage trains, and the best checkpoint by them as its result."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.errors import UserError, nearest
from reasoner.settings import Count, Section

if TYPE_CHECKING:
    from transformers import TrainingArguments

#: Fields of a trainer that follow from `held_out`.
OURS = {"eval_strategy", "eval_steps", "do_eval", "load_best_model_at_end"}


class HeldOut(Section):
    """Scores on held-out studies while training goes on."""

    every: Count
    """Optimizer steps between two scores; where `keep_best`, a checkpoint is written each time."""
    examples: Count = 64
    """Rows that are scored, the first of the split `val`: what results are told of, nothing is chosen by."""
    keep_best: bool = True
    """Whether the checkpoint with the best score is the stage's result, rather than the last: by
    `trainer.metric_for_best_model`, which is `eval_loss` for SFT and `eval_reward` for GRPO."""


def arguments(
    chosen: HeldOut | None, trainer: Mapping[str, Any], stage: str, rewards: Collection[str] = ()
) -> dict[str, Any]:
    """What the trainer is told, for a stage's `trainer` block and the names of the rewards that it earns (GRPO).

    Raises:
        UserError: the block says something that `held_out` decides, or a score that there is not.
    """
    for name in sorted(OURS & trainer.keys()):
        wanted = "set that instead" if chosen is None else "leave this out"
        if chosen is not None or trainer[name] not in (False, None, "no"):
            raise UserError(f"{stage}.trainer.{name}: {stage}.held_out says when is scored and what is kept; {wanted}")
    if chosen is None:
        return {}
    told: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": chosen.every}
    if "per_device_train_batch_size" in trainer:
        told["per_device_eval_batch_size"] = trainer["per_device_train_batch_size"]
    if rewards:
        told["num_generations_eval"] = 1
    told |= {name: trainer[name] for name in told if name in trainer and not name.startswith("eval_")}
    if chosen.keep_best:
        known = [f"eval_{name}" for name in _scores(rewards)]
        metric = trainer.get("metric_for_best_model", known[0])
        if metric not in known:
            raise UserError(f"{stage}.trainer.metric_for_best_model: unknown '{metric}'; {nearest(metric, known)}")
        told |= {
            "metric_for_best_model": metric,
            "greater_is_better": trainer.get("greater_is_better", not metric.endswith("loss")),
            "save_strategy": "steps",
            "save_steps": chosen.every,
            "load_best_model_at_end": False,  # `take_best` does: the Trainer misreads a Qwen-VL's names without a word
        }
    return told


def _scores(rewards: Collection[str]) -> list[str]:
    """What TRL's trainers log of held-out rows, and a checkpoint can be chosen by."""
    shared = ["loss", "entropy", "mean_token_accuracy"]
    if not rewards:
        return shared
    lengths = ("mean_length", "mean_terminated_length", "clipped_ratio")
    own = [*(f"rewards/{name}/mean" for name in rewards), *(f"completions/{name}" for name in lengths)]
    return ["reward", *own, *shared[:2]]


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
