"""What a recipe says about mining reaches the miner."""

from __future__ import annotations

from typing import Any

import pytest

from reasoner.errors import UserError
from reasoner.mining.drafts import Design
from recipes import mine
from recipes.load import load_recipe

SETTINGS = [
    "data.style=question", "data.choices=level", "data.balance=1",
    "data.counts={binary: 200, single: 400}", "data.compare=reports", "data.llm=http://localhost:1", "data.llm_model=m",
    "data.llm_calls=three",
]  # fmt: skip


def told(monkeypatch: pytest.MonkeyPatch, *settings: str) -> dict[str, Any]:
    said: dict[str, Any] = {}
    monkeypatch.setattr(mine, "mine", lambda source, output, **options: said.update(options) or {})
    mine.run(load_recipe("phantom", list(settings)))
    return said


def test_every_setting_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(monkeypatch, *SETTINGS)
    assert said["design"] == Design("level", "reports") and said["counts"] == {"binary": 200, "single": 400}
    assert (said["balance"], said["llm_calls"], said["llm"].model) == (1, "three", "m")
    steps = told(monkeypatch, "data.style=systematic", "data.steps=[recommendation, differential]")["design"].steps
    assert steps == ("recommendation", "differential")


def test_what_is_left_out_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(monkeypatch)
    assert said["design"] == Design() and not said["counts"] and said["llm_calls"] == "reword" and said["llm"] is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.counts={stage: 5}", "data.counts.stage: input should be 'binary', 'single'"),
        ("data.counts={binary: 0}", "data.counts.binary: input should be greater than or equal to 1"),
        ("data.choices=flat", "data.choices: input should be 'near' or 'level'"),
        ("data.steps=[advice]", "data.steps.0: input should be 'differential' or 'recommendation'"),
        ("data.steps=[differential, differential]", "each at most once"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        load_recipe("phantom", [setting])
    assert message in str(raised.value)
