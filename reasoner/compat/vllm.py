"""vLLM: weights that a trainer pushes must arrive, and no request may sample a vision token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from vllm import LLM

WRITTEN_FOR = "0.31"


def keep_weights_plain() -> None:
    """Call before an engine is built on a CPU.

    Why: vLLM repacks linear weights into oneDNN buffers there, so that weights pushed later never reach the kernels,
    silently. It also compiles its sampler at the first request: 14 s and a C++ compiler, for nothing at this size.
    Guard: tests/reasoner/models/test_engine.py::test_a_weight_push_reaches_the_kernels.
    """
    import torch._dynamo.config
    import vllm._custom_ops as ops

    ops._supports_onednn = False
    torch._dynamo.config.disable = True


def vision_ban() -> type:
    """A logits processor for an engine, under which no request can sample a vision token, whatever the logits say.

    Why: a sampled vision token crashes the trainer ("Image features and image tokens do not match"), and vLLM clamps
    `logit_bias` to -100, which a policy that has lost its way outbids.
    Guard: tests/reasoner/models/test_engine.py, tests/recipes/test_road.py (a policy driven towards the image token).
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


def collapse_runs(ids: Sequence[int], token_id: int) -> list[int]:
    """Each run of `token_id` becomes one: the placeholder that vLLM expands itself."""
    return [i for key, run in groupby(ids) for i in ([key] if key == token_id else run)]


def forget_images(engine: LLM) -> None:
    """Drops the vision tower's outputs that the engine keeps of images it has seen.

    Why: after a weight push they are another model's.
    Guard: tests/reasoner/models/test_engine.py::test_a_weight_push_reaches_the_vision_tower.
    """
    engine.llm_engine.reset_encoder_cache()
