"""Where stages leave what they make: the names of folders below a recipe's output, and of files in them."""

from __future__ import annotations

from pathlib import Path

BASE, SFT, GRPO = "base", "sft", "grpo"
#: The models that are compared, in the order of training.
MODELS = (BASE, SFT, GRPO)
TRAINED = (SFT, GRPO)

#: In a checkpoint: transformers' configuration, PEFT's, and the trainer's record with the learning curve.
CONFIG, ADAPTER_CONFIG, TRAINER_STATE = "config.json", "adapter_config.json", "trainer_state.json"
#: In `sft`: the base model with its vision tower warmed up.
WARM = "warm"
#: In a working folder of training: what an interrupted run goes on from.
CHECKPOINTS = "checkpoints"
#: Beside the stages: what trainers have found out of the data, and need not find out again.
CACHE = "cache"
#: Pictures at the size that the model is given.
PICTURES = "pictures"
#: In `data`: the shards of a mining run that was not finished.
UNFINISHED = "shards"
#: In `data`, `eval` and `export`: what was mined, measured and proven.
SUMMARY, SCORES, EXPORT_CHECK = "summary.json", "scores.json", "export_check.json"
#: In `grpo` and `eval`: what a policy can know without an image, for the reward `skill`.
BASE_RATES = "base_rates.json"
#: In `eval`: the folder of completions.
PREDICTIONS = "predictions"
#: In `eval`: the folder of additive statistics by study, of which metrics are made.
STATISTICS = "statistics"


def data(output: Path) -> Path:
    """The mined data set."""
    return output / "data"


def checkpoint(output: Path, model: str) -> Path:
    """A trained model's checkpoint; the tiny base model lies within the SFT result that started from it."""
    return output / SFT / BASE if model == BASE else output / model
