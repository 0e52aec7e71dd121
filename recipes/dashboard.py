"""What W&B shows of a training: a workspace with the panels of `reasoner watch`, and rollouts coloured by verdict."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval.page.cases import marked
from eval.page.live import PANELS
from reasoner.errors import UserError
from reasoner.runtime.tracking import PROJECT, logged_in_to_wandb
from rewards.credit import PROCESS_REWARDS

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "Reasoning trainer"
#: The table that GRPO logs its rollouts in.
ROLLOUTS = "rollouts"
#: Sections and the titles of their panels; other panels make a section of their own.
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Rewards": ("Total reward", "Held-out scores", "Rewards by name", "Parts of the rewards"),
    "Policy": ("KL", "Log-probability gap", "Entropy", "Length", "Share of completions", "Staleness"),
    "Speed": ("Reward workers", "Tokens a second", "Seconds a step"),
    "Optimization": ("",),
}
#: Verdict -> background, sign: as on the pages (eval/page/static/page.css), with the sign for those who see no colour.
_MARKS = {
    "supported": ("#d9efe6", "✓"), "partial": ("#fdf3cf", "◐"), "unsupported": ("#e9e3f4", "?"),
    "contradicted": ("#fbdccb", "✗"), "repeated": ("#e8ebee", "↻"),
}  # fmt: skip


def workspace(entity: str, project: str) -> Workspace:
    """The workspace, not saved yet."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    sections = [
        workspaces.Section(name=name, panels=[_plot(title) for title in titles], is_open=True)
        for name, titles in _sections()
    ]
    table = panels.WeavePanelSummaryTable(table_name=ROLLOUTS)
    sections.insert(1, workspaces.Section(name="Rollouts", panels=[table], is_open=True))
    return workspaces.Workspace(name=NAME, entity=entity, project=project, sections=sections)


def _sections() -> Iterator[tuple[str, list[str]]]:
    left = list(PANELS)
    for name, beginnings in SECTIONS.items():
        titles = [title for title in left if title.startswith(beginnings)]
        left = [title for title in left if title not in titles]
        yield name, titles


def _plot(title: str) -> Any:
    import wandb_workspaces.reports.v2 as panels

    return panels.LinePlot(title=title, x="train/global_step", metric_regex=pattern(PANELS[title]))


def pattern(names: Sequence[str]) -> str:
    """A regular expression for the names that transformers gives W&B, of patterns for those that a trainer logs.

    >>> pattern(["reward", "eval_rewards/*/mean"])
    '^(train/reward|eval/rewards/.*/mean)$'
    """
    parts = [f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}" for name in names]
    return f"^({'|'.join('.*'.join(map(re.escape, part.split('*'))) for part in parts)})$"


def save(entity: str | None, project: str | None, show: bool) -> str:
    """Saves the workspace in the project, or with `show` saves nothing; returns its address, or what it is as JSON.

    Raises:
        UserError: nobody is logged in, or W&B refuses.
    """
    project = project or os.environ.get("WANDB_PROJECT", PROJECT)
    if show:
        model = workspace(entity or os.environ.get("WANDB_ENTITY", "ENTITY"), project)._to_model()
        return json.dumps(model.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1)
    import wandb

    if not logged_in_to_wandb():
        raise UserError("W&B: nobody is logged in; run `wandb login`, or see `reasoner watch` and `dashboard --print`")
    try:
        entity = entity or os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
        if entity is None:
            raise UserError("W&B: this account has no default entity; give --entity")
        wandb.Api().create_project(project, entity)  # as it is, if it is there
        return str(workspace(entity, project).save().url)
    except UserError:
        raise
    except Exception as error:  # of the network, the login, the rights, in whichever library
        raise UserError(f"W&B: {entity}/{project}: {type(error).__name__}: {error}; see `wandb login`") from error


def coloured(completion: str, evidence: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The completion as HTML, its claims coloured by the verdicts of the process reward in `evidence` (reward ->
    entries); the words on the other side show at hover."""
    judge = next((name for name in PROCESS_REWARDS if name in evidence), None)
    pieces = []
    for one in marked(completion, evidence[judge] if judge else ())[0]:
        words = html.escape(one.text)
        if one.verdict is not None:
            colour, sign = _MARKS[one.verdict]
            told = html.escape(f"{one.verdict}: {one.against}" if one.against else one.verdict)
            words = f'<mark style="color:#111;background:{colour}" title="{told}">{sign} {words}</mark>'
        pieces.append(words)
    return f'<div style="font:14px sans-serif;white-space:pre-wrap">{"".join(pieces)}</div>'
