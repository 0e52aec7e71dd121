"""SFT or GRPO on N nodes of a Ray cluster: trainers, and for GRPO vLLM on nodes of its own if that is wanted.

    ray job submit --working-dir . -- python -m recipes.cluster.ray_job grpo --recipe nv_reason_3b --nodes 5 \\
        --vllm-nodes 1 --learning_rate 1e-6

Each node gives all the GPUs that are asked for, and one CPU; the reward workers take CPUs of any node, through the same
cluster. `reasoner mine` needs none of this: it uses the cluster that RAY_ADDRESS names. The first step that fails ends
the others, with its line. The repository and the outputs lie on a file system that all nodes share.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.errors import UserError
from reasoner.layout import GRPO, TRAINED
from recipes import RECIPES
from recipes.cli import failed

#: Seconds for the nodes to be had, and for vLLM to load its model.
_NODES_S, _SERVER_S = 600.0, 1800.0
#: Lines that a failing step is known by.
_REMEMBERED = 20


class Step(NamedTuple):
    """A command on one of the nodes; those that serve end when the others have."""

    node: int
    command: Sequence[str]
    environment: Mapping[str, str]
    serves: bool = False


class Node:
    """What runs on a node, as an actor that holds its GPUs."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[str]] = []

    def place(self) -> tuple[str, list[int]]:
        """The node's address and three of its free ports."""
        import ray

        from reasoner.runtime.ranks import free_port

        return ray.util.get_node_ip_address(), [free_port() for _ in range(3)]

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """The exit code, and the last line that begins with `error`, else the last. All lines go to the job's log."""
        last: deque[str] = deque(maxlen=_REMEMBERED)
        both: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        env = {**os.environ, **environment}
        process = subprocess.Popen(command, env=env, text=True, encoding="utf-8", errors="replace", **both)
        self.running.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line.strip())
        told = [line for line in last if line.startswith("error")] or [line for line in last if line] or ["no output"]
        return process.wait(), told[-1]

    def stop(self) -> None:
        """Ends all that runs."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()


def steps(
    stage: str,
    arguments: Sequence[str],
    places: Sequence[tuple[str, Sequence[int]]],
    *,
    served: int,
    gpus: int,
    accelerate: str,
    ray_address: str,
) -> list[Step]:
    """What runs where: the first nodes train, the last `served` serve rollouts.

    Args:
        arguments: of `reasoner STAGE`.
        places: address and free ports of each node.
        gpus: of each node.
        accelerate: its config file.
        ray_address: of this cluster, whose CPUs score rewards.
    """
    machines = len(places) - served
    main, (port, *_) = places[0]
    found: list[Step] = []
    for node in range(machines, len(places)):
        host, ports = places[node]
        address = ["--host", host, "--port", str(ports[1])]
        arguments = ["--vllm_mode", "server", "--vllm_server_base_url", f"http://{host}:{ports[1]}", *arguments]
        arguments = ["--set", f"grpo.server.tensor_parallel={gpus}", *arguments]
        found.append(Step(node, [sys.executable, "-m", "recipes.cli", "serve", *arguments, *address], {}, serves=True))
    for node in range(machines):
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", accelerate]
        launch += ["--num_machines", str(machines), "--num_processes", str(machines * gpus)]
        launch += ["--machine_rank", str(node), "--main_process_ip", main, "--main_process_port", str(port)]
        command = [*launch, "-m", "recipes.cli", stage, *arguments]
        found.append(Step(node, command, {"RAY_ADDRESS": ray_address}))
    return found


def run(planned: Sequence[Step], nodes: Sequence[Any]) -> tuple[int, str]:
    """Runs the steps on the actors `nodes`, servers first; the code and line of the first that fails, else (0, "")."""
    import ray

    servers = [step for step in planned if step.serves]
    working = {nodes[step.node].run.remote(step.command, step.environment): step for step in servers}
    try:
        for step in servers:
            address, port = (step.command[step.command.index(f"--{name}") + 1] for name in ("host", "port"))
            if ended := _until_up(f"http://{address}:{port}/health", list(working)):
                return ended
        trainers = [step for step in planned if not step.serves]
        working |= {nodes[step.node].run.remote(step.command, step.environment): step for step in trainers}
        left = len(trainers)
        while left:
            (done,), _ = ray.wait(list(working), num_returns=1)
            step = working.pop(done)
            code, line = _result(done)
            if code or step.serves:
                return code or 1, line
            left -= 1
        return 0, ""
    finally:
        for node in nodes:
            node.stop.remote()
        if working:
            ray.wait(list(working), num_returns=len(working), timeout=30)


def _result(done: Any) -> tuple[int, str]:
    import ray

    try:
        return ray.get(done)
    except ray.exceptions.RayActorError as error:
        return 1, f"a node was lost ({type(error).__name__}); the same job goes on from the newest checkpoint"


def _until_up(url: str, servers: list[Any]) -> tuple[int, str] | None:
    """Waits for a server; how the first of them ended, if one does."""
    import ray

    end = time.monotonic() + _SERVER_S
    while time.monotonic() < end:
        if done := ray.wait(servers, num_returns=1, timeout=2.0)[0]:
            code, line = _result(done[0])
            return code or 1, f"vLLM ended: {line}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return None
        except OSError:
            continue
    return 1, f"vLLM is not up at {url} after {_SERVER_S:.0f} s"


def hold(count: int, gpus: int) -> list[Any]:
    """An actor on each of `count` nodes, with its GPUs.

    Raises:
        UserError: the cluster has no such nodes free.
    """
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([{"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}] * count, strategy="STRICT_SPREAD")
    if not group.wait(_NODES_S):
        raise UserError(
            f"no {count} nodes with {gpus} free GPUs and a free CPU each within {_NODES_S:.0f} s; `ray status` tells "
            "what there is"
        )
    return [
        ray.remote(Node)
        .options(
            num_cpus=1,
            num_gpus=gpus,
            max_concurrency=4,  # `stop` beside what runs
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        )
        .remote()
        for index in range(count)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m recipes.cluster.ray_job", allow_abbrev=False)
    parser.add_argument("stage", choices=TRAINED)
    parser.add_argument("--nodes", type=int, default=1, help="nodes in all")
    parser.add_argument("--vllm-nodes", type=int, choices=(0, 1), default=0, help="of them, those that serve rollouts")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of each node")
    parser.add_argument("--accelerate", default=str(RECIPES / "accelerate" / "deepspeed_zero2.yaml"))
    args, arguments = parser.parse_known_args(argv)
    try:
        return _main(args, arguments)
    except UserError as error:
        return failed(error)


def _main(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    import ray

    from recipes.load import load_recipe

    if args.vllm_nodes and args.stage != GRPO:
        raise UserError(f"--vllm-nodes: only {GRPO} samples from vLLM")
    if args.nodes <= args.vllm_nodes:
        raise UserError(f"--nodes {args.nodes}: none is left to train on")
    if not Path(args.accelerate).is_file():
        raise UserError(f"--accelerate {args.accelerate}: no such file")
    given, _ = _recipe_arguments().parse_known_args(arguments)
    load_recipe(given.recipe, given.set)  # what is misspelt is told before nodes are held
    ray.init(log_to_driver=True)
    nodes = hold(args.nodes, args.gpus)
    planned = steps(
        args.stage,
        arguments,
        ray.get([node.place.remote() for node in nodes]),
        served=args.vllm_nodes,
        gpus=args.gpus,
        accelerate=args.accelerate,
        ray_address=ray.get_runtime_context().gcs_address,
    )
    code, line = run(planned, nodes)
    return failed(line.removeprefix("error: "), code) if code else 0


def _recipe_arguments() -> argparse.ArgumentParser:
    """Those of `reasoner STAGE` that name the recipe."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", "--config", default="phantom")
    parser.add_argument("--set", action="append", default=[])
    return parser


if __name__ == "__main__":
    sys.exit(main())
