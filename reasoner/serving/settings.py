"""The vLLM servers of a GRPO stage, as a recipe asks for them (`grpo.server`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from reasoner.settings import CountOrZero, Float, Int, Options, Section, Url, distinct


class ServerSettings(Section):
    """vLLM servers that sample the rollouts, with `trainer.vllm_mode: server` (docs/training.md)."""

    addresses: Annotated[list[Url], AfterValidator(distinct)] = []
    """Those that run already; with none they are started on this machine, and ended with the stage."""
    count: Int = Field(1, ge=1, le=1000)
    """How many are started."""
    tensor_parallel: Int = Field(1, ge=1, le=1000)
    """GPUs of each that is started; they are the last of the machine, the trainer has the first."""
    options: Options = {}
    """Further flags of `vllm serve` for those that are started, by name: gpu_memory_utilization, max_num_seqs, ..."""
    transfer: Literal["auto", "files", "nccl"] = "auto"
    """How weights get there: files in a folder that trainer and servers share, or NCCL between GPUs; auto is NCCL where
    the trainer has one."""
    folder: str | None = None
    """That folder; none is the machine's shared memory, which serves servers of this machine alone."""
    seeded: bool = True
    """Whether each completion has a seed of its own, so that a batch that is done again comes out the same."""
    start_timeout_s: Float = Field(600.0, gt=0, le=86400)
    """Time limit for a server to be ready, in seconds."""
    answer_timeout_s: Float = Field(1800.0, gt=0, le=86400)
    """Time limit for the completions of one prompt, in seconds; a server that takes longer is started again."""
    restarts: CountOrZero = 3
    """How often a batch may lose a server before the stage ends."""

    @model_validator(mode="after")
    def _starts_or_joins(self) -> ServerSettings:
        if self.addresses and self.model_fields_set & {"count", "options"}:
            raise ValueError("addresses are of servers that run already: leave out count and options, or addresses")
        return self
