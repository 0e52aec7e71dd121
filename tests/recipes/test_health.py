"""What ends a training run, or does not: each fault is injected into a real `Trainer` of four numbers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainingArguments

from reasoner.errors import UserError
from recipes.health import SaveBetweenBatches, StopOnCollapse
from recipes.resume import last_checkpoint, last_good
from recipes.reward_bridge import RewardBridge
from recipes.training import train
from rewards.registry import Score


class Line(torch.nn.Module):
    """Fits y = w x; `padding` makes its checkpoints large."""

    def __init__(self, padding: int = 1):
        super().__init__()
        torch.manual_seed(0)
        self.w = torch.nn.Parameter(torch.ones(4))
        self.padding = torch.nn.Parameter(torch.zeros(padding))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": ((self.w * x).sum(-1) - labels).square().mean() + self.padding.sum()}


def trainer(output: Path, rows: int = 12, bad: int | None = None, model: Line | None = None, **more) -> Trainer:
    """12 rows make 12 steps; the row `bad` has a label that is no number."""
    data = [{"x": torch.full((4,), row / rows), "labels": torch.tensor(float(row))} for row in range(rows)]
    if bad is not None:
        data[bad]["labels"] = torch.tensor(float("nan"))
    options = {
        "max_steps": 6, "per_device_train_batch_size": 1, "save_steps": 2, "save_total_limit": 2, "report_to": [],
        "use_cpu": True, "learning_rate": 0.1, "train_sampling_strategy": "sequential",
    }  # fmt: skip
    args = TrainingArguments(output_dir=str(output / "checkpoints"), **{**options, **more})
    return Trainer(model=model or Line(), args=args, train_dataset=data)


def test_a_run_that_goes_on_from_its_last_checkpoint_takes_no_further_step(tmp_path):
    whole = trainer(tmp_path)
    train(whole, tmp_path, "sft.trainer", None)
    again = trainer(tmp_path, model=Line())
    train(again, tmp_path, "sft.trainer", last_checkpoint(tmp_path))
    assert again.state.global_step == whole.state.global_step == 6
    assert torch.equal(again.model.w, whole.model.w) and not torch.equal(whole.model.w, Line().w)


def test_a_loss_that_is_no_number_ends_the_run_before_it_reaches_the_weights(tmp_path):
    ours = trainer(tmp_path, bad=4)  # the fifth step; checkpoints at 2 and 4
    with pytest.raises(UserError) as told:
        train(ours, tmp_path, "sft.trainer", None)
    good = tmp_path / "checkpoints" / "checkpoint-4"
    assert str(told.value).startswith("step 5: the loss or its gradient is nan")
    assert f"last good checkpoint: {good}; lower sft.trainer.learning_rate" in str(told.value)
    assert torch.equal(ours.model.w, load_file(good / "model.safetensors")["w"])
    assert len(str(told.value).splitlines()) == 1


def test_a_checkpoint_with_a_weight_that_is_no_number_is_no_good_one(tmp_path):
    train(trainer(tmp_path), tmp_path, "sft.trainer", None)
    newest, older = (tmp_path / "checkpoints" / f"checkpoint-{step}" for step in (6, 4))
    assert last_good(tmp_path) == newest and last_good(tmp_path, 5) == older and last_good(tmp_path, 3) is None
    save_file({"w": torch.tensor([1.0, float("inf")])}, newest / "model.safetensors")
    assert last_good(tmp_path) == older


@contextlib.contextmanager
def small_disk(size: int):
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("padding", "size"), [(100_000, 300_000), (100_000, 600_000)], ids=["weights", "optimizer"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(padding, size, tmp_path):
    """The weights take 400 kB, the optimizer 800."""
    first = trainer(tmp_path, max_steps=6, model=Line(padding))
    seen = []

    def fill(*args, **kwargs):
        seen.append(contextlib.ExitStack())
        if len(seen) == 2:  # at the second checkpoint
            seen[-1].enter_context(small_disk(size))
        try:
            return save(*args, **kwargs)
        finally:
            seen[-1].close()

    save, first._save_checkpoint = first._save_checkpoint, fill
    with pytest.raises(UserError) as told:
        train(first, tmp_path, "sft.trainer", None)
    good = tmp_path / "checkpoints" / "checkpoint-2"
    assert str(told.value).startswith(f"{tmp_path}: cannot be written (")
    assert str(told.value).endswith(
        f"free some space or choose another output; last good checkpoint: {good}; the same command goes on"
    )
    assert last_checkpoint(tmp_path) == str(good)  # what is half there is passed over
    again = trainer(tmp_path, model=Line(padding))
    train(again, tmp_path, "sft.trainer", str(good))
    whole = trainer(tmp_path / "whole", model=Line(padding))
    train(whole, tmp_path / "whole", "sft.trainer", None)
    assert torch.equal(again.model.w, whole.model.w)


def in_the_way(place: Path) -> None:
    (place / "checkpoint-4").touch()


def without_rights(place: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    place.chmod(0o555)


@pytest.mark.parametrize("fault", [in_the_way, without_rights])
def test_a_place_that_cannot_be_written_is_one_line(fault, tmp_path):
    ours = trainer(tmp_path)
    save = ours._save_checkpoint

    def spoilt(*args, **more):
        if ours.state.global_step == 4:
            fault(tmp_path / "checkpoints")
        save(*args, **more)

    ours._save_checkpoint = spoilt
    with pytest.raises(UserError) as told:
        train(ours, tmp_path, "sft.trainer", None)
    (tmp_path / "checkpoints").chmod(0o755)
    place = tmp_path / "checkpoints" / "checkpoint-4"
    assert re.match(
        rf"{re.escape(str(place))}: cannot be written \((File exists|Permission denied)\); ", str(told.value)
    )
    assert f"last good checkpoint: {tmp_path / 'checkpoints' / 'checkpoint-2'}; " in str(told.value)


def test_other_errors_stay_what_they_are(tmp_path):
    ours = trainer(tmp_path)
    ours.train_dataset = [{"x": torch.ones(3), "labels": torch.ones(())}] * 12  # three numbers for four
    with pytest.raises(RuntimeError, match="size of tensor"):
        train(ours, tmp_path, "sft.trainer", None)


def test_a_checkpoint_waits_until_the_batch_of_completions_is_used_up(tmp_path):
    ours = trainer(tmp_path, max_steps=9, save_total_limit=None, save_steps=2)
    ours.add_callback(SaveBetweenBatches(uses=3))
    train(ours, tmp_path, "grpo.trainer", None)
    saved = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "checkpoints").glob("checkpoint-*"))
    assert saved == [3, 6, 9]  # due at 2, 4, 6, 8 and the end


def test_a_collapse_names_the_checkpoint_from_before_it(tmp_path):
    from recipes.collapse import Stop

    ours = trainer(tmp_path, save_total_limit=None, logging_steps=1)
    ours.add_callback(StopOnCollapse(tmp_path, Stop(steps=2)))
    log = ours.log

    def with_rewards(logs, *args):
        spread = 1.0 if ours.state.global_step > 3 else 0.2
        return log({**logs, "reward": 0.5, "frac_reward_zero_std": spread}, *args)

    ours.log = with_rewards
    with pytest.raises(UserError) as told:
        train(ours, tmp_path, "grpo.trainer", None)
    words = str(told.value)
    assert words.startswith("step 5: collapsed: the share of groups whose completions earn the same is 1 over 2 steps")
    assert f"last good checkpoint: {tmp_path / 'checkpoints' / 'checkpoint-2'};" in words
    assert (
        json.loads((tmp_path / "checkpoints/checkpoint-4/trainer_state.json").read_text(encoding="utf-8"))[
            "global_step"
        ]
        == 4
    )


class Pool:
    """Scores of `fails` of the rows are failures."""

    def __init__(self) -> None:
        self.fails = 0

    def score(self, rows: list[dict], *, evidence: bool) -> list[dict[str, Score]]:
        failed = Score.failed("reward 'answer', row 'r1': OSError: no route")
        return [{"answer": failed if number < self.fails else Score(1.0)} for number in range(len(rows))]

    def metrics(self) -> dict[str, float]:
        return {}


def test_a_reward_that_fails_is_told_once_and_one_that_always_does_ends_the_run(tmp_path, capsys):
    pool = Pool()
    bridge = RewardBridge(pool, {"answer": 1.0}, tmp_path, 0)  # type: ignore[arg-type]

    def batch(fails: int) -> None:
        pool.fails = fails
        bridge.score([{"id": f"r{n}"} for n in range(4)], ["text"] * 4, [1] * 4)

    for fails in (0, 1, 4, 4, 3, 4, 4):  # away for two batches, twice
        batch(fails)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("WARNING: reward 'answer', row 'r1': OSError: no route; such rows")
    with pytest.raises(UserError, match=r"^the reward 'answer' failed on every row of 3 batches in a row, .*no route"):
        batch(4)
