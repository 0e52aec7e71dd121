"""The process reward: RadRScore by rules, or a judge that stands in for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, get_args

from pydantic import Field, model_validator

from reasoner.prompts import parse_completion
from reasoner.schema import verified_labels
from rewards.judges import Case, Judge, RulesJudge
from rewards.radrscore import PARTS, Part
from rewards.registry import Score, reward

Labels = Mapping[str, str | None]
RULES = RulesJudge()
_UNKNOWN = Score.abstained("the row has no reference reasoning or no report")
#: What once lay flat beside `judge: llm` or `judge: radeval`, and its name within the judge.
_MOVED = {name: name for name in ("url", "model", "cache", "metric", "gpus", "actors")} | {
    "judge_timeout_s": "timeout_s"
}


@dataclass(frozen=True)
class ProcessSettings:
    """`judge`: `rules`, or `{kind: llm, ...}` or `{kind: radeval, ...}` with the fields in `rewards.judges`.

    `parts`: those whose mean is the value; `[factuality]` is ChestX-Reasoner's in GRPO (arXiv 2504.20930)."""

    judge: Judge = RULES
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = get_args(Part)

    @model_validator(mode="after")
    def _parts_are_judged(self) -> ProcessSettings:
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts {', '.join(self.parts)}: each at most once")
        if self.parts != PARTS and self.judge.kind == "radeval":
            raise ValueError(
                f"judge radeval has no parts {', '.join(self.parts)}; use rules or llm, or leave parts out"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, options: Any) -> Any:
        moved = {_MOVED[name]: options[name] for name in _MOVED if isinstance(options, Mapping) and name in options}
        if moved:
            kind = "radeval" if {"metric", "gpus", "actors"} & set(moved) else "llm"
            inside = ", ".join(f"{name}: {value}" for name, value in {"kind": kind, **moved}.items())
            raise ValueError(f"the judge is one option now, write `judge: {{{inside}}}`")
        return options


def process(
    completion: str,
    *,
    reasoning: str | None,
    report: str | None,
    labels: Labels | None = None,
    label_source: str | None = None,
) -> Score:
    """RadRScore of one completion, by the rules.

    Args:
        completion: think and answer block; what stands in the first is scored.
        reasoning, report: the reference chain and the report; abstains on a row without either.
        labels: CheXpert class -> status. They overrule the report unless `label_source` is `mined`: what a program read
            in the report is no news.

    Raises:
        UserError: another `label_source`.

    >>> text = "There is a small left pleural effusion. The heart is enlarged."
    >>> chain = "There is a small left pleural effusion. The heart is normal."
    >>> score = process(f"<think>{text}</think><answer>Edema</answer>", reasoning=chain, report=chain)
    >>> score.parts["factuality"], score.parts["effectiveness"]
    (0.5, 0.5)
    >>> [entry["verdict"] for entry in score.evidence if entry["part"] == "factuality"]
    ['supported', 'contradicted']
    """
    case = _case(completion, reasoning, report, labels, label_source)
    return _UNKNOWN if case is None else _by_rules(case)


@reward(
    "process",
    settings=ProcessSettings,
    start=lambda settings: settings.judge.start(),
    step_verdicts=lambda settings: settings.judge.gives_step_verdicts,
)
def judged_process(
    completions: Sequence[str],
    *,
    reasoning: Sequence[str | None],
    report: Sequence[str | None],
    labels: Sequence[Labels | None] = (),
    label_source: Sequence[str | None] = (),
    settings: ProcessSettings,
) -> Iterator[Score]:
    """The judge's score of each completion, in order, or the mean of the parts that count; abstains where `process`
    does.

    What a judge other than the rules leaves unanswered they score, counted in the part `judge_fallback`.

    Raises:
        UserError: another `label_source`.
    """
    rows = zip(completions, reasoning, report, labels, label_source, strict=True)
    cases = [_case(*row) for row in rows]
    scores = _judged(settings.judge, [case for case in cases if case is not None])
    for case in cases:
        yield _UNKNOWN if case is None else _counted(next(scores), settings.parts)


def _counted(score: Score, parts: Sequence[Part]) -> Score:
    """The score with the mean of these of its parts as value; all parts stay beside it."""
    if tuple(parts) == PARTS:
        return score
    return replace(score, value=sum(score.parts[part] for part in parts) / len(parts))


def _case(
    completion: str, reasoning: str | None, report: str | None, labels: Labels | None, label_source: str | None
) -> Case | None:
    if not (reasoning and report and reasoning.strip() and report.strip()):
        return None
    return Case(parse_completion(completion).reasoning, reasoning, report, verified_labels(labels, label_source))


def _judged(judge: Judge, cases: Sequence[Case]) -> Iterator[Score]:
    if isinstance(judge, RulesJudge):  # one by one, so that the workers see how far they are
        yield from map(_by_rules, cases)
        return
    for case, score in zip(cases, judge.score(cases), strict=True):
        fallback = score is None
        score = score or _by_rules(case)
        yield replace(score, parts={**score.parts, "judge_fallback": float(fallback)})


def _by_rules(case: Case) -> Score:
    return RULES.score([case])[0]
