"""The GRPO stage: TRL's GRPOTrainer with vLLM rollouts on images and rewards computed by a pool of Ray workers.

Writes `output/grpo`: a plain checkpoint, `trainer_state.json` (rewards by name, log-probability gap, entropy), and
`rollouts/step-*.parquet` (image path, completion, every reward and its evidence), also shown as W&B tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainerCallback

from reasoner.errors import UserError
from reasoner.terminal import say
from reasoner.training.dataset import REWARD_COLUMNS, load_examples, to_dataset
from recipes.config import Recipe
from recipes.training import (
    augment,
    finish,
    keep_fitting,
    last_checkpoint,
    lora_config,
    show_progress,
    start_tracking,
    starting_weights,
    trainer_arguments,
)
from rewards.credit import StepReward, step_rewards
from rewards.registry import RewardSet, Score, gate
from rewards.workers import RewardPool

#: A mean gap between vLLM and trainer log-probabilities above this means that they are not the same policy: about
#: 1e-5 is usual in float32, 1e-3 in bfloat16.
GAP_ALARM = 0.1
GAP = "sampling/sampling_logp_difference/mean"


class GapAlarm(TrainerCallback):
    """Says so when the rollouts come from another policy than the one that is trained."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        gap = (logs or {}).get(GAP)
        if gap is not None and gap > GAP_ALARM:
            say(
                f"WARNING step {state.global_step}: vLLM's log-probabilities are {gap:.2f} off the trainer's; "
                "weights or image tokens do not reach it (see reasoner/models/engine.py)"
            )


class RewardBridge:
    """Turns one pool dispatch per batch into the one-callable-per-component form that TRL logs and weighs.

    TRL calls the functions one after another on the same batch; the first call scores it, the others read. However
    many training processes there are, the main one alone has a `pool` and scores for all: one dispatch per step.
    """

    def __init__(
        self, pool: RewardPool | None, weights: dict[str, float], rollouts: Path, log_every: int, credits: bool = False
    ):
        """`credits`: evidence is wanted for every batch (`steps`), not only for those that are written."""
        self.pool, self.weights, self.rollouts, self.log_every = pool, weights, rollouts, log_every
        self._credits = credits
        self._completions: Any = None
        self._scores: list[dict[str, Score]] = []

    def functions(self) -> list[Callable[..., list[float | None]]]:
        """One TRL reward function per component, named after it, in the order of `weights`."""
        return [self._function(name) for name in self.weights]

    def steps(self) -> list[tuple[str, list[StepReward]]]:
        """Text and rewarded steps of each completion of the last batch (the `process` reward must be among them)."""
        texts = [completion[-1]["content"] for completion in self._completions]
        return [(text, step_rewards(text, s["process"])) for text, s in zip(texts, self._scores, strict=True)]

    def _function(self, name: str) -> Callable[..., list[float | None]]:
        def component(prompts: list, completions: list, **columns: Any) -> list[float | None]:
            if completions is not self._completions:
                self._completions = completions
                self._score(completions, columns)
            return [gate(name, scores) for scores in self._scores]

        component.__name__ = name
        return component

    def _score(self, completions: list, columns: dict[str, Any]) -> None:
        rows = []
        for number, completion in enumerate(completions):
            row = {name: columns[name][number] for name in REWARD_COLUMNS if name in columns}
            row["labels"] = json.loads(row["labels"]) if row.get("labels") else None
            rows.append({**row, "completion": completion[-1]["content"]})
        step = columns["trainer_state"].global_step
        written = bool(self.log_every) and step % self.log_every == 0
        self._scores, metrics = self._score_for_all(rows, evidence=written or self._credits)
        for part in sorted({part for scores in self._scores for s in scores.values() for part in s.parts}):
            values = [s.parts[part] for scores in self._scores for s in scores.values() if part in s.parts]
            columns["log_metric"](f"parts/{part}", sum(values) / len(values))
        for name, value in metrics.items():
            columns["log_metric"](f"reward_pool/{name}", value)
        if written:
            self._write_rollouts(step, rows, columns["image_paths"])

    def _score_for_all(self, rows: list[dict], evidence: bool) -> tuple[list[dict[str, Score]], dict[str, float]]:
        """The scores of this process's rows, and the pool's metrics. An error of the pool is raised everywhere."""
        everyone = gather_object(rows)
        answer: list[Any] = [None]
        if self.pool is not None:
            try:
                answer = [(self.pool.score(everyone, evidence=evidence), self.pool.metrics())]
            except Exception as error:  # the others would wait for this process until their collective times out
                answer = [error]
        broadcast_object_list(answer)
        if isinstance(answer[0], Exception):
            raise answer[0]
        scores, metrics = answer[0]
        first = PartialState().process_index * len(rows)
        return scores[first : first + len(rows)], metrics

    def _write_rollouts(self, step: int, rows: Sequence[dict], image_paths: list[list[str]]) -> None:
        table = []
        for row, images, scores in zip(rows, image_paths, self._scores, strict=True):
            record = {"step": step, "images": images}
            record |= {k: row[k] for k in ("id", "task", "question", "completion", "reasoning", "answer", "report")}
            record |= {name: score.value for name, score in scores.items()}
            record["parts"] = json.dumps({k: v for s in scores.values() for k, v in s.parts.items()})
            record["evidence"] = json.dumps({name: list(score.evidence) for name, score in scores.items()})
            table.append(record)
        self.rollouts.mkdir(parents=True, exist_ok=True)
        rank = PartialState().process_index
        name = f"step-{step:06d}" + (f"-rank{rank}" if rank else "")
        pq.write_table(pa.Table.from_pylist(table), self.rollouts / f"{name}.parquet")
        _log_rollouts_to_wandb(table)


