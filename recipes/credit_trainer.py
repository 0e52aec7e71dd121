"""GRPO with credit where it is due: tokens with advantages of their own, completions corrected after the rollout,
and prompts that teach. Each part is off unless the recipe asks for it (docs/training.md)."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from accelerate.utils import gather_object

from reasoner.compat.trl import HookedTrainer, Rollout
from reasoner.profiles import OURS, Profile
from reasoner.prompts import assistant_message
from reasoner.training.feed import ROW
from reasoner.training.lengths import message_length
from recipes.config import Grpo
from recipes.own_turns import Messages, earlier_turns, with_own_turns
from recipes.prompt_sampler import PromptSampler
from recipes.reward_bridge import Origin, RewardBridge
from rewards.credit import claim_spans, claim_weights, normalised, step_rewards, token_credit, token_spans
from rewards.edits import corrections
from rewards.registry import Score, gated_total

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Rewards that spread less than this over a group teach nothing: TRL adds as much to the deviation it divides by.
FLAT = 1e-4


class Sample(NamedTuple):
    """A completion with its rewards and their total."""

    rollout: Rollout
    scores: dict[str, Score]
    total: float
    origin: Origin = Origin()


#: The completions of one prompt.
Group = list[Sample]


class CreditTrainer(HookedTrainer):
    """TRL's GRPO trainer with what `grpo.step_credit`, `claim_weight`, `edits`, `prompts` and `context` ask for.

    Whatever fails in them (a text that cannot be corrected, a prompt that cannot be loaded) leaves that batch as plain
    GRPO has it, and is counted in `edits/failed`, `refill/failed` or `claim_weight/failed`.

    Args:
        grpo: the recipe's section.
        bridge: what scores completions.
        prompts: the sampler of prompts; None leaves them to TRL.
        profile: in whose words earlier turns stand.
    """

    def __init__(
        self,
        *args: Any,
        grpo: Grpo,
        bridge: RewardBridge,
        prompts: PromptSampler | None = None,
        profile: Profile = OURS,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.grpo, self.bridge, self.prompts, self.profile = grpo, bridge, prompts, profile
        self._dropped: list[tuple[int, float]] = []  # prompts that were replaced, with their spread
        self._edited: list[bool] = []
        self._failed: Counter[str] = Counter()

    def prompt_sampler(self) -> PromptSampler | None:
        return self.prompts if self.grpo.prompts.drawn else None

    def one_pass(self) -> bool:
        return super().one_pass() and not self.grpo.edits.rate  # `edits/logp` is of the policy before the loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Keeps the sampler's state first: the checkpoint counts as whole by what is written last."""
        if self.prompts is not None and self.accelerator.is_main_process:
            self.prompts.save(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.bridge.training = self.model.training
        return super()._generate_and_score_completions(inputs)

    # Before the rollouts: the policy's own earlier turns.

    def converse(self, prompts: list[Messages]) -> list[Messages]:
        if self.grpo.context == "reference":
            return prompts
        size = self.group_size()
        heads = prompts[::size]
        rounds = max(gather_object([max(len(earlier_turns(prompt)) for prompt in heads)]))
        room = self.args.vllm_max_model_length
        longest = math.inf if room is None else room - self.max_completion_length
        own, kept = with_own_turns(
            heads,
            rounds,
            self.say,
            fits=lambda prompt: message_length(prompt, self.processing_class) <= longest,
            write=lambda text: assistant_message(*self.profile.read_turn(text), self.profile),
        )
        self.note("own_turns/reference", kept / len(heads))
        return [own[number // size] for number in range(len(prompts))]

    # Before the rewards: edits and refilled groups.

    def revise(self, batch: list[Rollout]) -> list[Rollout]:
        if not (self.grpo.edits.rate or self.grpo.prompts.refill):
            return batch
        samples = self._scored(batch)
        size = self.group_size()
        groups = [samples[first : first + size] for first in range(0, len(samples), size)]
        if self.grpo.edits.rate:
            self._edit(groups)
        if self.grpo.prompts.refill and self.prompts is not None:
            self._refill(groups, self.prompts)
        samples = [sample for group in groups for sample in group]
        rollouts = [sample.rollout for sample in samples]
        self._edited = [bool(sample.origin.edited_from) for sample in samples]
        self.bridge.keep([one.completion for one in rollouts], [s.scores for s in samples], [s.origin for s in samples])
        return rollouts

    def _scored(self, rollouts: Sequence[Rollout], **origin: Any) -> list[Sample]:
        """All processes call this together."""
        tokens = [len(one.completion_ids) for one in rollouts]
        scores = self.bridge.score([one.row for one in rollouts], [one.text for one in rollouts], tokens)
        return [
            Sample(one, s, gated_total(s, self.bridge.weights), Origin(**origin))
            for one, s in zip(rollouts, scores, strict=True)
        ]

    def _edit(self, groups: list[Group]) -> None:
        """Puts corrected completions into a share of the groups, where they earn more than what they replace."""
        random = np.random.default_rng([self.args.seed, self.batch_number(), 0])
        draws = random.random((self.accelerator.num_processes, len(groups)))[self.accelerator.process_index]
        chosen = [n for n, draw in enumerate(draws) if draw < self.grpo.edits.rate]
        drafts = [
            (n, sample, draft)
            for n in chosen
            for sample in groups[n]
            for draft in self._attempt("edits", self._drafts, sample)
        ]
        scored = self._scored([draft for _, _, draft in drafts])
        gains = []
        for n in chosen:
            better = [
                (new, old)
                for (of, old, _), new in zip(drafts, scored, strict=True)
                if of == n and new.total > old.total + FLAT
            ]
            if not better:
                continue
            new, old = max(better, key=lambda pair: (pair[0].total, _nearness(pair[0], pair[1])))
            replaced = min(groups[n], key=lambda sample: sample.total) if self.grpo.edits.replaces == "worst" else old
            gains.append(new.total - replaced.total)
            corrected = new._replace(origin=Origin(edited_from=old.rollout.text))
            groups[n] = [corrected if sample is replaced else sample for sample in groups[n]]
        self.note("edits/share", len(gains) / max(1, sum(map(len, groups))))
        self.note("edits/groups", len(gains) / max(1, len(groups)))
        self._count_failures("edits")
        if gains:
            self.note("edits/gain", fmean(gains))

    def _drafts(self, sample: Sample) -> list[Rollout]:
        """The corrected versions of a completion that are short enough."""
        one, judge = sample.rollout, self.bridge.judge
        evidence = sample.scores[judge].evidence if judge else ()
        texts = corrections(one.text, one.row["reasoning"] or "", one.row["answer"] or "", evidence)
        drafts = []
        for text in texts:
            ids = [
                *self._text_tokenizer(text, add_special_tokens=False)["input_ids"],
                self._text_tokenizer.eos_token_id,
            ]
            if len(ids) <= self.max_completion_length:
                completion = [{**one.completion[-1], "content": text}]
                # vLLM sampled none of these tokens: their behaviour is taken to be the trainer's own old policy.
                unknown: list[float | None] | None = None if one.logprobs is None else [None] * len(ids)
                drafts.append(replace(one, completion_ids=ids, completion=completion, logprobs=unknown))
        return drafts

    def _refill(self, groups: list[Group], prompts: PromptSampler) -> None:
        """Puts groups of other prompts in the place of those whose completions are all worth the same."""
        number, process = self.batch_number(), self.accelerator.process_index
        flat = [n for n, group in enumerate(groups) if self._spread(group) < FLAT]
        self.note("refill/flat", len(flat) / max(1, len(groups)))
        taken = {group[0].rollout.row[ROW] for group in groups}
        filled = extra = 0
        for round_ in range(self.grpo.prompts.refill):
            wanted = max(gather_object([len(flat)]))  # every process generates as much: the calls are collective
            indices = prompts.spare(number, round_, process, wanted, taken)
            rows = self._attempt("refill", self._rows_of, indices)
            rows = rows[: min(gather_object([len(rows)]))]
            if not rows:
                break
            taken |= set(indices)
            fresh = self._scored(self.sample([row for row in rows for _ in range(self.group_size())]), refilled=True)
            extra += len(fresh)
            for first in range(0, len(fresh), self.group_size()):
                group = fresh[first : first + self.group_size()]
                if flat and self._spread(group) >= FLAT:
                    self._drop(groups[flat[0]])
                    groups[flat.pop(0)] = group
                    filled += 1
                else:
                    self._drop(group)
        self.note("refill/groups", filled)
        self.note("refill/extra_completions", extra)
        self._count_failures("refill")

    def _rows_of(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        return [self.train_dataset[index] for index in indices]

    def _spread(self, group: Sequence[Sample]) -> float:
        """How far the completions of one prompt differ in what they earn, step credit included."""
        return _spread([(sample.total, self._judged(sample.scores)) for sample in group])

    def _judged(self, scores: dict[str, Score]) -> float:
        judge = self.bridge.judge if self.grpo.step_credit else None
        return (scores[judge].value or 0.0) if judge else 0.0

    # After the rewards.

    def token_advantages(self, output: dict[str, Any]) -> torch.Tensor:
        """TRL's advantages, (completions,), or with step credit and claim weights (completions, tokens)."""
        if not self.model.training:
            return output["advantages"]
        self._observe()
        advantages, ids, mask = output["advantages"], output["completion_ids"], output["completion_mask"]
        if any(self._edited) and (old := output.get("old_per_token_logps")) is not None:
            rows = torch.tensor(self._edited, device=mask.device)
            self.note("edits/logp", (old * mask)[rows].sum().item() / max(1, int(mask[rows].sum())))
        self._edited = []
        if not self.grpo.step_credit and self.grpo.claim_weight == 1:
            return advantages
        texts = self.bridge.texts()
        # None of a truncated completion counts: it is masked.
        kept = [row[: int(counted.sum())].tolist() for row, counted in zip(ids, mask, strict=True)]
        spans = [token_spans(self._text_tokenizer, *pair) for pair in zip(kept, texts, strict=True)]
        every = advantages.unsqueeze(1).expand(ids.shape)
        if self.grpo.step_credit:
            credit = self.grpo.step_credit * _by_token(self._step_credit(texts, spans), ids, 0.0)
            self.note("step_credit/mean_abs", (credit * mask).abs().sum().item() / max(1, int(mask.sum())))
            every = every + credit * mask
        if self.grpo.claim_weight > 1:
            every = every * _by_token(self._claim_weights(texts, spans), ids, 1.0)
        return every

    def _step_credit(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]) -> list[list[float]]:
        judge, size = self.bridge.judge, self.group_size()
        local = [step_rewards(text, s[judge]) for text, s in zip(texts, self.bridge.scores(), strict=True) if judge]
        everywhere = gather_object(local)  # a group may be spread over processes
        steps = [row for n in range(0, len(everywhere), size) for row in normalised(everywhere[n : n + size])]
        first = self.accelerator.process_index * len(local)
        return [token_credit(*pair) for pair in zip(steps[first : first + len(local)], spans, strict=True)]

    def _claim_weights(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]) -> list[list[float]]:
        claims = [self._attempt("claim_weight", claim_spans, text) for text in texts]
        weights = [claim_weights(c, s, self.grpo.claim_weight) for c, s in zip(claims, spans, strict=True)]
        everything = [weight for row in weights for weight in row]
        if everything:
            self.note("claim_weight/mean", fmean(everything))
            self.note("claim_weight/share", fmean(weight > 1 for weight in everything))
        self._count_failures("claim_weight")
        return weights

    def _observe(self) -> None:
        """Tells the sampler how far the rewards of each prompt spread; every process has all of them."""
        if self.prompts is None:
            return
        numbers = [row[ROW] for row in self._rows]
        earned = [(gated_total(s, self.bridge.weights), self._judged(s)) for s in self.bridge.scores()]
        rows, size = gather_object(list(zip(numbers, earned, strict=True))), self.group_size()
        groups = [rows[first : first + size] for first in range(0, len(rows), size)]
        spreads = [(group[0][0], _spread([pair for _, pair in group])) for group in groups]
        number = self.batch_number()
        self.prompts.observe(number, [*spreads, *gather_object(self._dropped)])
        self._dropped = []
        self.note("prompts/spread", fmean(spread for _, spread in spreads))
        self.note("prompts/flat", fmean(spread < FLAT for _, spread in spreads))
        self.note("prompts/open", self.prompts.openness(number))

    def _drop(self, group: Sequence[Sample]) -> None:
        if self.prompts is not None:
            self._dropped.append((group[0].rollout.row[ROW], self._spread(group)))

    @property
    def _text_tokenizer(self) -> Any:
        return getattr(self.processing_class, "tokenizer", self.processing_class)

    def _attempt(self, what: str, work: Callable[[Any], list[T]], given: Any) -> list[T]:
        """`work(given)`, or where it fails nothing, counted: an aid to training must not end it."""
        try:
            return work(given)
        except Exception:
            self._failed[what] += 1
            log.exception("%s failed; this batch goes on without", what)
            return []

    def _count_failures(self, what: str) -> None:
        self.note(f"{what}/failed", self._failed.pop(what, 0))


def _spread(earned: Sequence[tuple[float, float]]) -> float:
    """The standard deviation of totals, or of what the judge gave, whichever is larger."""
    return max(map(pstdev, zip(*earned, strict=True)))


def _nearness(new: Sample, old: Sample) -> float:
    """How near a corrected text is to the sample it comes from, 0 to 1."""
    return SequenceMatcher(None, old.rollout.text.split(), new.rollout.text.split()).ratio()


def _by_token(rows: Sequence[Sequence[float]], ids: torch.Tensor, fill: float) -> torch.Tensor:
    """Rows of unequal length as one tensor of the shape of `ids`."""
    values = torch.full(ids.shape, fill, dtype=torch.float32)
    for row, found in zip(values, rows, strict=True):
        row[: len(found)] = torch.tensor(found)
    return values.to(ids.device)
