"""Fluent wording by a language model: chains go to an OpenAI-compatible server, the verifier guards what comes back.

The server is asked to rewrite the sentences that hold findings, one by one, so that each keeps its evidence. A sentence
comes into the chain only if it is read to say exactly what the rule-made one says; any other keeps the rule-made words.
Replies are cached on disk by the content of the request, so a run that was stopped, or is repeated, asks only for
what is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.findings import extract_report, split_sentences
from reasoner.findings.lexicon import load
from reasoner.mining.chains import merge
from reasoner.mining.verify import faults, read, step_faults
from reasoner.schema import Chain, Example, Finding, Step

SYSTEM = (
    "You edit what a radiologist thinks while looking at a chest X-ray. Rewrite each numbered sentence in fluent, "
    "natural English. Keep every finding with its side, place, size and certainty; add nothing and leave nothing "
    "out. Do not mention a report, a patient, a date or an earlier image. Answer with the same numbers, "
    "one sentence a line, and nothing else."
)
CACHE = "llm_cache.sqlite"
#: Requests in a row without an answer after which a run stops; it goes on from there when called again.
GIVE_UP = 20
_LINE = re.compile(r"\s*(\d+)\s*[.):]\s*(\S.*?)\s*")
_SENTENCE = re.compile(r"[A-Z][ -~]*[a-z)]\.")
_STAMMER = re.compile(r"\b(\w+) \1\b", re.IGNORECASE)
#: Words that need not come from the sentence or the lexicon.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """a an the and or but with without of in on at to from by for as into over under near along
        within both each side sides is are was be been there here this that these it its i we see seen
        look looks appear appears appearing note noted show shows shown showing visible evident present
        absent identified demonstrated observed no not nor neither any evidence sign signs normal clear
        intact unremarkable size sized limits may might could possible possibly likely probably suspected
        cannot excluded also well do does can sits lies located seems contour contours appearance
        slightly somewhat which has have one two image view chest other otherwise additionally""",
    )
)
#: Share of a sentence's words that must be known: enough for any honest paraphrase, too much for babble.
KNOWN = 0.75


@dataclass(frozen=True)
class Llm:
    """A server and its model. The other fields change neither requests nor results."""

    url: str = field(repr=False)
    model: str
    concurrency: int = field(default=16, repr=False)
    """Requests at a time, of each worker."""
    retries: int = field(default=4, repr=False)
    timeout_s: float = field(default=120.0, repr=False)
    backoff_s: float = field(default=0.5, repr=False)
    """Wait before the first retry; doubled before each further one."""

    @property
    def base(self) -> str:
        url = self.url.rstrip("/")
        return url if url.endswith("/v1") else url + "/v1"


def check(llm: Llm) -> None:
    """Raises `UserError` when the server does not answer or does not serve the model."""
    import httpx

    try:
        reply = httpx.get(f"{llm.base}/models", headers=_headers(), timeout=20)
        reply.raise_for_status()
        served = [entry["id"] for entry in reply.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        why = str(error) or type(error).__name__
        raise UserError(
            f"{llm.url}: no OpenAI-compatible server answers there ({why}); start one or mend --llm"
        ) from None
    if llm.model not in served:
        raise UserError(f"{llm.url} serves {', '.join(served) or 'no model'}, not '{llm.model}'; mend --llm-model")


def refine(examples: Sequence[Example], llm: Llm, folder: Path) -> tuple[list[Example], Counter[str]]:
    """The examples with their chains reworded where that is safe, and what became of them.

    Counts: `accepted` (every sentence sent), `repaired` (some; the others keep the rule-made words), `rejected` (none),
    `failed` (no reply).

    Args:
        folder: holds the cache of replies.

    Raises:
        UserError: the server stopped answering.
    """
    with closing(Cache(folder / CACHE)) as cached:
        replies = asyncio.run(_ask_all([request(example.steps, llm.model) for example in examples], llm, cached))
    counts: Counter[str] = Counter()
    refined = []
    for example, reply in zip(examples, replies, strict=True):
        outcome, steps = ("failed", None) if reply is None else reworded(example, reply)
        counts[outcome] += 1
        refined.append(replace(example, steps=steps, reasoning=Chain(steps).text) if steps else example)
    return refined, counts


def request(steps: Sequence[Step], model: str) -> dict[str, Any]:
    """The body of the request about a chain."""
    sent = [step.text for step in steps if step.findings]
    lines = "\n".join(f"{number}. {text}" for number, text in enumerate(sent, 1))
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": lines}]
    return {"model": model, "messages": messages, "temperature": 0, "seed": 0, "max_tokens": 32 + 48 * len(sent)}


def reworded(example: Example, reply: str) -> tuple[str, tuple[Step, ...] | None]:
    """`accepted`, `repaired` or `rejected`, and the new steps where there are any."""
    sent = [number for number, step in enumerate(example.steps) if step.findings]
    texts = _lines(reply, len(sent))
    if texts is None:
        return "rejected", None
    findings = merge(extract_report(example.report))
    prior = any(finding.change for step in example.steps for finding in step.findings)
    steps, kept = list(example.steps), 0
    for number, text in zip(sent, texts, strict=True):
        new = replace(steps[number], text=text)
        if says_the_same(steps[number], text) and not step_faults(new, findings, example.report, prior=prior):
            steps[number] = new
            kept += 1
    if not kept or faults(Chain(tuple(steps)), findings, example.report, prior=prior):
        return "rejected", None
    return ("accepted" if kept == len(sent) else "repaired"), tuple(steps)


def says_the_same(step: Step, text: str) -> bool:
    """Whether a sentence asserts and denies exactly what the step does, in known words and at a like length."""
    old = step.text
    words = re.findall(r"[a-z]+", text.lower())
    if not 2 <= len(words) <= 2 * len(old.split()) + 10 or not _SENTENCE.fullmatch(text) or _STAMMER.search(text):
        return False
    if len(split_sentences(text)) != 1:
        return False
    own = set(re.findall(r"[a-z]+", old.lower()))
    known = sum(word in own or word in _COMMON or word in _vocabulary() for word in words)
    return known >= KNOWN * len(words) and _meaning(read(text)) == _meaning(read(old))


def _meaning(findings: Sequence[Finding]) -> set[tuple[str | None, ...]]:
    return {(f.concept, f.status, f.laterality, f.location, f.severity, f.change) for f in findings}


@cache
def _vocabulary() -> frozenset[str]:
    """All words of the lexicon."""
    words: set[str] = set()
    nodes = [load().trie]
    while nodes:
        for word, below in nodes.pop().items():
            if word:
                words.add(word)
                nodes.append(below)
    return frozenset(words)


def _lines(reply: str, count: int) -> list[str] | None:
    """The numbered sentences of a reply; None unless there are just as many as were sent, in order."""
    matches = [_LINE.fullmatch(line) for line in reply.strip().splitlines() if line.strip()]
    if len(matches) != count or any(m is None or int(m[1]) != n for n, m in enumerate(matches, 1)):
        return None
    return [m[2] for m in matches if m is not None]


class Cache:
    """Replies by the hash of their request, in a SQLite file that several processes may write."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._db.execute("CREATE TABLE IF NOT EXISTS replies (request TEXT PRIMARY KEY, reply TEXT NOT NULL)")

    def get(self, body: dict[str, Any]) -> str | None:
        row = self._db.execute("SELECT reply FROM replies WHERE request = ?", (_hash(body),)).fetchone()
        return row[0] if row else None

    def put(self, body: dict[str, Any], reply: str) -> None:
        # The first reply stays: another worker may have used it.
        self._db.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (_hash(body), reply))

    def close(self) -> None:
        self._db.close()


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _headers() -> dict[str, str]:
    key = os.environ.get("OPENAI_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


async def _ask_all(bodies: Sequence[dict[str, Any]], llm: Llm, cached: Cache) -> list[str | None]:
    import httpx

    wanted = {_hash(body): body for body in bodies if cached.get(body) is None}
    asking = _Asking(llm, cached)
    limits = httpx.Limits(max_connections=llm.concurrency)
    async with httpx.AsyncClient(headers=_headers(), timeout=llm.timeout_s, limits=limits) as client:
        queue = iter(list(wanted.values()))

        async def work() -> None:
            for body in queue:  # one iterator: each takes what comes next
                await asking.ask(client, body)

        await asyncio.gather(*(work() for _ in range(min(llm.concurrency, len(wanted)))))
    return [cached.get(body) for body in bodies]


class _Asking:
    """Requests with retries; stops the run when the server is gone."""

    def __init__(self, llm: Llm, cached: Cache) -> None:
        self.llm, self.cached, self.unanswered = llm, cached, 0

    async def ask(self, client: Any, body: dict[str, Any]) -> None:
        """Puts the reply into the cache; leaves nothing there when none can be had."""
        import httpx

        for attempt in range(self.llm.retries + 1):
            wait = self.llm.backoff_s * 2**attempt * random.uniform(0.5, 1.5)
            try:
                reply = await client.post(f"{self.llm.base}/chat/completions", json=body)
                self.unanswered = 0
                if reply.status_code == 200:
                    self.cached.put(body, reply.json()["choices"][0]["message"]["content"] or "")
                    return
                if reply.status_code != 429 and reply.status_code < 500:
                    return  # the request itself is refused, for ever
                after = reply.headers.get("retry-after", "")
                wait = max(wait, min(float(after), 60.0)) if after.isdigit() else wait
            except httpx.TransportError:
                self.unanswered += 1
                if self.unanswered >= GIVE_UP:
                    raise UserError(
                        f"{self.llm.url} stopped answering; start it again and repeat the command: it goes on from here"
                    ) from None
            except (ValueError, KeyError, IndexError, TypeError):
                pass  # not the reply of such a server: perhaps the next one is
            if attempt < self.llm.retries:
                await asyncio.sleep(wait)
