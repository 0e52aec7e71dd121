"""Bytes of weights, gradients and optimizer on each GPU, by how a run is spread over several.

AdamW has two moments a trained parameter. Alone, and with plain data parallelism, weights, gradients and moments have
the model's own precision. DeepSpeed and FSDP keep weights in float32 beside their half-precision copies and shard:
ZeRO-2 optimizer and gradients, ZeRO-3 and FSDP2 also the weights (ZeRO, arXiv 1910.02054, table 1: 2 + 2 + 12 bytes a
parameter, over the GPUs what is sharded). Buckets are those of DeepSpeed's defaults: 5e8 numbers are reduced at a
time, ZeRO-3 keeps up to 1e9 gathered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from reasoner.errors import UserError
from reasoner.models.footprint import F32, Training
from reasoner.models.shape import Shape

Kind = Literal["none", "data", "zero2", "zero3", "fsdp2"]
_REDUCED, _GATHERED = 5e8, 1e9
_HALF = 2


class States(NamedTuple):
    """Bytes on each GPU."""

    weights: float
    gradients: float
    optimizer: float
    #: What is gathered and reduced at a time.
    buffers: float

    @property
    def fixed(self) -> float:
        """All but the gradients, which come and go."""
        return self.weights + self.optimizer + self.buffers


@dataclass(frozen=True)
class Sharding:
    """How a run is spread over `gpus`."""

    kind: Kind
    gpus: int
    #: Whether DeepSpeed keeps the optimizer in the host's memory.
    offloaded: bool = False

    @property
    def sharded(self) -> bool:
        return self.kind in ("zero2", "zero3", "fsdp2")

    @property
    def whole_weights(self) -> bool:
        """Whether each GPU holds all weights."""
        return self.kind in ("none", "data", "zero2")

    def states(self, shape: Shape, training: Training) -> States:
        """What each GPU holds of a model in training."""
        total, trained, c, n = shape.parameters.total, trained_parameters(shape, training), training.number, self.gpus
        adapters = training.adapters
        if adapters is not None:
            total += adapters.parameters
        own = F32 if adapters is not None and self.kind != "zero3" else c  # PEFT keeps adapters in float32
        match self.kind:
            case "none" | "data":
                gradients = own * trained
                buckets = gradients if self.kind == "data" else 0
                return States(c * total + (own - c) * trained, gradients, 2 * own * trained, buckets)
            case "zero2":
                buffers = 2 * _HALF * min(trained, _REDUCED)
                return States(_HALF * total, F32 * trained / n, self._moments(trained), buffers)
            case "zero3":
                buffers = _HALF * (min(total, _GATHERED) + min(trained, _REDUCED))
                return States(_HALF * total / n, F32 * trained / n, self._moments(trained), buffers)
        rest = total - shape.text.layers * shape.parameters.layer - shape.tower.blocks * shape.parameters.tower_block
        weights = (F32 * trained + _HALF * (total - trained)) / n
        gathered = _HALF * (rest + 2 * shape.parameters.layer)
        return States(weights, F32 * trained / n, 2 * F32 * trained / n, gathered)

    def _moments(self, trained: int) -> float:
        """Both moments and the float32 weights that they change."""
        return 0.0 if self.offloaded else 3 * F32 * trained / self.gpus

    def saved(self, shape: Shape, training: Training) -> float:
        """Bytes of a checkpoint that a run can go on from: weights and moments. DeepSpeed's hold the float32 weights
        and its own copy of the others, too."""
        trained, number = trained_parameters(shape, training), training.number
        if training.adapters is not None:
            return 3 * F32 * trained
        if self.kind in ("zero2", "zero3"):
            return 2 * _HALF * shape.parameters.total + 3 * F32 * trained
        number = F32 if self.kind == "fsdp2" else number
        return number * (shape.parameters.total + 2 * trained)


def trained_parameters(shape: Shape, training: Training) -> int:
    if training.adapters is not None:
        return training.adapters.parameters
    return shape.parameters.total - (0 if training.tower_trained else shape.parameters.tower)


def sharding_of(config: Mapping[str, Any], gpus: int, where: str) -> Sharding:
    """What an accelerate config asks for.

    Raises:
        UserError: for a way of spreading that cannot be planned.
    """
    kind = str(config.get("distributed_type", "NO")).upper()
    if kind == "DEEPSPEED":
        settings = config.get("deepspeed_config") or {}
        stage = settings.get("zero_stage", 2)
        offloaded = str(settings.get("offload_optimizer_device", "none")) == "cpu"
        if stage in (2, 3):
            return Sharding("zero2" if stage == 2 else "zero3", gpus, offloaded)
    if kind == "FSDP" and (config.get("fsdp_config") or {}).get("fsdp_version") == 2:
        return Sharding("fsdp2", gpus)
    if kind in ("NO", "MULTI_GPU", "MULTI_CPU"):
        return Sharding("none" if gpus == 1 else "data", gpus)
    raise UserError(
        f"{where}: distributed_type {kind} as it is set there cannot be planned; plans are made for DeepSpeed ZeRO-2 "
        "and ZeRO-3, FSDP2 and data parallelism"
    )
