import json

import pytest
import torch
import yaml

from reasoner.errors import UserError
from reasoner.models import tiny
from reasoner.models.load import load_processor
from recipes import export
from recipes.config import load_recipe
from recipes.export import run

TEXTS = ["Which abnormalities are present in this chest X-ray?", "The heart is enlarged. The lungs are clear."] * 4


@pytest.fixture
def recipe(tmp_path):
    return load_recipe("phantom", [f"output={tmp_path / 'out'}"])


def build_grpo(recipe):
    return tiny.build(recipe.output / "grpo", TEXTS, vocab_size=320, seed=3)


def card_metadata(card):
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


@pytest.mark.slow
@pytest.mark.anywhere(to="cpu")
def test_exports_a_full_checkpoint_that_transformers_and_vllm_load(recipe):
    build_grpo(recipe)
    scores = {"grpo": {"test": {"greedy": {"micro_f1": {"value": 0.8, "low": 0.75, "high": 0.85}}}}}
    (recipe.output / "eval").mkdir()
    (recipe.output / "eval" / "scores.json").write_text(json.dumps(scores), encoding="utf-8")

    exported = run(recipe)

    assert exported == recipe.output / "export"
    names = {path.name for path in exported.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert {"chat_template.jinja", "README.md", "export_check.json"} <= names
    check = json.loads((exported / "export_check.json").read_text(encoding="utf-8"))
    assert check["logits_max_difference"] <= check["logits_tolerance"] == 1e-5
    # The texts of untrained weights may part at a near tie, which another CPU rounds the other way.
    assert check["vllm_answer"] and check["vllm_logps_max_difference"] <= 1e-3
    metadata, body = card_metadata((exported / "README.md").read_text(encoding="utf-8"))
    assert metadata["pipeline_tag"] == "image-text-to-text" and metadata["license"] == "apache-2.0"
    assert "0.800 [0.750, 0.850]" in body and "not for diagnosis" in body


@pytest.mark.slow
def test_vllm_on_other_weights_is_found_out(recipe, tmp_path):
    """What the comparison of log-probabilities is for."""
    exported = run(recipe, source=str(build_grpo(recipe)), output=tmp_path / "one", verify_vllm=False)
    probe = export._probe(recipe)
    logits = export._logits(export._load(exported, None)[0], load_processor(exported), probe)
    answer, _ = export._verify_transformers(exported, logits, probe, merged=False)
    other = tiny.build(tmp_path / "other", TEXTS, vocab_size=320, seed=4)
    with pytest.raises(UserError, match="log-probabilities in vLLM differ"):
        export._verify_vllm(other, probe, answer, "float32")


@pytest.mark.anywhere(to="cpu")
def test_merges_an_adapter_without_changing_the_policy(recipe, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = build_grpo(recipe)
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForImageTextToText.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")

    exported = run(recipe, source=str(tmp_path / "adapter"), output=tmp_path / "merged", verify_vllm=False)

    check = json.loads((exported / "export_check.json").read_text(encoding="utf-8"))
    assert check["merged_adapter"] and check["logits_max_difference"] <= check["logits_tolerance"] < 1e-3
    weights = [AutoModelForImageTextToText.from_pretrained(path).state_dict() for path in (base, exported)]
    name = next(name for name in weights[0] if name.endswith("language_model.layers.0.self_attn.q_proj.weight"))
    assert not torch.equal(weights[0][name], weights[1][name])


def test_mendable_errors_name_the_fix(recipe):
    with pytest.raises(UserError, match="make grpo RECIPE=phantom"):
        run(recipe)
    checkpoint = build_grpo(recipe)
    with pytest.raises(UserError, match="overwrite its own source"):
        run(recipe, output=checkpoint)
    for name in ("processor_config.json", "preprocessor_config.json"):
        (checkpoint / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="no processor files"):
        run(recipe)
