from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UserError
from reasoner.settings import Section
from recipes import RECIPES, known_recipes
from recipes.config import Recipe
from recipes.load import load_recipe, trainer_flags
from recipes.plain_yaml import parse_yaml
from recipes.trainer_args import check_trainer_args

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
        config = load_config_from_file(str(file))
        assert config.num_processes == 8
        # A number there would have to be the recipe's max_grad_norm, which transformers insists on.
        assert "gradient_clipping" not in (config.deepspeed_config or {})


def test_every_field_says_what_it_is():
    for section in sections(Recipe):
        assert all(field.description for field in section.model_fields.values()), section


def test_options_that_are_off_do_not_make_what_is_there_stale():
    plain = load_recipe("phantom").model_dump()
    assert not {"claim_weight", "edits", "prompts", "stages", "context"} & plain["grpo"].keys()
    assert not {"llm", "llm_calls", "choices", "counts", "compare", "steps"} & plain["data"].keys()
    used = load_recipe("phantom", ["grpo.prompts.refill=1", "data.balance=2"]).model_dump()
    assert used["grpo"]["prompts"]["refill"] == 1 and used["data"]["balance"] == 2


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
        ("phantom", ["grpo.held_out={evry: 5}"], "unknown key 'grpo.held_out.evry'; did you mean 'every'?"),
        ("phantom", ["eval.samples=many"], "eval.samples: input should be a valid integer"),
        ("phantom", ["model.dtype=float8"], "model.dtype: input should be 'auto', 'float32'"),
        ("phantom", ["seed"], "write it as section.key=value"),
        ("phantom", ["seed.x=1"], "'seed' holds a value, not a section"),
        ("phantom", ["seed=[1"], "not valid YAML"),
        ("phantom", ["a..b=1"], "write it as section.key=value"),
        ("phantom", ["=1"], "write it as section.key=value"),
        ("phantom", [".=1"], "write it as section.key=value"),
        ("phantom", [".".join(["grpo"] * 1000) + "=1"], "write it as section.key=value"),
        ("phantom", ["__class__=1"], "unknown key '__class__'"),
        ("phantom", ["sft.trainer={a: 1, a: 2}"], "'a' is there twice"),
        ("phantom", ["name=../../etc"], "name: string should match pattern"),
        ("phantom", ["seed=-1"], "seed: input should be greater than or equal to 0"),
        ("phantom", [f"seed={2**32}"], "seed: input should be less than"),
        ("phantom", ["eval.samples=1e30"], "eval.samples: "),
        ("phantom", ["eval.splits=[]"], "eval.splits: list should have at least 1 item"),
        (
            "phantom",
            ["eval.splits=[nope]"],
            "eval.splits.0: input should be 'train', 'val', 'test', 'site_b'",
        ),
        ("phantom", ["eval.tasks=[nope]"], "eval.tasks.0: input should be 'abnormality_list'"),
        ("phantom", ["sft.tasks=[nope]"], "sft.tasks.0: input should be 'abnormality_list'"),
        ("phantom", ["grpo.tasks=[]"], "grpo.tasks: list should have at least 1 item"),
        ("phantom", ["grpo.rewards={}"], "grpo.rewards: dictionary should have at least 1 item"),
        ("phantom", ["data.tasks={}"], "data.tasks: dictionary should have at least 1 item"),
        ("phantom", ["data.tasks.report=1"], "data.tasks.report: input should be 'abnormality_list'"),
        ("phantom", ["minutes.nope=1"], "minutes.nope: input should be 'mine', 'sft', 'grpo', 'eval' or 'export'"),
        ("phantom", ["data.llm=ftp://x"], "data.llm: string should match pattern"),
        ("phantom_boxes", ["sft.augment.geometry=0.1"], "sft.augment.geometry moves pictures but not the boxes"),
        ("phantom", ["grpo.tasks=[detection]"], "grpo.augment.geometry moves pictures but not the boxes"),
        ("phantom", ["sft.mix={detection: 2}"], "sft.mix: 'detection' is not trained on, which are "),
        ("phantom", ["grpo.mix={abnormality_list: 0}"], "grpo.mix: leaves no task to train on"),
        ("phantom", ["grpo.server={addresses: ['http://a:1'], count: 2}"], "grpo.server: addresses are of servers"),
        ("phantom", ["seed=1:30"], "seed: input should be a valid integer"),
    ],
)
def test_errors_name_the_key_and_the_nearest_known_one(name, overrides, message):
    with pytest.raises(UserError) as raised:
        load_recipe(name, overrides)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def numbers(section: type[Section], path: str = "") -> list[str]:
    """The keys of a section that hold a number, or numbers by name."""
    found = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += numbers(field.annotation, f"{path}{name}.")
        elif name in ("trainer", "options", "reward_options"):
            found.append(f"{path}{name}.answer" + ".deep" * (name == "reward_options"))
        elif "float" in str(field.annotation) or "int" in str(field.annotation):
            found.append(f"{path}{name}" + ".answer" * ("dict" in str(field.annotation)))
    return found


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999", "9" * 400])
@pytest.mark.parametrize("key", [*numbers(Recipe), "model.lora.r", "model.lora.dropout"])
def test_every_number_is_finite(key, value):
    if (value.isdigit() and "trainer" in key) or "options" in key:
        value = ".inf"  # whole numbers of any size are the trainer's own business
    with pytest.raises(UserError, match=key.removesuffix(".deep").removesuffix(".answer").replace(".", r"\.")):
        load_recipe("phantom", [f"{key}={value}"])


