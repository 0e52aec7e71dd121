import json

import pytest
import torch
import yaml

from reasoner.errors import UserError
from reasoner.models import tiny
from reasoner.models.load import load_processor
from recipes import export
from recipes.cli import main
from recipes.export import run
from recipes.load import load_recipe

TEXTS = ["Which abnormalities are present in this chest X-ray?", "The heart is enlarged. The lungs are clear."] * 4


@pytest.fixture
def recipe(tmp_path):
    return load_recipe("phantom", [f"output={tmp_path / 'out'}"])


def build_grpo(recipe):
    return tiny.build(recipe.output / "grpo", TEXTS, vocab_size=320, seed=3)


def from_source(recipe, source):
    return load_recipe("phantom", [f"output={recipe.output}", f"export.source={source}"])


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

    exported = recipe.output / "export"
    run(recipe, exported)

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
    exported = tmp_path / "one"
    run(from_source(recipe, build_grpo(recipe)), exported, verify_vllm=False)
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

    exported = tmp_path / "merged"
    run(from_source(recipe, tmp_path / "adapter"), exported, verify_vllm=False)

    check = json.loads((exported / "export_check.json").read_text(encoding="utf-8"))
    assert check["merged_adapter"] and check["logits_max_difference"] <= check["logits_tolerance"] < 1e-3
    weights = [AutoModelForImageTextToText.from_pretrained(path).state_dict() for path in (base, exported)]
    name = next(name for name in weights[0] if name.endswith("language_model.layers.0.self_attn.q_proj.weight"))
    assert not torch.equal(weights[0][name], weights[1][name])


def test_mendable_errors_name_the_fix(recipe, tmp_path):
    with pytest.raises(UserError, match="make grpo RECIPE=phantom"):
        run(recipe, tmp_path)
    checkpoint = build_grpo(recipe)
    for name in ("processor_config.json", "preprocessor_config.json"):
        (checkpoint / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="no processor files"):
        run(recipe, tmp_path)


def test_an_export_that_fails_its_proof_leaves_the_earlier_one(recipe, monkeypatch, capsys):
    """The weights are damaged on their way to the disk: the reloaded export cannot agree with its source."""
    build_grpo(recipe)
    earlier = recipe.output / "export"
    earlier.mkdir()
    (earlier / "export_check.json").write_text('{"earlier": true}', encoding="utf-8")
    save = export._save

    def damaged(model, processor, folder):
        with torch.no_grad():
            next(model.parameters()).add_(1.0)
        save(model, processor, folder)

    monkeypatch.setattr(export, "_save", damaged)
    for command in (
        ["--set", f"output={recipe.output}"],
        ["--set", f"output={recipe.output}", "--output", str(earlier)],
    ):
        assert main(["export", *command]) == 2
        error = capsys.readouterr().err
        assert "logits differ from the source" in error and "Traceback" not in error
        assert [path.name for path in earlier.iterdir()] == ["export_check.json"]
        assert (earlier / "export_check.json").read_text(encoding="utf-8") == '{"earlier": true}'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("grpo/adapter_config.json", "{", "not JSON"),
        ("grpo/adapter_config.json", "[]", "a JSON object is needed"),
        ("grpo/adapter_config.json", '{"base_model_name_or_path": 1}', "base_model_name_or_path is 1"),
        ("grpo/config.json", "{", "cannot be loaded|not a valid JSON"),
        ("grpo/model.safetensors", "{", "the model cannot be loaded"),
        ("data/summary.json", '{"studies": 1}', "the counts of studies and examples are not as written"),
        ("data/summary.json", '{"studies": {"read": 1, "mined": 1}, "examples": {"a": 1}}', "are not as written"),
        (
            "eval/scores.json",
            '{"grpo": {"test": {"greedy": {"micro_f1": 1}}}}',
            "the scores of grpo are not as written",
        ),
        ("eval/scores.json", '{"grpo": []}', "the scores of grpo are not as written"),
        ("eval/scores.json", "", "not JSON"),
    ],
)
def test_damaged_files_are_named_before_the_export(name, content, message, recipe, tmp_path):
    build_grpo(recipe)
    if "adapter" in name:
        (recipe.output / "grpo" / "config.json").unlink()
    (recipe.output / name).parent.mkdir(exist_ok=True)
    (recipe.output / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as raised:
        run(recipe, tmp_path, verify_vllm=False)
    named = recipe.output / name
    assert str(named.parent if name.startswith("grpo") else named) in str(raised.value)
