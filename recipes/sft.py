"""The SFT stage: TRL's SFTTrainer on image + question -> reasoning + answer, with loss on the assistant's words only; a
dialogue is one conversation with loss on each answer.

Writes `output/sft`: a plain checkpoint (adapters merged), `trainer_state.json` (the learning curve).
Interrupted runs resume from the newest checkpoint, with optimizer, scheduler, random state and data order restored.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reasoner.errors import UserError
from reasoner.layout import SFT
from reasoner.mining.wording import stable_hash
from reasoner.schema import Example
from reasoner.training.weights import token_weights
from recipes.config import Recipe
from recipes.resume import last_checkpoint, starting_weights
from recipes.stages import working
from recipes.training import (
    base_checkpoint,
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
from recipes.vision_warmup import check as check_warmup
from recipes.vision_warmup import warm_up

if TYPE_CHECKING:
    from trl import SFTConfig


def check(recipe: Recipe) -> SFTConfig:
    """TRL's arguments, as the recipe asks for them. Raises `UserError` naming the key when they cannot work."""
    from trl import SFTConfig

    check_warmup(recipe)
    profile = recipe.model.prompts
    if recipe.sft.answer_only and profile.form != "blocks_where_reasoned":
        raise UserError(
            f"sft.answer_only: the profile '{profile.name}' asks all rows alike, with or without reasoning; "
            "set it to 0, or model.profile to chestx_reasoner"
        )
    # Rows are prompt + completion, so TRL takes the loss on the completion alone. Never truncate: a cut image crashes.
    return trainer_arguments(
        SFTConfig,
        recipe,
        SFT,
        max_length=None,
        completion_only_loss=True,
        remove_unused_columns=False,  # there is one, of numbers, from which the others are made
    )


class AnswerOnly(NamedTuple):
    """Takes the reasoning from a share of the examples, chosen by seed and id."""

    share: float
    seed: int

    def __call__(self, example: Example) -> Example:
        bare = stable_hash(self.seed, example.id, "answer only") < self.share * 2**64
        return _without_reasoning(example) if bare else example


def teaching(recipe: Recipe) -> AnswerOnly | None:
    """How examples are changed before they are taught; None where they are not."""
    return AnswerOnly(recipe.sft.answer_only, recipe.seed) if recipe.sft.answer_only else None


def _without_reasoning(example: Example) -> Example:
    """Of a dialogue, each of its turns."""
    turns = tuple(replace(turn, reasoning="", steps=()) for turn in example.turns)
    return replace(example, reasoning="", steps=(), turns=turns)


def run(recipe: Recipe) -> Path:
    """Trains and returns the checkpoint folder.

    Raises:
        UserError: for data, processor or trainer arguments that cannot work, before any training.
    """
    from transformers import set_seed
    from trl import SFTTrainer

    from reasoner.compat.trl import TurnsCollator, WeighingTrainer
    from reasoner.models.load import load_model, load_processor

    output = working(recipe, "sft")
    args = check(recipe)
    with args.main_process_first():
        base = base_checkpoint(recipe)
    processor = load_processor(base, min_pixels=recipe.model.min_pixels, max_pixels=recipe.model.max_pixels)
    examples = keep_rows(recipe, SFT, processor, completions=True, dialogues=True, teach=teaching(recipe))
    resume = last_checkpoint(output)
    start = warm_up(recipe, base, examples, processor)
    model = load_model(
        starting_weights(recipe, resume, start),
        dtype=recipe.model.dtype,
        attn_implementation=recipe.model.attn_implementation,
        freeze_vision=recipe.model.freeze_vision,
    )
    if args.process_index == 0:
        start_tracking(recipe, SFT, args.output_dir)
    weigh = None
    if not recipe.sft.token_weights.even:
        weigh = partial(token_weights, processor.tokenizer, weights=recipe.sft.token_weights)
    pad = args.pad_to_multiple_of
    collator = TurnsCollator(
        processor, completion_only_loss=args.completion_only_loss is not False, pad_to_multiple_of=pad, weigh=weigh
    )
    trainer_class = SFTTrainer if weigh is None else WeighingTrainer
    set_seed(args.seed)  # of adapters, whatever this process drew before
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=train_dataset(recipe, SFT, examples, completions=True),
        eval_dataset=held_out_dataset(recipe, SFT, processor, completions=True),
        processing_class=processor,
        peft_config=lora_config(recipe),
        data_collator=collator,
    )
    show_progress(trainer, recipe, SFT)
    train(trainer, output, "sft.trainer", resume)
    finish(trainer, output)
    return output
