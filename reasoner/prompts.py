"""The one place that knows the chat format and the `<think>` / `<answer>` tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner.schema import Example, Turn

if TYPE_CHECKING:
    from reasoner.profiles import Profile

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
#: What our models are trained to write.
OUR_COMPLETION = f"{THINK_OPEN}{{reasoning}}{THINK_CLOSE}\n{ANSWER_OPEN}{{answer}}{ANSWER_CLOSE}"

_WELL_FORMED = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)


class Completion(NamedTuple):
    """A completion taken apart. `well_formed`: each tag exactly once, in order, and nothing outside them."""

    reasoning: str
    answer: str | None
    well_formed: bool


def format_completion(reasoning: str, answer: str) -> str:
    """The text our models are trained to write."""
    return OUR_COMPLETION.format(reasoning=reasoning.strip(), answer=answer.strip())


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


def read_answer(text: str) -> str | None:
    """The answer of a completion: its answer block; without any answer tag the prose after the reasoning.

    None where there are several blocks, one that is not closed, reasoning that does not end, or no words.

    >>> read_answer("<think>Wide heart.</think> Cardiomegaly."), read_answer("<think>Wide heart. Cardiomegaly.")
    ('Cardiomegaly.', None)
    """
    if ANSWER_OPEN in text or ANSWER_CLOSE in text:
        return parse_completion(text).answer
    _, closed, after = text.rpartition(THINK_CLOSE)
    if not closed and THINK_OPEN in after:
        return None
    return after.strip() or None


def user_message(question: str, options: Sequence[str], n_images: int, suffix: str = "") -> dict[str, Any]:
    """One chat turn with `n_images` image placeholders followed by the question, its lettered options, and what a
    profile adds."""
    text = "\n".join([question, *options]) + suffix
    return {"role": "user", "content": [{"type": "image"}] * n_images + [_text(text)]}


def conversation(
    context: Sequence[Turn],
    question: str,
    options: Sequence[str],
    n_images: int,
    profile: Profile,
    *,
    task: str | None = None,
    reasoned: bool = True,
) -> list[dict[str, Any]]:
    """The messages up to the model's own: the profile's system turn, earlier turns, then the question.

    An image stands in the first turn that shows it, where the turns say so (`Turn.images`). Where they do not, all
    stand in the first; or, where the profile puts them where they are asked about, all but the first stand in the last.
    An earlier turn whose reasoning is known is asked and answered as the model is taught to; of another the model sees
    the answer alone, as chat templates that drop past reasoning show it.

    Args:
        task: chooses the profile's own question, if it has one.
        reasoned: whether reasoning is asked for (`Profile.reasons`); without, the profile's suffix is left out.
    """
    messages: list[dict[str, Any]] = []
    if profile.system:
        messages.append({"role": "system", "content": [_text(profile.system)]})
    *earlier, new = _new_images(context, n_images, profile)
    for turn, images in zip(context, earlier, strict=True):
        if turn.reasoning is None:
            messages.append(user_message(turn.question, turn.options, images))
            answer = profile.turn.format(answer=turn.answer.strip())
            messages.append({"role": "assistant", "content": [_text(answer)]})
        else:
            suffix = profile.suffix if profile.reasons(turn.reasoning) else ""
            messages.append(user_message(turn.question, turn.options, images, suffix))
            messages.append(assistant_message(turn.reasoning, turn.answer, profile))
    asked = profile.questions.get(task or "", question)
    return [*messages, user_message(asked, options, new, profile.suffix if reasoned else "")]


def _new_images(context: Sequence[Turn], n_images: int, profile: Profile) -> list[int]:
    """How many images stand in each turn, that of the question included."""
    if not context:
        return [n_images]
    shown = [turn.images for turn in context]
    if None in shown:
        late = max(0, n_images - 1) if profile.images_where_asked else 0
        return [n_images - late, *[0] * (len(context) - 1), late]
    sofar = [0, *accumulate((min(count or 0, n_images) for count in shown), max), n_images]
    return [after - before for before, after in pairwise(sofar)]


def ask(example: Example, profile: Profile, n_images: int) -> list[dict[str, Any]]:
    """The `conversation` of an example, with `n_images` placeholders."""
    return conversation(
        example.context,
        example.question,
        example.options,
        n_images,
        profile,
        task=example.task,
        reasoned=profile.reasons(example.reasoning),
    )


def assistant_message(reasoning: str, answer: str, profile: Profile) -> dict[str, Any]:
    """What the model is taught to write, as a turn."""
    template = profile.completion if reasoning.strip() else profile.bare
    return {
        "role": "assistant",
        "content": [_text(template.format(reasoning=reasoning.strip(), answer=answer.strip()))],
    }


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
