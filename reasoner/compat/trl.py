"""TRL: an SFT trainer whose tokens may weigh differently, a GRPO trainer that samples a Qwen-VL from vLLM, and one
with hooks: for its prompts, for the conversation before each, for its completions before they are scored, and for the
advantage of each token. That one needs one forward pass a step where TRL needs two."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import Sampler
from trl import GRPOTrainer, SFTTrainer
from trl.data_utils import prepare_multimodal_messages
from trl.generation import vllm_generation
from trl.trainer import grpo_trainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from reasoner.compat.trl_server import ServedGeneration
from reasoner.compat.vllm import collapse_runs, forget_images
from reasoner.runtime.ranks import free_port

WRITTEN_FOR = "1.16"
#: The label of a token that has no loss.
IGNORED = -100
#: What says which process of which group one is.
_GROUP = frozenset({"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})


@contextmanager
def rollouts(engine_options: Mapping[str, Any], logit_bias: Mapping[int, float]) -> Iterator[None]:
    """While this is active, TRL trainers that are built sample from an engine of theirs through a generation that
    differs from TRL's own:

    1. The engine is built with `engine_options` (dtype, eager mode, image limit, logits processors), for which TRL has
       no arguments, and every request carries `logit_bias`, which a recipe's own may add to but not lift.
    2. Of the image tokens in a prompt one per image is kept, since TRL has expanded them and vLLM expands them again
       (no error: garbage completions). The prompt that comes back is compared with the trainer's.
    3. After a weight push the engine forgets the images it has seen.
    4. Runs that start at the same time on one machine get a port each; TRL gives 29500 to all. What TRL writes into the
       environment for vLLM's start is taken back, so that a process below this one does not take itself for one of a
       group, nor the next run of this one.

    Guard: tests/recipes/test_grpo_matrix.py (the log-probability gap), tests/reasoner/models/test_engine.py.
    """

    class Rollouts(vllm_generation.VLLMGeneration):
        def __init__(self, *args: Any, generation_kwargs: dict | None = None, **kwargs: Any):
            options = dict(generation_kwargs or {})
            options["logit_bias"] = {**options.get("logit_bias", {}), **logit_bias}
            self._image_token_id = kwargs["processing_class"].image_token_id
            super().__init__(*args, generation_kwargs=options, **kwargs)

        def _init_vllm(self) -> None:
            ours = _GROUP.difference(os.environ)
            os.environ.setdefault("MASTER_PORT", str(free_port()))
            engine = vllm_generation.LLM
            vllm_generation.LLM = partial(engine, **engine_options)
            try:
                super()._init_vllm()
            finally:
                vllm_generation.LLM = engine
                for name in ours:
                    os.environ.pop(name, None)

        def sync_weights(self) -> None:
            super().sync_weights()
            forget_images(self.llm)

        def generate(self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any = None) -> tuple:
            collapsed = [collapse_runs(ids, self._image_token_id) for ids in prompts]
            seen, *rest = super().generate(collapsed, images, num_generations, profiler)
            for ours, theirs in zip(prompts, seen, strict=True):
                if len(ours) != len(theirs):
                    raise RuntimeError(
                        f"vLLM read a prompt of {len(theirs)} tokens where the trainer has {len(ours)}: "
                        "their image processors disagree (compare min_pixels/max_pixels of both)"
                    )
            return (prompts, *rest)

    original = grpo_trainer.VLLMGeneration
    grpo_trainer.VLLMGeneration = Rollouts
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = original


@dataclass(frozen=True, eq=False)
class Rollout:
    """A completion as TRL handles it: the data-set `row` it answers, its messages with pictures, its ids."""

    row: dict[str, Any]
    prompt: list[dict[str, Any]]
    prompt_ids: list[int]
    images: list[Any] | None
    completion_ids: list[int]
    completion: list[dict[str, str]]
    #: What vLLM gave each token; None for a token that it did not sample, which then has an importance ratio of 1.
    logprobs: list[float | None] | None

    @property
    def text(self) -> str:
        return self.completion[-1]["content"]


class HookedTrainer(GRPOTrainer):
    """TRL's GRPO trainer with four hooks, which leave it as it is unless they are overridden; and where the policy that
    is updated is still the one that was sampled, the loss's own forward pass gives the log-probabilities that vLLM's
    are corrected with.

    Why: TRL has no dynamic sampling (huggingface/trl#3708), no samples but its own, and one advantage a completion; its
    loss does take advantages of shape (completions, tokens), and it takes a log-probability of None as unknown. For the
    correction it runs the model over every batch once more, a sixth of a step (benchmarks/step_time.py).
    Guard: tests/recipes/test_grpo_matrix.py, tests/recipes/test_credit_trainer.py.
    """

    #: The batch of a loss that waits for its log-probabilities.
    _uncorrected: dict[str, Any] | None = None
    vllm_importance_sampling_correction: bool

    def prompt_sampler(self) -> Sampler[int] | None:
        """The sampler of training prompts, or None for TRL's own. It repeats indices as `RepeatSampler` does."""
        return None

    def converse(self, prompts: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """What is asked in the place of this process's prompts, which hold their pictures: as many, groups together."""
        return prompts

    def revise(self, batch: list[Rollout]) -> list[Rollout]:
        """What is trained on in the place of this process's sampled completions: as many, groups still together. Not
        called in evaluation."""
        return batch

    def token_advantages(self, output: dict[str, Any]) -> torch.Tensor:
        """The advantages of this process's completions, (completions,), or for each token (completions, tokens).

        Args:
            output: TRL's batch: `advantages`, (completions,); `completion_ids` and `completion_mask`, which of their
                tokens count, both (completions, tokens); `old_per_token_logps` of the same shape, where TRL needs them.
        """
        return output["advantages"]

    def one_pass(self) -> bool:
        """Whether no update comes between the rollout of a batch and its loss, so that both have the same policy."""
        sampled_every = self.args.steps_per_generation * self.num_iterations
        fresh = self.args.gradient_accumulation_steps % sampled_every == 0
        return self.model.training and fresh

    def group_size(self) -> int:
        """Completions of one prompt, in training or in evaluation."""
        return self.num_generations if self.model.training else self.num_generations_eval

    def batch_number(self) -> int:
        """Which batch of completions this is, from 0 over the whole training, also in a resumed one."""
        accumulation = self.args.gradient_accumulation_steps
        done = self.state.global_step * accumulation + self._step % accumulation
        return done // (self.args.steps_per_generation * self.num_iterations)

    def note(self, name: str, value: float) -> None:
        """Adds a number to what is logged at the next step."""
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def sample(self, rows: Sequence[dict[str, Any]]) -> list[Rollout]:
        """A completion for each row from the policy as it is, counted in `completions/*` like the others. All processes
        call this together, with as many rows."""
        prompts = [prepare_multimodal_messages(row["prompt"], images=row.get("images") or []) for row in rows]
        prompts = self.converse(prompts)
        return _rollouts(rows, prompts, super()._generate(prompts))

    def say(self, prompts: list[list[dict[str, Any]]]) -> list[str]:
        """What the policy answers to each prompt, beside the batch and its metrics. All processes call this together,
        with as many prompts."""
        ids, images, fields = self._tokenize_prompts(prompts)
        said, _ = self._generate_single_turn(ids, images, fields, 1)
        return self.processing_class.batch_decode(said, skip_special_tokens=True)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        ours = self.prompt_sampler()
        return super()._get_train_sampler(dataset) if ours is None else ours

    def _generate(self, prompts: list) -> tuple:
        prompts[:] = self.converse(prompts)
        output = super()._generate(prompts)
        if not self.model.training:
            return output
        batch = self.revise(_rollouts(self._rows, prompts, output))
        # TRL goes on with these two lists, which therefore change in place.
        self._rows[:], prompts[:] = [one.row for one in batch], [one.prompt for one in batch]
        images = [one.images for one in batch]
        return (
            [one.prompt_ids for one in batch],
            [one.completion_ids for one in batch],
            output[2],
            [one.completion for one in batch],
            None if output[4] is None else [one.logprobs for one in batch],
            output[5],
            images if any(images) else None,
            output[7],
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = inputs
        served = getattr(self, "vllm_generation", None)  # none where transformers generates
        if isinstance(served, ServedGeneration):
            served.begin(self.batch_number())
        corrects = self.vllm_importance_sampling_correction
        self.vllm_importance_sampling_correction = corrects and not self.one_pass()
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self.vllm_importance_sampling_correction = corrects
        output["advantages"] = self.token_advantages(output)
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        waits = self.use_vllm and self.vllm_importance_sampling_correction and "importance_sampling_ratio" not in inputs
        self._uncorrected = inputs if waits else None
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> tuple:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        batch, self._uncorrected = self._uncorrected, None
        if batch is not None:
            batch["importance_sampling_ratio"] = self._importance(found[0].detach(), batch)
        return found

    def _importance(self, logps: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        """The ratios of the policy to vLLM's, (completions, tokens), or (completions, 1) where TRL's mode is by
        sequence, as its `_generate_and_score_completions` makes and logs them. `logps`: (completions, tokens)."""
        mask, sampled = batch["completion_mask"].bool(), batch["sampling_per_token_logps"]
        known = mask & ~sampled.isnan()
        difference = torch.where(known, logps - sampled, 0.0)
        level, _, act = self.vllm_importance_sampling_mode.partition("_")
        ratio = (difference.sum(-1, keepdim=True) if level == "sequence" else difference).exp()
        low, high = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        kept = ratio if low is None and high is None else ratio.clamp(low, high)
        ratio = kept if act == "truncate" else ratio.masked_fill(ratio != kept, 0.0)
        self._note_importance(difference[known].abs(), ratio.flatten() if level == "sequence" else ratio[mask])
        return ratio

    def _note_importance(self, gaps: torch.Tensor, ratios: torch.Tensor) -> None:
        gaps, ratios = (values if len(values) else values.new_zeros(1) for values in (gaps, ratios))
        own = torch.stack([gaps.mean(), gaps.max(), ratios.min(), ratios.mean(), ratios.max()])
        every = self.accelerator.gather(own.unsqueeze(0))
        self.note("sampling/sampling_logp_difference/mean", every[:, 0].mean().item())
        self.note("sampling/sampling_logp_difference/max", every[:, 1].max().item())
        for column, name in enumerate(("min", "mean", "max"), start=2):
            value = getattr(every[:, column], name)()
            self.note(f"sampling/importance_sampling_ratio/{name}", value.item())


def _rollouts(rows: Sequence[dict[str, Any]], prompts: Sequence[list], output: tuple) -> list[Rollout]:
    """What TRL's `_generate` returns, completion by completion."""
    prompt_ids, ids, _, completions, logprobs, _, images, _ = output
    nothing = [None] * len(ids)
    return [
        Rollout(*parts)
        for parts in zip(
            rows, prompts, prompt_ids, images or nothing, ids, completions, logprobs or nothing, strict=True
        )
    ]


class TurnsCollator(DataCollatorForVisionLanguageModeling):
    """TRL's collator for prompts with completions, of which a completion may be the rest of a conversation.

    Why: TRL's completion of several messages has loss on the user's, too, and shows no images; its
    `assistant_only_loss` needs transformers 5.18 for images and a template with generation marks, which Qwen-VL's lack.
    Here all but the last message join the prompt, where TRL puts the images; then the tokens of each earlier answer,
    and the end of its turn, get labels back. An answer whose tokens are not found as they stand (they ran together
    with what is around them) has no loss.
    Guard: tests/reasoner/training/test_turns.py.

    Args:
        weigh: from the text of an answer to one weight for each of its tokens, which the batch then has as
            `token_weights`; None leaves them out.
    """

    def __init__(self, processor: Any, *args: Any, weigh: Callable[[str], list[float]] | None = None, **kwargs: Any):
        super().__init__(processor, *args, **kwargs)
        self.weigh = weigh
        self._tokenizer = processor.tokenizer
        self._opening = self._ids(_opening(processor))

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        taught = [[m for m in example["completion"] if m["role"] == "assistant"] for example in examples]
        texts = [[_words(message) for message in row] for row in taught]
        moved = [
            {**e, "prompt": [*e["prompt"], *e["completion"][:-1]], "completion": e["completion"][-1:]} for e in examples
        ]
        batch = super().torch_call(moved)
        last = [(row != IGNORED).nonzero()[:, 0].tolist() for row in batch["labels"]]
        places = [
            [*self._earlier(ids.tolist(), row[:-1]), found]
            for ids, row, found in zip(batch["input_ids"], texts, last, strict=True)
        ]
        for labels, ids, row in zip(batch["labels"], batch["input_ids"], places, strict=True):
            for found in row:
                labels[found] = ids[found]
        if self.weigh is not None:
            batch["token_weights"] = self._weights(batch["labels"], texts, places)
        return batch

    def _earlier(self, ids: list[int], texts: Sequence[str]) -> list[list[int]]:
        """The places of each answer and of the token that ends its turn; none where it is not found."""
        places: list[list[int]] = []
        start = 0
        for text in texts:
            wanted = [*self._opening, *self._ids(text), self._tokenizer.eos_token_id]
            first = _find(ids, wanted, start)
            if first is None:
                places.append([])
                continue
            start = first + len(wanted)
            places.append(list(range(first + len(self._opening), start)))
        return places

    def _weights(
        self, labels: torch.Tensor, texts: Sequence[Sequence[str]], places: Sequence[Sequence[list[int]]]
    ) -> torch.Tensor:
        weights = torch.ones_like(labels, dtype=torch.float32)
        assert self.weigh is not None
        for row, said, there in zip(weights, texts, places, strict=True):
            for text, found in zip(said, there, strict=True):  # the answer, then the end of its turn
                values = self.weigh(text)[: len(found)]
                row[found[: len(values)]] = torch.tensor(values)
        return weights

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


def _opening(processor: Any) -> str:
    """How the template begins a turn of the model's."""
    asked = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    without, whole = (
        processor.apply_chat_template(asked, add_generation_prompt=more, tokenize=False) for more in (False, True)
    )
    return whole[len(without) :]


def _words(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def _find(ids: Sequence[int], wanted: Sequence[int], start: int) -> int | None:
    """Where `wanted` first stands in `ids[start:]`."""
    for place in range(start, len(ids) - len(wanted) + 1):
        if ids[place] == wanted[0] and ids[place : place + len(wanted)] == wanted:
            return place
    return None


class WeighingTrainer(SFTTrainer):
    """TRL's SFT trainer on the batches of a weighing `TurnsCollator`: the weighted mean of the tokens' losses, over the
    whole batch of an optimizer step, whichever micro-batches and processes it is spread over.

    Why: TRL's `compute_loss_func` sees neither the batch nor the fused log-probabilities, and costs a second forward.
    Guard: tests/reasoner/training/test_weights.py, tests/recipes/test_processes.py.
    """

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor | None:
        """What the sum of losses is divided by: the sum of the weights, where TRL has the number of tokens."""
        if not batch_samples:
            return None
        total = torch.stack([_counted_weights(batch).sum() for batch in batch_samples]).sum().to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        weights = _counted_weights(inputs)
        del inputs["token_weights"]
        if num_items_in_batch is None:  # in evaluation: TRL divides by the number of tokens
            weights = weights / weights.sum() * (inputs["labels"][:, 1:] != IGNORED).sum()

        def weigh(module: Any, given: Any, output: Any) -> Any:
            if output.get("log_probs") is not None:
                output.log_probs = output.log_probs * weights
            return output

        hook = model.register_forward_hook(weigh)
        try:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            hook.remove()


def _counted_weights(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The weight of each token that has a loss, as TRL shifts them: (rows, tokens - 1); 0 elsewhere."""
    return batch["token_weights"][:, 1:] * (batch["labels"][:, 1:] != IGNORED)
