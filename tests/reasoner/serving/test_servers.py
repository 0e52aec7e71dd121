"""Several servers as one sampler: who answers what, and what happens when one dies, hangs, forgets or refuses.

The servers here are small HTTP servers that speak vLLM's paths; real ones are in tests/recipes/test_servers.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from reasoner.errors import UserError
from reasoner.serving import servers as module
from reasoner.serving.check import lacks
from reasoner.serving.client import Client, Lost, Request
from reasoner.serving.servers import Server, Servers
from reasoner.serving.transfer import Files

SAMPLING = {"temperature": 1.0}
WEIGHTS = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
DESCRIBED = [(name, "float32", list(tensor.shape)) for name, tensor in WEIGHTS.items()]
ASKED = [Request([1, number], [], 2, 100 + number) for number in range(7)]


class Played:
    """A server that answers each prompt with its last token and seed.

    `broken`: paths that get a 500, so many times. `missing`: paths that it does not have. `served`: what our extension
    says, if it is loaded. `hangs_at`: the path from which on it takes requests and says nothing, while it is `silent`.
    """

    def __init__(self):
        self.version, self.received, self.answered = "default", {}, []
        self.broken: dict[str, int] = {}
        self.missing: set[str] = set()
        self.served: dict | None = None
        self.updating = False
        self.hangs_at = ""
        self.silent = threading.Event()
        self.awake = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self) -> None:
        self.awake.set()
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path: str, body: dict) -> tuple[int, dict | None]:
        if path == self.hangs_at:
            self.silent.set()
        if self.silent.is_set():
            self.awake.wait(20)
        if path in self.missing or (path == "/collective_rpc" and self.served is None):
            return 404, {"error": "no such path"}
        if self.broken.get(path, 0):
            self.broken[path] -= 1
            return 500, {"error": "broken"}
        match path:
            case "/version":
                return 200, {"version": "0.31"}
            case "/weight_info":
                return 200, {"weight_version": self.version}
            case "/collective_rpc":
                return 200, {"results": [self.served]}
            case "/start_weight_update":
                if self.updating:
                    return 500, {"error": "an update is open"}
                self.updating = True
            case "/update_weights":
                from safetensors.torch import load_file

                self.received |= load_file(body["update_info"]["path"])
            case "/finish_weight_update":
                self.updating, self.version = False, body.get("weight_version", self.version)
            case "/inference/v1/generate" if body:
                ids, sampling = body["token_ids"], body["sampling_params"]
                if ids[-1] < 0:
                    return 400, {"error": "no such token"}
                self.answered.append(ids[-1])
                token = {"logprob": -1.0}
                choices = [
                    {"index": n, "token_ids": [ids[-1], sampling["seed"] + n], "logprobs": {"content": [token] * 2}}
                    for n in range(sampling["n"])
                ]
                return 200, {"choices": choices[::-1], "prompt_token_ids": ids}
        return 200, {}

    def _handler(played) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else {}
                code, answer = played.answer(self.path, body)
                words = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(words)))
                with suppress(BrokenPipeError):  # nobody waits for it any more
                    self.end_headers()
                    self.wfile.write(words)

            do_GET = do_POST = reply

            def log_message(self, *args) -> None:
                pass

        return Handler


@pytest.fixture
def two(tmp_path) -> Iterator[tuple[list[Played], Servers]]:
    played = [Played(), Played()]
    pool = Servers(
        [Server(Client(one.url, 30.0)) for one in played], Files(tmp_path), run="r", start_timeout_s=2.0, restarts=2
    )
    yield played, pool
    pool.close()
    for one in played:
        one.close()


def generated(pool: Servers, asked=ASKED) -> list:
    """What the trainer does: pushes whenever the servers need it."""
    for _ in range(5):
        if (answers := pool.generate(asked, SAMPLING)) is not None:
            return answers
        pool.push(iter(WEIGHTS.items()), DESCRIBED)
    raise AssertionError("the servers never have the weights")


def expected(asked=ASKED) -> list:
    return [[[one.ids[-1], one.seed + n] for n in range(one.n)] for one in asked]


def test_the_prompts_are_shared_and_the_answers_come_in_their_order(two):
    played, pool = two
    assert pool.generate(ASKED, SAMPLING) is None, "they hold what they started with"
    answers = generated(pool)
    assert [one.tokens for one in answers] == expected() and [one.prompt for one in answers] == [r.ids for r in ASKED]
    assert sorted(len(one.answered) for one in played) == [3, 4]
    assert all(one.version == pool.version and one.received.keys() == WEIGHTS.keys() for one in played)
    assert all(torch.equal(one.received["b"], WEIGHTS["b"]) for one in played)
    assert pool.lost == 0


def test_weights_go_in_parts_of_bounded_size_and_leave_nothing_behind(two, tmp_path, monkeypatch):
    from reasoner.serving import transfer

    monkeypatch.setattr(transfer, "PART", 10)
    played, pool = two
    pool.push(iter(WEIGHTS.items()), DESCRIBED)
    assert all(torch.equal(one.received[name], WEIGHTS[name]) for one in played for name in WEIGHTS)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_only_what_a_broken_server_did_not_answer_is_asked_again(two):
    played, pool = two
    generated(pool)
    for one in played:
        one.answered.clear()
    played[1].broken["/inference/v1/generate"] = 1
    assert [one.tokens for one in generated(pool)] == expected()
    again = Counter(played[0].answered + played[1].answered)
    assert all(again[number] == 1 for number in (0, 2, 4, 6)), "the other server's share is kept"


def test_a_server_that_was_started_again_is_given_the_weights_first(two):
    played, pool = two
    generated(pool)
    played[0].version = "default"
    played[0].received = {}
    assert pool.generate(ASKED, SAMPLING) is None
    assert [one.tokens for one in generated(pool)] == expected() and played[0].received.keys() == WEIGHTS.keys()


def test_an_update_that_a_killed_trainer_left_open_is_closed(two):
    played, pool = two
    played[0].updating = True
    assert [one.tokens for one in generated(pool)] == expected()


def test_a_server_that_fails_in_a_push_is_given_the_weights_again(two):
    played, pool = two
    played[1].broken["/update_weights"] = 1
    assert [one.tokens for one in generated(pool)] == expected()
    assert played[1].version == pool.version


def test_a_server_that_never_recovers_ends_the_stage_with_one_line(two):
    played, pool = two
    played[0].broken["/inference/v1/generate"] = 1000
    with pytest.raises(UserError, match="failed 3 times on one batch"):
        generated(pool)


def test_failures_of_batches_that_ended_well_do_not_add_up(two):
    played, pool = two
    for _ in range(4):
        played[0].broken["/inference/v1/generate"] = 1
        assert [one.tokens for one in generated(pool)] == expected()


def test_a_request_that_is_refused_is_no_fault_of_the_server(two):
    _, pool = two
    generated(pool)
    with pytest.raises(RuntimeError, match=r"refused.*no such token"):
        generated(pool, [Request([1, -1], [], 1, 0)])


def test_a_server_that_is_gone_and_nobody_starts_ends_the_stage_with_one_line(two):
    played, pool = two
    generated(pool)
    played[1].http.shutdown()
    played[1].http.server_close()
    with pytest.raises(UserError, match=f"no vLLM server answers at {played[1].url}"):
        generated(pool)


def test_a_server_that_hangs_is_noticed_and_its_share_done_when_it_is_back(two, monkeypatch):
    played, pool = two
    generated(pool)
    monkeypatch.setattr(module, "PROBE_S", 0.05)
    monkeypatch.setattr(Client.well, "__defaults__", (0.5,))
    pool.start_timeout_s = 30.0

    def come_back() -> None:
        while not pool.lost:
            time.sleep(0.02)
        played[1].hangs_at = ""
        played[1].silent.clear()

    played[1].hangs_at = "/inference/v1/generate"
    threading.Thread(target=come_back, daemon=True).start()
    assert [one.tokens for one in generated(pool)] == expected()
    assert pool.lost == 1


WELL = {
    "config": {"text_config": {"hidden_size": 96}, "vocab_size": 320, "name": "x"},
    "dtype": "float32",
    "max_model_len": 256,
    "images": 1,
    "logprobs": "processed_logprobs",
    "transfer": "files",
    "ban": True,
}


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ({}, None),
        ({"missing": {"/health"}}, "does not answer"),
        ({"missing": {"/version"}}, "is no vLLM server"),
        ({"missing": {"/weight_info"}}, "takes no weights: set VLLM_SERVER_DEV_MODE=1"),
        ({"missing": {"/inference/v1/generate"}}, "takes no images with token ids"),
        ({"served": None}, "loads nothing of ours"),
        ({"served": {**WELL, "transfer": None}}, "has no transfer backend"),
        ({"served": {**WELL, "ban": False}}, "does not ban vision tokens"),
        ({"served": {**WELL, "logprobs": "raw_logprobs"}}, "gives log-probabilities of another distribution"),
    ],
)
def test_what_any_trainer_would_miss_is_told(two, server, told):
    played = two[0][0]
    played.served = WELL
    for name, value in server.items():
        setattr(played, name, value)
    found = lacks(Client(played.url, 30.0), None)
    assert not found if told is None else len(found) == 1 and told in found[0] and ": " in found[0]


def test_a_call_ends_whatever_the_server_does():
    with pytest.raises(Lost):
        Client("http://127.0.0.1:9", 5.0).version()
