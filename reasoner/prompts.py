"""The one place that knows the chat format and the `<think>` / `<answer>` tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from reasoner.schema import Turn

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

_WELL_FORMED = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)


class Completion(NamedTuple):
    """A completion taken apart. `well_formed`: each tag exactly once, in order, and nothing outside them."""

    reasoning: str
    answer: str | None
    well_formed: bool


def format_completion(reasoning: str, answer: str) -> str:
    """The text a model is trained to write."""
    return f"{THINK_OPEN}{reasoning.strip()}{THINK_CLOSE}\n{ANSWER_OPEN}{answer.strip()}{ANSWER_CLOSE}"


def parse_completion(text: str) -> Completion:
    """Takes a completion apart, leniently where tags are missing, so that other models' texts can be scored too.

    Without think tags the reasoning is the text outside the answer tags; without answer tags the answer is None.
    Several answer blocks give `answer=None`: which one is meant is not ours to choose.
    """
    once = all(text.count(tag) == 1 for tag in TAGS)
    match = _WELL_FORMED.fullmatch(text) if once else None
    if match:
        reasoning, answer = match.group(1).strip(), match.group(2).strip()
        return Completion(reasoning, answer, bool(reasoning) and bool(answer))
    head, answer_open, tail = text.partition(ANSWER_OPEN)
    found = None
    if answer_open and text.count(ANSWER_OPEN) == 1:
        inside, closed, rest = tail.partition(ANSWER_CLOSE)
        found = inside.strip() if closed else None
        tail = rest if closed else tail
    _, think_open, rest = head.partition(THINK_OPEN)
    if think_open:
        head = rest.partition(THINK_CLOSE)[0]
    reasoning = head if think_open else f"{head} {tail}"
    for tag in TAGS:
        reasoning = reasoning.replace(tag, " ")
    return Completion(reasoning.strip(), found, False)


def user_message(question: str, options: Sequence[str], n_images: int) -> dict[str, Any]:
    """One chat turn with `n_images` image placeholders followed by the question and its lettered options."""
    text = "\n".join([question, *options])
    return {"role": "user", "content": [{"type": "image"}] * n_images + [{"type": "text", "text": text}]}


def conversation(context: Sequence[Turn], question: str, options: Sequence[str], n_images: int) -> list[dict[str, Any]]:
    """The messages up to the model's own: earlier turns, then the question. The images stand in the first turn.

    Of an earlier turn the model sees the answer alone, as chat templates that drop past reasoning show it.
    """
    messages: list[dict[str, Any]] = []
    for turn in context:
        messages.append(user_message(turn.question, turn.options, 0 if messages else n_images))
        answer = f"{ANSWER_OPEN}{turn.answer.strip()}{ANSWER_CLOSE}"
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return [*messages, user_message(question, options, 0 if messages else n_images)]


def assistant_message(reasoning: str, answer: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": format_completion(reasoning, answer)}]}
