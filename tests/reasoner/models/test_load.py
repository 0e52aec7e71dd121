"""A Qwen-VL as this project loads it computes what transformers' own does, and pads on the left."""

from __future__ import annotations

import json

import pytest
import torch

from reasoner.compat.transformers import embed_patches_by_matmul, forbid_tokens
from reasoner.models import tiny
from reasoner.models.load import load_model, load_processor, vision_token_ids

TEXTS = ["Which abnormalities are present in this chest X-ray?", "The heart is enlarged."] * 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("tiny"), TEXTS, vocab_size=320)


def test_patches_embedded_by_a_matrix_product_are_those_of_the_convolution(checkpoint):
    from transformers import AutoModelForImageTextToText

    ours = load_model(checkpoint, dtype="float32").model.visual.patch_embed
    theirs = AutoModelForImageTextToText.from_pretrained(checkpoint).model.visual.patch_embed
    patches = torch.randn(8, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours(patches), theirs(patches), atol=1e-5)


def test_so_are_those_of_a_qwen3_vl_whose_convolution_has_a_bias():
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionPatchEmbed

    torch.manual_seed(0)
    embed = Qwen3VLVisionPatchEmbed(Qwen3VLVisionConfig(hidden_size=16))
    patches = torch.randn(4, 3 * 2 * 16 * 16)
    theirs = embed(patches)
    embed_patches_by_matmul(embed)
    assert embed.proj.bias.abs().min() > 1e-6 and torch.allclose(embed(patches), theirs, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_prompts_are_padded_on_the_left_whatever_the_checkpoint_says(checkpoint, tmp_path, side):
    import shutil

    folder = shutil.copytree(checkpoint, tmp_path / "model")
    config = folder / "tokenizer_config.json"
    own = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(own | {"padding_side": side}), encoding="utf-8")
    processor = load_processor(folder)
    mask = processor(text=["The heart.", "The heart is enlarged."], padding=True, return_tensors="pt")["attention_mask"]
    assert mask[0, 0] == 0 and mask[:, -1].tolist() == [1, 1]


def test_a_policy_spends_nothing_on_vision_tokens_once_they_are_forbidden(checkpoint):
    model, processor = load_model(checkpoint, dtype="float32"), load_processor(checkpoint)
    inputs = processor(text=["The heart is enlarged."], return_tensors="pt")
    vision = vision_token_ids(processor)
    before = model(**inputs).logits.softmax(-1)
    saved = set(model.state_dict())
    forbid_tokens(model, vision)
    assert set(model.state_dict()) == saved and all("lm_head.bias" not in name for name, _ in model.named_parameters())
    logits = model(**inputs).logits
    after = logits.softmax(-1)
    assert before[..., vision].sum() > 0 and after[..., vision].sum() == 0
    others = [number for number in range(logits.shape[-1]) if number not in vision]
    renormalised = before[..., others] / before[..., others].sum(-1, keepdim=True)
    assert torch.allclose(after[..., others], renormalised, atol=1e-6)
    entropy = -(after * logits.log_softmax(-1)).sum(-1)
    assert entropy.isfinite().all()
