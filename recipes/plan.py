"""What SFT and GRPO of a recipe take on given GPUs: memory of each, seconds a step, hours, disk; and whether it fits.

`reasoner plan` prints it (`plan_report.py`) with what to change where it does not fit (`plan_changes.py`). Everything
follows from the recipe, the model's config and assumptions that are printed beside; nothing is downloaded or run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from reasoner.models import TINY
from reasoner.models.cost import Device, forward, rollout_seconds, training_operations
from reasoner.models.footprint import F32, Batch, Training, adapters_of, cache_bytes, given, step
from reasoner.models.shape import Shape, shape_of
from reasoner.models.sharding import Sharding
from recipes.config import TEXT_LAYERS, Recipe
from recipes.workload import Given, Rows, Workload, workload_of

GIB = 2**30
#: Trainer settings where a recipe has none: TRL's, but for rollouts with vLLM, which are ours.
DEFAULTS: dict[str, dict[str, Any]] = {
    "sft": {
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_train_epochs": 3.0, "max_steps": -1,
        "gradient_checkpointing": True,
    },
    "grpo": {
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_train_epochs": 3.0, "max_steps": -1,
        "gradient_checkpointing": True, "num_generations": 8, "num_iterations": 1, "steps_per_generation": None,
        "max_completion_length": 512, "beta": 0.0, "use_vllm": True, "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": 0.3, "vllm_enable_sleep_mode": False, "vllm_tensor_parallel_size": 1,
    },
}  # fmt: skip
#: Checkpoints on the disk at once: two are kept, and the next is written before the oldest goes.
_CHECKPOINTS = 3
#: Assumed: CUDA's context and libraries, NCCL beside other GPUs, and the share of what a step allocates that the
#: allocator cannot use. On a CPU: the process with its libraries.
_CONTEXT, _NCCL, _SLACK, _PROCESS = 1.0 * GIB, 1.0 * GIB, 0.05, 1.5 * GIB
#: Assumed of vLLM: what profiling its largest batch and CUDA graphs take of its share, and what stays while it sleeps.
_ENGINE, _ASLEEP = 2.0 * GIB, 1.0 * GIB
#: vLLM's cache on a CPU (`VLLM_CPU_KVCACHE_SPACE`).
_CPU_CACHE = 1.0 * GIB
#: Bytes of a mined row with its share of `studies.parquet`, and of a written rollout: assumed.
_ROW, _ROLLOUT = 3000, 4000


@dataclass(frozen=True)
class Machine:
    """What it runs on: `memory` in GiB a GPU, `mfu` the share of the device's operations that training reaches."""

    device: Device
    gpus: int
    memory: float
    mfu: float
    sharding: Sharding
    #: The accelerate config that shards so; empty without one.
    accelerate: str = ""

    @property
    def gpu(self) -> bool:
        return self.device.name != "cpu"


class Memory(NamedTuple):
    """Bytes on each GPU at the fullest moment of a stage."""

    weights: float
    gradients: float
    optimizer: float
    buffers: float
    reference: float
    batch: float
    activations: float
    #: Gradients of activations, tiles of logits, and one layer computed again under gradient checkpointing.
    work: float
    vllm: float
    overhead: float

    @property
    def total(self) -> float:
        return sum(self)


@dataclass(frozen=True)
class StagePlan:
    """One stage. Bytes are of each GPU; `longest` is with rows of the most tokens that the recipe admits."""

    rows: int
    length: int
    longest_length: int
    usual: Memory
    longest: Memory
    #: Activations with gradient checkpointing switched over, for rows of the most tokens.
    activations_otherwise: float
    tokens_a_step: float
    steps: int
    #: Seconds of a step by part.
    seconds: dict[str, float]
    checkpointing: bool
    #: Bytes on the disk at once.
    disk: float

    @property
    def step_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def hours(self) -> float:
        return self.steps * self.step_seconds / 3600


