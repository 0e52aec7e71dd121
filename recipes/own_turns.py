"""Conversations in which the earlier answers are the policy's own, as it will meet them when nobody corrects it.

The reference answers of a prompt give way one after the other: what the policy samples for a turn stands there when it
is asked the next. All prompts of a batch are a round further each time, so a batch costs as many more calls of the
engine as its longest conversation has earlier turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Messages = list[dict[str, Any]]


def earlier_turns(prompt: Messages) -> list[int]:
    """The places of the answers that a prompt shows."""
    return [place for place, message in enumerate(prompt) if message["role"] == "assistant"]


def with_own_turns(
    prompts: Sequence[Messages],
    rounds: int,
    say: Callable[[list[Messages]], list[str]],
    fits: Callable[[Messages], bool],
    write: Callable[[str], dict[str, Any]],
) -> tuple[list[Messages], int]:
    """The prompts with the policy's own earlier answers, and how many keep reference ones.

    Args:
        prompts: one of each group, with the reference answers; they are not changed.
        rounds: how often to ask, at least as often as any of them has earlier turns; all processes as often.
        say: one completion for each of these prompts.
        fits: whether a prompt is short enough to be asked; one that own answers have made too long goes on from the
            reference ones.
        write: a completion as an earlier turn.
    """
    own = [list(prompt) for prompt in prompts]
    places = [earlier_turns(prompt) for prompt in prompts]
    kept: set[int] = set()

    def back_if_too_long(number: int, end: int) -> None:
        if own[number][:end] != prompts[number][:end] and not fits(own[number][:end]):
            own[number] = list(prompts[number])
            kept.add(number)

    for round_ in range(rounds):
        asked = []
        for number, turns in enumerate(places):
            end = turns[round_] if round_ < len(turns) else len(prompts[number])
            if round_ < len(turns):
                back_if_too_long(number, end)
            # One that has no more turns is asked along, so that every process asks as many, and is not listened to.
            asked.append(own[number][:end] if round_ < len(turns) else prompts[number])
        for number, text in enumerate(say(asked)):
            if round_ < len(places[number]):
                own[number][places[number][round_]] = write(text)
    for number, prompt in enumerate(prompts):
        back_if_too_long(number, len(prompt))
    return own, len(kept)
