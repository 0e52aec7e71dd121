"""How long rows are, in tokens, images included: prompts are never cut, too long rows are left out (`kept.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from reasoner.compat.transformers import count_image_tokens
from reasoner.dialogues import last_question
from reasoner.pictures import picture_size
from reasoner.profiles import OURS, Profile
from reasoner.prompts import ask, assistant_message
from reasoner.schema import Example


def row_lengths(
    examples: Sequence[Example],
    processor: Any,
    *,
    completions: bool,
    profile: Profile = OURS,
    size: Callable[[str], tuple[int, int]] = picture_size,
) -> list[int]:
    """The tokens of each example's prompt, with `completions` those of its reference, too.

    Text is tokenised for real; image tokens are counted from the (width, height) of a picture, which `size` gives from
    the file's header. A dialogue is as long as its whole conversation.
    """
    if not examples:
        return []
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
    image_tokens = cache(partial(count_image_tokens, processor))
    for number, example in enumerate(examples):
        for path in example.images:
            width, height = profile.shown_size(*size(path))
            lengths[number] += image_tokens((height, width)) - 1  # the placeholder is counted in the text
    return lengths


def message_length(messages: Sequence[Mapping[str, Any]], processor: Any) -> int:
    """The tokens of a chat as TRL prepares it, its pictures in their blocks, up to the model's next turn."""
    text = processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    blocks = [block for m in messages if not isinstance(m["content"], str) for block in m["content"]]
    pictures = [block["image"] for block in blocks if block["type"] == "image"]
    extra = sum(count_image_tokens(processor, (picture.height, picture.width)) - 1 for picture in pictures)
    return len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + extra
