"""accelerate: processes on CPUs may shard a model, as those on GPUs do."""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

WRITTEN_FOR = "1.15"


def shard_on_cpus() -> None:
    """Call before a trainer is built on CPUs: FSDP that was asked for is then FSDP.

    Why: accelerate sets FSDP up for GPUs alone; on CPUs it trains with DDP instead, without a word, though PyTorch's
    FSDP2 runs there over gloo. So what GPUs do can be tried without any.
    Guard: tests/recipes/test_processes.py.
    """
    if getattr(AcceleratorState.__init__, "shards", False):
        return
    original = AcceleratorState.__init__

    def init(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    init.shards = True  # type: ignore[attr-defined]
    AcceleratorState.__init__ = init  # type: ignore[method-assign]
