"""TRL's GRPOTrainer with step-level credit: every token also receives the advantage of the step it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer

from rewards.credit import StepReward, normalised, token_credit, token_spans


class StepCreditTrainer(GRPOTrainer):
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

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """As TRL's; with step credit `advantages` is (completions, tokens) instead of (completions,)."""
        output = super()._generate_and_score_completions(inputs)
        if not self.step_credit:
            return output
        texts, local = zip(*self._steps(), strict=True)
        size = self.num_generations if self.model.training else self.num_generations_eval
        everywhere = gather_object(list(local))  # a group may be spread over processes
        steps = [row for n in range(0, len(everywhere), size) for row in normalised(everywhere[n : n + size])]
        first = self.accelerator.process_index * len(local)
        ids, mask = output["completion_ids"], output["completion_mask"]
        credit = torch.zeros(ids.shape, dtype=torch.float32)
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        for row, text in enumerate(texts):
            kept = ids[row, : int(mask[row].sum())].tolist()  # none of a truncated completion: it is masked
            values = token_credit(steps[first + row], token_spans(tokenizer, kept, text))
            credit[row, : len(values)] = torch.tensor(values)
        credit = self.step_credit * credit.to(ids.device) * mask
        output["advantages"] = output["advantages"].unsqueeze(1) + credit
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["step_credit/mean_abs"].append(credit.abs().sum().item() / max(1, int(mask.sum())))
        return output
