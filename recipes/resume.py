"""What an interrupted training run goes on from: the newest checkpoint that was written to its end."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from reasoner.errors import UserError
from reasoner.layout import CHECKPOINTS, TRAINER_STATE
from reasoner.runtime import ranks
from reasoner.runtime.disk import read_object
from reasoner.runtime.terminal import say
from recipes.config import Recipe

_INDEX = "model.safetensors.index.json"
_STATE = {
    "optimizer": ("optimizer.pt", "optimizer.bin", "optimizer_0", "global_step*"),
    "scheduler": ("scheduler.pt",),
    "random state": ("rng_state*.pth",),
}
#: What resuming needs -> the files that may hold it: adapters, FSDP and DeepSpeed have names of their own.
PARTS = {
    "weights": ("model.safetensors", "adapter_model.safetensors", _INDEX, "pytorch_model_fsdp*"),
    **_STATE,
    TRAINER_STATE: (TRAINER_STATE,),
}


def last_checkpoint(output: Path) -> str | None:
    """The newest complete checkpoint below `output/checkpoints`, or None; those cut short are told and passed over.

    Raises:
        UserError: when there is none but one of weights only, which cannot be gone on from exactly.
    """
    weights_only = None
    for _, folder in _newest_first(output):
        lacks = missing(folder)
        if not lacks:
            say(f"resuming from {folder}")
            return str(folder)
        if lacks == list(_STATE):
            weights_only = weights_only or folder
        say(f"passing over {folder}: {', '.join(lacks)} missing or cut short")
    if weights_only:
        raise UserError(
            f"{weights_only}: holds weights only, and to go on takes optimizer, scheduler and random state; "
            "start over with --force (and save_only_model: false)"
        )
    return None


def last_good(output: Path, step: int | None = None) -> Path | None:
    """The newest complete checkpoint below `output/checkpoints` whose weights are all finite; with `step`, of that step
    or an earlier one."""
    found = (folder for number, folder in _newest_first(output) if step is None or number <= step)
    return next((folder for folder in found if not missing(folder) and _finite(folder)), None)


def _newest_first(output: Path) -> list[tuple[int, Path]]:
    """Steps and folders of the checkpoints, whole or not."""
    numbered = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in (output / CHECKPOINTS).glob("*"))
    return sorted(((int(match[1]), path) for match, path in numbered if match), reverse=True)


def _finite(checkpoint: Path) -> bool:
    """Whether every number in its safetensors files is one; other files are taken on trust."""
    from safetensors import safe_open

    for file in checkpoint.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            if not all(tensors.get_tensor(name).isfinite().all() for name in tensors.keys()):  # noqa: SIM118
                return False
    return True


def missing(checkpoint: Path) -> list[str]:
    """The keys of `PARTS` that the checkpoint lacks, or has cut short."""
    lacks = []
    for part, patterns in PARTS.items():
        files = [file for pattern in patterns for file in checkpoint.glob(pattern)]
        needed = ranks.count() if part == "random state" else 1  # each process has a file of its own
        if len(files) < needed or not all(map(_whole, files)):
            lacks.append(part)
    return lacks


def _whole(file: Path) -> bool:
    """Whether the file was written to its end, as far as its format tells without loading it."""
    try:
        if file.is_dir():
            return any(file.iterdir())
        match file.suffix:
            case ".safetensors":
                return _whole_safetensors(file)
            case ".json":
                held = read_object(file, "")
                shards = set(held["weight_map"].values()) if file.name == _INDEX else set()
                return all(_whole(file.parent / shard) for shard in shards)
            case _:
                return zipfile.is_zipfile(file)  # as torch.save writes; its directory comes last
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return False


def _whole_safetensors(file: Path) -> bool:
    """A header's length in 8 bytes, the header, and the tensors that it places."""
    with file.open("rb") as stored:
        length = int.from_bytes(stored.read(8), "little")
        size = file.stat().st_size
        if not 0 < length <= size - 8:
            return False
        header = json.loads(stored.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return size == 8 + length + max(ends, default=0)


def starting_weights(recipe: Recipe, resume: str | None, start: str | Path) -> str | Path:
    """Where the model is loaded from: on resuming all weights, the checkpoint itself.

    The trainer would load them by the names of the file, which for a Qwen-VL are not those of the module, and go on
    from `start` without a word. Adapters and sharded checkpoints it does load.
    """
    whole = resume is not None and recipe.model.lora is None and any(Path(resume).glob("model*.safetensors"))
    return resume if resume is not None and whole else start
