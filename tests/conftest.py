"""What all tests share: quiet, offline defaults, and the folder of real reports, which is never in the repository."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from benchmarks import DATA
from reasoner.runtime.threads import share_cores
from tests.killed import Killed

# Before anything imports them: no network, no tracking service, no usage reports.
for name, value in {
    "WANDB_MODE": "disabled",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_worker_niceness": "0",  # by default 15: beside other tests a worker would get next to nothing of a CPU
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(name, value)
share_cores()  # as the stages do
hypothesis.settings.register_profile("any machine", deadline=None)  # no test may fail because the machine is busy
hypothesis.settings.load_profile("any machine")


#: What a server says to a prompt and the number of the request: HTTP status and content.
Answer = Callable[[str, int], tuple[int, str]]


class OpenAiServer(ThreadingHTTPServer):
    """A small OpenAI-compatible server; counts what it was `asked`, and the `most` that it was asked at once."""

    daemon_threads = True

    def __init__(self, answer: Answer):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()
        self.asked = self.busy = self.most = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: OpenAiServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        web = self.server
        with web.lock:
            web.asked += 1
            number = web.asked
            web.busy += 1
            web.most = max(web.most, web.busy)
        status, content = web.answer(body["messages"][-1]["content"], number)
        with web.lock:
            web.busy -= 1
        self.reply(status, {"choices": [{"message": {"content": content}}]})

    def reply(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def openai_server() -> Iterator[Callable[[Answer], OpenAiServer]]:
    """Starts servers that answer as they are told, and stops them after the test."""
    started: list[OpenAiServer] = []

    def start(answer: Answer) -> OpenAiServer:
        started.append(OpenAiServer(answer))
        return started[-1]

    yield start
    for web in started:
        web.stop()


@pytest.fixture(autouse=True, scope="module")
def own_rewards() -> Iterator[None]:
    """What a module registers of its own is gone after it: names are for all of a process."""
    from rewards.registry import REGISTRY

    before = set(REGISTRY)  # those of modules whose own are registered where they are imported, too
    yield
    for name, found in list(REGISTRY.items()):
        if name not in before and not found.function.__module__.startswith("rewards."):
            del REGISTRY[name]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no real reports in {DATA}; set CXR_REASONER_DATA to run this test")
    return DATA


@pytest.fixture
def kill_before(monkeypatch):
    """`kill_before(n)`: from then on, the n-th change to the disk is not made, and raises `Killed`."""

    def arm(step: int) -> None:
        left = [step]

        def guarded(change):
            def instead(*args, **more):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return change(*args, **more)

            return instead

        for owner, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree"), (Path, "unlink")):
            monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))

    yield arm
    monkeypatch.undo()
