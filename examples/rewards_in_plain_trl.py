"""Use our rewards in a GRPO script of your own: plain `trl.GRPOTrainer`, no recipe, no vLLM.

    python examples/rewards_in_plain_trl.py
    python examples/rewards_in_plain_trl.py --steps 20 --output outputs/examples/trl

Takes about 15 seconds on a CPU: draws 16 phantoms, builds the tiny Qwen2.5-VL with random weights, takes two steps of
GRPO. Such a model writes noise, which is malformed and earns 0: nothing is learned here. Start from one that writes
`<think>...</think><answer>...</answer>`: `--model outputs/phantom/sft` after `make sft`, or a checkpoint of your own.

Left out against `reasoner grpo`: vLLM, Ray workers, evidence in the rollouts, resuming, the export.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from trl import GRPOConfig, GRPOTrainer

from reasoner.mining.pipeline.run import mine
from reasoner.models import tiny
from reasoner.models.engine import vision_token_ids
from reasoner.models.load import load_model, load_processor
from reasoner.phantom.source import PhantomSource
from reasoner.prompts import format_completion
from reasoner.schema import Example
from reasoner.training.dataset import REWARD_COLUMNS, load_examples
from rewards import RewardSet, gated_total

WEIGHTS = {"format": 0.2, "answer": 1.0, "process": 1.5}


def phantoms(data: Path, number: int) -> list[Example]:
    """Drawn studies, each mined into a question with its reference chain and verified labels."""
    source = PhantomSource(None, data, train=number, val=0, test=0, site_b=0)
    mine(source, data, tasks={"abnormality_list": 1.0}, workers=0)
    return load_examples(data, "train")


def to_dataset(examples: list[Example]) -> datasets.Dataset:
    """What TRL wants of a vision-language row, and the columns that it hands to the reward function."""
    rows = [
        {
            "prompt": [{"role": "user", "content": "\n".join([e.question, *e.options])}],
            "images": list(e.images),
            **{name: getattr(e, name) for name in REWARD_COLUMNS},
            "labels": json.dumps(e.labels),  # as text: Arrow would fill every row with the keys of all others
        }
        for e in examples
    ]
    return datasets.Dataset.from_list(rows).cast_column("images", datasets.Sequence(datasets.Image()))


def reward_function(weights: dict[str, float]) -> Callable[..., list[float]]:
    """Our rewards as one function of TRL: a list of completions and columns in, a list of totals out."""
    rewards = RewardSet.build(weights)

    def radiology(
        prompts: list, completions: list, log_metric: Callable[[str, float], None], **columns: Any
    ) -> list[float]:
        scores = []
        for number, completion in enumerate(completions):
            row = {name: columns[name][number] for name in REWARD_COLUMNS}
            row["labels"] = json.loads(row["labels"])
            scores.append(rewards.score({**row, "completion": completion[-1]["content"]}))
        for name in weights:  # a reward that is not about a row has no value there
            values = [value for score in scores if (value := score[name].value) is not None]
            log_metric(f"parts/{name}", sum(values) / max(len(values), 1))
        return [gated_total(score, weights) for score in scores]

    return radiology


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a Qwen-VL checkpoint (default: the tiny one, untrained)")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("outputs/examples/trl"))
    args = parser.parse_args()

    examples = phantoms(args.output.resolve() / "data", 16)
    base = args.model
    if base is None:  # its tokenizer is trained on the words of the examples
        texts = [text for e in examples for text in (e.question, format_completion(e.reasoning, e.answer))]
        base = tiny.build(args.output / "base", texts)
    processor = load_processor(base)
    processor.tokenizer.padding_side = "left"  # prompts of unequal length: generation goes on where they end

    config = GRPOConfig(
        output_dir=str(args.output / "checkpoints"),
        max_steps=args.steps,
        per_device_train_batch_size=8,  # completions a step: 2 prompts x 4
        num_generations=4,
        max_completion_length=48,
        learning_rate=1e-4,
        # A sampled vision token would stand for an image that is not there and stop the trainer.
        generation_kwargs={"suppress_tokens": vision_token_ids(processor)},
        remove_unused_columns=False,  # the rewards need them
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
    )
    trainer = GRPOTrainer(
        model=load_model(base, dtype="float32"),
        reward_funcs=reward_function(WEIGHTS),
        args=config,
        train_dataset=to_dataset(examples),
        processing_class=processor,
    )
    trainer.train()
    for row in trainer.state.log_history:
        if "reward" in row:
            parts = ", ".join(f"{name} {row[f'parts/{name}']:.3f}" for name in WEIGHTS)
            print(f"step {row['step']}: reward {row['reward']:.3f} ({parts})")
    trainer.save_model(str(args.output / "model"))
    processor.save_pretrained(args.output / "model")


if __name__ == "__main__":
    main()
