"""What the SFT and GRPO stages share: the base model, device settings, tracking, trainer arguments."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from transformers import ProgressCallback, TrainerCallback

from reasoner.dialogues import questions
from reasoner.errors import UserError
from reasoner.layout import BASE, CACHE, CHECKPOINTS, GRPO, PICTURES, SFT, TRAINER_STATE
from reasoner.models import TINY
from reasoner.pictures import read_picture
from reasoner.profiles import Profile
from reasoner.prompts import ask, assistant_message
from reasoner.runtime.disk import remove, swap, write_whole
from reasoner.runtime.metrics_log import MetricsLog
from reasoner.runtime.terminal import say, stream
from reasoner.runtime.tracking import PROJECT, logged_in_to_wandb
from reasoner.schema import Example
from reasoner.training.augment import Augment
from reasoner.training.dataset import iter_examples
from reasoner.training.feed import to_dataset
from reasoner.training.kept import Kept, Wanted, keep
from reasoner.training.shrunk import Shrunk
from recipes.config import TEXT_LAYERS, Recipe
from recipes.health import Finite, checkpoints_fit
from recipes.held_out import arguments, take_best
from recipes.stages import working
from recipes.trainer_args import check_trainer_args

#: In the folder of checkpoints: the id of the W&B run, which a resumed one goes on.
TRACKED = "wandb-id.txt"

if TYPE_CHECKING:
    import datasets
    from peft import LoraConfig
    from transformers import ProcessorMixin, TrainingArguments


#: The tiny model's tokenizer is trained on the words of so many rows at most: more hardly change it.
WORDED = 50_000


def base_checkpoint(recipe: Recipe) -> str:
    """The checkpoint that SFT starts from: `model.base`, or for `tiny` a small Qwen2.5-VL built once beside the run.

    Its tokenizer is trained on the training examples' own words. It appears whole or not at all.
    """
    if recipe.model.base != TINY:
        return recipe.model.base
    sft, data = recipe.sft, recipe.output / "data"
    limit = WORDED if sft.max_examples is None else min(sft.max_examples, WORDED)
    return tiny_base(recipe, islice(iter_examples(data, "train", sft.tasks, []), limit))


def tiny_base(recipe: Recipe, examples: Iterable[Example]) -> str:
    """`base_checkpoint` of a recipe whose base is `tiny`, in the words of these examples."""
    folder = working(recipe, SFT) / BASE
    if not (folder / "processor_config.json").is_file():
        from reasoner.models import tiny

        part = folder.with_name(f"{BASE}.part")
        remove(part)
        tiny.build(part, _words(examples, recipe.model.prompts), seed=recipe.seed, **recipe.model.options)
        swap(part, folder)
    return str(folder)


def _words(examples: Iterable[Example], profile: Profile) -> Iterator[str]:
    """What the model is asked and taught, and what stands around it."""
    yield from [f"system\n{profile.system or 'You are a helpful assistant.'}\n", "user\n", "assistant\n"] * 2
    for example in (question for row in examples for question in questions(row)):
        own = assistant_message(example.reasoning, example.answer, profile)
        yield from (message["content"][-1]["text"] for message in (ask(example, profile, 0)[-1], own))


def keep_rows(recipe: Recipe, stage: str, processor: ProcessorMixin, **wanted: Any) -> Kept:
    """The training examples of a stage that fit `model.max_length` tokens, images included: prompts are never cut, long
    rows are counted. They are found once and kept in `output/cache`.

    Args:
        wanted: what of `Wanted` the stages differ in.

    Raises:
        UserError: as `keep`.
    """
    model, settings = recipe.model, getattr(recipe, stage)
    asked = Wanted(
        max_length=model.max_length,
        profile=model.prompts,
        tasks=settings.tasks,
        limit=settings.max_examples,
        mix={str(task): often for task, often in settings.mix.items()},
        **wanted,
    )
    return keep(recipe.output / "data", "train", asked, processor, recipe.output / CACHE, stage)


def train_dataset(recipe: Recipe, stage: str, examples: Sequence[Example], *, completions: bool) -> datasets.Dataset:
    """The examples as the stage trains on them: in the words of the recipe's profile, images changed at random."""
    model = recipe.model
    augment = Augment(**getattr(recipe, stage).augment.model_dump())
    read = Shrunk(recipe.output / PICTURES, model.max_pixels) if model.shrink and model.max_pixels else read_picture
    return to_dataset(
        examples, completions=completions, profile=model.prompts, augment=augment, seed=recipe.seed, read=read
    )


