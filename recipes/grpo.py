"""The GRPO stage: TRL's GRPOTrainer with vLLM rollouts on images and rewards computed by a pool of Ray workers.

Writes `output/grpo`: a plain checkpoint, `trainer_state.json` (rewards by name, log-probability gap, entropy), and
`rollouts/step-*.parquet` (`recipes/reward_bridge.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, set_seed

import rewards
from reasoner.errors import UserError, nearest
from reasoner.layout import GRPO, SFT
from reasoner.runtime.terminal import log_path, say
from reasoner.serving.servers import Servers
from reasoner.training.dataset import REWARD_COLUMNS
from reasoner.training.kept import Kept
from recipes.config import Recipe
from recipes.health import SaveBetweenBatches, StopOnCollapse
from recipes.resume import last_checkpoint, starting_weights
from recipes.reward_bridge import RewardBridge
from recipes.reward_options import reward_options
from recipes.servers import check_servers, rollout_servers, served
from recipes.stages import working
from recipes.training import (
    finish,
    held_out_dataset,
    keep_rows,
    lora_config,
    show_progress,
    start_tracking,
    train,
    train_dataset,
    trainer_arguments,
)
from rewards.credit import PROCESS_REWARDS
from rewards.radrscore.base_rates import BaseRates, read_base_rates
from rewards.registry import RewardSet
from rewards.skill import base_rates_of
from rewards.workers import RewardPool

if TYPE_CHECKING:
    from transformers import ProcessorMixin
    from trl import GRPOConfig

#: A mean gap between vLLM and trainer log-probabilities above this means that they are not the same policy: about
#: 1e-5 is usual in float32, 1e-3 in bfloat16.
GAP_ALARM = 0.1
#: What TRL finds unknown only once it trains: fields of GRPOConfig -> their values.
CHOICES = {
    "vllm_mode": ("colocate", "server"),
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo"),
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "importance_sampling_level": ("token", "sequence"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
}
GAP = "sampling/sampling_logp_difference/mean"


class GapAlarm(TrainerCallback):
    """Says so when the rollouts come from another policy than the one that is trained."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        gap = (logs or {}).get(GAP)
        if gap is not None and gap > GAP_ALARM:
            say(
                f"WARNING step {state.global_step}: vLLM's log-probabilities are {gap:.2f} off the trainer's; "
                "weights or image tokens do not reach it (see reasoner/compat/trl.py)"
            )


def run(recipe: Recipe) -> Path:
    """Trains from `output/sft` and returns the checkpoint folder.

    Raises:
        UserError: no SFT checkpoint, or data, rewards or trainer arguments that cannot work, before any training.
    """
    output, start, grpo = working(recipe, GRPO), recipe.output / SFT, recipe.grpo
    args = check(recipe)
    if args.vllm_enable_sleep_mode and args.use_cpu:
        raise UserError("grpo.trainer.vllm_enable_sleep_mode: vLLM's CPU build cannot sleep; set it to false")
    examples, processor = load_data(recipe, start)
    resume = last_checkpoint(output)
    what = served(recipe, start, args.vllm_max_model_length, examples.found.most_images)
    with (
        reward_pool(recipe, args, examples, output) as pool,
        rollout_servers(recipe, args, what, log_path(recipe.output, GRPO).parent) as servers,
    ):
        needs_evidence = bool(grpo.step_credit or grpo.edits.rate or grpo.prompts.refill)
        bridge = RewardBridge(pool, grpo.rewards, output / "rollouts", grpo.log_rollouts_every, needs_evidence)
        weights = starting_weights(recipe, resume, start)
        trainer = build_trainer(recipe, args, weights, examples, processor, bridge, servers)
        if resume is not None and trainer.prompts is not None:
            trainer.prompts.load(Path(resume))
        train(trainer, output, "grpo.trainer", resume)
    finish(trainer, output)
    return output


def check(recipe: Recipe) -> GRPOConfig:
    """TRL's arguments, once all that can be found wrong without data, checkpoint or device has been looked at.

    Raises:
        UserError: the first thing found wrong.
    """
    from trl import GRPOConfig

    grpo = recipe.grpo
    rewards = RewardSet.build(grpo.rewards, grpo.reward_files, grpo.reward_options)
    rewards.check_columns(REWARD_COLUMNS)
    for setting, wanted in (("step_credit", grpo.step_credit), ("edits.rate", grpo.edits.rate)):
        if wanted:
            _check_judge(rewards, f"grpo.{setting}")
    args = trainer_arguments(
        GRPOConfig,
        recipe,
        GRPO,
        use_vllm=True,
        vllm_mode="colocate",
        mask_truncated_completions=True,
        disable_dropout=True,  # vLLM has none: with an adapter's, the two would not be the same policy
        remove_unused_columns=False,
        reward_weights=list(grpo.rewards.values()),
    )
    for name, known in CHOICES.items():
        if (value := getattr(args, name)) not in known:
            raise UserError(f"grpo.trainer.{name}: unknown '{value}'; {nearest(str(value), known)}")
    local = args.per_device_train_batch_size * args.steps_per_generation
    together = grpo.edits.rate or grpo.prompts.refill or grpo.context == "own"
    if together and args.world_size > 1 and local % args.num_generations:
        raise UserError(
            f"grpo.edits, grpo.prompts.refill and grpo.context=own need whole groups in each process: make {local} "
            "completions a process (per_device_train_batch_size x steps_per_generation) a multiple of "
            f"num_generations={args.num_generations}"
        )
    check_servers(recipe, args)
    uses = args.steps_per_generation * args.num_iterations  # of a batch of completions
    if grpo.held_out and grpo.held_out.keep_best and grpo.held_out.every * args.gradient_accumulation_steps % uses:
        raise UserError(
            f"grpo.held_out.every: a batch of completions serves {uses / args.gradient_accumulation_steps:g} optimizer "
            "steps, and a checkpoint is written between two batches; make it a multiple of that"
        )
    if grpo.stop is not None and args.save_total_limit:  # one from before the collapse must still be there
        args.save_total_limit = max(args.save_total_limit, 2 + math.ceil(grpo.stop.steps / max(1, args.save_steps)))
    if args.use_vllm and args.vllm_max_model_length is None:
        args.vllm_max_model_length = recipe.model.max_length + args.max_completion_length
    return args


