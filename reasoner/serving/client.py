"""One vLLM server, as the trainer talks to it: over HTTP, and never waiting for ever."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

if TYPE_CHECKING:
    from PIL.Image import Image

#: Requests that a server works on at a time; vLLM batches them.
CONCURRENT = 64
#: How long a server that is well may take to say so, in seconds, on a busy machine too.
SILENCE_S = 30.0


class Lost(Exception):
    """A server is gone, silent, or broken inside; the request may be made again."""


class Request(NamedTuple):
    """A prompt with one token per image, its images as PNG in base64, the number of its completions and their seed."""

    ids: Sequence[int]
    images: Sequence[str]
    n: int
    seed: int | None


class Answer(NamedTuple):
    """The prompt as the server read it, images expanded, and of each completion its tokens and their
    log-probabilities."""

    prompt: list[int]
    tokens: list[list[int]]
    logprobs: list[list[float]]


class Client:
    """A server's address with the calls that GRPO makes.

    Args:
        url: of the server, without a path.
        timeout_s: for one answer; a server that takes longer is `Lost`.
    """

    def __init__(self, url: str, timeout_s: float = 600.0):
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(timeout_s, connect=SILENCE_S),
            limits=httpx.Limits(max_connections=CONCURRENT + 8, max_keepalive_connections=0),
            trust_env=False,
        )

    def call(self, method: str, path: str, /, *, timeout_s: float | None = None, **body: Any) -> Any:
        """What the server answers, as JSON.

        Raises:
            Lost: no answer, or an error of the server's own.
            RuntimeError: it refuses the request.
        """
        limit: dict[str, Any] = {} if timeout_s is None else {"timeout": timeout_s}
        try:
            answer = self._http.request(method, path, json=body or None, **limit)
        except httpx.HTTPError as error:
            raise Lost(f"{self.url}{path}: {error or type(error).__name__}") from error
        if answer.status_code >= 500:
            raise Lost(f"{self.url}{path}: {answer.status_code} {answer.text[:300]}")
        if answer.status_code >= 400:
            raise RuntimeError(f"the vLLM server refused {self.url}{path}: {answer.status_code} {answer.text[:300]}")
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise RuntimeError(f"{self.url}{path}: no JSON, but {answer.text[:80]!r}") from error

    def well(self, timeout_s: float = SILENCE_S) -> bool:
        """Whether the server answers at all."""
        try:
            self.call("GET", "/health", timeout_s=timeout_s)
        except (Lost, RuntimeError):
            return False
        return True

    def version(self) -> str:
        """The name of the weights that it holds; what it started with has a name of vLLM's."""
        return self.call("GET", "/weight_info", timeout_s=SILENCE_S)["weight_version"]

    def config(self) -> dict[str, Any]:
        """vLLM's configuration of the server; takes some seconds."""
        return self.call("GET", "/server_info?config_format=json", timeout_s=120.0)["vllm_config"]

    def generate(self, request: Request, sampling: Mapping[str, Any]) -> Answer:
        """Completions of one prompt; `sampling` are fields of vLLM's `SamplingParams`."""
        seed = {} if request.seed is None else {"seed": request.seed}
        # FINAL_ONLY: else only the sequences that end last come back (vllm#52399).
        wanted = {**sampling, **seed, "n": request.n, "logprobs": 0, "output_kind": 2}
        parts = [{"type": "image_url", "url": f"data:image/png;base64,{image}"} for image in request.images]
        body: dict[str, Any] = {"token_ids": list(request.ids), "sampling_params": wanted, "return_token_ids": True}
        if parts:
            body["content_parts"] = parts
        answer = self.call("POST", "/inference/v1/generate", **body)
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        if len(choices) != request.n:
            raise Lost(f"{self.url}: {len(choices)} of {request.n} completions came back")
        return Answer(
            answer["prompt_token_ids"],
            [choice["token_ids"] for choice in choices],
            [[token["logprob"] for token in choice["logprobs"]["content"]] for choice in choices],
        )

    def close(self) -> None:
        self._http.close()


def encoded(image: Image) -> str:
    """The picture as a PNG in base64, without loss."""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, format="PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