def held_out_dataset(
    recipe: Recipe, stage: str, processor: ProcessorMixin, *, completions: bool
) -> datasets.Dataset | None:
    """What `held_out` of the stage scores, images as they are; None where the recipe has none."""
    section = getattr(recipe, stage)
    if section.held_out is None:
        return None
    asked = Wanted(
        completions=completions,
        max_length=recipe.model.max_length,
        profile=recipe.model.prompts,
        tasks=section.tasks,
        stages=section.stages if stage == GRPO else None,
        dialogues=completions,
        limit=section.held_out.examples,
    )
    try:
        examples = keep(recipe.output / "data", "val", asked, processor, recipe.output / CACHE, f"{stage}_val")
    except UserError as error:
        raise UserError(f"{stage}.held_out scores the split val: {error}") from error
    return to_dataset(examples, completions=completions, profile=recipe.model.prompts, seed=recipe.seed)


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
    held_out = getattr(recipe, stage).held_out if block == "trainer" else None
    scored = arguments(held_out, chosen, stage, recipe.grpo.rewards if stage == GRPO else ())
    try:
        args = cls(**{**defaults, **device, **ours, **chosen, **scored})
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"{where}: {error}") from error
    if args.n_gpu > 1:  # else one process would spread each batch over all of them (DataParallel), which TRL cannot
        args._n_gpu = 1
    if args.use_cpu:
        from reasoner.compat.accelerate import shard_on_cpus

        shard_on_cpus()
    return args


def lora_config(recipe: Recipe) -> LoraConfig | None:
    """PEFT's config for `model.lora`, on the language model's linear layers unless the recipe names others."""
    lora = recipe.model.lora
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules or TEXT_LAYERS,
        task_type="CAUSAL_LM",
    )


def train(trainer: Any, output: Path, where: str, resume: str | None) -> None:
    """Trains, from the checkpoint `resume` on if there is one.

    Args:
        output: the working folder.
        where: the section of the recipe that the arguments are from.

    Raises:
        UserError: the loss is no number, or a checkpoint cannot be written.
    """
    from reasoner.compat.transformers import train_no_further

    trainer.add_callback(Finite(output, where))
    with train_no_further(trainer), checkpoints_fit(output):
        trainer.train(resume_from_checkpoint=resume)
    if words := take_best(trainer):
        say(words)


def finish(trainer: Any, output: Path) -> None:
    """Writes the final checkpoint with the training history beside it; the intermediate ones go when the run is on
    record."""
    from reasoner.models.load import save_checkpoint

    with checkpoints_fit(output):
        save_checkpoint(trainer, output)
    if trainer.accelerator.is_main_process:
        trainer.state.save_to_json(str(output / TRAINER_STATE))


def start_tracking(recipe: Recipe, stage: str, checkpoints: str) -> None:
    """Points W&B at this recipe: online when the user is logged in, else offline below `output/wandb`.

    `WANDB_MODE` (online, offline, disabled), `WANDB_PROJECT`, `WANDB_DIR` and `WANDB_RUN_ID` win, as everywhere. An
    interrupted run goes on as one, by its name in the folder `checkpoints`; offline each part has a folder of its own,
    which `wandb sync` joins by that name.
    """
    import wandb

    name = Path(checkpoints) / TRACKED
    if not name.is_file():
        write_whole(name, os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4))

    os.environ.setdefault("WANDB_DATA_DIR", str(recipe.output / "wandb"))  # its own choice is the home folder
    os.environ.setdefault("WANDB_SILENT", "true")
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if logged_in_to_wandb() else "offline")
    run = wandb.init(
        id=name.read_text(encoding="utf-8"),
        resume="allow",
        reinit="finish_previous",
        # Given, not set: another recipe of this process, or a process below it, has a place of its own, and W&B reads
        # the environment once.
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=os.environ.get("WANDB_DIR", str(recipe.output)),
        mode=mode,
        name=f"{recipe.name}-{stage}",
        config=recipe.model_dump(mode="json"),
        job_type=stage,
    )
    if mode != "disabled":
        say(f"  W&B    {mode}: {run.url or Path(run.dir).parent}")


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


class KeepMetrics(TrainerCallback):
    """Keeps what the trainer logs in `output/logs`, also while it goes on."""

    def __init__(self, kept: MetricsLog):
        self.kept = kept

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.kept.start(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs:
            self.kept.add(state.global_step, {"max_steps": state.max_steps, **logs})


class Speed(TrainerCallback):
    """Adds to what is logged of steps: `seconds_per_step` and `tokens_per_second` since it was logged before."""

    def __init__(self) -> None:
        self.before: tuple[float, float, float | None] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before = (state.global_step, time.monotonic(), None)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs or self.before is None:
            return
        (step, seconds, tokens), now = self.before, (state.global_step, time.monotonic(), logs.get("num_tokens"))
        self.before = now
        if now[0] > step:
            logs["seconds_per_step"] = (now[1] - seconds) / (now[0] - step)
            if tokens is not None and now[2] is not None:
                logs["tokens_per_second"] = (now[2] - tokens) / (now[1] - seconds)


def show_progress(trainer: Any, recipe: Recipe, stage: str) -> None:
    """Replaces the trainer's own bar, which prints every metric of every step; these are kept for `reasoner watch`."""
    trainer.remove_callback(ProgressCallback)
    trainer.callback_handler.callbacks.insert(0, Speed())  # before W&B's, which is given the same numbers
    trainer.add_callback(Progress())
    trainer.add_callback(KeepMetrics(MetricsLog(recipe.output, stage)))
