"""Operations, tokens and seconds of training steps and rollouts, under assumptions that are stated beside them.

A multiplication and an addition are two operations, and a linear layer of P weights takes 2P a token. Backwards the
inputs' gradients take as many again, and so do the weights' where they are trained; gradient checkpointing adds a
forward pass of the layers. Attention to n earlier tokens takes 4an a token for a query width of a; no kernel is
counted on to skip what the mask hides. Decoding reads weights and cache once a token for all sequences at a time, so
it is bound by the memory's bandwidth, or by operations where many are decoded at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from reasoner.models.footprint import Batch, Training, cache_bytes
from reasoner.models.shape import Shape

#: The share of its bandwidth at which decoding reads, scheduling and the last long completions of a batch included: an
#: assumption.
READING = 0.3


@dataclass(frozen=True)
class Device:
    """One GPU as its maker describes it: dense bfloat16 operations a second, GiB, and bytes read a second."""

    name: str
    operations: float
    memory: float
    bandwidth: float


#: From the makers' data sheets; `cpu` stands for two cores in float32, for the tiny models.
DEVICES = {
    device.name: device
    for device in (
        Device("h100", 989e12, 80, 3.35e12),
        Device("h200", 989e12, 141, 4.8e12),
        Device("b200", 2250e12, 180, 8.0e12),
        Device("a100", 312e12, 80, 2.04e12),
        Device("a100-40", 312e12, 40, 1.56e12),
        Device("l40s", 362e12, 48, 0.86e12),
        Device("a10", 125e12, 24, 0.6e12),
        Device("rtx4090", 165e12, 24, 1.0e12),
        Device("cpu", 0.15e12, 8, 20e9),
    )
}


def forward(shape: Shape, batch: Batch) -> tuple[float, float, float]:
    """Operations of a forward pass: language layers, vision tower, output layer."""
    text, tower, count = shape.text, shape.tower, shape.parameters
    layers = batch.tokens * text.layers * (2 * count.layer + 4 * text.attended * batch.length)
    patches = batch.rows * batch.patches
    windowed = tower.blocks - tower.whole
    seen = tower.whole * batch.image_patches + windowed * min(tower.window, batch.image_patches)
    vision: float = patches * (2 * count.tower_block * tower.blocks + 4 * tower.width * seen)
    vision += patches / tower.merge**2 * 2 * count.tower_rest
    head = batch.rows * batch.scored * 2 * text.vocabulary * text.width
    return layers, vision, head


def training_operations(shape: Shape, batch: Batch, training: Training) -> float:
    """Operations of a forward and backward pass."""
    layers, vision, head = forward(shape, batch)
    again = 1 if training.checkpointing else 0
    backward = 2 if training.whole else 1
    total = layers * (1 + backward + again) + head * (2 + backward)  # the output layer computes its tiles again
    if training.tower_kept:
        return total + vision * (1 + (2 if training.tower_trained else 1) + again)
    return total + vision


def rollout_seconds(
    shape: Shape, batch: Batch, *, prompts: int, device: Device, mfu: float, number: int, room: float
) -> tuple[float, int]:
    """Seconds in which vLLM on one GPU writes a completion of `batch.scored` tokens for each row, and how many rows
    are written at once.

    Args:
        prompts: different prompts among the rows; each is read once.
        number: bytes a weight.
        room: bytes for the cache of keys and values.
    """
    per_token = cache_bytes(shape.text, number)
    at_once = max(1, min(batch.rows, int(room // (per_token * batch.length))))
    layers, vision, _ = forward(shape, batch)
    reading = (layers / batch.rows * (batch.length - batch.scored) / batch.length + vision / batch.rows) * prompts
    weights = shape.parameters.total - shape.parameters.tower
    mean = batch.length - batch.scored / 2
    bound = (weights * number + at_once * mean * per_token) / (device.bandwidth * READING)
    computed = 2 * weights * at_once / (device.operations * mfu)
    waves = math.ceil(batch.rows / at_once)
    return reading / (device.operations * mfu) + waves * batch.scored * max(bound, computed), at_once
