"""The first part of SFT where a recipe has `sft.vision_warmup`: the vision tower learns what reports find.

Writes `output/sft/warm`: the base model with its warmed tower, and `trainer_state.json`. Like the rest of SFT it goes
on from its newest checkpoint when it was interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reasoner.errors import UserError
from reasoner.layout import CHECKPOINTS, CONFIG, SFT, TRAINER_STATE, WARM
from reasoner.runtime.disk import remove, swap
from reasoner.training.kept import Kept
from recipes.config import Recipe
from recipes.resume import last_checkpoint
from recipes.stages import working
from recipes.training import show_progress, start_tracking, train, train_dataset, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin, Trainer, TrainingArguments


def check(recipe: Recipe) -> TrainingArguments | None:
    """The trainer's arguments, or None where the recipe has no warm-up. Raises `UserError` naming the key."""
    from transformers import TrainingArguments

    if recipe.sft.vision_warmup is None:
        return None
    return trainer_arguments(
        TrainingArguments,
        recipe,
        SFT,
        block="vision_warmup",
        output_dir=str(_part(recipe) / CHECKPOINTS),
        run_name=f"{recipe.name}-{WARM}",
        remove_unused_columns=False,  # the collator reads the report
        label_names=["labels"],
    )


def warm_up(recipe: Recipe, base: str, examples: Kept, processor: ProcessorMixin) -> str:
    """The checkpoint that SFT starts from: `base`, with its tower warmed up if the recipe asks for that.

    Raises:
        UserError: for arguments that cannot work, or when no example has a report.
    """
    from transformers import Trainer, set_seed

    from reasoner.models.load import load_model
    from reasoner.training.warmup import FindingsReader, StudyCollator, studies_to_warm

    args, output = check(recipe), working(recipe, SFT) / WARM
    if args is None or (output / CONFIG).is_file():
        return base if args is None else str(output)
    studies = examples.picked("studies", studies_to_warm)
    if not len(studies):
        raise UserError("sft.vision_warmup: no example has a report to learn from; set it to null")
    model = load_model(base, dtype=recipe.model.dtype, attn_implementation=recipe.model.attn_implementation)
    set_seed(args.seed)  # of the reader's head, whatever this process drew before
    if args.process_index == 0:
        start_tracking(recipe, WARM, args.output_dir)
    trainer = Trainer(
        model=FindingsReader(model.model.visual, model.config.text_config.hidden_size),
        args=args,
        train_dataset=train_dataset(recipe, SFT, studies, completions=False),
        data_collator=StudyCollator(processor),
    )
    show_progress(trainer, recipe, WARM)
    train(trainer, _part(recipe), "sft.vision_warmup", last_checkpoint(_part(recipe)))
    if args.process_index == 0:
        _write(recipe, model, processor, trainer)
    trainer.accelerator.wait_for_everyone()
    return str(output)


def _part(recipe: Recipe) -> Path:
    """Where it works until it is whole."""
    return working(recipe, SFT) / f"{WARM}.part"


def _write(recipe: Recipe, model: PreTrainedModel, processor: ProcessorMixin, trainer: Trainer) -> None:
    part = _part(recipe)
    model.save_pretrained(part)
    processor.save_pretrained(part)
    trainer.state.save_to_json(str(part / TRAINER_STATE))
    remove(part / CHECKPOINTS)
    swap(part, working(recipe, SFT) / WARM)
