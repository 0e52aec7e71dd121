"""`reasoner plan`: what is printed, what fits, and that what is proposed makes it fit."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from reasoner.errors import UserError
from reasoner.models.sharding import sharding_of
from recipes import RECIPES, known_recipes
from recipes.cli import build_parser, main
from recipes.load import load_recipe
from recipes.plan import DEFAULTS, GIB, Plan
from recipes.plan_command import planned
from recipes.plan_report import row, verdict


@pytest.fixture(autouse=True)
def _without_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where nothing is mined


def arguments(*more: str) -> Namespace:
    return build_parser().parse_args(["plan", *more])


def plan(recipe: str, *more: str) -> Plan:
    return planned(recipe, arguments("--recipe", recipe, *more))[0]


def told(capsys, *more: str) -> Any:
    assert main(["plan", *more, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", known_recipes())
def test_every_shipped_recipe_fits_the_machine_it_is_for(name):
    made = plan(name)
    assert made.fits("sft") and made.fits("grpo"), verdict(made)
    for stage in (made.sft, made.grpo):
        assert stage.usual.total <= stage.longest.total and stage.steps > 0 and stage.step_seconds > 0
        assert stage.disk / GIB <= made.recipe.min_free_gb, "a stage starts with too little free"
    cells = row(made).split(" | ")
    assert cells[0] == f"| {name}" and cells[-1] == "yes |"


def test_the_defaults_are_trls():
    from trl import GRPOConfig, SFTConfig

    for stage, config in (("sft", SFTConfig), ("grpo", GRPOConfig)):
        theirs = {name: config.__dataclass_fields__[name].default for name in DEFAULTS[stage]}
        assert theirs == DEFAULTS[stage] | ({"use_vllm": False} if stage == "grpo" else {})


def test_json_has_what_the_table_says(capsys):
    found = told(capsys, "--recipe", "nv_reason_3b", "--gpus", "4", "--gpu", "a100", "--mfu", "0.5")
    assert found["parameters"]["total"] == found["trained"] == 3_754_622_976
    assert found["workload"]["image_tokens"] == 476**2 // 28**2
    assert found["machine"] == {
        "gpu": "a100", "gpus": 4, "memory_gib": 80, "mfu": 0.5, "sharding": "zero2",
        "accelerate": "recipes/accelerate/deepspeed_zero2.yaml",
    }  # fmt: skip
    for stage in found["stages"].values():
        parts = {name: value for name, value in stage["longest"].items() if name != "total"}
        assert stage["longest"]["total"] == pytest.approx(sum(parts.values()))
    assert set(found["stages"]["grpo"]["seconds"]) == {"rollout", "log-probabilities", "update"}


def test_a_table_ends_with_the_verdict_and_then_the_changes(capsys):
    assert main(["plan", "--recipe", "qwen3_vl_4b", "--gpus", "1", "--memory", "24"]) == 0
    lines = capsys.readouterr().out.splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith("VERDICT"))
    assert "DOES NOT FIT" in lines[number] or "does not start" in lines[number]
    assert any(line.startswith("For SFT, in this order") for line in lines[number:])
    assert any("--set model.lora.r=64" in line for line in lines[number:])
    assert max(map(len, lines)) < 160


@pytest.mark.parametrize(
    ("recipe", "machine", "stage"),
    [
        ("chestx_reasoner_7b", ("--gpus", "2", "--memory", "40"), "sft"),
        ("qwen3_vl_4b", ("--gpus", "1", "--memory", "40"), "grpo"),
        ("nv_reason_3b", ("--gpus", "8", "--memory", "32"), "grpo"),
    ],
)
def test_what_is_proposed_is_enough_and_needed(recipe, machine, stage):
    made, changes = planned(recipe, arguments("--recipe", recipe, *machine))
    assert not made.fits(stage)
    proposed, after = changes[stage]
    assert proposed and after.fits(stage)
    sets = [word for change in proposed for override in change.overrides for word in ("--set", override)]
    configs = [change.accelerate for change in proposed if change.accelerate]
    again = plan(recipe, *machine, *sets, *(["--accelerate", configs[-1]] if configs else []))
    assert getattr(again, stage).longest == getattr(after, stage).longest
    batch = [getattr(one, stage).rows for one in (made, after)]
    assert batch[0] == batch[1], "as many rows a step as the recipe has"


def test_what_never_fits_is_said(capsys):
    assert main(["plan", "--recipe", "chestx_reasoner_7b", "--gpus", "1", "--memory", "8"]) == 0
    out = capsys.readouterr().out
    assert "is still too much" in out and "fits then" not in out


def test_settings_move_memory_as_they_should():
    base = plan("nv_reason_3b", "--gpus", "8")
    without = plan("nv_reason_3b", "--gpus", "8", "--set", "sft.trainer.gradient_checkpointing=false")
    assert without.sft.longest.activations == base.sft.activations_otherwise > 5 * base.sft.longest.activations
    zero3 = plan("nv_reason_3b", "--accelerate", str(RECIPES / "accelerate" / "deepspeed_zero3.yaml"))
    assert zero3.sft.longest.weights == pytest.approx(base.sft.longest.weights / 8)
    assert zero3.sft.longest.optimizer == base.sft.longest.optimizer
    frozen = plan("nv_reason_3b", "--set", "model.freeze_vision=true")
    assert frozen.sft.longest.optimizer < base.sft.longest.optimizer
    assert frozen.sft.step_seconds < base.sft.step_seconds
    adapted = plan("nv_reason_3b", "--set", "model.lora.r=16")
    assert adapted.sft.longest.optimizer < 0.05 * base.sft.longest.optimizer
    reference = plan("nv_reason_3b", "--set", "grpo.trainer.beta=0.01")
    assert reference.grpo.longest.reference == pytest.approx(2 * 3_754_622_976)
    asleep = plan("nv_reason_3b", "--set", "grpo.trainer.vllm_enable_sleep_mode=true")
    assert asleep.grpo.longest.total < base.grpo.longest.total
    for elsewhere in ("vllm_mode=server", "use_vllm=false"):
        assert plan("nv_reason_3b", "--set", f"grpo.trainer.{elsewhere}").grpo.longest.vllm == 0
    fsdp = plan("nv_reason_3b", "--accelerate", str(RECIPES / "accelerate" / "fsdp2.yaml"))
    assert fsdp.machine.sharding.kind == "fsdp2" and fsdp.fits("sft")


def test_alone_there_are_two_bytes_each_of_weight_gradient_and_moments():
    alone = plan("qwen3_vl_4b", "--gpus", "1")
    total = 4_437_815_808
    memory = alone.sft.longest
    assert (memory.weights, memory.gradients, memory.optimizer) == (2 * total, 2 * total, 4 * total)
    assert alone.sft.rows * 8 == plan("qwen3_vl_4b").sft.rows


def test_steps_and_rows_follow_the_recipe():
    short = plan(
        "nv_reason_3b", "--rows", "6400", "--prompts", "640", "--written-tokens", "100", "--asked-tokens", "50"
    )
    assert short.sft.steps == 6400 * 2 // 64 and short.grpo.steps == 640 * 16 // 1024
    assert short.sft.length == 289 + 150
    fixed = plan("nv_reason_3b", "--set", "sft.trainer.max_steps=7")
    assert fixed.sft.steps == 7


def test_rows_and_tokens_of_mined_data_are_read(tmp_path):
    import pyarrow.parquet as pq

    from reasoner.mining.pipeline.tables import EXAMPLE, to_table
    from reasoner.schema import Example

    folder = tmp_path / "data" / "examples"
    folder.mkdir(parents=True)
    rows = [
        Example(
            id=f"{n}", study_id=f"{n}", task="binary" if n % 4 else "abnormality_list", question="Is it there?",
            answer="Yes", reasoning="word " * 99, report="", images=("a.png",),
        ).to_dict()
        for n in range(40)
    ]  # fmt: skip
    pq.write_table(to_table(rows, EXAMPLE), folder / "train-00000.parquet")
    made = plan("phantom", "--set", f"output={tmp_path}")
    assert made.workload.sft.count == 40 and made.workload.grpo.count == 10  # GRPO has lists alone
    assert made.workload.sft.texts.written == 150 and "words" in made.workload.source
    mixed = plan("phantom", "--set", f"output={tmp_path}", "--set", "sft.mix={binary: 2, abnormality_list: 0.5}")
    assert mixed.workload.sft.count == 30 * 2 + 5
    (folder / "train-00000.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="cannot be read"):
        _ = plan("phantom", "--set", f"output={tmp_path}").sft


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--gpu", "h10"), "did you mean 'h100'"),
        (("--gpus", "0"), "--gpus 0"),
        (("--mfu", "1.5"), "at most 1"),
        (("--memory", "nan"), "--memory"),
        (("--accelerate", "nowhere.yaml"), "cannot be read"),
        (("--set", "model.base=some/model"), "its config is not here"),
        (("--set", "model.max_pixels=200000000"), "do not fit model.max_length"),
        (("--recipe", "nowhere"), "unknown recipe"),
    ],
)
def test_what_cannot_be_planned_is_one_line(more, message, capsys):
    assert main(["plan", "--recipe", "nv_reason_3b", *more]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_other_ways_of_spreading_are_refused():
    with pytest.raises(UserError, match="ZeRO-2 and ZeRO-3, FSDP2"):
        sharding_of({"distributed_type": "MEGATRON_LM"}, 8, "there.yaml")
    with pytest.raises(UserError, match="FSDP2"):
        sharding_of({"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 1}}, 8, "there.yaml")
    assert sharding_of({"distributed_type": "MULTI_GPU"}, 2, "there.yaml").kind == "data"


def test_the_table_in_the_docs_is_what_the_command_prints(capsys):
    assert main(["plan", "--recipe", "all", "--markdown"]) == 0
    printed = capsys.readouterr().out.strip()
    docs = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert printed in docs, "run `reasoner plan --recipe all --markdown` and put it into docs/training.md"


def test_offline_it_needs_no_weights(monkeypatch):
    import socket

    def refuse(*args: object) -> None:
        raise AssertionError("a plan went online")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert load_recipe("cxrtrek_stages").model.base == plan("cxrtrek_stages").shape.name
