"""`scores.json`: what its metrics are called, and how it is read back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from reasoner.errors import UserError
from reasoner.runtime.disk import read_object

#: The order of metrics in tables: metric -> what people read.
HEADLINE: dict[str, str] = {
    "micro_f1": "Micro-F1",
    "micro_f1_13": "Micro-F1, 13 classes",
    "macro_f1": "Macro-F1",
    "exact_match": "Exact list",
    "answer": "Answer reward",
    "skill": "Skill",
    "radrscore": "RadRScore",
    "factuality": "Factuality",
    "completeness": "Completeness",
    "effectiveness": "Effectiveness",
    "claim_f1": "Claim F1, with side and degree",
    "claim_f1_names": "Claim F1, findings alone",
    "specificity": "Specificity (RadRScore, own - other study)",
    "wrong_study": "Chains as right for another study",
    "box_iou": "Box IoU, answers",
    "box_f1": "Box F1 at 0.5, answers",
    "step_box_iou": "Box IoU, steps",
    "step_box_f1": "Box F1 at 0.5, steps",
    "answer_follows": "Answer follows from chain",
    "answer_undecidable": "The same, undecidable",
    "format": "Well-formed",
}
#: Further rows of the report's tables that are no scores.
COUNTS: dict[str, str] = {"tokens": "Tokens sampled per question"}
#: What is said of a finding -> the metrics that count such findings, and tell which share of them is there.
CALIBRATION: dict[str, tuple[str, str]] = {
    "asserted": ("confident_claims", "confident_true"),
    "hedged": ("hedged_claims", "hedged_true"),
    "denied": ("denied_claims", "denied_there"),
}
GREEDY, SAMPLED = "greedy", "sampled"
#: Modes that choose one of the sampled completions.
BY_AGREEMENT, BY_VOTE, BY_REWARD = CHOICES = "best_by_agreement", "best_by_vote", "best_by_reward"
#: Mode -> what people read.
MODES: dict[str, str] = {
    GREEDY: "greedy",
    SAMPLED: "sampled",
    BY_AGREEMENT: "best of n by agreement",
    BY_VOTE: "best of n by vote on the answer",
    BY_REWARD: "best of n by reward (upper limit)",
}


class Interval(NamedTuple):
    """A metric's value with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def read_greedy(path: Path, model: str) -> dict[str, dict[str, Interval]]:
    """Split -> metric of `HEADLINE` -> interval, of the model decoded greedily; empty where it was not evaluated.

    Raises:
        UserError: the file is damaged.
    """
    fix = "run `reasoner eval --force`"
    if not path.exists():
        return {}
    try:
        return {
            split: {
                name: Interval(*(float(modes[GREEDY][name][end]) for end in Interval._fields))
                for name in HEADLINE
                if name in modes.get(GREEDY, {})
            }
            for split, modes in read_object(path, fix).get(model, {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged, the scores of {model} are not as written ({error!r}); {fix}") from error