def _log_rollouts_to_wandb(table: list[dict], limit: int = 16) -> None:
    """A W&B table of the first `limit` rollouts with their first image; silent when no run is active."""
    import wandb

    if wandb.run is None:
        return
    names = [name for name in table[0] if name != "images"]
    rows = [[wandb.Image(r["images"][0]) if r["images"] else None, *(r[n] for n in names)] for r in table[:limit]]
    wandb.log({"rollouts": wandb.Table(columns=["image", *names], data=rows)}, commit=False)


def run(recipe: Recipe) -> Path:
    """Trains from `output/sft` and returns the checkpoint folder.

    Raises:
        UserError: no SFT checkpoint, or data, rewards or trainer arguments that cannot work, before any training.
    """
    from trl import GRPOConfig

    from reasoner.models.engine import trl_rollouts
    from reasoner.models.load import load_model, load_processor, resolve_dtype, save_checkpoint
    from recipes.step_credit import StepCreditTrainer

    output, start = recipe.output / "grpo", recipe.output / "sft"
    if not (start / "config.json").is_file():
        raise UserError(f"no SFT checkpoint in {start}: run `make sft RECIPE={recipe.name}` first")
    rewards = (recipe.grpo.rewards, recipe.grpo.reward_files)
    if recipe.grpo.step_credit and "process" not in recipe.grpo.rewards:
        raise UserError("grpo.step_credit needs the reward 'process': add it to grpo.rewards (weight 0 will do)")
    if recipe.grpo.step_credit and recipe.grpo.reward_options.get("process", {}).get("judge") == "radeval":
        raise UserError("grpo.step_credit needs verdicts on steps, which judge radeval does not give: use rules or llm")
    RewardSet.build(*rewards, recipe.grpo.reward_options).check_columns(REWARD_COLUMNS)
    max_prompt = recipe.model.max_length
    args = trainer_arguments(
        GRPOConfig,
        recipe,
        "grpo",
        use_vllm=True,
        vllm_mode="colocate",
        mask_truncated_completions=True,
        remove_unused_columns=False,
        reward_weights=list(recipe.grpo.rewards.values()),
    )
    if args.use_vllm and args.vllm_max_model_length is None:
        args.vllm_max_model_length = max_prompt + args.max_completion_length
    examples = load_examples(recipe.output / "data", "train", recipe.grpo.tasks, recipe.grpo.max_examples)
    processor = load_processor(start, min_pixels=recipe.model.min_pixels, max_pixels=recipe.model.max_pixels)
    examples = keep_fitting(examples, processor, max_prompt, completions=False)
    dataset = to_dataset(examples, completions=False, augment=augment(recipe, "grpo"), seed=recipe.seed)
    pool = None
    if args.process_index == 0:
        pool = RewardPool(
            *rewards,
            workers=recipe.grpo.reward_workers,
            timeout_s=recipe.grpo.reward_timeout_s,
            batch_timeout_s=recipe.grpo.reward_batch_timeout_s,
            placement=recipe.grpo.reward_placement,
            options=recipe.grpo.reward_options,
        )
    bridge = RewardBridge(
        pool,
        recipe.grpo.rewards,
        output / "rollouts",
        recipe.grpo.log_rollouts_every,
        credits=recipe.grpo.step_credit > 0,
    )
    if args.process_index == 0:
        start_tracking(recipe, "grpo")
    dtype = resolve_dtype(recipe.model.dtype)
    resume = last_checkpoint(output)
    model = load_model(
        starting_weights(recipe, resume, start),
        dtype=dtype,
        attn_implementation=recipe.model.attn_implementation,
        freeze_vision=recipe.model.freeze_vision,
    )
    model.config._name_or_path = str(start)  # where TRL finds the reference policy, also when resumed
    with trl_rollouts(dtype=dtype, max_images=max(len(e.images) for e in examples)):
        trainer = StepCreditTrainer(
            model=model,
            reward_funcs=bridge.functions(),
            args=args,
            train_dataset=dataset,
            processing_class=processor,
            peft_config=lora_config(recipe),
            callbacks=[GapAlarm()],
            step_credit=recipe.grpo.step_credit,
            steps=bridge.steps,
        )
    show_progress(trainer)
    try:
        trainer.train(resume_from_checkpoint=resume)
    finally:
        if pool is not None:
            pool.close()
    save_checkpoint(trainer, output)
    finish(trainer, output)
    return output
