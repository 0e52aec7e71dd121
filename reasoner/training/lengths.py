"""How long rows are, in tokens, images included: prompts are never truncated, rows that do not fit are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reasoner.compat.transformers import count_image_tokens
from reasoner.dialogues import last_question
from reasoner.pictures import picture_size
from reasoner.profiles import OURS, Profile
from reasoner.prompts import ask, assistant_message
from reasoner.schema import Example


def fit_length(
    examples: Sequence[Example], processor: Any, max_length: int, *, completions: bool, profile: Profile = OURS
) -> tuple[list[Example], list[Example], int]:
    """Splits examples into those of at most `max_length` tokens and the longer ones; also the longest length seen.

    Text is tokenised for real; image tokens are counted from the image sizes in the files' headers. A dialogue is as
    long as its whole conversation.
    """
    rows = [last_question(example) for example in examples]
    texts = [
        processor.apply_chat_template(
            ask(e, profile, len(e.images))
            + ([assistant_message(e.reasoning, e.answer, profile)] if completions else []),
            add_generation_prompt=not completions,
            tokenize=False,
        )
        for e in rows
    ]
    lengths = [len(ids) for ids in processor.tokenizer(texts, add_special_tokens=False)["input_ids"]]
    image_tokens: dict[tuple[int, int], int] = {}
    kept: list[Example] = []
    dropped: list[Example] = []
    for number, example in enumerate(examples):
        for path in example.images:
            width, height = profile.shown_size(*picture_size(path))
            size = (height, width)
            if size not in image_tokens:
                image_tokens[size] = count_image_tokens(processor, size)
            lengths[number] += image_tokens[size] - 1  # the placeholder is counted in the text
        (kept if lengths[number] <= max_length else dropped).append(example)
    return kept, dropped, max(lengths)


def message_length(messages: Sequence[Mapping[str, Any]], processor: Any) -> int:
    """The tokens of a chat as TRL prepares it, its pictures in their blocks, up to the model's next turn."""
    text = processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    blocks = [block for m in messages if not isinstance(m["content"], str) for block in m["content"]]
    pictures = [block["image"] for block in blocks if block["type"] == "image"]
    extra = sum(count_image_tokens(processor, (picture.height, picture.width)) - 1 for picture in pictures)
    return len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + extra
