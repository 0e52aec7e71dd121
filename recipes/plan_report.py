"""A plan as people read it: a table, a verdict, what to change; as one row for the docs; and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reasoner.models.cost import READING
from reasoner.models.footprint import cache_bytes
from reasoner.models.sharding import trained_parameters
from recipes.plan import GIB, Plan, StagePlan
from recipes.plan_changes import Change
from recipes.workload import Rows

STAGES = ("sft", "grpo")
Changes = dict[str, tuple[list[Change], Plan]]
HEADER = (
    "| Recipe | Model | Parameters | Trained | Machine | SFT: GiB (usual) | s a step | steps | hours "
    "| GRPO: GiB (usual) | s a step | steps | hours | Disk, GB | Fits |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)
_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "buffers": "sharding's buffers",
    "reference": "reference model",
    "batch": "pictures of a batch",
    "activations": "activations",
    "work": "backward pass's own",
    "vllm": "vLLM",
    "overhead": "CUDA, fragments (assumed)",
}


def table(plan: Plan, changes: Changes) -> str:
    """What `reasoner plan` prints."""
    machine, shape, workload = plan.machine, plan.shape, plan.workload
    memory = f"{machine.memory:g} GiB"
    where = f"{machine.gpus} x {machine.device.name}" if machine.gpu else machine.device.name
    spread = machine.accelerate or {"none": "one process", "data": "data parallel"}[machine.sharding.kind]
    count = shape.parameters
    trained = trained_parameters(shape, plan.training("sft"))
    lines = [
        f"{plan.recipe.name}: {shape.name} on {where} of {memory} ({spread})",
        "",
        f"parameters   {_count(count.total)}: tower {_count(count.tower)}, language model {_count(count.text)}, "
        f"embeddings {_count(count.embeddings + count.head)}; trained {_count(trained)}",
        f"tokens       {workload.image_tokens} an image x {workload.images} a row; asked + written: "
        f"SFT {_texts(workload.sft)}, GRPO {_texts(workload.grpo)}",
        f"rows         SFT {workload.sft.count:,}, GRPO {workload.grpo.count:,} prompts ({workload.source})",
        "",
        *_aligned([["GiB a GPU" if machine.gpu else "GiB", "SFT", "GRPO"], *_memory_rows(plan)]),
        "",
        *_aligned([["", "SFT", "GRPO"], *_time_rows(plan)]),
        "",
        _engine(plan),
        f"disk         {_gigabytes(plan.disk)} GB with base, checkpoints and export (a stage starts with "
        f"{plan.recipe.min_free_gb:g} GiB free)",
        f"assumed      {machine.device.operations / 1e12:g} TFLOP/s at {machine.mfu:.0%} (--mfu), decoding at "
        f"{READING:.0%} of {machine.device.bandwidth / 1e12:g} TB/s; loading, rewards, weight pushes and evaluation "
        "come on top",
        "",
        verdict(plan),
        *_changes(changes),
    ]
    return "\n".join(lines)


def verdict(plan: Plan) -> str:
    """One line."""
    limit = plan.machine.memory
    told = []
    for stage in STAGES:
        made: StagePlan = getattr(plan, stage)
        peak = made.longest.total / GIB
        if plan.fits(stage):
            how = "fits, with little left" if peak > 0.9 * limit else "fits"
        elif stage == "grpo" and plan.engine.colocated and plan.engine.at_once < 1:
            how = "does not start: vLLM's share holds no completion of the longest"
        elif plan.fits(stage, longest=False):
            how = f"fits usual rows ({made.usual.total / GIB:.0f} GiB), not the longest"
        else:
            how = "DOES NOT FIT"
        told.append(f"{stage.upper()} {how} ({peak:.1f} of {limit:g} GiB)")
    return "VERDICT  " + "; ".join(told)


def row(plan: Plan) -> str:
    """A row of the table under `HEADER`."""
    machine, shape = plan.machine, plan.shape
    where = f"{machine.gpus} x {machine.device.name}" if machine.gpu else machine.device.name
    if machine.sharding.sharded:
        where += f", {machine.sharding.kind}"
    trained = trained_parameters(shape, plan.training("sft"))
    cells = [plan.recipe.name, shape.name.rpartition("/")[2], _count(shape.parameters.total), _count(trained), where]
    for stage in STAGES:
        made: StagePlan = getattr(plan, stage)
        peaks = f"{made.longest.total / GIB:.1f} ({made.usual.total / GIB:.1f})"
        cells += [peaks, _seconds(made.step_seconds), f"{made.steps:,}", _hours(made.hours)]
    fits = {True: "yes", False: "no"}
    both = [fits[plan.fits(stage)] for stage in STAGES]
    cells += [_gigabytes(plan.disk), both[0] if both[0] == both[1] else f"SFT {both[0]}, GRPO {both[1]}"]
    return f"| {' | '.join(cells)} |"


def as_json(plan: Plan, changes: Changes) -> dict[str, Any]:
    """The same for machines: bytes, seconds, counts."""
    machine, shape = plan.machine, plan.shape
    stages = {}
    for stage in STAGES:
        made: StagePlan = getattr(plan, stage)
        stages[stage] = asdict(made) | {
            "usual": made.usual._asdict() | {"total": made.usual.total},
            "longest": made.longest._asdict() | {"total": made.longest.total},
            "step_seconds": made.step_seconds,
            "hours": made.hours,
            "fits": plan.fits(stage),
            "fits_usual": plan.fits(stage, longest=False),
            "changes": [
                {"words": one.words, "set": list(one.overrides), "accelerate": one.accelerate or None}
                for one in changes.get(stage, ([], plan))[0]
            ],
        }
    return {
        "recipe": plan.recipe.name,
        "base": shape.name,
        "parameters": asdict(shape.parameters) | {"total": shape.parameters.total},
        "trained": trained_parameters(shape, plan.training("sft")),
        "machine": {
            "gpu": machine.device.name, "gpus": machine.gpus, "memory_gib": machine.memory, "mfu": machine.mfu,
            "sharding": machine.sharding.kind, "accelerate": machine.accelerate or None,
        },
        "workload": asdict(plan.workload),
        "engine": asdict(plan.engine) | {"at_once": plan.engine.at_once},
        "disk": plan.disk,
        "stages": stages,
        "verdict": verdict(plan),
    }  # fmt: skip


def _memory_rows(plan: Plan) -> list[list[str]]:
    sft, grpo = plan.sft, plan.grpo
    columns = [sft.longest, grpo.longest]
    rows = [
        [label, *(_gib(getattr(memory, name)) for memory in columns)]
        for name, label in _PARTS.items()
        if any(getattr(memory, name) >= 0.005 * GIB for memory in columns)
    ]
    other = "without" if sft.checkpointing else "with"
    rows.append([f"  activations {other} checkpointing", *(f"({_gib(s.activations_otherwise)})" for s in (sft, grpo))])
    shapes = [f"{plan.setting(s, 'per_device_train_batch_size')} x {getattr(plan, s).longest_length:,}" for s in STAGES]
    rows.append(["fullest moment", *("rollout" if memory.activations == 0 else "update" for memory in columns)])
    rows.append(["peak, longest rows", *(_gib(memory.total) for memory in columns)])
    rows.append(["peak, usual rows", _gib(sft.usual.total), _gib(grpo.usual.total)])
    rows.append(["rows x tokens, longest", *shapes])
    return rows


def _time_rows(plan: Plan) -> list[list[str]]:
    stages = [plan.sft, plan.grpo]
    parts = [" + ".join(f"{_seconds(value)} {name}" for name, value in made.seconds.items()) for made in stages]
    minutes = [plan.recipe.minutes.get(stage) for stage in ("sft", "grpo")]
    known = [["minutes, by the recipe", *("" if m is None else f"{m:g}" for m in minutes)]] if any(minutes) else []
    return [
        ["rows x tokens a step", *(f"{made.rows:,} x {made.length:,}" for made in stages)],
        ["tokens a step", *(f"{made.tokens_a_step:,.0f}" for made in stages)],
        ["seconds a step", *(_seconds(made.step_seconds) for made in stages)],
        ["  of which", "", parts[1]],
        ["steps", *(f"{made.steps:,}" for made in stages)],
        ["hours", *(_hours(made.hours) for made in stages)],
        *known,
    ]


def _engine(plan: Plan) -> str:
    engine = plan.engine
    if not engine.colocated:
        return "vLLM         not on the trainer's GPUs"
    each = cache_bytes(plan.shape.text, plan.number)
    sizes = f"weights {_gib(engine.weights)}, cache {_gib(max(0.0, engine.cache))} GiB of {each / 1024:.0f} KiB a token"
    where = "asleep while training" if engine.sleeps else "beside the trainer"
    return f"vLLM         {_gib(engine.share)} GiB {where}: {sizes}, {engine.at_once} longest rows at once"


def _changes(changes: Changes) -> list[str]:
    lines: list[str] = []
    for stage, (made, after) in changes.items():
        peak = getattr(after, stage).longest.total / GIB
        end = "fits then" if after.fits(stage) else "is still too much: more or larger GPUs, or a smaller model"
        lines += ["", f"For {stage.upper()}, in this order ({peak:.1f} GiB, {end}):"]
        for number, change in enumerate(made, 1):
            how = " ".join(f"--set {override}" for override in change.overrides)
            lines.append(f"  {number}. {change.words}: {how or f'ACCELERATE={change.accelerate}'}")
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    first = max(len(row[0]) for row in rows)
    width = max(len(cell) for row in rows for cell in row[1:2])
    return [f"{row[0]:<{first}}  {row[1]:>{width}}  {row[2]}".rstrip() for row in rows]


def _count(number: int) -> str:
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.2f} {sign}"
    return str(number)


def _texts(rows: Rows) -> str:
    return f"{rows.texts.asked} + {rows.texts.written}"


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:,.0f}" if number > 10e9 else f"{number / 1e9:.1f}"


def _hours(number: float) -> str:
    return f"{number:.1f}" if number >= 1 else f"{number:.2f}"


def _gib(number: float) -> str:
    return f"{number / GIB:.2f}" if number < 10 * GIB else f"{number / GIB:.1f}"


def _seconds(number: float) -> str:
    return f"{number:.2f}" if number < 10 else f"{number:,.0f}"
