"""transformers: image tokens counted without pixels, patches embedded fast, tokens that a policy cannot choose, and
an end to a training that has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch

WRITTEN_FOR = "5.17"
#: A logit of no probability; finite, since an entropy multiplies it with that.
_NEVER = -1e4


def count_image_tokens(processor: Any, size: tuple[int, int]) -> int:
    """The tokens that an image of `size` (height, width in pixels) becomes in a prompt.

    Why: the public way is to process the image itself, which takes a thousand times as long.
    Guard: tests/reasoner/training/test_lengths.py compares with a processed image.
    """
    return processor._get_num_multimodal_tokens([size])["num_image_tokens"][0]


def embed_patches_by_matmul(patch_embed: Any) -> None:
    """Runs a Qwen-VL's patch embedding as the matrix product that it is (kernel = stride).

    Why: Conv3d takes 5 times longer on the CPU. The parameters stay where they are, so checkpoints do not change.
    Guard: tests/reasoner/models/test_load.py compares with Conv3d.
    """

    def forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
        weight = self.proj.weight.view(self.embed_dim, -1)
        return torch.nn.functional.linear(hidden_states.to(weight.dtype), weight, self.proj.bias)

    patch_embed.forward = MethodType(forward, patch_embed)


def forbid_tokens(model: Any, ids: Sequence[int]) -> None:
    """Gives the tokens no probability in all that the model computes from now on; checkpoints do not change.

    Why: vLLM bans vision tokens in what it samples; otherwise the two policies differ by the probability that the
    trainer's spends on them, 0.005 nats a token before any training. TRL reads weight and bias of the output layer
    instead of calling it, so that a hook would not do: a bias that is no parameter does.
    Guard: tests/reasoner/models/test_load.py, tests/recipes/test_grpo_matrix.py (the shipped recipes).
    """
    head = model.get_output_embeddings()
    bias = torch.zeros(head.weight.shape[0], dtype=head.weight.dtype, device=head.weight.device)
    bias[list(ids)] = _NEVER
    del head.bias
    head.register_buffer("bias", bias, persistent=False)


def set_origin(model: Any, checkpoint: str) -> None:
    """Makes `checkpoint` the place that the model is said to come from (`name_or_path`).

    Why: TRL loads the reference policy and vLLM's engine from there; a resumed run must not take its own checkpoint.
    Guard: tests/recipes/test_grpo_matrix.py (beta > 0).
    """
    model.config._name_or_path = checkpoint


@contextmanager
def train_no_further(trainer: Any) -> Iterator[None]:
    """While this is active, a training that goes on from its very last checkpoint ends there.

    Why: the Trainer takes another step first, so that a run killed while it wrote its result ended in other weights.
    Guard: tests/recipes/test_health.py.
    """
    run_epoch = trainer._run_epoch

    def unless_over(*args: Any, **more: Any) -> None:
        if trainer.state.global_step < trainer.state.max_steps:
            run_epoch(*args, **more)
        else:
            trainer.control.should_training_stop = True

    trainer._run_epoch = unless_over
    try:
        yield
    finally:  # a trainer that refers to itself would stay: vLLM takes what is there at its start out of gc's sight
        del trainer._run_epoch
