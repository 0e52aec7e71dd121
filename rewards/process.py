"""The process reward: RadRScore by rules, or a judge that stands in for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reasoner.errors import UserError
from reasoner.prompts import parse_completion
from reasoner.schema import verified_labels
from rewards.judges.llm import Case, Judge, LlmJudge
from rewards.judges.radeval import RadEvalJudge
from rewards.radrscore import radrscore
from rewards.registry import Score, reward


def _ask_ahead(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Asks the judge about a whole chunk at once; each row then finds its answer."""
    judge = _judge(**settings)
    if judge is not None:
        judge.ask([_case(**row) for row in rows if _scorable(**row)])


def _scorable(*, reasoning: str | None, report: str | None, **_: Any) -> bool:
    return bool(reasoning and report and reasoning.strip() and report.strip())


def _case(*, completion: str, reasoning: str, report: str, **_: Any) -> Case:
    return Case(parse_completion(completion).reasoning, reasoning, report)


def _judge(
    judge: str, url: str, model: str, metric: str, gpus: float, actors: int, judge_timeout_s: float, cache: str
) -> Judge | None:
    """The judge that stands in for the rules; None when the rules judge."""
    if judge == "rules":
        return None
    if judge == "llm" and url and model:
        return LlmJudge(url, model, judge_timeout_s, cache)
    if judge == "radeval":
        return RadEvalJudge(metric, gpus, actors, judge_timeout_s).checked()
    raise UserError(f"reward 'process': judge {judge!r} must be rules, radeval, or llm with `url` and `model`")


_SETTINGS = ("judge", "url", "model", "metric", "gpus", "actors", "judge_timeout_s", "cache")


@reward("process", settings=_SETTINGS, prepare=_ask_ahead)
def process(
    completion: str,
    *,
    reasoning: str | None,
    report: str | None,
    labels: Mapping[str, str | None] | None = None,
    label_source: str | None = None,
    judge: str = "rules",
    url: str = "",
    model: str = "",
    metric: str = "radgraph",
    gpus: float = 0.25,
    actors: int = 1,
    judge_timeout_s: float = 8.0,
    cache: str = "~/.cache/cxr-reasoner/judge.sqlite",
) -> Score:
    """RadRScore of a completion; abstains on a row without reference chain (`reasoning`) or report.

    Labels count as verified unless `label_source` is `mined`: what a program read in the report cannot overrule it.

    `judge` is `rules` (below; deterministic), `llm` (`rewards.judges.llm`) or `radeval` (`rewards.judges.radeval`: not
    RadRScore but a metric of that package). What these two leave unanswered falls back to the rules, counted in the
    part `judge_fallback`.

    Raises:
        UserError: another judge, no server for it, or wrong settings of it; another `label_source`.
    """
    who = _judge(judge, url, model, metric, gpus, actors, judge_timeout_s, cache)
    if not _scorable(reasoning=reasoning, report=report):
        return Score(None, ({"verdict": "abstained", "why": "the row has no reference reasoning or no report"},))
    assert reasoning is not None and report is not None
    case = _case(completion=completion, reasoning=reasoning, report=report)
    verified = verified_labels(labels, label_source)
    if who is None:
        return radrscore(case.text, reasoning, report, verified)
    score = who.score(case)
    fallback = score is None
    score = score or radrscore(case.text, reasoning, report, verified)
    return replace(score, parts={**score.parts, "judge_fallback": float(fallback)})