@pytest.mark.parametrize("key", [*numbers(Recipe), "model.lora.r", "model.lora.dropout"])
def test_no_number_is_true(key):
    if "trainer" in key or "options" in key or key == "data.tasks.answer":
        key = {"data.tasks.answer": "data.tasks.binary"}.get(key, "seed")  # a trainer's, a source's: checked by it
    for name, known in (("minutes", "sft"), ("counts", "binary"), ("mix", "binary")):
        key = key.replace(f"{name}.answer", f"{name}.{known}")
    with pytest.raises(UserError, match=r"a number is needed, found true|got True"):
        load_recipe("phantom", [f"{key}=true"])


def test_an_error_names_what_caused_it_the_override_or_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: -1", encoding="utf-8")
    for overrides, blamed in [
        (["eval.samples=2"], str(file)),
        (["seed=-2"], "--set seed=-2"),
        (["seed=1", "eval={samples: x}"], "--set eval={samples: x}"),
        (["seed=1", "nope.a=1"], "--set nope.a=1"),
        (["seed=1", "grpo.rewards.answer=x", "eval.samples=2"], "--set grpo.rewards.answer=x"),
    ]:
        with pytest.raises(UserError) as raised:
            load_recipe(str(file), overrides)
        assert str(raised.value).startswith(f"{blamed}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("description: Röntgen".encode("latin-1"), "not UTF-8 text (byte 14); save it as UTF-8"),
        (b"", "a recipe is a mapping"),
        (b"- a", "a recipe is a mapping"),
        (b"data:\n\tsource: x", "not valid YAML"),
        (b"a: " + b"[" * 3000, "nested deeper than"),
        (b"seed: 1\nseed: 2", "line 2: 'seed' is there twice"),
        (b"1: 2", "the key 1 is no text"),
        (b"data: &d {}\nmodel: *d", "aliases"),
        (None, "a folder without recipe.yaml"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(content, message, tmp_path):
    file = tmp_path / "mine.yaml"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(UserError) as raised:
        load_recipe(str(file))
    assert str(raised.value).startswith(f"{file}: ") and message in str(raised.value)


def test_a_byte_order_mark_is_no_harm(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbfseed: 3")
    assert load_recipe(str(tmp_path / "mine.yaml")).seed == 3


@pytest.mark.parametrize("module", ["recipes.config", "recipes.load", "eval.settings"])
def test_the_schema_needs_no_torch_and_evaluation_no_recipe(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout.split()
    )
    assert not {"torch", "transformers", "trl", "vllm", "ray"} & loaded
    assert module != "recipes.config" or "yaml" not in loaded
    assert module != "eval.settings" or "recipes" not in loaded


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


@pytest.mark.parametrize("steps", [-5, 0])
def test_steps_below_one_are_refused_but_for_the_mark_of_epochs(steps):
    from trl import SFTConfig

    check_trainer_args(SFTConfig, {"max_steps": -1}, "sft.trainer")
    with pytest.raises(UserError, match=r"sft\.trainer\.max_steps: must be more than 0, or -1 to count epochs"):
        check_trainer_args(SFTConfig, {"max_steps": steps}, "sft.trainer")


def test_an_unknown_trainer_key_gets_the_nearest():
    from trl import GRPOConfig

    with pytest.raises(UserError, match=r"grpo\.trainer: unknown key 'num_generation'; did you mean 'num_generations'"):
        check_trainer_args(GRPOConfig, {"num_generation": 8}, "grpo.trainer")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("learning_rate", value) for value in (True, None, "x", "nan", [1], -1)],
        *[("max_steps", value) for value in (True, 1.5, "5", None, {"a": 1})],
        *[("bf16", value) for value in ("maybe", 1, "true")],
        *[("optim", value) for value in (True, 5)],
        *[("num_generations", value) for value in (0, -1, True, 2.0)],
        *[("per_device_train_batch_size", value) for value in (0, -1, None)],
        *[("lr_scheduler_kwargs", value) for value in ([1], 5)],
        ("save_strategy", False),
    ],
)
def test_a_trainer_value_of_another_type_is_named(key, value):
    from trl import GRPOConfig

    with pytest.raises(UserError, match=rf"^grpo\.trainer\.{key}: ") as raised:
        check_trainer_args(GRPOConfig, {key: value}, "grpo.trainer")
    assert (f"write --{key} VALUE" in str(raised.value)) is (value is True)


def test_every_default_of_a_trainer_passes_its_check():
    from dataclasses import MISSING, fields

    from trl import GRPOConfig, SFTConfig

    for cls in (SFTConfig, GRPOConfig):
        plain = {f.name: f.default for f in fields(cls) if f.init and f.default is not MISSING}
        check_trainer_args(cls, plain, "trainer")
        given = {"learning_rate": 1, "max_steps": -1, "seed": 0, "optim": "sgd", "report_to": ["wandb"], "bf16": True}
        check_trainer_args(cls, given, "trainer")


def test_pictures_are_shrunk_to_a_size_and_what_is_off_changes_no_fingerprint():
    with pytest.raises(UserError, match="shrink needs max_pixels"):
        load_recipe("phantom", ["model.shrink=true"])
    assert load_recipe("phantom", ["model.shrink=true", "model.max_pixels=10000"]).model.shrink
    with pytest.raises(UserError, match=r"sft\.mix"):
        load_recipe("phantom", ["sft.mix={binary: -1}"])
    written = load_recipe("phantom").model_dump(mode="json")
    assert "shrink" not in written["model"] and "mix" not in written["sft"] and "mix" not in written["grpo"]
