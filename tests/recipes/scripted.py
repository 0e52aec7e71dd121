"""A GRPO trainer with our hooks whose completions a test writes: real rewards and forward passes, no vLLM, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from reasoner.prompts import format_completion
from reasoner.schema import Example
from recipes.config import Grpo
from rewards.registry import RewardSet

CHAIN = "There is a small left pleural effusion. The heart is not enlarged."
RIGHT = format_completion(CHAIN, "Pleural Effusion")
WRONG = format_completion("No pleural effusion. The heart is not enlarged.", "No Finding")
HALF = format_completion("The heart is not enlarged.", "Pleural Effusion")
SIZE = 4  # completions of a prompt


class Here:
    """The rewards in this process, in the place of the pool."""

    def __init__(self, weights: dict[str, float]):
        self.rewards, self.rows = RewardSet.build(weights), 0

    def score(self, rows: list[dict], *, evidence: bool = True) -> list:
        self.rows += len(rows)
        return [self.rewards.score(row) for row in rows]

    def metrics(self) -> dict[str, float]:
        return {"rows": float(self.rows)}


def examples(folder: Path, count: int) -> list[Example]:
    folder.mkdir(exist_ok=True)
    found = []
    for number in range(count):
        path = folder / f"{number}.png"
        if not path.exists():
            noise = np.random.default_rng(number).integers(0, 255, (56, 56), dtype=np.uint8)
            PIL.Image.fromarray(noise).save(path)
        found.append(
            Example(
                id=f"row-{number}", study_id=f"{number}", task="abnormality_list", question=f"What is there? {number}",
                answer="Pleural Effusion", reasoning=CHAIN, report=CHAIN, images=(str(path),),
            )
        )  # fmt: skip
    return found


def policy(folder: Path) -> Path:
    from reasoner.models import tiny

    texts = [RIGHT, WRONG, HALF, "system You are a helpful assistant. user What is there? 0123456789 assistant"] * 4
    return Path(tiny.build(folder / "policy", texts))


def build(
    folder: Path,
    start: Path,
    *,
    prompts: int = 2,
    rows: int = 8,
    trainer: dict | None = None,
    prompts_: dict | None = None,
    **grpo: Any,
):
    """A trainer with our hooks whose completions the test writes: `trainer.says(prompt number, n) -> text`."""
    from transformers import AutoModelForImageTextToText
    from trl import GRPOConfig, GRPOTrainer

    from reasoner.models.load import load_processor
    from reasoner.training.feed import to_dataset
    from recipes.credit_trainer import CreditTrainer
    from recipes.prompt_facts import facts_of
    from recipes.prompt_sampler import PromptSampler
    from recipes.reward_bridge import RewardBridge

    rewards = {"answer": 1.0, "process": 1.0, "format": 0.2}
    settings = Grpo(**{"rewards": rewards, "prompts": prompts_ or {}} | grpo)
    options: dict[str, Any] = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": [], "seed": 0, "use_vllm": False,
        "per_device_train_batch_size": prompts * SIZE, "num_generations": SIZE, "max_completion_length": 64,
        "reward_weights": list(settings.rewards.values()), "remove_unused_columns": False,
    }  # fmt: skip
    args = GRPOConfig(**options | (trainer or {}))
    given = examples(folder, rows)
    credits = bool(settings.step_credit or settings.edits.rate or settings.prompts.refill)
    bridge = RewardBridge(Here(settings.rewards), settings.rewards, folder / "rollouts", 1, credits)  # type: ignore[arg-type]
    ours = CreditTrainer(
        model=AutoModelForImageTextToText.from_pretrained(start, dtype=torch.float32),
        reward_funcs=bridge.functions(),
        args=args,
        train_dataset=to_dataset(given, completions=False),
        processing_class=load_processor(start),
        grpo=settings,
        bridge=bridge,
        prompts=PromptSampler.of(facts_of(given), settings.prompts, args),
    )
    tokenizer = ours.processing_class.tokenizer
    ours.asked = []

    def scripted(self: Any, prompts: list) -> tuple:
        ids, images, _ = self._tokenize_prompts(prompts)
        numbers = [int(prompt[-1]["content"][-1]["text"].split()[-1]) for prompt in prompts]
        ours.asked.append(numbers)
        texts = [ours.says(number, n % SIZE) for n, number in enumerate(numbers)]
        said = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
        logprobs = [[-0.5] * len(one) for one in said] if self.use_vllm else None
        return ids, said, None, [[{"role": "assistant", "content": text}] for text in texts], logprobs, {}, images, []

    GRPOTrainer._generate = scripted
    ours.use_vllm = True  # log-probabilities of the sampler are used as from vLLM, which is not there
    ours.current_gradient_accumulation_steps = 1  # as in `train()`
    ours.model.train()
    return ours


def batch_of(trainer: Any, numbers: list[int]) -> list[dict]:
    return [trainer.train_dataset[number] for number in numbers for _ in range(SIZE)]


def logged(trainer: Any, name: str) -> float:
    values = trainer._metrics["train"][name]
    return sum(values) / len(values)


def written(folder: Path) -> list[dict]:
    import pyarrow.parquet as pq

    return [row for file in sorted((folder / "rollouts").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
