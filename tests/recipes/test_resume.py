"""Killed while writing: half a base model is built again, half a checkpoint is passed over."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from reasoner.errors import UserError
from reasoner.models import tiny
from reasoner.schema import Example
from recipes.load import load_recipe
from recipes.resume import last_checkpoint, missing
from recipes.training import tiny_base


def write_checkpoint(folder, weights="model.safetensors"):
    """As the Trainer leaves one; `weights` names the file, or the index of two shards."""
    folder.mkdir(parents=True)
    if weights.endswith("index.json"):
        shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        for name, shard in shards.items():
            save_file({name: torch.zeros(64)}, folder / shard)
        (folder / weights).write_text(json.dumps({"weight_map": shards}), encoding="utf-8")
    else:
        save_file({"a": torch.zeros(64)}, folder / weights)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.zeros(64)}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 5}', encoding="utf-8")
    return folder


WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json")


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("how", ["absent", "empty", "half"])
def test_a_checkpoint_that_was_cut_short_is_passed_over_for_the_one_before(weights, how, tmp_path, capsys):
    old = write_checkpoint(tmp_path / "checkpoints" / "checkpoint-5", weights)
    assert missing(old) == [] and last_checkpoint(tmp_path) == str(old)
    for name in sorted(path.name for path in old.iterdir()):
        new = tmp_path / "checkpoints" / "checkpoint-10"  # the newest by number, not by name
        shutil.copytree(old, new)
        if how == "absent":
            (new / name).unlink()
        else:
            content = (new / name).read_bytes()
            (new / name).write_bytes(content[: len(content) // 2 if how == "half" else 0])
        capsys.readouterr()
        assert last_checkpoint(tmp_path) == str(old), name
        told = capsys.readouterr().err.splitlines()
        assert told[0].startswith(f"passing over {new}: ") and told[1:] == [f"resuming from {old}"]
        shutil.rmtree(new)


def test_one_cut_short_and_no_other_starts_over_and_weights_alone_are_refused(tmp_path):
    only = write_checkpoint(tmp_path / "checkpoints" / "checkpoint-5")
    (only / "trainer_state.json").unlink()
    assert last_checkpoint(tmp_path) is None
    (only / "trainer_state.json").write_text("{}", encoding="utf-8")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (only / name).unlink()
    with pytest.raises(UserError, match=r"checkpoint-5: holds weights only, .* start over with --force"):
        last_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("optimizer", "weights"), [("optimizer.bin", "pytorch_model_fsdp.bin"), ("global_step5/state.pt", None)]
)
def test_fsdp_and_deepspeed_have_names_of_their_own(optimizer, weights, tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoints" / "checkpoint-5")
    (folder / optimizer).parent.mkdir(exist_ok=True)
    (folder / "optimizer.pt").rename(folder / optimizer)
    if weights:
        torch.save({}, folder / weights)
    assert missing(folder) == []


def test_of_several_processes_each_needs_its_random_state(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "checkpoints" / "checkpoint-5")
    (folder / "rng_state.pth").rename(folder / "rng_state_0.pth")
    assert missing(folder) == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert missing(folder) == ["random state"]
    shutil.copy(folder / "rng_state_0.pth", folder / "rng_state_1.pth")
    assert missing(folder) == []


def test_a_kill_while_the_tiny_base_is_written_leaves_none(tmp_path, monkeypatch):
    recipe = load_recipe("phantom", [f"output={tmp_path}", "model.options={vocab_size: 320}"])
    words = "a clear chest " * 20
    examples = [Example("1", "1", "abnormality_list", question=words, answer=words, reasoning=words)] * 4
    with monkeypatch.context() as killed:
        killed.setattr(tiny.Qwen2_5_VLProcessor, "save_pretrained", lambda *_: 1 / 0)  # after the weights
        with pytest.raises(ZeroDivisionError):
            tiny_base(recipe, examples)
    assert [path.name for path in (tmp_path / "sft.part").iterdir()] == ["base.part"]
    half = tmp_path / "sft.part" / "base"  # as a copy that was cut short leaves it
    half.mkdir()
    (half / "config.json").touch()
    base = tiny_base(recipe, examples)
    assert (half / "config.json").stat().st_size > 0
    assert base == str(tmp_path / "sft.part" / "base") and (tmp_path / "sft.part/base/tokenizer_config.json").is_file()
    assert not (tmp_path / "sft.part" / "base.part").exists()
