"""A language model as judge of the process, behind any OpenAI-compatible server: it is asked for ChestX-Reasoner's
judgements (arXiv 2504.20930, section 3.4).

It lists the key findings of the reference and whether each is recalled (completeness), the claims of the completion
and whether the report bears each out (factuality), and its steps and whether the reference supports each
(effectiveness). Every request goes out once: replies are cached on disk. Where it answers too late, or not in the form
asked for, the score is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from reasoner.errors import UserError
from reasoner.llm import Llm, ask, check, json_object, remembered
from reasoner.settings import Float
from rewards.judges.rules import Case
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


@dataclass(frozen=True)
class LlmJudge:
    """The model `model` at `url`, asked about all cases of a chunk at once, each reply within `timeout_s` seconds;
    `cache` is the SQLite file that keeps the replies."""

    gives_step_verdicts: ClassVar[bool] = True
    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    model: str
    timeout_s: Annotated[Float, Field(gt=0)] = 8.0
    cache: str = "~/.cache/cxr-reasoner/judge.sqlite"
    kind: Literal["llm"] = "llm"

    def start(self) -> None:
        """Raises `UserError` when no server answers, or it does not serve the model."""
        try:
            check(Llm(self.url, self.model))
        except UserError as error:
            what, _, _ = str(error).rpartition(";")  # its advice is about another option
            raise UserError(f"judge llm: {what}; start one, or mend `url` and `model` of the judge") from None

    def score(self, cases: Sequence[Case]) -> list[Score | None]:
        """What the model says of each case; None where it says nothing usable in time."""
        cache = Path(self.cache).expanduser()
        cache.parent.mkdir(parents=True, exist_ok=True)
        requests = [self._request(case) for case in cases]
        # One attempt, and all at a time: what takes longer than the pool allows for a completion is lost anyway.
        server = Llm(self.url, self.model, concurrency=max(1, len(cases)), retries=0, timeout_s=self.timeout_s)
        try:
            replies = ask(requests, server, cache)
        except UserError:  # the server is gone; what it said before still counts
            replies = [remembered(request, cache) for request in requests]
        pairs = zip(replies, cases, strict=True)
        return [None if reply is None else judged(reply, case.text) for reply, case in pairs]

    def _request(self, case: Case) -> dict[str, Any]:
        """The body of the request about one reasoning text."""
        shown = f"REPORT:\n{case.report}\n\nREFERENCE:\n{case.reference}\n\nREASONING:\n{case.text}"
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": shown}]
        return {"model": self.model, "messages": messages, "temperature": 0, "seed": 0, "max_tokens": 2048}


def judged(reply: str, text: str) -> Score | None:
    """The score that a reply says; None when it is not of the form asked for."""
    try:
        said: Any = json_object(reply)
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
