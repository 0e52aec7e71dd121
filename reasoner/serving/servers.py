"""The vLLM servers of a run as one sampler: they share the prompts, all have the trainer's weights, and one that dies
or hangs is brought back while what the others did is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

from reasoner.errors import UserError
from reasoner.runtime.terminal import say
from reasoner.serving.client import CONCURRENT, SILENCE_S, Answer, Client, Lost, Request
from reasoner.serving.process import Process
from reasoner.serving.transfer import Described, Weights

#: How often servers at work are asked whether they are well, in seconds.
PROBE_S = 5.0
#: Times in a row that a server may be silent (`SILENCE_S` each) before it counts as hung.
SILENCES = 2


class Transfer(Protocol):
    """How weights get to the servers (`reasoner/serving/transfer.py`)."""

    def push(
        self, clients: Sequence[Client], weights: Weights, described: Described, version: str
    ) -> dict[Client, Exception]:
        """Gives all of them the weights under the name of `version`; returns those it failed with. All of `weights` is
        read, unless a server failed."""

    def reset(self) -> None:
        """Forgets how the servers are reached: one of them has been started again."""

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Server:
    """A server at an address; `process` is None where somebody else runs it."""

    client: Client
    process: Process | None = None


class Servers:
    """Samples from several servers as if they were one.

    Args:
        servers: at least one.
        transfer: how weights get to them.
        run: a name for the weights of this run, so that another's are told apart.
        start_timeout_s: for a server to be ready; also for one that somebody else runs to come back.
        restarts: times in a row that a batch may lose a server.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        transfer: Transfer,
        *,
        run: str,
        start_timeout_s: float = 600.0,
        restarts: int = 3,
    ):
        self.servers, self.transfer, self.run = list(servers), transfer, run
        self.start_timeout_s, self.restarts = start_timeout_s, restarts
        self.lost = 0  # servers that had to be brought back, over the run
        self._pushes = 0
        self._failures = 0  # in a row
        self._done: dict[int, Answer] = {}

    @property
    def version(self) -> str:
        """The name of the weights that the servers should have."""
        return f"{self.run}-{self._pushes}"

    def wait(self) -> None:
        """Until all are ready.

        Raises:
            UserError: one is not in time.
        """
        for server in self.servers:
            self._wait(server)

    def push(self, weights: Weights, described: Described) -> None:
        """Gives all servers new weights. One that cannot take them is brought back, and has them with the next push."""
        self._pushes += 1
        clients = [server.client for server in self.servers]
        self._mend(self.transfer.push(clients, weights, described, self.version))

    def generate(self, requests: Sequence[Request], sampling: Mapping[str, Any]) -> list[Answer] | None:
        """An answer to each request; or None, if servers need the weights (`push`) before the same call is made again.

        Raises:
            UserError: servers were lost too often, or do not come back.
            RuntimeError: a server refuses a request.
        """
        if not self._current():
            return None
        missing = [number for number in range(len(requests)) if number not in self._done]
        shares = [missing[first :: len(self.servers)] for first in range(len(self.servers))]
        with ThreadPoolExecutor(len(self.servers)) as pool:
            asked = {
                server.client: pool.submit(self._ask, server, {n: requests[n] for n in share}, sampling)
                for server, share in zip(self.servers, shares, strict=True)
            }
        self._mend({client: error for client, done in asked.items() if (error := done.result()) is not None})
        if len(self._done) < len(requests):
            return self.generate(requests, sampling)
        answers = [self._done[number] for number in range(len(requests))]
        self._done, self._failures = {}, 0
        return answers

    def close(self) -> None:
        """Ends the servers that are ours."""
        for server in self.servers:
            server.client.close()
            if server.process is not None:
                server.process.stop()
        self.transfer.close()

    def _current(self) -> bool:
        """Brings back what is gone; whether all have the trainer's weights."""
        for server in self.servers:
            if _silent(server.client):
                self._revive(server)
        return all(self._has_weights(server.client) for server in self.servers)

    def _has_weights(self, client: Client) -> bool:
        try:
            return client.version() == self.version
        except Lost:
            return False

    def _ask(self, server: Server, share: Mapping[int, Request], sampling: Mapping[str, Any]) -> Lost | None:
        """Puts the answers of one server into `_done`; returns why some are missing."""
        pool = ThreadPoolExecutor(max(1, min(CONCURRENT, len(share))))
        asked = {pool.submit(server.client.generate, request, sampling): n for n, request in share.items()}
        try:
            self._watch(server, list(asked))
            for future, number in asked.items():
                self._done[number] = future.result()
        except Lost as error:
            self._done |= {n: f.result() for f, n in asked.items() if f.done() and f.exception() is None}
            return error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # threads of a server that hangs are not waited for
        return None

    def _watch(self, server: Server, asked: Sequence[Future[Answer]]) -> None:
        """Until all are answered or one fails.

        Raises:
            Lost: the server is silent.
        """
        silences = 0
        while True:
            done, waiting = wait(asked, timeout=PROBE_S, return_when="FIRST_EXCEPTION")
            if not waiting or any(future.exception() is not None for future in done):
                return
            silences = 0 if server.client.well() else silences + 1
            if silences == SILENCES:
                raise Lost(f"{server.client.url} has said nothing for {SILENCES * SILENCE_S:.0f} s")

    def _mend(self, failed: Mapping[Client, Exception]) -> None:
        """Brings back the servers that failed.

        Raises:
            UserError: servers have failed too often.
        """
        if not failed:
            return
        self._failures += 1
        for server in self.servers:
            if (error := failed.get(server.client)) is None:
                continue
            if self._failures > self.restarts:
                where = f"; see {server.process.log}" if server.process else ""
                raise UserError(f"a vLLM server failed {self._failures} times on one batch: {error}{where}")
            say(f"WARNING {error}; the batch goes on when the vLLM server is back")
            if _silent(server.client):
                self._revive(server)

    def _revive(self, server: Server) -> None:
        """Starts the server again, or waits for who runs it to do so."""
        self.lost += 1
        started = time.monotonic()
        if server.process is not None:
            server.process.start()
        self._wait(server)
        self.transfer.reset()
        say(f"the vLLM server at {server.client.url} is back after {time.monotonic() - started:.0f} s")

    def _wait(self, server: Server) -> None:
        if server.process is not None:
            server.process.wait(server.client.well, self.start_timeout_s)
            return
        end = time.monotonic() + self.start_timeout_s
        while not server.client.well():
            if time.monotonic() > end:
                raise UserError(
                    f"no vLLM server answers at {server.client.url}; start it (docs/training.md, Servers), or leave "
                    "grpo.server.addresses out to have them started"
                )
            time.sleep(1)


def _silent(client: Client) -> bool:
    return not any(client.well() for _ in range(SILENCES))
