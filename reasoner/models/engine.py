"""vLLM, in one place: the engine for evaluation and the one that TRL's trainers sample from.

Everything that makes vLLM and a Qwen-VL trainer agree lives here (versions: vLLM 0.31, TRL 1.16):

1. On the CPU vLLM repacks linear weights into oneDNN buffers, so weights pushed later never reach the kernels
   (silently). `prepare_vllm` switches that off; `tests/reasoner/models/test_engine.py` perturbs, pushes and compares.
2. TRL builds its engine without a dtype, image limit or eager mode; `Rollouts` passes them.
3. TRL hands vLLM prompts whose image tokens are expanded already and vLLM expands them again: `collapse_runs` keeps
   one per image, and the prompt that comes back is compared with the trainer's.
4. vLLM keeps the vision tower's output of images it has seen; after a weight push that is another model's.
5. A sampled vision token crashes the trainer ("Image features and image tokens do not match"): every engine masks them
   (`vision_ban`); requests carry a logit bias as well, for servers that were started without the mask.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch._dynamo.config

from reasoner.pictures import read_rgb
from reasoner.prompts import conversation
from reasoner.schema import Turn

if TYPE_CHECKING:
    from transformers import ProcessorMixin
    from vllm import LLM, SamplingParams

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
_FORBID = -100.0  # vLLM clamps logit_bias to [-100, 100]


def prepare_vllm() -> None:
    """Sets what vLLM reads from the environment and, on a CPU, keeps its weights plain. Call before any engine."""
    defaults = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
    if not torch.cuda.is_available():
        defaults |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if not torch.cuda.is_available():
        import vllm._custom_ops as ops

        ops._supports_onednn = False
        # vLLM compiles its sampler on the CPU at the first request: 14 s and a C++ compiler, for nothing at this size.
        torch._dynamo.config.disable = True


def vision_ban() -> type:
    """A vLLM logits processor under which no request can sample a vision token, whatever the logits say.

    `logit_bias` alone is clamped to -100, which a policy that has lost its way outbids.
    """
    from vllm.v1.sample.logits_processor import LogitsProcessor

    class BanVisionTokens(LogitsProcessor):
        def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool):
            config = vllm_config.model_config.hf_config
            names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
            ids = [token_id for name in names if (token_id := getattr(config, name, None)) is not None]
            self.ids = torch.tensor(ids, device=device, dtype=torch.long)

        def apply(self, logits: torch.Tensor) -> torch.Tensor:
            return logits.index_fill_(-1, self.ids, float("-inf"))

        def is_argmax_invariant(self) -> bool:
            return False

        def update_state(self, batch_update: Any) -> None:
            """The same for every request: nothing to keep."""

    return BanVisionTokens


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


def vision_token_ids(processor: Any) -> list[int]:
    """The ids of the vision tokens that this checkpoint's tokenizer knows."""
    vocabulary = getattr(processor, "tokenizer", processor).get_vocab()
    return [vocabulary[token] for token in VISION_TOKENS if token in vocabulary]


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


def forget_images(engine: LLM) -> None:
    """Drops cached vision-tower outputs, which weights pushed since have made stale."""
    engine.llm_engine.reset_encoder_cache()


class Prompt(NamedTuple):
    question: str
    options: Sequence[str]
    images: Sequence[str | Path]
    context: Sequence[Turn] = ()


def prompt_inputs(processor: ProcessorMixin, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """What `llm.generate` takes: text with one placeholder per image, and the images as RGB."""
    rows = []
    for question, options, images, context in prompts:
        messages = conversation(context, question, options, len(images))
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        row: dict[str, Any] = {"prompt": text}
        if images:
            row["multi_modal_data"] = {"image": [read_rgb(path) for path in images]}
        rows.append(row)
    return rows


def collapse_runs(ids: Sequence[int], token_id: int) -> list[int]:
    """Each run of `token_id` becomes one: the placeholder that vLLM expands itself."""
    return [i for key, run in groupby(ids) for i in ([key] if key == token_id else run)]


@contextmanager
def trl_rollouts(*, dtype: str, max_images: int) -> Iterator[None]:
    """While this is active, TRL trainers that are built sample through `Rollouts`."""
    from trl.generation import vllm_generation
    from trl.trainer import grpo_trainer

    prepare_vllm()

    class Rollouts(vllm_generation.VLLMGeneration):
        """TRL's vLLM generation with the vision tokens forbidden and image tokens expanded once."""

        def __init__(self, *args: Any, generation_kwargs: dict | None = None, **kwargs: Any):
            options = dict(generation_kwargs or {})
            processor = kwargs["processing_class"]
            # Ours last: a recipe's own bias may add to the ban, not lift it.
            options["logit_bias"] = {**options.get("logit_bias", {}), **vision_logit_bias(processor)}
            self._image_token_id = processor.image_token_id
            super().__init__(*args, generation_kwargs=options, **kwargs)

        def _init_vllm(self) -> None:
            engine = vllm_generation.LLM
            shared = engine_options(dtype, max_images)
            del shared["seed"]  # TRL seeds each rank's engine
            vllm_generation.LLM = partial(engine, **shared)
            try:
                super()._init_vllm()
            finally:
                vllm_generation.LLM = engine

        def sync_weights(self) -> None:
            super().sync_weights()
            if self.mode == "colocate":
                forget_images(self.llm)
            elif self.accelerator.is_main_process:
                client = self.vllm_client  # the server's development endpoints, which TRL's sync needs anyway
                client.session.post(f"{client.base_url}/reset_encoder_cache").raise_for_status()

        def generate(self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any = None) -> tuple:
            if self.mode == "server":  # the server is given features, and expands nothing
                return super().generate(prompts, images, num_generations, profiler)
            collapsed = [collapse_runs(ids, self._image_token_id) for ids in prompts]
            seen, *rest = super().generate(collapsed, images, num_generations, profiler)
            for ours, theirs in zip(prompts, seen, strict=True):
                if len(ours) != len(theirs):
                    raise RuntimeError(
                        f"vLLM read a prompt of {len(theirs)} tokens where the trainer has {len(ours)}: "
                        "their image processors disagree (compare min_pixels/max_pixels of both)"
                    )
            return (prompts, *rest)

    original = grpo_trainer.VLLMGeneration
    grpo_trainer.VLLMGeneration = Rollouts
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = original
