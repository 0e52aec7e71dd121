"""The trainer's weights on their way to the servers: through files that both see, or by NCCL between GPUs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from reasoner.serving.client import Client, Lost

#: Names in the checkpoint with tensors, one after the other; gathering them may be collective.
Weights = Iterator[tuple[str, torch.Tensor]]
#: What `Weights` will hold: name, type without `torch.`, shape.
Described = Sequence[tuple[str, str, list[int]]]
#: Bytes of a file; a model larger than that goes in several, one after the other.
PART = 2**30
#: Memory that looks like a folder, on Linux.
SHARED_MEMORY = Path("/dev/shm")


class Update:
    """An update of several servers at once. What fails with one of them is kept in `failed`, and it is left alone."""

    def __init__(self, clients: Sequence[Client]):
        self.clients, self.failed = clients, dict[Client, Exception]()

    def each(self, work: Callable[[Client], object]) -> None:
        """`work` for all servers that have not failed yet, side by side."""
        well = [client for client in self.clients if client not in self.failed]
        with ThreadPoolExecutor(max(1, len(well))) as pool:
            for client, done in [(client, pool.submit(work, client)) for client in well]:
                try:
                    done.result()
                except (Lost, RuntimeError) as error:
                    self.failed[client] = error

    def post(self, path: str, **body: Any) -> None:
        self.each(lambda client: client.call("POST", path, **body))

    def start(self) -> None:
        self.each(_start)

    def finish(self, version: str) -> None:
        """Ends the update; what the servers keep of prompts and images was made by other weights."""
        self.post("/finish_weight_update", weight_version=version)
        self.post("/reset_prefix_cache")
        self.post("/reset_encoder_cache")


def _start(client: Client) -> None:
    try:
        client.call("POST", "/start_weight_update")
    except (Lost, RuntimeError):  # a trainer that was killed may have left an update open
        client.call("POST", "/finish_weight_update")
        client.call("POST", "/start_weight_update")


class Files:
    """Safetensors files in a folder that trainer and servers share; `reasoner/serving/worker.py` reads them.

    Args:
        folder: shared by all of them; None is this machine's memory, or its temporary folder where there is no such.
    """

    def __init__(self, folder: Path | None = None):
        parent = folder or (SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
        self.folder = Path(tempfile.mkdtemp(prefix="cxr-reasoner-weights-", dir=parent))

    def push(
        self, clients: Sequence[Client], weights: Weights, described: Described, version: str
    ) -> dict[Client, Exception]:
        from safetensors.torch import save_file

        update = Update(clients)
        update.start()
        path = self.folder / "part.safetensors"
        for part in _parts(weights):
            save_file(part, path)
            update.post("/update_weights", update_info={"path": str(path)})
            path.unlink()
        update.finish(version)
        return update.failed

    def reset(self) -> None:
        """A server that is back finds the next file like any other."""

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _parts(weights: Weights) -> Iterator[dict[str, torch.Tensor]]:
    """The weights in dictionaries of at most `PART` bytes, or of one tensor."""
    part: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in weights:
        if part and size + tensor.nbytes > PART:
            yield part
            part, size = {}, 0
        part[name] = tensor.detach().to("cpu", copy=True).contiguous()
        size += tensor.nbytes
    if part:
        yield part


class Nccl:
    """vLLM's own broadcast between GPUs, from the trainer's main process to the workers of all servers in one group.

    A server that dies within a broadcast leaves the trainer waiting until NCCL's own time limit. Never run on this
    project's machines, which have no GPU.

    Args:
        address: of the trainer's machine, as the servers reach it; None lets vLLM find it.
    """

    def __init__(self, address: str | None = None):
        self.address = address
        self._group: Any = None

    def push(
        self, clients: Sequence[Client], weights: Weights, described: Described, version: str
    ) -> dict[Client, Exception]:
        from vllm.distributed.weight_transfer.packed_tensor import packed_nccl_broadcast_producer

        update = Update(clients)
        if self._group is None:
            self._connect(update)
        update.start()
        if update.failed:  # a broadcast without one of its group would hang
            self.reset()
            return update.failed
        names, dtypes, shapes = (list(column) for column in zip(*described, strict=True))
        info = {"names": names, "dtype_names": dtypes, "shapes": shapes}
        with ThreadPoolExecutor(1) as side:  # the servers' workers and the trainer meet in the broadcast
            received = side.submit(update.post, "/update_weights", update_info=info)
            packed_nccl_broadcast_producer(
                iterator=weights, group=self._group, src=0, post_iter_func=lambda item: item[1]
            )
            received.result()
        update.finish(version)
        return update.failed

    def _connect(self, update: Update) -> None:
        from vllm.distributed.weight_transfer.nccl_common import trainer_init
        from vllm.utils.network_utils import get_ip, get_open_port

        sizes: dict[Client, int] = {}
        update.each(lambda client: sizes.update({client: client.call("GET", "/get_world_size")["world_size"]}))
        if update.failed:
            return
        ranks = accumulate(sizes.values(), initial=1)
        offsets = dict(zip(sizes, ranks, strict=False))  # the last is the size of the group
        common = {
            "master_address": self.address or get_ip(),
            "master_port": get_open_port(),
            "world_size": 1 + sum(sizes.values()),
            "packed": True,
        }

        def join(client: Client) -> None:
            info = {**common, "rank_offset": offsets[client]}
            client.call("POST", "/init_weight_transfer_engine", init_info=info)

        with ThreadPoolExecutor(1) as side:
            joined = side.submit(update.each, join)
            self._group = trainer_init({**common, "rank_offset": 0})
            joined.result()

    def reset(self) -> None:
        self._group = None

    def close(self) -> None:
        self.reset()
