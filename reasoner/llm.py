"""Requests to an OpenAI-compatible server (a vLLM server is one): concurrent, retried, and cached on disk.

Replies are kept by the content of their request, so a run that was stopped, or is repeated, asks only for what is
missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.errors import UserError, one_line

#: Requests in a row without an answer after which a run stops; it goes on from there when called again.
GIVE_UP = 20


@dataclass(frozen=True)
class Llm:
    """A server and its model."""

    url: str
    model: str
    concurrency: int = 16
    """Requests at a time, of each worker."""
    retries: int = 4
    timeout_s: float = 120.0
    backoff_s: float = 0.5
    """Wait before the first retry; doubled before each further one."""

    def fingerprint(self) -> str:
        """What decides the replies: the model, wherever and however fast it is asked."""
        return self.model

    @property
    def base(self) -> str:
        url = self.url.rstrip("/")
        return url if url.endswith("/v1") else url + "/v1"


def check(llm: Llm) -> None:
    """Raises `UserError` when the server does not answer or does not serve the model."""
    served = [entry["id"] for entry in served_models(llm)]
    if llm.model not in served:
        raise UserError(f"{llm.url} serves {', '.join(served) or 'no model'}, not '{llm.model}'; mend --llm-model")


def served_models(llm: Llm, option: str = "--llm") -> list[dict[str, Any]]:
    """What the server says of its models, each with its `id`.

    Raises:
        UserError: it does not answer as such a server does; `option` is what gave its address.
    """
    import httpx

    try:
        reply = httpx.get(f"{llm.base}/models", headers=_headers(), timeout=20)
        reply.raise_for_status()
        return [{**entry, "id": str(entry["id"])} for entry in reply.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        why = str(error) or type(error).__name__
        raise UserError(
            f"{llm.url}: no OpenAI-compatible server answers there ({why}); start one or mend {option}"
        ) from None


class Reply(NamedTuple):
    """What a server said to one request: `text`, or None and why there is none."""

    text: str | None
    why: str = ""


#: What is kept of the JSON that a server sends; raises ValueError, KeyError, IndexError or TypeError where it is not
#: what such a server sends.
Reading = Callable[[Any], str]


def content_of(reply: Any) -> str:
    """The words of the first choice."""
    content = reply["choices"][0]["message"]["content"] or ""
    if not isinstance(content, str):
        raise TypeError("a reply must be text")
    return content


def ask(bodies: Sequence[dict[str, Any]], llm: Llm, cache: Path) -> list[str | None]:
    """The words of each of the `replies`; None where there are none."""
    return [reply.text for reply in replies(bodies, llm, cache)]


def replies(bodies: Sequence[dict[str, Any]], llm: Llm, cache: Path, reading: Reading = content_of) -> list[Reply]:
    """The reply to each request (the body of a chat completion), from `cache` where it was given before; without text
    for a request that was refused, or not answered in `llm.retries` + 1 attempts.

    Raises:
        UserError: the server stopped answering.
    """
    with closing(Cache(cache)) as cached:
        return asyncio.run(_ask_all(bodies, llm, cached, reading))


_JSON = re.compile(r"\{.*\}", re.DOTALL)


def json_object(reply: str) -> Any:
    """The JSON object in a reply, whatever stands around it.

    Raises:
        ValueError: there is none.
    """
    match = _JSON.search(reply)
    if match is None:
        raise ValueError("no JSON object")
    try:
        return json.loads(match.group())
    except RecursionError as error:
        raise ValueError("nested without end") from error


def remembered(body: dict[str, Any], cache: Path) -> str | None:
    """The reply to a request that was made before; None without asking anybody."""
    with closing(Cache(cache)) as cached:
        return cached.get(body)


class Cache:
    """Replies by the hash of their request, in a SQLite file that several processes may write.

    Raises:
        UserError: from any method, when the file is damaged or cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._told():
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("CREATE TABLE IF NOT EXISTS replies (request TEXT PRIMARY KEY, reply TEXT NOT NULL)")

    def get(self, body: dict[str, Any]) -> str | None:
        with self._told():
            row = self._db.execute("SELECT reply FROM replies WHERE request = ?", (_hash(body),)).fetchone()
        return row[0] if row else None

    def put(self, body: dict[str, Any], reply: str) -> None:
        # The first reply stays: another worker may have used it.
        with self._told():
            self._db.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (_hash(body), reply))

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, full, no right: the replies in it are good
            raise UserError(
                f"{self.path}: the cache of replies cannot be used ({error}); mend that, then repeat"
            ) from error
        except sqlite3.Error as error:
            raise UserError(
                f"{self.path}: the cache of replies is damaged ({error}); delete it, and all is asked again"
            ) from error


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _headers() -> dict[str, str]:
    key = os.environ.get("OPENAI_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


async def _ask_all(bodies: Sequence[dict[str, Any]], llm: Llm, cached: Cache, reading: Reading) -> list[Reply]:
    import httpx

    wanted = {_hash(body): body for body in bodies if cached.get(body) is None}
    asking = _Asking(llm, cached, reading)
    limits = httpx.Limits(max_connections=llm.concurrency)
    async with httpx.AsyncClient(headers=_headers(), timeout=llm.timeout_s, limits=limits) as client:
        queue = iter(list(wanted.values()))

        async def work() -> None:
            for body in queue:  # one iterator: each takes what comes next
                await asking.ask(client, body)

        await asyncio.gather(*(work() for _ in range(min(llm.concurrency, len(wanted)))))
    return [
        Reply(text, "" if text is not None else asking.why[_hash(body)])
        for body in bodies
        for text in [cached.get(body)]
    ]


class _Asking:
    """Requests with retries; stops the run when the server is gone."""

    def __init__(self, llm: Llm, cached: Cache, reading: Reading) -> None:
        self.llm, self.cached, self.reading, self.unanswered = llm, cached, reading, 0
        #: By the hash of a request, why its last attempt failed.
        self.why: dict[str, str] = {}

    async def ask(self, client: Any, body: dict[str, Any]) -> None:
        """Puts the reply into the cache; leaves nothing there when none can be had."""
        import httpx

        for attempt in range(self.llm.retries + 1):
            wait = self.llm.backoff_s * 2**attempt * random.uniform(0.5, 1.5)
            try:
                reply = await client.post(f"{self.llm.base}/chat/completions", json=body)
                self.unanswered = 0
                if reply.status_code == 200:
                    self.cached.put(body, self.reading(reply.json()))
                    return
                self.why[_hash(body)] = one_line(f"HTTP {reply.status_code}: {reply.text[:200]}")
                if reply.status_code != 429 and reply.status_code < 500:
                    return  # the request itself is refused, for ever
                after = reply.headers.get("retry-after", "")
                wait = max(wait, min(float(after), 60.0)) if after.isdigit() else wait
            except httpx.TransportError as error:
                self.why[_hash(body)] = f"no reply: {type(error).__name__}"
                self.unanswered += 1
                if self.unanswered >= GIVE_UP:
                    raise UserError(
                        f"{self.llm.url} stopped answering; start it again and repeat the command: it goes on from here"
                    ) from None
            except (httpx.RequestError, ValueError, KeyError, IndexError, TypeError) as error:
                # Not the reply of such a server: perhaps the next one is.
                self.why[_hash(body)] = one_line(f"no chat completion: {type(error).__name__}: {error}")
            if attempt < self.llm.retries:
                await asyncio.sleep(wait)
