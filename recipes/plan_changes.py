"""What to change where a plan does not fit: settings that cost least first, each tried until it fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from reasoner.models.sharding import Sharding
from recipes.plan import GIB, Machine, Plan

#: From a recipe with overrides, and a machine, to a plan.
Planner = Callable[[Sequence[str], Machine], Plan]
_ACCELERATE = "recipes/accelerate/"
#: Of the longest rows, how many vLLM should hold at once: then some tens of usual ones.
_AT_ONCE = 8


class Change(NamedTuple):
    """One thing to change: the words for it, overrides of the recipe, and another accelerate config."""

    words: str
    overrides: tuple[str, ...] = ()
    accelerate: str = ""
    sharding: Sharding | None = None

    @property
    def keys(self) -> set[str]:
        """What it sets; a later change of the same takes its place."""
        return {override.partition("=")[0] for override in self.overrides} | ({"sharding"} if self.sharding else set())

    def machine(self, machine: Machine) -> Machine:
        if self.sharding is None:
            return machine
        return replace(machine, sharding=self.sharding, accelerate=self.accelerate)


def changes_for(plan: Plan, stage: str, planner: Planner) -> tuple[list[Change], Plan]:
    """The changes after which the stage fits, without those that turn out not to be needed, and the plan with them; all
    there are where they are not enough."""
    made: list[Change] = []
    tried = plan
    for change in _ladder(plan, stage):
        if tried.fits(stage):
            break
        made = [*(earlier for earlier in made if not earlier.keys <= change.keys), change]
        tried = _with(made, plan, planner)
    if not tried.fits(stage):
        return made, tried
    for change in list(made):
        without = [other for other in made if other is not change]
        if (fewer := _with(without, plan, planner)).fits(stage):
            made, tried = without, fewer
    return made, tried


def _with(changes: Sequence[Change], plan: Plan, planner: Planner) -> Plan:
    machine = plan.machine
    for change in changes:
        machine = change.machine(machine)
    return planner([override for change in changes for override in change.overrides], machine)


def _ladder(plan: Plan, stage: str) -> Iterator[Change]:
    """All that can be changed, from what costs a little time to what changes what is learned."""
    trainer = f"{stage}.trainer"
    if not plan.setting(stage, "gradient_checkpointing"):
        yield Change("gradient checkpointing (a third more time)", (f"{trainer}.gradient_checkpointing=true",))
    engine = plan.engine
    if stage == "grpo" and engine.colocated and plan.machine.gpu:
        if not engine.sleeps:
            yield Change("vLLM asleep while the trainer updates", (f"{trainer}.vllm_enable_sleep_mode=true",))
        yield from _share(plan, _AT_ONCE)
    yield from _smaller_batches(plan, stage)
    yield from _more_sharding(plan)
    model = plan.recipe.model
    if not model.freeze_vision and model.lora is None:
        yield Change("a frozen vision tower", ("model.freeze_vision=true",))
    if model.lora is None:
        rate = "1e-4" if stage == "sft" else "1e-5"
        words = "adapters (LoRA) instead of all weights"
        yield Change(words, ("model.lora.r=64", "model.lora.alpha=128", f"{trainer}.learning_rate={rate}"))
    if (length := model.max_length) > 1024:
        yield Change("shorter rows; longer ones are left out", (f"model.max_length={max(1024, length // 2)}",))
    if stage == "grpo" and engine.colocated and plan.machine.gpu:
        yield from _share(plan, 1)


def _share(plan: Plan, rows: int) -> Iterator[Change]:
    """The share of vLLM that holds its weights and so many of the longest rows, where it is another."""
    engine, whole = plan.engine, plan.machine.memory * GIB
    now = engine.share / whole
    share = min(0.9, math.ceil(100 * (engine.share - engine.cache + rows * engine.longest) / whole) / 100)
    if (engine.at_once < 1 and share > now) or share < now - 0.02:
        words = f"a share for vLLM that holds {rows} of the longest rows at once"
        yield Change(words, (f"grpo.trainer.vllm_gpu_memory_utilization={share}",))


def _smaller_batches(plan: Plan, stage: str) -> Iterator[Change]:
    rows, accumulation = (
        plan.setting(stage, name) for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    while rows > 1 and rows % 2 == 0:
        rows, accumulation = rows // 2, accumulation * 2
        overrides = (
            f"{stage}.trainer.per_device_train_batch_size={rows}",
            f"{stage}.trainer.gradient_accumulation_steps={accumulation}",
        )
        yield Change("smaller batches, as many rows a step", overrides)


def _more_sharding(plan: Plan) -> Iterator[Change]:
    gpus, kind = plan.machine.gpus, plan.machine.sharding.kind
    if gpus == 1 or not plan.machine.gpu:
        return
    if kind in ("none", "data"):
        yield Change(
            "optimizer and gradients sharded", (), f"{_ACCELERATE}deepspeed_zero2.yaml", Sharding("zero2", gpus)
        )
    if kind != "zero3":
        yield Change("weights sharded, too", (), f"{_ACCELERATE}deepspeed_zero3.yaml", Sharding("zero3", gpus))