def _check_judge(rewards: RewardSet, setting: str) -> None:
    judge = next((name for name in PROCESS_REWARDS if name in rewards.weights), None)
    if judge is None:
        raise UserError(f"{setting} needs the reward 'skill' or 'process' in grpo.rewards (weight 0 will do)")
    if not rewards.gives_step_verdicts(judge):
        raise UserError(f"{setting} needs verdicts on steps, which judge radeval does not give: use rules or llm")


def load_data(recipe: Recipe, start: Path) -> tuple[Kept, ProcessorMixin]:
    """The training examples whose prompts fit, and the processor that counted them."""
    from reasoner.models.load import load_processor

    model = recipe.model
    processor = load_processor(start, min_pixels=model.min_pixels, max_pixels=model.max_pixels)
    examples = keep_rows(recipe, GRPO, processor, completions=False, stages=recipe.grpo.stages)
    if recipe.grpo.context == "own" and examples.found.unreasoned:
        raise UserError("grpo.context=own: the data was mined before there were dialogues; run `reasoner mine` anew")
    return examples, processor


def base_rates(examples: Kept) -> BaseRates:
    """What can be known of the examples without their images, learned once."""

    def learn(place: Path) -> None:
        base_rates_of(examples).write(place)

    return read_base_rates(examples.beside("rates.json", learn, rewards))


@contextmanager
def reward_pool(recipe: Recipe, args: GRPOConfig, examples: Kept, folder: Path) -> Iterator[RewardPool | None]:
    """The pool of reward workers, in the main process alone, for as long as the block lasts."""
    grpo = recipe.grpo
    if args.process_index != 0:
        yield None
        return
    with RewardPool(
        grpo.rewards,
        grpo.reward_files,
        workers=grpo.reward_workers,
        timeout_s=grpo.reward_timeout_s,
        batch_timeout_s=grpo.reward_batch_timeout_s,
        placement=grpo.reward_placement,
        options=reward_options(recipe, partial(base_rates, examples), folder),
    ) as pool:
        start_tracking(recipe, GRPO, args.output_dir)
        yield pool


def rollouts(
    recipe: Recipe, args: GRPOConfig, processor: ProcessorMixin, dtype: str, images: int, servers: Servers | None
) -> AbstractContextManager[None]:
    """While this is active, TRL trainers that are built sample from the servers, or from an engine of theirs."""
    from reasoner.models.engine import trl_rollouts, vision_logit_bias

    if args.vllm_mode == "colocate":
        return trl_rollouts(processor, dtype=dtype, max_images=images)
    from reasoner.compat.trl_server import served_rollouts

    return served_rollouts(servers, vision_logit_bias(processor), recipe.seed if recipe.grpo.server.seeded else None)


def build_trainer(
    recipe: Recipe,
    args: GRPOConfig,
    weights: str | Path,
    examples: Kept,
    processor: ProcessorMixin,
    bridge: RewardBridge,
    servers: Servers | None = None,
) -> Any:
    """The trainer with its policy (from `weights`), its vLLM engine or servers, and its rewards."""
    from reasoner.compat.transformers import forbid_tokens, set_origin
    from reasoner.models.load import load_model, resolve_dtype, vision_token_ids
    from recipes import prompt_facts
    from recipes.credit_trainer import CreditTrainer
    from recipes.prompt_sampler import PromptSampler

    dtype = resolve_dtype(recipe.model.dtype)
    model = load_model(
        weights,
        dtype=dtype,
        attn_implementation=recipe.model.attn_implementation,
        freeze_vision=recipe.model.freeze_vision,
    )
    forbid_tokens(model, vision_token_ids(processor))
    set_origin(model, str(recipe.output / "sft"))
    settings = recipe.grpo.prompts
    prompts = None
    if settings.drawn or settings.refill:
        write = partial(prompt_facts.write_facts, examples)
        facts = prompt_facts.read_facts(examples.beside("prompts.npz", write, prompt_facts, rewards))
        prompts = PromptSampler.of(facts, settings, args)
    callbacks: list[TrainerCallback] = [GapAlarm(), SaveBetweenBatches(args.steps_per_generation * args.num_iterations)]
    if recipe.grpo.stop is not None:
        callbacks.append(StopOnCollapse(working(recipe, GRPO), recipe.grpo.stop))
    with rollouts(recipe, args, processor, dtype, examples.found.most_images, servers):
        set_seed(args.seed)  # of adapters, whatever this process drew before
        trainer = CreditTrainer(
            model=model,
            reward_funcs=bridge.functions(),
            args=args,
            train_dataset=train_dataset(recipe, GRPO, examples, completions=False),
            eval_dataset=held_out_dataset(recipe, GRPO, processor, completions=False),
            processing_class=processor,
            peft_config=lora_config(recipe),
            callbacks=callbacks,
            grpo=recipe.grpo,
            bridge=bridge,
            prompts=prompts,
            profile=recipe.model.prompts,
        )
    if trainer.ref_model is not None:
        forbid_tokens(trainer.accelerator.unwrap_model(trainer.ref_model), vision_token_ids(processor))
    show_progress(trainer, recipe, GRPO)
    return trainer
