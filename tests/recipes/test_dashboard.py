"""What W&B shows: the workspace's panels, the rollouts' words, and the speed of steps."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from eval.page.live import PANELS
from reasoner.errors import UserError
from recipes import dashboard
from recipes.cli import main
from recipes.training import Speed
from rewards.process import process


def plots(workspace: dict) -> dict[str, str]:
    """Title -> regular expression of the names that a plot shows."""
    sections = workspace["spec"]["section"]["panelBankConfig"]["sections"]
    configs = [panel["config"] for section in sections for panel in section["panels"]]
    return {config["chartTitle"]: config["metricRegex"] for config in configs if "chartTitle" in config}


def test_the_workspace_has_every_panel_of_the_page_once_and_the_rollouts(capsys):
    assert main(["dashboard", "--print", "--entity", "team", "--project", "films"]) == 0
    printed = capsys.readouterr().out
    shown = json.loads(printed)
    assert (shown["entity"], shown["project"]) == ("team", "films")
    assert sorted(plots(shown)) == sorted(PANELS) and f'"{dashboard.ROLLOUTS}"' in printed


def test_a_panel_shows_what_transformers_gives_wandb(capsys):
    from transformers.integrations.integration_utils import rewrite_logs

    main(["dashboard", "--print"])
    found = plots(json.loads(capsys.readouterr().out))
    logged = rewrite_logs({"eval_rewards/answer/mean": 1, "rewards/answer/mean": 1, "rewards/answer/std": 1, "kl": 0})
    shown = {title: [name for name in logged if re.fullmatch(words, name)] for title, words in found.items()}
    assert shown["Rewards by name"] == ["train/rewards/answer/mean"]
    assert shown["Held-out scores"] == ["eval/rewards/answer/mean"]
    assert sum(map(len, shown.values())) == 3, "each name in one panel, standard deviations in none"


def test_without_a_login_the_other_ways_are_named(monkeypatch):
    monkeypatch.setattr(dashboard, "logged_in_to_wandb", lambda: False)
    with pytest.raises(UserError, match=r"wandb login.*reasoner watch.*--print"):
        dashboard.save(None, None, show=False)


def test_what_wandb_refuses_is_one_line(monkeypatch, capsys):
    def refused(*args: object) -> None:
        raise ValueError("HTTP 403:\nno such team")

    monkeypatch.setattr(dashboard, "logged_in_to_wandb", lambda: True)
    monkeypatch.setattr("wandb.Api", refused)  # the real one tries again for 20 seconds
    assert main(["dashboard", "--entity", "team", "--project", "films"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: W&B: team/films: ValueError: HTTP 403: no such team") and "wandb login" in line


def test_rollouts_are_coloured_by_the_process_rewards_verdicts():
    completion = "<think>The heart is <enlarged>. No pneumothorax.</think><answer>Cardiomegaly</answer>"
    report = "FINDINGS: The heart is enlarged. Right pneumothorax."
    rated = process(completion, reasoning="The heart is enlarged. Right pneumothorax.", report=report)
    shown = dashboard.coloured(completion, {"process": rated.evidence})
    assert "&lt;think&gt;" in shown and "<enlarged>" not in shown
    assert 'title="contradicted: ' in shown and "✗ No pneumothorax" in shown
    assert dashboard.coloured("<b>", {}).count("<b>") == 0


def test_speed_is_of_the_steps_since_it_was_told_before(monkeypatch):
    times = iter([100.0, 102.0, 106.0])
    monkeypatch.setattr("recipes.training.time.monotonic", lambda: next(times))
    speed, first, second = Speed(), {"loss": 1.0, "num_tokens": 50}, {"loss": 1.0, "num_tokens": 90}
    speed.on_train_begin(None, SimpleNamespace(global_step=4), None)
    speed.on_log(None, SimpleNamespace(global_step=5), None, logs=first)
    speed.on_log(None, SimpleNamespace(global_step=5), None, logs=(scored := {"eval_loss": 1.0}))
    speed.on_log(None, SimpleNamespace(global_step=7), None, logs=second)
    assert first == {"loss": 1.0, "num_tokens": 50, "seconds_per_step": 2.0} and scored == {"eval_loss": 1.0}
    assert (second["seconds_per_step"], second["tokens_per_second"]) == (2.0, 10.0)
