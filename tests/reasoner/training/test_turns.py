"""SFT on dialogues: one row a study, loss on each answer and on nothing else, weights on every answer."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from reasoner.dialogues import packed, questions, relinked
from reasoner.models import tiny
from reasoner.models.load import load_processor
from reasoner.profiles import PROFILES
from reasoner.schema import Example, Turn
from reasoner.training.feed import to_dataset
from reasoner.training.lengths import row_lengths

ASKED = (
    ("What is shown?", "A frontal view.", "The heart is enlarged.", 1),
    ("Is it wide?\nA) Yes\nB) No", "A", "It fills half the chest.", 1),
    ("What has changed?", "The heart has grown.", "The prior one is smaller.", 2),
    ("Sum up.", "Cardiomegaly.", "There is no effusion.", 2),
)
#: How the tiny model's template shows an answer: what is learned is in the group.
ANSWER = re.compile(r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)", re.DOTALL)


@pytest.fixture(scope="module")
def trl():
    """Imported when a test runs: the suite is collected under ASCII locales, too, and TRL cannot be imported there."""
    return importlib.import_module("reasoner.compat.trl")


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    texts = [text for row in ASKED for text in row[:3]] + ["user\n", "assistant\n", "system\n"]
    return load_processor(tiny.build(tmp_path_factory.mktemp("tiny"), texts * 4))


@pytest.fixture
def dialogue(tmp_path):
    paths = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((112, 112), 60 + 60 * number, np.uint8)).save(path)
        paths.append(str(path))
    rows = [
        Example(f"s-{n}", "s", "stage", question, answer, reasoning, images=tuple(paths[:images]), stage=n + 1)
        for n, (question, answer, reasoning, images) in enumerate(ASKED)
    ]
    [whole] = packed(relinked(rows))
    return whole


def old_row(dialogue: Example) -> Example:
    """The last question as data sets of one row a stage have it."""
    *_, last = questions(dialogue)
    return replace(last, context=tuple(Turn(turn.question, turn.answer) for turn in last.context))


def labelled(trl, processor, dataset, number):
    """The ids of a row of a batch of all rows, and which of them have labels."""
    collator = trl.TurnsCollator(processor, completion_only_loss=True)
    batch = collator([dict(dataset[n]) for n in range(len(dataset))])
    count = int(batch["attention_mask"][number].sum())
    ids, labels = batch["input_ids"][number][:count].tolist(), batch["labels"][number]
    assert (labels[count:] == trl.IGNORED).all(), "padding has none"
    assert all(label in (trl.IGNORED, token) for label, token in zip(labels[:count].tolist(), ids, strict=True))
    return ids, [label != trl.IGNORED for label in labels[:count].tolist()]


def expected(processor, text, all_answers=True):
    """The same from the rendered chat alone, its images expanded: by characters, and by another road."""
    text = text.replace("<|image_pad|>", "<|image_pad|>" * 16)
    answers = [match.span(1) for match in ANSWER.finditer(text)]
    last = answers[-1]
    spans = [*(answers[:-1] if all_answers else ()), (last[0], last[1] + 1)]  # TRL adds the line break at the end
    found = processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    inside = [any(a <= start and end <= b for a, b in spans) for start, end in found["offset_mapping"]]
    return found["input_ids"], inside


@pytest.mark.parametrize("name", PROFILES)
def test_loss_is_on_each_answer_and_on_nothing_else(trl, processor, dialogue, name):
    profile = PROFILES[name]
    *_, last = questions(dialogue)
    alone = replace(last, context=(), images=last.images[:1])
    examples = [dialogue, old_row(dialogue), alone]
    dataset = to_dataset(examples, completions=True, profile=profile)
    for number, example in enumerate(examples):
        row = to_dataset([example], completions=True, profile=profile)[0]
        chat = trl.prepare_multimodal_messages([*row["prompt"], *row["completion"]], images=row["images"])
        text = processor.apply_chat_template(chat, tokenize=False)
        ids, has_loss = labelled(trl, processor, dataset, number)
        assert (ids, has_loss) == expected(processor, text, all_answers=number == 0)
        taught = [processor.tokenizer.decode([i for i, on in zip(ids, has_loss, strict=True) if on])]
        assert all((answer in taught[0]) == (number == 0 or answer == ASKED[-1][1]) for _, answer, _, _ in ASKED[2:])


def test_a_dialogue_is_one_row_with_each_picture_where_it_is_first_shown(processor, dialogue):
    for name in ("ours", "cxrtrek"):
        dataset = to_dataset([dialogue], completions=True, profile=PROFILES[name])
        assert len(dataset) == 1 and len(dataset[0]["images"]) == 2
        messages = [*dataset[0]["prompt"], *dataset[0]["completion"]]
        shown = [sum(b["type"] == "image" for b in m["content"]) for m in messages if m["role"] == "user"]
        assert shown == [1, 0, 1, 0]
        assert [m["role"] for m in messages if m["role"] != "system"] == ["user", "assistant"] * 4


@pytest.mark.parametrize("name", PROFILES)
def test_a_stage_is_asked_as_the_dialogue_taught_it(processor, dialogue, name):
    """The prompt of each question is how the conversation of SFT begins, to the letter."""
    from reasoner.prompts import ask

    profile = PROFILES[name]
    row = to_dataset([dialogue], completions=True, profile=profile)[0]
    whole = processor.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)
    for question in questions(dialogue):
        messages = ask(question, profile, len(question.images))
        assert whole.startswith(processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def test_each_answer_has_its_weights(trl, processor, dialogue):
    def weigh(text):
        return [float(n + 2) for n in range(len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]))]

    profile = PROFILES["cxrtrek"]
    collator = trl.TurnsCollator(processor, completion_only_loss=True, weigh=weigh)
    batch = collator([dict(to_dataset([dialogue], completions=True, profile=profile)[0])])
    weights = batch["token_weights"][0][batch["labels"][0] != trl.IGNORED].tolist()
    wanted = []
    for _, answer, _, _ in ASKED:
        wanted += [*weigh(answer), 1.0]  # the end of the turn
    assert weights == [*wanted, 1.0]


def test_special_tokens_in_an_answer_move_no_other_ones_place(trl, processor, dialogue):
    turns = (replace(dialogue.turns[0], answer="A<|im_end|>\n<|im_start|>assistant\nB"), *dialogue.turns[1:])
    dataset = to_dataset([replace(dialogue, turns=turns)], completions=True, profile=PROFILES["cxrtrek"])
    ids, has_loss = labelled(trl, processor, dataset, 0)
    taught = processor.tokenizer.decode([i for i, on in zip(ids, has_loss, strict=True) if on])
    assert all(answer in taught for _, answer, _, _ in ASKED[1:])


def test_a_dialogue_is_as_long_as_its_conversation(trl, processor, dialogue):
    for name in ("ours", "cxrtrek"):
        profile = PROFILES[name]
        dataset = to_dataset([dialogue], completions=True, profile=profile)
        ids, _ = labelled(trl, processor, dataset, 0)
        assert row_lengths([dialogue], processor, completions=True, profile=profile) == [len(ids)]
