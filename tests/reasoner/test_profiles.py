"""Prompt profiles: what each one asks, in the text that a Qwen2.5-VL sees, in training and evaluation alike."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from reasoner.models import tiny
from reasoner.models.engine import Prompt, prompt_inputs
from reasoner.models.load import load_processor
from reasoner.profiles import OURS, PROFILES, own_words
from reasoner.prompts import TAGS, ask, assistant_message, format_completion
from reasoner.schema import Example, Turn
from reasoner.training.feed import to_dataset
from reasoner.training.lengths import row_lengths
from reasoner.training.weights import TokenWeights, token_weights

QUESTION = "Which abnormalities are present?"
SUFFIX = (
    "\nLet's think step by step. Enclose the reasoning within <think></think> and the answer within <answer></answer>."
)
SYSTEM = (
    "You are a helpful radiology assistant to help radiologists analyze, interpret medical images and answer "
    "clinical questions."
)
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
PLAIN_SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return load_processor(tiny.build(folder / "model", [QUESTION, "The heart is enlarged."] * 4))


@pytest.fixture
def rows(tmp_path):
    """Rows with and without reasoning, with options, and a later turn of a conversation that asks about two images."""
    paths = []
    for number, (height, width) in enumerate(((300, 400), (500, 200))):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((height, width), 90, np.uint8)).save(path)
        paths.append(str(path))
    one = {"study_id": "s", "images": (paths[0],)}
    context = (Turn("What is shown?", " Frontal view. "), Turn("Is it good?", "Yes.", ("A) Yes", "B) No")))
    return [
        Example("list", task="abnormality_list", question=QUESTION, answer="Edema", reasoning="It is wet.", **one),
        Example("bare", task="binary", question="Is it wet?", answer="Yes", options=("A) Yes", "B) No"), **one),
        Example(
            "later", "s", "stage", "What has changed?", "Nothing.", "The films are alike.", images=tuple(paths),
            stage=5, context=context,
        ),
    ]  # fmt: skip


def rendered(processor, example, profile):
    messages = ask(example, profile, len(example.images))
    return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def user(text):
    return f"<|im_start|>user\n{text}<|im_end|>\n"


def assistant(text):
    return f"<|im_start|>assistant\n{text}<|im_end|>\n"


OPEN = "<|im_start|>assistant\n"


def test_ours_asks_as_it_always_did(processor, rows):
    listed, bare, later = (rendered(processor, row, OURS) for row in rows)
    assert listed == PLAIN_SYSTEM + user(IMAGE + QUESTION) + OPEN
    assert bare == PLAIN_SYSTEM + user(f"{IMAGE}Is it wet?\nA) Yes\nB) No") + OPEN
    assert later == (
        PLAIN_SYSTEM
        + user(f"{IMAGE * 2}What is shown?")
        + assistant("<answer>Frontal view.</answer>")
        + user("Is it good?\nA) Yes\nB) No")
        + assistant("<answer>Yes.</answer>")
        + user("What has changed?")
        + OPEN
    )
    for row in rows:
        [block] = assistant_message(row.reasoning, row.answer, OURS)["content"]
        assert block["text"] == f"<think>{row.reasoning}</think>\n<answer>{row.answer}</answer>"
        assert block["text"] == format_completion(row.reasoning, row.answer)


def test_chestx_reasoner_asks_for_reasoning_only_where_there_is_some(processor, rows):
    profile = PROFILES["chestx_reasoner"]
    listed, bare, _ = (rendered(processor, row, profile) for row in rows)
    assert listed == PLAIN_SYSTEM + user(IMAGE + QUESTION + SUFFIX) + OPEN
    assert bare == PLAIN_SYSTEM + user(f"{IMAGE}Is it wet?\nA) Yes\nB) No") + OPEN
    texts = [assistant_message(row.reasoning, row.answer, profile)["content"][0]["text"] for row in rows[:2]]
    assert texts == ["<think> It is wet. </think><answer> Edema </answer>", "<answer> Yes </answer>"]


def test_nv_reason_has_its_question_for_lists(processor, rows):
    listed, bare, _ = (rendered(processor, row, PROFILES["nv_reason"]) for row in rows)
    assert listed == PLAIN_SYSTEM + user(f"{IMAGE}Find abnormalities and support devices.") + OPEN
    assert bare == rendered(processor, rows[1], OURS)


def test_cxrtrek_is_one_plain_conversation_with_the_reference_where_two_count(processor, rows):
    profile = PROFILES["cxrtrek"]
    assert rendered(processor, rows[2], profile) == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        + user(f"{IMAGE}What is shown?")
        + assistant("Frontal view.")
        + user("Is it good?\nA) Yes\nB) No")
        + assistant("Yes.")
        + user(f"{IMAGE}What has changed?")
        + OPEN
    )
    assert assistant_message("Unsaid.", " Nothing. ", profile)["content"][0]["text"] == "Nothing."


@pytest.mark.parametrize("name", PROFILES)
def test_training_and_evaluation_ask_alike(processor, rows, name):
    """The text, the token ids with all images, and the pictures themselves."""
    from trl.data_utils import prepare_multimodal_messages

    profile = PROFILES[name]
    prompts = [Prompt(r.question, r.options, r.images, r.context, r.task, profile.reasons(r.reasoning)) for r in rows]
    asked = prompt_inputs(processor, prompts, profile)
    for completions in (True, False):
        taught = to_dataset(rows, completions=completions, profile=profile)
        for number, (row, seen) in enumerate(zip(rows, asked, strict=True)):
            messages = prepare_multimodal_messages(taught[number]["prompt"], images=taught[number]["images"])
            text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            assert text == seen["prompt"] == rendered(processor, row, profile)
            pictures = seen["multi_modal_data"]["image"]
            assert [p.tobytes() for p in taught[number]["images"]] == [p.tobytes() for p in pictures]
            ids = processor(text=[text], images=pictures)["input_ids"][0]
            if not completions:
                assert row_lengths([row], processor, completions=False, profile=profile) == [len(ids)]


@pytest.mark.parametrize(("name", "sizes"), [("ours", [(400, 300), (200, 500)]), ("chestx_reasoner", [(448, 448)] * 2)])
def test_pictures_have_the_size_of_the_profile(processor, rows, name, sizes):
    [seen] = prompt_inputs(processor, [Prompt("What?", (), rows[2].images)], PROFILES[name])
    assert [picture.size for picture in seen["multi_modal_data"]["image"]] == sizes


def test_a_recipes_own_image_budget_keeps_the_shape_of_pictures():
    profile = PROFILES["chestx_reasoner"]
    assert profile.within(448 * 448, 448 * 448) == profile
    own = profile.within(None, 1000)
    assert (own.side, own.min_pixels, own.max_pixels, own.suffix) == (None, None, 1000, SUFFIX)


TAGGED = "<think> Wide. </think>\n<answer> Edema </answer>"


@pytest.mark.parametrize(
    ("text", "tags", "first_block"),
    [
        (TAGGED, "Edema", "Edema"),
        ("<answer> B </answer>", "B", "B"),
        ("Edema, most likely.", "Edema, most likely.", None),
        ("<think>Wide.</think> Edema.", "Edema.", None),
        ("<think>Wide. Edema", None, None),
        ("<answer>A</answer><answer>B</answer>", None, "A"),
        ("<answer>A", None, None),
        ("<answer></answer>", "", ""),
        (" \n", None, None),
        (f"system\nYou are an assistant\nuser\n{SUFFIX}\nassistant\n{TAGGED}", "Edema", "Edema"),
        (f"<|im_start|>user\n{SUFFIX}<|im_end|>\n<|im_start|>assistant\nEdema", "Edema", None),
    ],
)
def test_how_answers_are_read(text, tags, first_block):
    read = {name: profile.read_answer(text) for name, profile in PROFILES.items()}
    assert read == {"ours": tags, "chestx_reasoner": tags, "nv_reason": first_block, "cxrtrek": tags}


@pytest.mark.parametrize(
    ("text", "ours", "plain"),
    [
        (TAGGED, ("Wide.", "Edema"), ("", "Edema")),
        (" It is wet. ", ("", "It is wet."), ("", "It is wet.")),
        ("<think>Wide. It is", ("", "Wide. It is"), ("", "Wide. It is")),
        ("", ("", ""), ("", "")),
    ],
)
def test_how_own_turns_are_shown(text, ours, plain):
    assert OURS.read_turn(text) == ours and PROFILES["cxrtrek"].read_turn(text) == plain


def test_the_word_assistant_in_a_sentence_cuts_nothing():
    assert own_words("The assistant\nis right, assistant.") == "The assistant\nis right, assistant."


def test_profiles_can_be_stored():
    assert [json.loads(json.dumps(p.to_dict()))["name"] for p in PROFILES.values()] == list(PROFILES)


@pytest.mark.parametrize("name", PROFILES)
def test_token_weights_read_every_form(processor, name):
    weights = TokenWeights(openings=2, findings=3, answers=4)
    for reasoning in ("There is edema.", ""):
        text = assistant_message(reasoning, "Edema", PROFILES[name])["content"][0]["text"]
        found = token_weights(processor.tokenizer, text, weights)
        ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(found) == len(ids) and max(found) == (3 if PROFILES[name].form == "plain" else 4)
        of_tags = {w for i, w in zip(ids, found, strict=True) if processor.tokenizer.decode([i]) in TAGS}
        assert of_tags <= {1.0}
