"""Judges of the process that stand in for the rules: the interface, and a language model behind any OpenAI-compatible
server, which is asked for ChestX-Reasoner's judgements (arXiv 2504.20930, section 3.4).

The language model lists the key findings of the reference and whether each is recalled (completeness), the claims of
the completion and whether the report bears each out (factuality), and its steps and whether the reference supports
each (effectiveness). Every request goes out once: replies are cached on disk. Where the judge answers too late, or
not in the form asked for, the score is None, and the rules score the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from reasoner.errors import UserError
from reasoner.llm import Llm, ask, remembered
from rewards.registry import Score

SYSTEM = (
    "You judge how a model reasoned about a chest X-ray. You are given the radiologist's REPORT, a REFERENCE reasoning "
    "and the model's REASONING. Answer with one JSON object and nothing else:\n"
    '{"claims": [{"words": "...", "good": true}], "key_findings": [{"words": "...", "good": true}], '
    '"steps": [{"words": "...", "good": true}]}\n'
    "claims: each finding that REASONING asserts or denies; good if the REPORT agrees, or is silent and the finding is "
    "called absent. key_findings: each finding of REFERENCE; good if REASONING says the same, with the same side. "
    "steps: each sentence of REASONING that asserts something; good if REFERENCE supports it and it was not said "
    "before. Plans and textbook knowledge are neither claims nor steps. Quote the words as they stand."
)
#: Key of the reply -> part of the score, verdict on what is not good.
_LISTS = {
    "claims": ("factuality", "contradicted"),
    "key_findings": ("completeness", "missed"),
    "steps": ("effectiveness", "unsupported"),
}
_JSON = re.compile(r"\{.*\}", re.DOTALL)


class Case(NamedTuple):
    """What is judged: a reasoning text, the reference chain and the report."""

    text: str
    reference: str
    report: str


class Judge(Protocol):
    """Judges a chunk at once, and then gives out one score after another."""

    def ask(self, cases: Sequence[Case]) -> None:
        """Fetches what `score` needs, as far as the time allows. Without cases (before a run): starts what takes long.

        Raises:
            UserError: this judge cannot be had at all.
        """

    def score(self, case: Case) -> Score | None:
        """The score that `ask` fetched; None where it got none."""


class LlmJudge(NamedTuple):
    """A server, its model, and how long one round of requests may take in seconds."""

    url: str
    model: str
    timeout_s: float
    cache: str

    @property
    def path(self) -> Path:
        return Path(self.cache).expanduser()

    def ask(self, cases: Sequence[Case]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One attempt, within the time that the pool allows for a completion: the rules stand in for the rest.
        server = Llm(self.url, self.model, retries=0, timeout_s=self.timeout_s)
        with suppress(UserError):  # gone; the rules go on, and `judge_fallback` tells
            ask([self._request(case) for case in cases], server, self.path)

    def score(self, case: Case) -> Score | None:
        reply = remembered(self._request(case), self.path) if self.path.is_file() else None
        return None if reply is None else judged(reply, case.text)

    def _request(self, case: Case) -> dict[str, Any]:
        """The body of the request about one reasoning text."""
        shown = f"REPORT:\n{case.report}\n\nREFERENCE:\n{case.reference}\n\nREASONING:\n{case.text}"
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": shown}]
        return {"model": self.model, "messages": messages, "temperature": 0, "seed": 0, "max_tokens": 2048}


def judged(reply: str, text: str) -> Score | None:
    """The score that a reply says; None when it is not of the form asked for."""
    match = _JSON.search(reply)
    try:
        said: Any = json.loads(match.group()) if match else None
        entries: list[dict[str, Any]] = [
            {
                "part": part,
                "verdict": "supported" if item["good"] else verdict,
                "credit": float(bool(item["good"])),
                "words": str(item["words"]),
                "against": "",
                "start": (start := max(0, text.find(str(item["words"])))),
                "end": start + len(str(item["words"])),
                "weight": 1.0,
            }
            for key, (part, verdict) in _LISTS.items()
            for item in said[key]
        ]
    except (ValueError, KeyError, TypeError):
        return None
    parts = {}
    for part, _ in _LISTS.values():
        credits = [entry["credit"] for entry in entries if entry["part"] == part]
        parts[part] = sum(credits) / len(credits) if credits else 0.0
    return Score(sum(parts.values()) / len(parts), tuple(entries), parts)
