"""Where W&B writes."""

from __future__ import annotations

import os

from recipes.load import load_recipe
from recipes.training import start_tracking


def test_two_recipes_of_one_process_have_folders_of_their_own(tmp_path, monkeypatch):
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DATA_DIR", "WANDB_SILENT"):
        monkeypatch.setenv(name, str(tmp_path))  # so that what the stage sets is not left behind
        monkeypatch.delenv(name)
    wandb.init(mode="disabled")  # what an earlier run of this process leaves behind
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        start_tracking(load_recipe("phantom", [f"output={tmp_path / name}"]), "sft", str(tmp_path / name))
        assert len(list((tmp_path / name / "wandb").glob("offline-run-*"))) == 1
    wandb.finish()
    assert "WANDB_DIR" not in os.environ, "a process below this one would write there too"
