"""Judges of the process: the rules, and what can stand in for them. Each is one setting and one object.

    kind       fields                                 what it gives
    rules      none                                   RadRScore (`rewards.radrscore`)
    llm        url, model, timeout_s, cache           RadRScore's questions, answered by a language model
    radeval    metric, gpus, actors, timeout_s        a metric of the RadEval package, against chain and report

`start()` loads models and looks for servers before a run, and raises `UserError` where there are none. `score(cases)`
judges a chunk at once, in order; None is a case that it has no answer for in time. `gives_step_verdicts` says whether
its evidence has an entry for each step, which step credit needs.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rewards.judges.llm import LlmJudge
from rewards.judges.radeval import RadEvalJudge
from rewards.judges.rules import Case, RulesJudge

__all__ = ["Case", "Judge", "LlmJudge", "RadEvalJudge", "RulesJudge"]


def _by_name(value: Any) -> Any:
    """`judge: rules` is short for `judge: {kind: rules}`."""
    return {"kind": value} if isinstance(value, str) else value


Judge = Annotated[RulesJudge | LlmJudge | RadEvalJudge, Field(discriminator="kind"), BeforeValidator(_by_name)]
