"""Formulas of memory against what autograd saves in the real models: small ones of each family, on the CPU."""

from __future__ import annotations

import gc
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reasoner.errors import UserError
from reasoner.models.footprint import TILE_WORDS, Batch, Training, adapters_of, parts, step
from reasoner.models.shape import BASES, Shape, shape_of

TEXT = {
    "vocab_size": 512, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 4, 4]},
}  # fmt: skip
TOWERS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 2, "embed_dim": 64, "hidden_size": 96, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14},
    "qwen2_5_vl": {"depth": 2, "hidden_size": 64, "intermediate_size": 160, "num_heads": 4, "patch_size": 14,
                   "window_size": 56, "fullatt_block_indexes": [1], "out_hidden_size": 96},
    "qwen3_vl": {"depth": 2, "hidden_size": 64, "intermediate_size": 160, "num_heads": 4, "patch_size": 14,
                 "out_hidden_size": 96, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
}  # fmt: skip
IDS = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 7, "vision_end_token_id": 8}
#: Two rows of 64 tokens, each with an image of 8 x 8 patches.
BATCH = Batch(rows=2, length=64, patches=64, scored=40, image_patches=64)


def content(kind: str, tied: bool = True) -> dict[str, Any]:
    text = TEXT | ({"head_dim": 24} if kind == "qwen3_vl" else {})
    return {"model_type": kind, "text_config": text, "vision_config": TOWERS[kind], "tie_word_embeddings": tied} | IDS


def shape(folder: Path, kind: str, tied: bool = True) -> Shape:
    (folder / "config.json").write_text(json.dumps(content(kind, tied)), encoding="utf-8")
    return shape_of(str(folder))


def built(kind: str) -> Any:
    """The model with TRL's output layer, in float32."""
    from transformers import AutoConfig, AutoModelForImageTextToText
    from trl.trainer.utils import add_fused_lm_head

    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**content(kind))).train()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def inputs(batch: Batch) -> dict[str, Any]:
    ids = torch.randint(10, TEXT["vocab_size"], (batch.rows, batch.length))
    ids[:, 4:20] = IDS["image_token_id"]
    mask = torch.ones_like(ids)
    mask[0, 0] = 0
    return {
        "input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100), "fused_lm_head": True,
        "pixel_values": torch.randn(batch.rows * batch.patches, 3 * 2 * 14 * 14),
        "image_grid_thw": torch.tensor([[1, 8, 8]] * batch.rows),
        "mm_token_type_ids": (ids == IDS["image_token_id"]).long(),
    }  # fmt: skip


def saved(kind: str, number: int, prepare: Any = None, batch: Batch = BATCH) -> int:
    """Bytes that autograd saves in TRL's forward pass, each storage once, weights and the patches as given left out."""
    model = built(kind).to({4: torch.float32, 2: torch.bfloat16}[number])
    model = prepare(model) if prepare else model
    given = inputs(batch)
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), given["pixel_values"])}
    found: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in known:
            found[place] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=number == 2),
    ):
        model(**given)
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


def kept(sizes: Shape, training: Training, batch: Batch = BATCH) -> float:
    return sum(part.kept for part, _ in parts(sizes, batch, training))


@pytest.mark.parametrize("kind", TOWERS)
def test_activations_are_what_autograd_saves(kind, tmp_path):
    sizes = shape(tmp_path, kind)
    for number in (4, 2):
        training = Training(number, checkpointing=False, gpu=False)
        assert kept(sizes, training) == pytest.approx(saved(kind, number), rel=0.02), number


def frozen(model: Any) -> Any:
    model.model.visual.requires_grad_(False)
    return model


@pytest.mark.parametrize("number", [4, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_frozen_towers_and_adapters_save_less(number, dropout, tmp_path):
    from peft import LoraConfig, get_peft_model

    targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    sizes = shape(tmp_path, "qwen2_5_vl")

    def adapt(model: Any) -> Any:
        return get_peft_model(model, LoraConfig(r=8, lora_dropout=dropout, target_modules=targets)).train()

    adapters = adapters_of(sizes, targets, rank=8, dropout=dropout)
    training = Training(number, checkpointing=False, freeze_vision=True, adapters=adapters, gpu=False)
    assert kept(sizes, training) == pytest.approx(saved("qwen2_5_vl", number, adapt), rel=0.05)
    training = replace(training, adapters=None)
    assert kept(sizes, training) == pytest.approx(saved("qwen2_5_vl", number, frozen), rel=0.02)
    counted = sum(p.numel() for p in adapt(built("qwen2_5_vl")).parameters() if p.requires_grad)
    assert counted == adapters.parameters


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", TOWERS)
def test_the_peak_of_a_step_is_what_torch_allocates(kind, checkpointing, tmp_path):
    from torch.profiler import ProfilerActivity, profile

    model = built(kind)
    if checkpointing:
        model.gradient_checkpointing_enable()
    batch = replace(BATCH, rows=4)
    given = inputs(batch)
    model(**given).loss.backward()  # what is allocated once and kept
    model.zero_grad()
    gc.collect()  # what another test profiled would be counted when it goes
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        model(**given).loss.backward()
    live = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    tile = 4 * 63  # rows of the buffer of logits, of which only the vocabulary's part is ever touched
    peak -= tile * (4 * TILE_WORDS - 4096)
    expected = step(shape(tmp_path, kind), batch, Training(4, checkpointing, gpu=False), gradient=4, accumulated=False)
    assert expected.peak == pytest.approx(peak, rel=0.05)


def test_gradients_that_are_there_already_come_on_top(tmp_path):
    sizes, training = shape(tmp_path, "qwen2_5_vl"), Training(4, False, gpu=False)
    first, later = (step(sizes, BATCH, training, gradient=4, accumulated=there) for there in (False, True))
    assert later.gradients == 4 * sizes.parameters.total
    assert first.peak < later.peak <= first.peak + later.gradients


def test_checkpointing_keeps_the_layers_inputs_alone(tmp_path):
    sizes = shape(tmp_path, "qwen2_5_vl")
    plain, saving = (step(sizes, BATCH, Training(2, on), gradient=2, accumulated=False) for on in (False, True))
    assert (plain.activations, plain.otherwise) == (saving.otherwise, saving.activations)
    assert saving.activations < plain.activations / 3 and saving.peak < plain.peak


@pytest.mark.parametrize("path", sorted(BASES.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_configs_have_as_many_parameters_as_their_checkpoints(path):
    facts = json.loads(path.read_text(encoding="utf-8"))
    sizes = shape_of(facts["hub"])
    assert sizes.parameters.total == facts["parameters"]
    text = sizes.text.layers * sizes.parameters.layer + sizes.parameters.final_norm
    assert sizes.parameters.text == text and sizes.max_pixels == facts["max_pixels"]


def test_embeddings_that_are_not_shared_count_twice(tmp_path):
    tied, own = (shape(tmp_path, "qwen2_vl", tied).parameters for tied in (True, False))
    assert (tied.head, own.head) == (0, own.embeddings) and own.total == tied.total + own.embeddings


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({}, "model_type is None"),
        (
            content("qwen2_5_vl") | {"text_config": TEXT | {"num_attention_heads": 5}},
            "no model can be built|not a config",
        ),
    ],
)
def test_what_cannot_be_planned_is_told(config, told, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=told):
        shape_of(str(tmp_path))


def test_a_model_that_is_not_here_is_not_fetched():
    with pytest.raises(UserError, match=re.escape("hf download someone/else config.json")):
        shape_of("someone/else")
    with pytest.raises(UserError, match=r"model\.options"):
        shape_of("tiny", {"no_such_size": 1})
