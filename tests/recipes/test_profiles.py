"""A recipe's prompt profile: what it fills in, what it leaves as it was, and that it trains and is scored."""

from __future__ import annotations

import ast
import os
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eval.predictions import Decoding, fingerprint, prediction_rows
from reasoner.errors import UserError
from reasoner.profiles import OURS, PROFILES
from reasoner.schema import Example
from recipes import export
from recipes.commands import evaluated
from recipes.load import load_recipe
from recipes.model_card import model_card, read_facts
from recipes.reward_options import reward_options
from rewards.radrscore.base_rates import BaseRates
from rewards.registry import RewardSet


def examples(folder):
    """One row with reasoning and one without."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90), dtype=np.uint8)).save(path)
    one = {"study_id": "s", "question": "Is it wet?", "answer": "Yes", "images": (str(path),), "report": "Edema."}
    return [
        Example(id="reasoned", task="binary", reasoning="There is edema.", **one),
        Example(id="bare", task="binary", **one),
    ]


def test_ours_leaves_every_setting_as_it_was():
    recipe = load_recipe("phantom", [])
    assert "profile" not in recipe.model_dump()["model"] and recipe.model.prompts == OURS
    assert load_recipe("phantom", ["model.profile=ours"]) == recipe


def test_a_profile_fills_what_the_recipe_leaves_out(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: own\noutput: out\nmodel: {profile: nv_reason}\n", encoding="utf-8")
    recipe = load_recipe(str(tmp_path / "recipe.yaml"), [])
    assert (recipe.model.min_pixels, recipe.model.max_pixels) == (128**2, 476**2)
    assert recipe.eval.max_new_tokens == recipe.grpo.trainer["max_completion_length"] == 2048
    assert recipe.model_dump()["model"]["profile"] == "nv_reason"
    subject = evaluated(recipe)
    assert subject.profile == recipe.model.prompts == PROFILES["nv_reason"]
    assert (subject.min_pixels, subject.max_pixels) == (128**2, 476**2)


def test_what_the_recipe_says_wins():
    own = ["model.profile=nv_reason", "model.max_pixels=50176", "eval.max_new_tokens=9"]
    recipe = load_recipe("phantom", [*own, "grpo.trainer.max_completion_length=7"])
    assert (recipe.model.min_pixels, recipe.model.max_pixels) == (128**2, 50176)
    assert (recipe.eval.max_new_tokens, recipe.grpo.trainer["max_completion_length"]) == (9, 7)
    squeezed = load_recipe("phantom", ["model.profile=chestx_reasoner"]).model.prompts
    assert squeezed.side == 448
    assert load_recipe("phantom", ["model.profile=chestx_reasoner", "model.max_pixels=1"]).model.prompts.side is None


@pytest.mark.parametrize("wrong", ["nobody", "[ours]", "{a: 1}"])
def test_an_unknown_profile_is_named(wrong):
    with pytest.raises(UserError, match=r"model\.profile"):
        load_recipe("phantom", [f"model.profile={wrong}"])


def test_predictions_are_made_again_under_another_profile(tmp_path):
    rows = prediction_rows(examples(tmp_path), tmp_path)
    made = {name: fingerprint("model", rows, Decoding("greedy", 1, 0.0, 8, 0), p) for name, p in PROFILES.items()}
    assert len({str(value) for value in made.values()}) == len(PROFILES)
    assert (
        made["ours"] == fingerprint("model", rows, Decoding("greedy", 1, 0.0, 8, 0)) and "profile" not in made["ours"]
    )


@pytest.mark.parametrize("name", PROFILES)
def test_the_format_reward_asks_for_what_is_taught(tmp_path, name):
    from reasoner.prompts import assistant_message

    recipe = load_recipe("phantom", [f"model.profile={name}", "grpo.rewards={format: 1.0}"])
    given = examples(tmp_path)
    rewards = RewardSet.build({"format": 1.0}, [], reward_options(recipe, BaseRates, tmp_path))
    for example in given:
        if example.reasoning or not PROFILES[name].reasons(""):
            text = assistant_message(example.reasoning, example.answer, PROFILES[name])["content"][0]["text"]
            row = {"reasoning": example.reasoning}
            assert rewards.score({**row, "completion": text})["format"].value == 1.0
            assert rewards.score({**row, "completion": f"{text}</answer>"})["format"].value == 0.0
            assert rewards.score({**row, "completion": " "})["format"].value == 0.0


@pytest.mark.slow
def test_a_profile_trains_end_to_end(tmp_path):
    """Two steps of SFT on rows with and without reasoning; the processor keeps the profile's image budget."""
    from reasoner.models.load import load_processor
    from recipes import sft

    out = tmp_path / "out"
    (out / "data" / "examples").mkdir(parents=True)
    rows = [example.to_dict() for example in examples(tmp_path) * 2]
    pq.write_table(pa.Table.from_pylist(rows), out / "data" / "examples" / "train-00000.parquet")
    text = f"""name: own
output: {out}
model: {{profile: chestx_reasoner}}
sft:
  token_weights: {{answers: 2}}
  trainer: {{max_steps: 2, per_device_train_batch_size: 2, gradient_checkpointing: false, report_to: none}}
"""
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    with mock.patch.dict(os.environ, {"WANDB_MODE": "disabled"}):  # what the stage sets is its process's own
        folder = sft.run(load_recipe(str(tmp_path / "recipe.yaml"), []))
    size = load_processor(folder).image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (448**2, 448**2)
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "shown", "absent"),
    [
        ("ours", "max_new_tokens=128", "Asked in the words"),
        ("chestx_reasoner", ".resize((448, 448))", '"role": "system"'),
        ("nv_reason", "max_new_tokens=2048", ".resize("),
        ("cxrtrek", '"role": "system"', "reasoning `</think>`"),
    ],
)
def test_the_model_card_shows_how_to_ask(tmp_path, name, shown, absent):
    recipe = load_recipe("phantom", [f"model.profile={name}", f"output={tmp_path}"])
    probe = export._probe(recipe)
    asked = probe.messages()[-1]["content"][-1]["text"]
    check = {"asked": asked, "parameters": 1, "dtype": "float32"}
    card = model_card(recipe, "sft", check, read_facts(recipe, "sft"))
    assert shown in card and absent not in card
    assert ("Asked in the words" in card) == (name != "ours")
    code = card.split("```python\n")[1].split("```")[0]
    places = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    assert asked in places