@dataclass(frozen=True)
class Engine:
    """vLLM on a GPU of the trainer's: bytes of its share, of the weights and the cache in it, and of a longest
    row there."""

    share: float
    weights: float
    cache: float
    longest: float
    sleeps: bool
    colocated: bool

    @property
    def at_once(self) -> int:
        """How many of the longest rows it can write at once."""
        return int(max(0.0, self.cache) // self.longest)


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    machine: Machine
    given: Given

    @cached_property
    def shape(self) -> Shape:
        return shape_of(self.recipe.model.base, self.recipe.model.options)

    @cached_property
    def workload(self) -> Workload:
        return workload_of(self.recipe, self.shape.tower, self.shape.max_pixels, self.given)

    def setting(self, stage: str, name: str) -> Any:
        """A field of the stage's trainer, as the recipe or else TRL has it."""
        return getattr(self.recipe, stage).trainer.get(name, DEFAULTS[stage][name])

    @property
    def number(self) -> int:
        """Bytes of a weight."""
        dtype = self.recipe.model.dtype
        return 4 if dtype == "float32" or (dtype == "auto" and not self.machine.gpu) else 2

    def training(self, stage: str) -> Training:
        model = self.recipe.model
        adapters = None
        if model.lora is not None:
            targets = model.lora.target_modules or TEXT_LAYERS
            dropout = model.lora.dropout if stage == "sft" else 0.0  # GRPO switches it off
            adapters = adapters_of(self.shape, targets, rank=model.lora.r, dropout=dropout)
        checkpointing = self.setting(stage, "gradient_checkpointing")
        return Training(self.number, checkpointing, model.freeze_vision, adapters, self.machine.gpu)

    @cached_property
    def sft(self) -> StagePlan:
        return self._stage("sft", self.workload.sft, self.recipe.model.max_length)

    @cached_property
    def grpo(self) -> StagePlan:
        longest = self.setting("grpo", "max_completion_length")
        return self._stage("grpo", self.workload.grpo, self.recipe.model.max_length + longest)

    @cached_property
    def engine(self) -> Engine:
        """The engine of GRPO's rollouts."""
        ours, number, total = self.machine, self.number, self.shape.parameters.total
        spread = self.setting("grpo", "vllm_tensor_parallel_size")
        weights = number * total / spread
        if not ours.gpu:
            share, cache = weights + _CPU_CACHE, _CPU_CACHE
        else:
            share = self.setting("grpo", "vllm_gpu_memory_utilization") * ours.memory * GIB
            cache = share - weights - _ENGINE
        tokens = self.recipe.model.max_length + self.setting("grpo", "max_completion_length")
        longest = cache_bytes(self.shape.text, number) * tokens / spread
        sleeps = bool(self.setting("grpo", "vllm_enable_sleep_mode"))
        colocated = self.setting("grpo", "vllm_mode") == "colocate" and self.setting("grpo", "use_vllm")
        return Engine(share, weights, cache, longest, sleeps, colocated)

    @property
    def disk(self) -> float:
        """Bytes on the disk when all stages are done, with the checkpoints of the last in training."""
        return self.number * self.shape.parameters.total * 2 + self.sft.disk + self.grpo.disk  # with base and export

    def fits(self, stage: str, *, longest: bool = True) -> bool:
        """Whether the stage fits the memory of a GPU; vLLM must hold a prompt with its completion, too."""
        plan: StagePlan = getattr(self, stage)
        memory = plan.longest if longest else plan.usual
        starts = stage == "sft" or not self.engine.colocated or self.engine.at_once >= 1
        return starts and memory.total <= self.machine.memory * GIB

    def _batch(self, stage: str, length: int, scored: int) -> Batch:
        images, patches = self.workload.images, self.workload.patches(self.shape.tower)
        rows = self.setting(stage, "per_device_train_batch_size")
        return Batch(rows, length, images * patches, scored, padded=True, image_patches=patches)

    def _stage(self, stage: str, rows: Rows, longest_length: int) -> StagePlan:
        asked, written = rows.texts
        pictures = self.workload.images * self.workload.image_tokens
        length = min(longest_length, asked + written + pictures)
        scored = min(written, length)
        usual = self._batch(stage, length, scored)
        most_scored = self.setting("grpo", "max_completion_length") if stage == "grpo" else longest_length - pictures
        longest = self._batch(stage, longest_length, most_scored)
        training = self.training(stage)
        accumulation = self.setting(stage, "gradient_accumulation_steps")
        per_step = usual.rows * accumulation
        otherwise = step(self.shape, longest, training, gradient=0, accumulated=False).otherwise
        seconds = self._seconds(stage, usual, training, accumulation)
        return StagePlan(
            rows=per_step * self.machine.gpus,
            length=length,
            longest_length=longest_length,
            usual=self._memory(stage, usual, training),
            longest=self._memory(stage, longest, training),
            activations_otherwise=otherwise,
            tokens_a_step=per_step * self.machine.gpus * length,
            steps=self._steps(stage, rows.count),
            seconds=seconds,
            checkpointing=training.checkpointing,
            disk=self._disk(stage, rows.count, per_step),
        )

    def _steps(self, stage: str, count: int) -> int:
        if (most := self.setting(stage, "max_steps")) > 0:
            return most
        batch = self.setting(stage, "per_device_train_batch_size") * self.machine.gpus
        batch *= self.setting(stage, "gradient_accumulation_steps")
        samples = count * self.setting(stage, "num_train_epochs")
        if stage == "grpo":
            samples *= self.setting(stage, "num_generations") * self.setting(stage, "num_iterations")
        return max(1, math.ceil(samples / batch))

    def _generated(self, accumulation: int) -> int:
        """Completions a GPU rolls out at a time."""
        batches = self.setting("grpo", "steps_per_generation") or accumulation
        return self.setting("grpo", "per_device_train_batch_size") * batches

    def _memory(self, stage: str, batch: Batch, training: Training) -> Memory:
        machine, shape = self.machine, self.shape
        states = machine.sharding.states(shape, training)
        accumulation = self.setting(stage, "gradient_accumulation_steps")
        sharded = machine.sharding.sharded
        bytes_each = F32 / machine.gpus if sharded else F32 if training.adapters is not None else training.number
        taken = step(shape, batch, training, gradient=bytes_each, accumulated=accumulation > 1)
        gradients = max(taken.gradients, states.gradients if sharded else 0.0)
        work = taken.peak - taken.gradients - taken.activations
        # A device without memory of its own also holds the batch that is loaded ahead.
        rows = self._generated(accumulation) if stage == "grpo" else batch.rows * (1 if machine.gpu else 2)
        pixels = given(shape, rows, batch.length, batch.patches)
        reference = self._reference() if stage == "grpo" else 0.0
        slack = _SLACK * (taken.peak - taken.gradients) if machine.gpu else 0.0
        overhead = slack + (_CONTEXT + (_NCCL if machine.gpus > 1 else 0.0) if machine.gpu else _PROCESS)
        memory = Memory(
            states.weights, gradients, states.optimizer, states.buffers, reference, pixels, taken.activations, work,
            0.0, overhead,
        )  # fmt: skip
        if stage == "sft" or not self.engine.colocated:
            return memory
        if not self.engine.sleeps or not machine.gpu:
            return memory._replace(vllm=self.engine.share)
        # Asleep while the trainer updates; awake there are no activations, but gradients may stay.
        updating = memory._replace(vllm=_ASLEEP)
        sampling = memory._replace(vllm=self.engine.share, activations=0.0, work=0.0, overhead=overhead - slack)
        return max(updating, sampling, key=lambda one: one.total)

    def _reference(self) -> float:
        """Bytes of the reference model, which adapters need not: the policy without them is it."""
        if not self.setting("grpo", "beta") or self.recipe.model.lora is not None:
            return 0.0
        total = self.number * self.shape.parameters.total
        return total if self.machine.sharding.whole_weights else total / self.machine.gpus

    def _seconds(self, stage: str, batch: Batch, training: Training, accumulation: int) -> dict[str, float]:
        rate = self.machine.device.operations * self.machine.mfu
        update = accumulation * training_operations(self.shape, batch, training) / rate
        if stage == "sft":
            return {"update": update}
        rows = self._generated(accumulation)
        generations = accumulation * batch.rows / rows / self.setting("grpo", "num_iterations")
        written = replace(batch, rows=rows)
        groups = max(1, rows // self.setting("grpo", "num_generations"))
        room = max(self.engine.cache, 1.0)
        rollout, _ = rollout_seconds(
            self.shape, written, prompts=groups, device=self.machine.device, mfu=self.machine.mfu,
            number=self.number, room=room,
        )  # fmt: skip
        passes = 2 if self.setting("grpo", "beta") else 1  # the policy before the update, and the reference
        scoring = passes * accumulation * sum(forward(self.shape, batch)) / rate
        return {"rollout": rollout * generations, "log-probabilities": scoring * generations, "update": update}

    def _disk(self, stage: str, count: int, per_step: int) -> float:
        training = self.training(stage)
        saved = _CHECKPOINTS * self.machine.sharding.saved(self.shape, training)
        final = self.number * self.shape.parameters.total
        if stage == "sft":
            return saved + final + _ROW * count
        every = self.recipe.grpo.log_rollouts_every
        rollouts = self._steps(stage, count) / every * per_step * self.machine.gpus * _ROLLOUT if every else 0.0
        return saved + final + rollouts


def default_device(recipe: Recipe) -> str:
    """The tiny model is meant for two cores, all others for the GPUs that the recipes name."""
    return "cpu" if recipe.model.base == TINY else "h100"
