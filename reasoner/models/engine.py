"""vLLM: the engine for evaluation, and the settings of the one that TRL's trainers sample from.

What vLLM or TRL would get wrong for a Qwen-VL is mended in `reasoner/compat`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from reasoner.compat.vllm import keep_weights_plain, vision_ban
from reasoner.models.load import vision_token_ids
from reasoner.pictures import read_rgb
from reasoner.profiles import OURS, Profile
from reasoner.prompts import conversation
from reasoner.schema import Turn

if TYPE_CHECKING:
    from transformers import ProcessorMixin
    from vllm import LLM, SamplingParams

_FORBID = -100.0  # vLLM clamps logit_bias to [-100, 100]


def prepare_vllm() -> None:
    """Sets what vLLM reads from the environment and, on a CPU, keeps its weights plain. Call before any engine."""
    defaults = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
    if not torch.cuda.is_available():
        defaults |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if not torch.cuda.is_available():
        keep_weights_plain()


def engine_options(dtype: str = "auto", max_images: int = 1, seed: int = 0) -> dict[str, Any]:
    """The `vllm.LLM` keyword arguments that evaluation and training share."""
    on_cpu = not torch.cuda.is_available()
    return {
        "logits_processors": [vision_ban()],
        "dtype": dtype,
        "seed": seed,
        "enforce_eager": on_cpu,
        "limit_mm_per_prompt": {"image": max_images, "video": 0},
        # Bounded: vLLM's default multimodal cache grows to 4 GiB of host memory per process.
        "mm_processor_cache_gb": 0.25 if on_cpu else 1.0,
        "disable_log_stats": True,
    }


def build_engine(
    checkpoint: str | Path,
    *,
    max_model_len: int | None = None,
    max_images: int = 1,
    max_num_seqs: int = 256,
    dtype: str = "auto",
    seed: int = 0,
    gpu_memory_utilization: float = 0.9,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> LLM:
    """A vLLM engine on `checkpoint` (a folder or a Hub id) that accepts up to `max_images` images a prompt.

    `min_pixels` and `max_pixels` are the image budget of training, where it is not the checkpoint's own.
    """
    prepare_vllm()
    from vllm import LLM

    budget = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    budget = {name: pixels for name, pixels in budget.items() if pixels is not None}

    return LLM(
        model=str(checkpoint),
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        gpu_memory_utilization=gpu_memory_utilization,
        mm_processor_kwargs=budget or None,
        **engine_options(dtype, max_images, seed),
    )


def vision_logit_bias(processor: Any) -> dict[int, float]:
    """A `logit_bias` (vLLM, OpenAI) under which no vision token is ever sampled."""
    return {token_id: _FORBID for token_id in vision_token_ids(processor)}


def sampling_params(processor: Any, *, temperature: float, max_tokens: int, n: int = 1) -> SamplingParams:
    """`temperature` 0 is greedy; vision tokens cannot be sampled; tags survive in the decoded text.

    Sampling is seeded by the engine: a seed per request dies on the CPU ("CPU Generator does not use offset").
    """
    from vllm import SamplingParams

    return SamplingParams(
        temperature=temperature,
        max_tokens=max_tokens,
        n=n,
        logit_bias=vision_logit_bias(processor),
        skip_special_tokens=True,
    )


class Prompt(NamedTuple):
    question: str
    options: Sequence[str]
    images: Sequence[str | Path]
    context: Sequence[Turn] = ()
    task: str | None = None
    #: Whether reasoning is asked for (`Profile.reasons`).
    reasoned: bool = True

    def messages(self, profile: Profile) -> list[dict[str, Any]]:
        """The conversation up to the model's own turn, with placeholders of the images."""
        asked = self.context, self.question, self.options, len(self.images)
        return conversation(*asked, profile, task=self.task, reasoned=self.reasoned)


def prompt_inputs(
    processor: ProcessorMixin, prompts: Sequence[Prompt], profile: Profile = OURS
) -> list[dict[str, Any]]:
    """What `llm.generate` takes: text with one placeholder per image, and the images as RGB."""
    rows = []
    for prompt in prompts:
        messages, images = prompt.messages(profile), prompt.images
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        row: dict[str, Any] = {"prompt": text}
        if images:
            row["multi_modal_data"] = {"image": [profile.shown(read_rgb(path)) for path in images]}
        rows.append(row)
    return rows


def trl_rollouts(processor: ProcessorMixin, *, dtype: str, max_images: int) -> AbstractContextManager[None]:
    """While this is active, TRL trainers that are built sample from an engine like `build_engine`'s."""
    from reasoner.compat.trl import rollouts

    prepare_vllm()
    options = engine_options(dtype, max_images)
    del options["seed"]  # TRL seeds each rank's engine
    return rollouts(options, vision_logit_bias(processor))
