"""The vLLM servers of a GRPO stage (`grpo.server`): started here or joined, checked, ended with the stage."""

from __future__ import annotations

import os
import shlex
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from reasoner.errors import UserError
from reasoner.layout import SFT
from reasoner.models.load import resolve_dtype
from reasoner.runtime.ranks import free_port
from reasoner.runtime.terminal import say
from reasoner.serving import FILES
from reasoner.serving.check import lacks
from reasoner.serving.client import Client
from reasoner.serving.process import SERVE, Process, Served, environment, inherited
from reasoner.serving.servers import Server, Servers, Transfer
from reasoner.serving.transfer import Files, Nccl
from recipes.config import Recipe

if TYPE_CHECKING:
    from trl import GRPOConfig

#: Images a prompt that a server takes which was not started by a trainer, who has seen the rows.
IMAGES = 2


def check_servers(recipe: Recipe, args: GRPOConfig) -> None:
    """Raises:
    UserError: `grpo.server` cannot work with TRL's arguments or on this machine.
    """
    settings = recipe.grpo.server
    if args.vllm_mode != "server":
        if settings != type(settings)():
            raise UserError("grpo.server is set, but rollouts are not its: set grpo.trainer.vllm_mode=server too")
        return
    if transfer_of(recipe) == "nccl" and not torch.cuda.is_available():
        raise UserError("grpo.server.transfer=nccl: the trainer has no GPU; set it to files")
    if addresses(recipe, args) or not torch.cuda.is_available():
        return
    trainers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    needed, there = trainers + settings.count * settings.tensor_parallel, torch.cuda.device_count()
    if needed > there:
        raise UserError(
            f"grpo.server: {trainers} trainer processes and {settings.count} servers of {settings.tensor_parallel} "
            f"GPUs need {needed} GPUs, of which there are {there}: lower accelerate's num_processes"
        )


def addresses(recipe: Recipe, args: GRPOConfig) -> list[str]:
    """Those of servers that run already, from our setting or TRL's."""
    return recipe.grpo.server.addresses or ([args.vllm_server_base_url] if args.vllm_server_base_url else [])


def transfer_of(recipe: Recipe) -> str:
    """How weights get to the servers: vLLM's name of the backend."""
    chosen = recipe.grpo.server.transfer
    return chosen if chosen != "auto" else "nccl" if torch.cuda.is_available() else FILES


def served(recipe: Recipe, checkpoint: Path, max_model_len: int | None, max_images: int) -> Served:
    """What the servers of this recipe serve."""
    model, settings = recipe.model, recipe.grpo.server
    pixels = {"min_pixels": model.min_pixels, "max_pixels": model.max_pixels}
    return Served(
        checkpoint,
        dtype=resolve_dtype(model.dtype),
        max_model_len=max_model_len,
        max_images=max_images,
        pixels={name: value for name, value in pixels.items() if value is not None},
        tensor_parallel=settings.tensor_parallel,
        transfer=transfer_of(recipe),
        seed=recipe.seed,
        options=settings.options,
    )


@contextmanager
def rollout_servers(recipe: Recipe, args: GRPOConfig, what: Served, logs: Path) -> Iterator[Servers | None]:
    """The servers, ready, in the main process of a stage that samples from any; None in the others.

    Raises:
        UserError: one does not start or answer, or lacks something.
    """
    if args.vllm_mode != "server" or args.process_index != 0:
        yield None
        return
    settings = recipe.grpo.server
    joined = addresses(recipe, args)
    started = [] if joined else _started(recipe, what, logs)
    servers = Servers(
        [Server(Client(url, settings.answer_timeout_s)) for url in joined]
        + [Server(Client(process.url, settings.answer_timeout_s), process) for process in started],
        _transfer(recipe),
        run=uuid.uuid4().hex[:12],
        start_timeout_s=settings.start_timeout_s,
        restarts=settings.restarts,
    )
    try:
        for process in started:
            process.start()
        servers.wait()
        if joined:
            check_joined(servers, what)
        say(f"  vLLM   {len(servers.servers)} servers: {', '.join(one.client.url for one in servers.servers)}")
        yield servers
    finally:
        servers.close()


def check_joined(servers: Servers, what: Served) -> None:
    """Raises:
    UserError: a server lacks something.
    """
    for server in servers.servers:
        if found := lacks(server.client, what):
            raise UserError(f"the vLLM server at {server.client.url} {found[0]}")


def _transfer(recipe: Recipe) -> Transfer:
    folder = recipe.grpo.server.folder
    return Nccl() if transfer_of(recipe) == "nccl" else Files(None if folder is None else Path(folder))


def _started(recipe: Recipe, what: Served, logs: Path) -> list[Process]:
    settings, size = recipe.grpo.server, recipe.grpo.server.tensor_parallel
    gpus = _gpus()[-settings.count * size :]
    return [
        Process(what.flags(), free_port(), logs / f"vllm-{n}.log", inherited(gpus[n * size : (n + 1) * size]))
        for n in range(settings.count)
    ]


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names that the environment gives them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def serve(recipe: Recipe, host: str, port: int, show: bool) -> None:
    """Becomes the server that this recipe's trainer would start, or prints its command line.

    Raises:
        UserError: settings that cannot work.
    """
    if not 0 < port < 2**16:
        raise UserError(f"--port {port}: from 1 to 65535")
    what = wanted(recipe)
    if not what.checkpoint.is_dir() and not show:
        raise UserError(f"{what.checkpoint}: no such checkpoint, which is what GRPO starts from; run `reasoner sft`")
    command = [*SERVE, *what.flags(), "--host", host, "--port", str(port)]
    if show:
        print(" ".join(f"{name}={value}" for name, value in environment().items()), shlex.join(command))
        return
    os.execve(command[0], command, inherited())


def wanted(recipe: Recipe) -> Served:
    """What a server must serve for this recipe, of rows with at most `IMAGES` images."""
    from recipes.grpo import check

    return served(recipe, (recipe.output / SFT).absolute(), check(recipe).vllm_max_model_length, IMAGES)


def tell(urls: Sequence[str], recipe: Recipe) -> dict[str, list[str]]:
    """What each server lacks for this recipe; `urls` are the recipe's own unless given."""
    what = wanted(recipe) if (recipe.output / SFT).is_dir() else None
    return {url: lacks(Client(url), what) for url in urls or recipe.grpo.server.addresses}
