"""The rules as judge of the process, and the case that every judge is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from rewards.radrscore import radrscore
from rewards.registry import Score


class Case(NamedTuple):
    """What is judged: a reasoning text, the reference chain, the report and the verified labels of the study."""

    text: str
    reference: str
    report: str
    labels: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class RulesJudge:
    """RadRScore: deterministic, local, and never without an answer."""

    gives_step_verdicts: ClassVar[bool] = True
    kind: Literal["rules"] = "rules"

    def start(self) -> None:
        """There is nothing to start."""

    def score(self, cases: Sequence[Case]) -> list[Score]:
        """RadRScore of each case."""
        return [radrscore(*case) for case in cases]
