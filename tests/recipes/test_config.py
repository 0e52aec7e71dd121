from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UserError
from recipes.config import (
    RECIPES,
    Recipe,
    Section,
    check_trainer_args,
    known_recipes,
    load_recipe,
    parse_yaml,
    trainer_flags,
)

pytestmark = pytest.mark.anywhere(to="system")


def sections(section: type[Section]) -> list[type[Section]]:
    nested = [f.annotation for f in section.model_fields.values() if isinstance(f.annotation, type)]
    return [section, *(s for kind in nested if issubclass(kind, Section) for s in sections(kind))]


def test_every_recipe_is_valid_and_its_trainer_blocks_are_trls():
    from trl import GRPOConfig, SFTConfig

    assert "phantom" in known_recipes()
    for name in known_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name and recipe.output == Path("outputs") / name
        check_trainer_args(SFTConfig, recipe.sft.trainer, "sft.trainer")
        check_trainer_args(GRPOConfig, recipe.grpo.trainer, "grpo.trainer")


def test_every_accelerate_config_is_one_that_accelerate_reads():
    from accelerate.commands.config.config_args import load_config_from_file

    files = sorted((RECIPES / "accelerate").glob("*.yaml"))
    assert files
    for file in files:
        assert load_config_from_file(str(file)).num_processes == 8


def test_every_field_says_what_it_is():
    for section in sections(Recipe):
        assert all(field.description for field in section.model_fields.values()), section


def test_a_recipe_survives_its_own_dump(tmp_path):
    recipe = load_recipe("phantom", [f"output={tmp_path}"])
    (tmp_path / "copy.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    assert load_recipe(str(tmp_path / "copy.yaml")) == recipe


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("phantm", [], "unknown recipe 'phantm'; did you mean 'phantom'?"),
        ("nowhere/x.yaml", [], "no such recipe file"),
        ("phantom", ["grpo.rewardz.answer=1"], "unknown key 'grpo.rewardz'; did you mean 'rewards'?"),
        ("phantom", ["model.lora.rank=8"], "unknown key 'model.lora.rank'; known: r, alpha, dropout, target_modules"),
        ("phantom", ["modle.base=x"], "unknown key 'modle'; did you mean 'model'?"),
        ("phantom", ["eval.samples=many"], "eval.samples: input should be a valid integer"),
        ("phantom", ["model.dtype=float8"], "model.dtype: input should be 'auto', 'float32'"),
        ("phantom", ["seed"], "write it as section.key=value"),
        ("phantom", ["seed.x=1"], "'seed' holds a value, not a section"),
        ("phantom", ["seed=[1"], "not valid YAML"),
    ],
)
def test_errors_name_the_key_and_the_nearest_known_one(name, overrides, message):
    with pytest.raises(UserError) as raised:
        load_recipe(name, overrides)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_the_error_names_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    for text, message in [
        ("- a", "is a mapping"),
        ("data: {sauce: x}", "did you mean 'source'"),
        ("a: [", "not valid"),
    ]:
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message) as raised:
            load_recipe(str(file))
        assert str(file) in str(raised.value)


def test_overrides_are_yaml_and_later_ones_win():
    recipe = load_recipe(
        "phantom",
        [
            "sft.trainer.learning_rate=1e-4",
            "model.lora.r=8",
            "eval.splits=[test]",
            "seed=1",
            "seed=2",
            "data.input=null",
        ],
    )
    assert recipe.sft.trainer["learning_rate"] == 1e-4
    assert recipe.model.lora is not None and recipe.model.lora.r == 8
    assert recipe.eval.splits == ["test"] and recipe.seed == 2 and recipe.data.input is None
    assert load_recipe("phantom").sft.trainer["learning_rate"] != 1e-4


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_value_however_they_are_written(number):
    for text in (repr(number), f"{number:e}"):
        assert parse_yaml(text, "test") == pytest.approx(float(text))


def test_trainer_flags():
    flags = ["--learning_rate", "1e-4", "--bf16", "--max-steps=5", "--report_to", "true"]
    assert trainer_flags(flags, "sft") == [
        "sft.trainer.learning_rate=1e-4",
        "sft.trainer.bf16=true",
        "sft.trainer.max_steps=5",
        "sft.trainer.report_to=true",
    ]
    with pytest.raises(UserError, match="unexpected argument 'stray'"):
        trainer_flags(["--bf16", "true", "stray"], "sft")


def test_an_unknown_trainer_key_gets_the_nearest():
    from trl import GRPOConfig

    with pytest.raises(UserError, match=r"grpo\.trainer: unknown key 'num_generation'; did you mean 'num_generations'"):
        check_trainer_args(GRPOConfig, {"num_generation": 8}, "grpo.trainer")
