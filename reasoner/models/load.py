"""Loads a Qwen-VL and its processor with the recipe's settings, and saves a trained one as a plain checkpoint."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reasoner.compat.transformers import embed_patches_by_matmul
from reasoner.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")


def load_processor(
    checkpoint: str | Path, *, min_pixels: int | None = None, max_pixels: int | None = None, offline: bool = False
) -> ProcessorMixin:
    """The processor with one image budget (`min_pixels`, `max_pixels`: total pixels after resizing) for every stage.

    It pads on the left, whatever the checkpoint's own tokenizer does: what is generated follows the prompt, and TRL's
    GRPO trainer takes that for granted in a batch of prompts of different lengths. `offline`: of a Hub id only what is
    in the cache is looked for.

    Raises:
        UserError: when a local folder lacks the processor or tokenizer files.
    """
    from transformers import AutoProcessor

    folder = Path(checkpoint)
    if folder.is_dir():
        processor_files = ("processor_config.json", "preprocessor_config.json")
        if not any((folder / name).is_file() for name in processor_files):
            raise UserError(
                f"{folder}: the checkpoint has no processor files ({' or '.join(processor_files)}); "
                "copy them from the base model's folder"
            )
        if not (folder / "tokenizer_config.json").is_file():
            raise UserError(f"{folder}: the checkpoint has no tokenizer files; copy them from the base model's folder")
    try:
        processor = AutoProcessor.from_pretrained(str(checkpoint), local_files_only=offline)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{checkpoint}: the processor cannot be loaded ({first}); check model.base") from error
    if not hasattr(processor, "image_processor"):
        raise UserError(f"{checkpoint}: not a vision-language checkpoint (its processor handles no images)")
    processor.tokenizer.padding_side = "left"
    size = processor.image_processor.size
    if min_pixels is not None:
        size["shortest_edge"] = min_pixels
    if max_pixels is not None:
        size["longest_edge"] = max_pixels
    return processor


def resolve_dtype(dtype: str) -> str:
    """`auto` is bfloat16 where the device computes in it, else float32."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def load_model(
    checkpoint: str | Path,
    *,
    dtype: str = "auto",
    attn_implementation: str = "sdpa",
    freeze_vision: bool = False,
) -> PreTrainedModel:
    """The model on the CPU in `dtype`; `freeze_vision` stops gradients into the vision tower (TRL has no switch)."""
    from transformers import AutoModelForImageTextToText

    try:
        model = AutoModelForImageTextToText.from_pretrained(
            str(checkpoint), dtype=resolve_dtype(dtype), attn_implementation=attn_implementation
        )
    except OSError as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{checkpoint}: the model cannot be loaded ({first}); check model.base") from error
    if freeze_vision:
        model.model.visual.requires_grad_(False)
    if not torch.cuda.is_available():
        embed_patches_by_matmul(model.model.visual.patch_embed)
    return model


def vision_token_ids(processor: Any) -> list[int]:
    """The ids of the vision tokens that this checkpoint's tokenizer knows."""
    vocabulary = getattr(processor, "tokenizer", processor).get_vocab()
    return [vocabulary[token] for token in VISION_TOKENS if token in vocabulary]


def save_checkpoint(trainer: Any, output: Path) -> None:
    """Writes the trained model to `output` as a plain checkpoint: adapters are merged, the processor is beside it.

    Adapters stay available in `output/adapter`. Every rank must call this (gathering is collective).
    """
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    model = trainer.accelerator.unwrap_model(trainer.model)
    if not isinstance(model, PeftModel):
        trainer.save_model(str(output))
    else:
        trainer.save_model(str(output / "adapter"))
        if trainer.accelerator.is_main_process:
            base = model.get_base_model()
            fresh = AutoModelForImageTextToText.from_pretrained(base.name_or_path, dtype=base.dtype)
            merged = PeftModel.from_pretrained(fresh, str(output / "adapter")).merge_and_unload()
            merged.save_pretrained(output)
            del fresh, merged
            gc.collect()
    if trainer.accelerator.is_main_process:
        trainer.processing_class.save_pretrained(output)
    trainer.accelerator.wait_for_everyone()
