"""What ends a training run before it harms itself, with one line that says why and which checkpoint is good; and when
a run may be saved at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from reasoner.errors import UserError
from reasoner.runtime.disk import MENDABLE
from recipes.collapse import Stop, collapsed
from recipes.resume import last_good


class Finite(TrainerCallback):
    """Ends a run whose gradient is no finite number, before the step that would put it into the weights.

    float16 is spared: its scaler skips such steps by design. So is DeepSpeed, which holds the gradients itself.

    Args:
        output: the stage's working folder.
        where: the recipe's section to look at, `sft.trainer` say.
    """

    def __init__(self, output: Path, where: str):
        self.output, self.where = output, where

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if args.fp16 or not gradients:
            return
        norm: Any = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # FSDP2 gives a part of it
        if not torch.isfinite(norm):
            raise UserError(
                f"step {state.global_step + 1}: the loss or its gradient is {norm.item()}, so the weights were left as "
                f"they are; {told(last_good(self.output))}; lower {self.where}.learning_rate or max_grad_norm, or look "
                "at the rows of this step"
            )


class StopOnCollapse(TrainerCallback):
    """Ends a GRPO run that has collapsed (`recipes/collapse.py`)."""

    def __init__(self, output: Path, stop: Stop):
        self.output, self.stop = output, stop

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        found = collapsed(state.log_history, self.stop)
        if found is not None:
            good = last_good(self.output, found.before)
            raise UserError(
                f"step {state.global_step}: collapsed: {found.reason}; {told(good)}; lower grpo.trainer.learning_rate "
                "or set its beta; grpo.stop=null goes on regardless"
            )


def told(checkpoint: Path | None) -> str:
    """Words for the last good checkpoint."""
    return f"last good checkpoint: {checkpoint}" if checkpoint else "no good checkpoint was kept"


class SaveBetweenBatches(TrainerCallback):
    """Puts off a checkpoint until the batch of completions is used up: its rest is not saved, so that a run could not
    go on from the middle of one exactly.

    Args:
        uses: micro-batches that one batch of completions serves (`steps_per_generation * num_iterations`).
    """

    def __init__(self, uses: int):
        self.uses, self.due = uses, False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.due |= control.should_save
        over = state.global_step * args.gradient_accumulation_steps % self.uses == 0
        control.should_save = self.due and over
        self.due &= not over

    on_epoch_end = on_step_end


@contextmanager
def checkpoints_fit(output: Path) -> Iterator[None]:
    """Turns what Python, torch and safetensors say of a full disk, or one that may not be written, into one line.

    Raises:
        UserError: in the place of their errors.
    """
    try:
        yield
    except Exception as error:
        number, place = _disk_error(error), Path(getattr(error, "filename", None) or output)
        if number is None or not place.absolute().is_relative_to(output.absolute()):
            raise
        raise UserError(
            f"{place}: cannot be written ({os.strerror(number)}); {MENDABLE[number]}; {told(last_good(output))}; the "
            "same command goes on"
        ) from error


def _disk_error(error: BaseException) -> int | None:
    """The number of the disk's error that is behind this one, in whichever words."""
    if isinstance(error, OSError):
        return error.errno if error.errno in MENDABLE else None
    words = str(error)
    if found := re.search(r"\(os error (\d+)\)", words):  # safetensors
        return int(found[1]) if int(found[1]) in MENDABLE else None
    return errno.ENOSPC if isinstance(error, RuntimeError) and "inline_container" in words else None  # torch.save
