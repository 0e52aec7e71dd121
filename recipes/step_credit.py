"""GRPO with step-level credit: every token also receives the advantage of the step that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object

from reasoner.compat.trl import TokenAdvantageTrainer
from rewards.credit import StepReward, normalised, token_credit, token_spans


class StepCreditTrainer(TokenAdvantageTrainer):
    """Adds `step_credit` times the group-normalised reward of its step to each token's advantage.

    Args:
        step_credit: weight beside the outcome's advantage; 0 leaves everything to TRL.
        steps: the (text, steps) of each completion of this process's last scored batch, in order.
    """

    def __init__(
        self,
        *args: Any,
        step_credit: float,
        steps: Callable[[], Sequence[tuple[str, list[StepReward]]]],
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.step_credit, self._steps = step_credit, steps

    def token_advantages(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
        """The steps' credit on their tokens, (completions, tokens)."""
        if not self.step_credit:
            return None
        texts, local = zip(*self._steps(), strict=True)
        size = self.group_size()
        everywhere = gather_object(list(local))  # a group may be spread over processes
        steps = [row for n in range(0, len(everywhere), size) for row in normalised(everywhere[n : n + size])]
        first = self.accelerator.process_index * len(local)
        credit = torch.zeros(ids.shape, dtype=torch.float32)
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        for row, text in enumerate(texts):
            kept = ids[row, : int(mask[row].sum())].tolist()  # none of a truncated completion: it is masked
            values = token_credit(steps[first + row], token_spans(tokenizer, kept, text))
            credit[row, : len(values)] = torch.tensor(values)
        credit = self.step_credit * credit.to(ids.device) * mask
        self.note("step_credit/mean_abs", credit.abs().sum().item() / max(1, int(mask.sum())))
        return credit
