"""What the SFT and GRPO stages share: the base model, device settings, tracking, trainer arguments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from transformers import ProgressCallback

from reasoner.dialogues import questions
from reasoner.errors import UserError
from reasoner.layout import BASE, CHECKPOINTS, SFT, TRAINER_STATE
from reasoner.models import TINY
from reasoner.prompts import ask, assistant_message
from reasoner.runtime.disk import remove, swap
from reasoner.runtime.terminal import say, stream
from reasoner.runtime.tracking import logged_in_to_wandb
from reasoner.schema import Example
from reasoner.training.augment import Augment
from reasoner.training.dataset import to_dataset
from reasoner.training.lengths import fit_length
from recipes.config import Model, Recipe, check_trainer_args
from recipes.stages import working

if TYPE_CHECKING:
    import datasets
    from peft import LoraConfig
    from transformers import ProcessorMixin, TrainingArguments


def base_checkpoint(recipe: Recipe, examples: Iterable[Example]) -> str:
    """The checkpoint that SFT starts from: `model.base`, or for `tiny` a small Qwen2.5-VL built once beside the run.

    Its tokenizer is trained on the training examples' own words. It appears whole or not at all.
    """
    if recipe.model.base != TINY:
        return recipe.model.base
    folder = working(recipe, SFT) / BASE
    if not (folder / "processor_config.json").is_file():
        from reasoner.models import tiny

        profile = recipe.model.prompts
        texts = [f"system\n{profile.system or 'You are a helpful assistant.'}\n", "user\n", "assistant\n"] * 2
        for example in (question for row in examples for question in questions(row)):
            own = assistant_message(example.reasoning, example.answer, profile)
            texts += [message["content"][-1]["text"] for message in (ask(example, profile, 0)[-1], own)]
        part = folder.with_name(f"{BASE}.part")
        remove(part)
        tiny.build(part, texts, seed=recipe.seed, **recipe.model.options)
        swap(part, folder)
    return str(folder)


def keep_fitting(
    examples: Sequence[Example], processor: ProcessorMixin, model: Model, *, completions: bool
) -> list[Example]:
    """The examples that fit `model.max_length` tokens, images included: prompts are never cut, long rows are counted.

    Raises:
        UserError: when none fits.
    """
    max_length = model.max_length
    kept, dropped, longest = fit_length(examples, processor, max_length, completions=completions, profile=model.prompts)
    if dropped:
        say(f"left out {len(dropped)} of {len(examples)} rows longer than {max_length} tokens (longest {longest})")
    if not kept:
        raise UserError(f"no row fits max_length={max_length} (longest {longest} tokens); raise it or lower max_pixels")
    return kept


def train_dataset(recipe: Recipe, stage: str, examples: Sequence[Example], *, completions: bool) -> datasets.Dataset:
    """The examples as the stage trains on them: in the words of the recipe's profile, images changed at random."""
    augment = Augment(**getattr(recipe, stage).augment.model_dump())
    return to_dataset(
        examples, completions=completions, profile=recipe.model.prompts, augment=augment, seed=recipe.seed
    )


def trainer_arguments(
    cls: type[TrainingArguments], recipe: Recipe, stage: str, block: str = "trainer", **ours: Any
) -> Any:
    """`cls` (a TRL config) from our defaults, the device's, and the stage's `block`, later ones winning.

    Raises:
        UserError: for a key that `cls` does not know, or values it refuses.
    """
    import torch

    chosen, where = getattr(getattr(recipe, stage), block), f"{stage}.{block}"
    check_trainer_args(cls, chosen, where)
    on_gpu = torch.cuda.is_available()
    device = {"use_cpu": not on_gpu, "bf16": on_gpu, "dataloader_pin_memory": on_gpu}
    defaults = {
        "output_dir": str(working(recipe, stage) / CHECKPOINTS),
        "run_name": f"{recipe.name}-{stage}",
        "seed": recipe.seed,
        "report_to": "wandb",
        "logging_first_step": True,
        "save_total_limit": 2,
    }
    try:
        return cls(**{**defaults, **device, **ours, **chosen})
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"{where}: {error}") from error


def lora_config(recipe: Recipe) -> LoraConfig | None:
    """PEFT's config for `model.lora`, on the language model's linear layers unless the recipe names others."""
    lora = recipe.model.lora
    if lora is None:
        return None
    from peft import LoraConfig

    # A regular expression that spares the vision tower, whose projections share these names.
    text_layers = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules or text_layers,
        task_type="CAUSAL_LM",
    )


def finish(trainer: Any, output: Path) -> None:
    """Writes the final checkpoint with the training history beside it; the intermediate ones go when the run is on
    record."""
    from reasoner.models.load import save_checkpoint

    save_checkpoint(trainer, output)
    if trainer.accelerator.is_main_process:
        trainer.state.save_to_json(str(output / TRAINER_STATE))


def start_tracking(recipe: Recipe, stage: str) -> None:
    """Points W&B at this recipe: online when the user is logged in, else offline below `output/wandb`.

    `WANDB_MODE` (online, offline, disabled), `WANDB_PROJECT` and `WANDB_DIR` win, as everywhere.
    """
    import wandb

    os.environ.setdefault("WANDB_DATA_DIR", str(recipe.output / "wandb"))  # its own choice is the home folder
    os.environ.setdefault("WANDB_SILENT", "true")
    run = wandb.init(
        # Given, not set: another recipe of this process, or a process below it, has a folder of its own.
        project=os.environ.get("WANDB_PROJECT", "cxr-reasoner"),
        dir=os.environ.get("WANDB_DIR", str(recipe.output)),
        mode=None if "WANDB_MODE" in os.environ else "online" if logged_in_to_wandb() else "offline",
        name=f"{recipe.name}-{stage}",
        config=recipe.model_dump(mode="json"),
        job_type=stage,
    )
    if run.settings.mode != "disabled":
        say(f"  W&B    {run.settings.mode}: {run.url or Path(run.dir).parent}")


class Progress(ProgressCallback):
    """The usual bar with the numbers that matter beside it; the rest goes to W&B and `trainer_state.json`."""

    shown: ClassVar[dict[str, str]] = {
        "mean_token_accuracy": "token accuracy",
        "reward": "reward",
        "rewards/answer/mean": "answer",
        "rewards/skill/mean": "skill",
        "rewards/process/mean": "process",
        "rewards/format/mean": "format",
        "sampling/sampling_logp_difference/mean": "logp gap",
    }

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        with redirect_stderr(stream()):  # which the bar then keeps
            super().on_train_begin(*args, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.training_bar is None or not logs:
            return
        numbers = {label: f"{logs[name]:.3g}" for name, label in self.shown.items() if logs.get(name) is not None}
        if "reward" not in logs and "loss" in logs:  # GRPO's loss is near 0 by construction
            numbers = {"loss": f"{logs['loss']:.3f}", **numbers}
        if numbers:
            self.training_bar.set_postfix(numbers, refresh=False)


def show_progress(trainer: Any) -> None:
    """Replaces the trainer's own bar, which prints every metric of every step."""
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Progress())
