"""A vLLM server of this machine as a process of ours: its command line, its start, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reasoner.errors import UserError
from reasoner.serving import BAN, EXTENSION, FILES, HELD, LOGPROBS

#: The command that flags are added to.
SERVE = (sys.executable, "-m", "reasoner.serving.serve")
#: How often a server that starts is asked whether it is ready, in seconds.
POLL_S = 0.5


class Served(NamedTuple):
    """What a server serves, and how.

    `max_model_len`: tokens of a prompt and its completion. `pixels`: `min_pixels` and `max_pixels` of a picture, where
    they are not the checkpoint's own. `transfer`: vLLM's name of the engine that takes pushed weights. `options`: more
    flags of `vllm serve`, by their names without dashes; they win.
    """

    checkpoint: Path
    dtype: str = "auto"
    max_model_len: int | None = None
    max_images: int = 1
    pixels: Mapping[str, int] = {}
    tensor_parallel: int = 1
    transfer: str = FILES
    seed: int = 0
    options: Mapping[str, Any] = {}

    def flags(self) -> list[str]:
        """The flags of `vllm serve`, without those of the address."""
        on_cpu = not torch.cuda.is_available()
        flags: dict[str, Any] = {
            "model": str(self.checkpoint),
            "dtype": self.dtype,
            "seed": self.seed,
            "tensor-parallel-size": self.tensor_parallel,
            "limit-mm-per-prompt": {"image": self.max_images, "video": 0},
            "mm-processor-cache-gb": 0.25 if on_cpu else 1.0,
            "generation-config": "vllm",  # none: the trainer says what it wants
            "enable-scale-out": True,  # images with token ids
            "weight-transfer-config": {"backend": self.transfer},
            "worker-extension-cls": EXTENSION,
            "logits-processors": BAN,
            "logprobs-mode": LOGPROBS,
            "max-logprobs": -1,
            "disable-uvicorn-access-log": True,
        }
        if on_cpu:
            flags["enforce-eager"] = True
            # A prompt in one piece: vLLM rewinds the seed of one that is cut, which a CPU's generator cannot.
            flags["no-enable-chunked-prefill"] = True
            flags["max-num-batched-tokens"] = max(8192, self.max_model_len or 0)
        if self.max_model_len is not None:
            flags["max-model-len"] = self.max_model_len
        if self.pixels:
            flags["mm-processor-kwargs"] = dict(self.pixels)
        flags |= {name.replace("_", "-"): value for name, value in self.options.items()}
        return [word for name, value in flags.items() for word in _flag(name, value)]


def _flag(name: str, value: Any) -> Sequence[str]:
    match value:
        case True:
            return [f"--{name}"]
        case False | None:
            return []
        case dict():
            return [f"--{name}", json.dumps(value)]
        case _:
            return [f"--{name}", str(value)]


def environment() -> dict[str, str]:
    """What a server needs in its environment."""
    if torch.cuda.is_available():
        return {"VLLM_SERVER_DEV_MODE": "1"}
    return {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def inherited(gpus: Sequence[str] = ()) -> dict[str, str]:
    """This process's environment as a server may have it, `gpus` the only ones that it sees."""
    # A trainer's place in its own group of processes is not the server's, nor is an engine in its own process.
    ours = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    ours.add("VLLM_ENABLE_V1_MULTIPROCESSING")
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**environment(), **quiet, **kept, **seen, "VLLM_SERVER_DEV_MODE": "1"}


class Process:
    """A server that is started with `start`, and again with another `start`.

    Args:
        flags: of `vllm serve`, without those of the address.
        log: what it prints; a second start adds to it.
    """

    def __init__(self, flags: Sequence[str], port: int, log: Path, env: Mapping[str, str]):
        self.url, self.log = f"http://127.0.0.1:{port}", log
        self._command = [*SERVE, *flags, "--host", "127.0.0.1", "--port", str(port)]
        self._env = {**env, HELD: "1"}
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the server's process, which leads a group with all that it started."""
        return None if self._running is None else self._running.pid

    def start(self) -> None:
        """Starts the server in the place of one that may still run. Returns before it is ready."""
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Until `ready`.

        Raises:
            UserError: it ended, or took longer.
        """
        assert self._running is not None
        end = time.monotonic() + timeout_s
        while not ready():
            if (code := self._running.poll()) is not None:
                raise UserError(f"the vLLM server ended with code {code} as it started; see {self.log}")
            if time.monotonic() > end:
                self.stop()
                raise UserError(
                    f"the vLLM server was not ready in {timeout_s:.0f} s (grpo.server.start_timeout_s); see {self.log}"
                )
            time.sleep(POLL_S)

    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def stop(self) -> None:
        """Ends all its processes at once: there is nothing that a server would have to save."""
        if self._running is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()
        if self._running.stdin is not None:
            self._running.stdin.close()
        self._running = None
