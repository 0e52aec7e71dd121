"""Prompt profiles: how a model is asked and how its answer is read, the same for SFT, GRPO and evaluation.

`ours` is what our own models are trained on. The others ask as the authors of a released model or data set do, by their
published code; `reasoner/prompts.py` alone turns one into messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN, OUR_COMPLETION, TAGS, THINK_CLOSE, parse_completion, read_answer

if TYPE_CHECKING:
    import PIL.Image

#: Profiles by name, for schemas.
ProfileName = Literal["ours", "chestx_reasoner", "nv_reason", "cxrtrek"]
#: How completions are laid out: think and answer block; the same, but a row without reasoning has the answer block
#: alone; no tags at all.
Form = Literal["blocks", "blocks_where_reasoned", "plain"]

_FIRST_BLOCK = re.compile(f"{ANSWER_OPEN}(.*?){ANSWER_CLOSE}", re.DOTALL)
#: Where a turn of the assistant begins in a decoded chat of Qwen's, with or without its special tokens.
_ASSISTANT = re.compile(
    r"^(?:<\|im_start\|>)?[ \t]*assistant[ \t]*:?[ \t]*(?:\r?\n|(?=<think>|<answer>)|\Z)", re.MULTILINE | re.IGNORECASE
)
_END_OF_TURN = re.compile(r"(?:\s*<\|(?:im_end|endoftext|eot_id)\|>)+\s*\Z")


@dataclass(frozen=True)
class Profile:
    """One way of asking and reading. All is plain text and numbers, so that a run can store it."""

    name: str
    #: Paper, and where the texts were read.
    source: str
    #: The system turn; empty leaves it to the chat template.
    system: str = ""
    #: Stands after question and options of what is to be answered, but not of earlier turns.
    suffix: str = ""
    #: Task -> the question in the place of the row's own.
    questions: Mapping[str, str] = field(default_factory=dict)
    #: Pixels of an image after the processor's resizing; None keeps the checkpoint's own.
    min_pixels: int | None = None
    max_pixels: int | None = None
    #: Edge of the square, in pixels, to which pictures are drawn before the processor sees them, whatever their shape.
    side: int | None = None
    #: Longest completion; None leaves it to the recipe.
    max_new_tokens: int | None = None
    form: Form = "blocks"
    #: What a model is taught to write, from `reasoning` and `answer`; of a row without reasoning `bare`.
    completion: str = OUR_COMPLETION
    bare: str = OUR_COMPLETION
    #: How the answer of an earlier turn whose reasoning is not known stands in the conversation, from `answer`.
    turn: str = f"{ANSWER_OPEN}{{answer}}{ANSWER_CLOSE}"
    #: Whether the second image stands in the last turn, instead of beside the first, where turns do not say
    #: themselves which they show.
    images_where_asked: bool = False
    #: `tags`: the answer block, or where there is no such tag the prose after the reasoning; `first_block`: the first
    #: answer block or nothing.
    reads: Literal["tags", "first_block"] = "tags"

    def read_answer(self, completion: str) -> str | None:
        """The text of the answer in what a model wrote; None where none can be read."""
        text = own_words(completion)
        if self.reads == "first_block":
            block = _FIRST_BLOCK.search(text)
            return block.group(1).strip() if block else None
        return read_answer(text)

    def read_turn(self, completion: str) -> tuple[str, str]:
        """The reasoning and the answer of a completion, as later turns of its conversation show them. Of one whose
        answer cannot be read all words are the answer."""
        answer = self.read_answer(completion)
        words = own_words(completion)
        if answer:
            thought = self.form != "plain" and THINK_CLOSE in words
            return parse_completion(words).reasoning if thought else "", answer
        for tag in TAGS:
            words = words.replace(tag, " ")
        return "", words.strip()

    def reasons(self, reasoning: str) -> bool:
        """Whether a row with this reference reasoning is asked for reasoning."""
        return self.form == "blocks" or (self.form == "blocks_where_reasoned" and bool(reasoning.strip()))

    def shown(self, picture: PIL.Image.Image) -> PIL.Image.Image:
        """The picture as the processor is given it."""
        return picture if self.side is None else picture.resize((self.side, self.side))

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of a picture of this size as `shown`, in pixels."""
        return (width, height) if self.side is None else (self.side, self.side)

    def within(self, min_pixels: int | None, max_pixels: int | None) -> Profile:
        """The profile with a recipe's own image budget, which also keeps the shape of pictures."""
        if (min_pixels, max_pixels) == (self.min_pixels, self.max_pixels):
            return self
        return replace(self, min_pixels=min_pixels, max_pixels=max_pixels, side=None)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def own_words(text: str) -> str:
    """What the model itself wrote of a released prediction that repeats the prompt: the text after the last turn
    `assistant` began, or all of it.

    >>> own_words("system\\nYou are a helpful assistant.\\nuser\\nIs it A?\\nassistant\\n<answer> A </answer>")
    '<answer> A </answer>'
    """
    turns = list(_ASSISTANT.finditer(text))
    return _END_OF_TURN.sub("", text[turns[-1].end() :] if turns else text)


OURS = Profile("ours", "this repository")

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        OURS,
        Profile(
            "chestx_reasoner",
            "ChestX-Reasoner, arXiv 2504.20930; github.com/MAGIC-AI4Med/ChestX-Reasoner, SFT/dataset/SFT_dataloader.py",
            suffix="\nLet's think step by step. Enclose the reasoning within <think></think> and the answer within "
            "<answer></answer>.",
            min_pixels=448 * 448,
            max_pixels=448 * 448,
            side=448,
            form="blocks_where_reasoned",
            completion="<think> {reasoning} </think><answer> {answer} </answer>",
            bare="<answer> {answer} </answer>",
            turn="<answer> {answer} </answer>",
        ),
        Profile(
            "nv_reason",
            "NV-Reason-CXR, arXiv 2510.23968; github.com/NVIDIA-Medtech/NV-Reason-CXR, train/",
            questions={"abnormality_list": "Find abnormalities and support devices."},
            min_pixels=128 * 128,
            max_pixels=476 * 476,
            max_new_tokens=2048,
            completion="<think> {reasoning} </think>\n<answer> {answer} </answer>",
            bare="<think> {reasoning} </think>\n<answer> {answer} </answer>",
            turn="<answer> {answer} </answer>",
            reads="first_block",
        ),
        Profile(
            "cxrtrek",
            "CXRTrek; github.com/guanjinquan/CXRTrekReasoner, dataset/train_swift_demo.json",
            system="You are a helpful radiology assistant to help radiologists analyze, interpret medical images and "
            "answer clinical questions.",
            form="plain",
            completion="{answer}",
            bare="{answer}",
            turn="{answer}",
            images_where_asked=True,
        ),
    )
}
