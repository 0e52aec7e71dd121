"""`reasoner plan`: from the command's arguments to plans, and what is printed of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reasoner.errors import UserError, nearest
from reasoner.models.cost import DEVICES
from reasoner.models.sharding import Sharding, sharding_of
from recipes import RECIPES, known_recipes
from recipes.load import load_recipe
from recipes.plain_yaml import parse_yaml
from recipes.plan import Machine, Plan, default_device
from recipes.plan_changes import changes_for
from recipes.plan_report import HEADER, STAGES, Changes, as_json, row, table
from recipes.workload import Given

#: The configs that come with the project, from the one that shards least: the first that fits is planned with where
#: several GPUs are given and no config.
SHIPPED = tuple(RECIPES / "accelerate" / f"deepspeed_zero{stage}.yaml" for stage in (2, 3))
ALL = "all"
#: GPUs of the node that the recipes are written for.
_NODE = 8


def run(args: argparse.Namespace) -> None:
    """Prints the plan of a recipe, or of all as they come with the project (`--recipe all`): what was mined here is not
    looked at.

    Raises:
        UserError: an unknown recipe, a config that is not here, numbers that cannot be, an accelerate config that
            cannot be planned.
    """
    for name in ("gpus", "memory", "mfu", "rows", "prompts", "asked_tokens", "written_tokens", "images"):
        if (value := getattr(args, name)) is not None and not 0 < value < 2**40:
            raise UserError(f"--{name.replace('_', '-')} {value}: give a number above 0")
    if args.gpu is not None and args.gpu not in DEVICES:
        raise UserError(f"--gpu: unknown '{args.gpu}'; {nearest(args.gpu, DEVICES)}")
    if args.mfu > 1:
        raise UserError(f"--mfu {args.mfu}: a share is at most 1")
    names = known_recipes() if args.recipe == ALL else [args.recipe]
    if args.markdown:
        print(HEADER)
    told: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        plan, changes = planned(name, args)
        if args.json:
            told.append(as_json(plan, changes))
        elif args.markdown:
            print(row(plan), flush=True)
        else:
            print(("\n\n" if number else "") + table(plan, changes), flush=True)
    if args.json:
        print(json.dumps(told if args.recipe == ALL else told[0], indent=1))


def planned(name: str, args: argparse.Namespace) -> tuple[Plan, Changes]:
    """The plan of a recipe, and for each stage that does not fit what to change and the plan after that."""
    given = Given(args.rows, args.prompts, args.asked_tokens, args.written_tokens, args.images, args.recipe != ALL)

    def planner(overrides: Sequence[str], machine: Machine) -> Plan:
        return Plan(load_recipe(name, [*args.set, *overrides]), machine, given)

    recipe = load_recipe(name, args.set)
    device = DEVICES[args.gpu or default_device(recipe)]
    gpus = args.gpus or (1 if device.name == "cpu" else _NODE)
    machine = Machine(device, gpus, args.memory or device.memory, args.mfu, Sharding("none", 1))
    chosen: Sequence[Path | None] = SHIPPED if gpus > 1 and device.name != "cpu" else (None,)
    for path in chosen if args.accelerate is None else (args.accelerate,):
        plan = Plan(recipe, _spread(machine, path), given)
        if all(map(plan.fits, STAGES)):
            break
    return plan, {stage: changes_for(plan, stage, planner) for stage in STAGES if not plan.fits(stage)}


def _spread(machine: Machine, path: Path | None) -> Machine:
    """The machine as the accelerate config at `path` uses it; without one there is plain data parallelism."""
    if path is None:
        return replace(machine, sharding=Sharding("none" if machine.gpus == 1 else "data", machine.gpus))
    shown = str(path.relative_to(RECIPES.parent)) if path.is_relative_to(RECIPES) else str(path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name an accelerate config") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: an accelerate config is a mapping; see recipes/accelerate")
    return replace(machine, sharding=sharding_of(content, machine.gpus, str(path)), accelerate=shown)
