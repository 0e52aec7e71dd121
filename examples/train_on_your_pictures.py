"""Train on 50 pictures of your own: a JSON-lines file and a recipe, then `reasoner mine`, `reasoner sft`, one answer.

    python examples/train_on_your_pictures.py
    python examples/train_on_your_pictures.py --steps 1000

Takes about a minute on two CPU cores. The pictures are stand-ins: phantoms, saved as PNG and JPEG of several sizes, as
a folder of one's own would hold them. Put your pictures and reports in their place by writing `reports.jsonl` yourself;
nothing else changes. Fifty studies and a tiny model show the road: they teach how an answer is written, hardly what is
in a picture. For a real model set `model.base` to a Qwen-VL in the recipe that is written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from reasoner.models.engine import vision_token_ids
from reasoner.models.load import load_model, load_processor
from reasoner.phantom.source import PhantomSource
from reasoner.profiles import OURS
from reasoner.prompts import ask
from reasoner.schema import Example
from reasoner.training.dataset import load_examples

STUDIES, TEST = 50, 10

RECIPE = """\
name: my-pictures
description: Pictures of one's own
seed: 0
output: {output}
min_free_gb: 1

data:
  source: jsonl
  input: {reports}
  tasks: {{abnormality_list: 1.0, binary: 0.5}}
  style: concise

model:
  base: tiny          # or Qwen/Qwen2.5-VL-3B-Instruct, or a folder
  max_length: 512

sft:
  trainer:            # any field of trl.SFTConfig
    max_steps: 60
    per_device_train_batch_size: 8
    learning_rate: 2.0e-3
    gradient_checkpointing: false
    logging_steps: 10
    report_to: none   # leave this out to follow the run in W&B

grpo:
  tasks: [abnormality_list]
  trainer:            # any field of trl.GRPOConfig
    max_steps: 20
    per_device_train_batch_size: 32   # completions a step: 4 prompts x 8
    num_generations: 8
    max_completion_length: 96
    learning_rate: 3.0e-4
    gradient_checkpointing: false
    report_to: none
"""


def draw_stand_ins(folder: Path) -> Path:
    """Writes 50 pictures and `reports.jsonl`, one study a line; returns that file."""
    source = PhantomSource(None, folder)
    folder.mkdir(parents=True, exist_ok=True)
    reports = folder / "reports.jsonl"
    with reports.open("w", encoding="utf-8") as lines:
        for number in range(STUDIES):
            case, written, pixels, _ = source.draw("train", number)
            size = (224 + 16 * (number % 3), 224)
            picture = f"study-{number:02d}.{'jpg' if number % 2 else 'png'}"
            Image.fromarray(pixels).resize(size).save(folder / picture)
            study = {
                "study_id": f"study-{number:02d}",
                "patient_id": f"patient-{number:02d}",
                "report": written.report,
                "images": [picture],  # relative to this file
                "split": "test" if number < TEST else "train",
                "labels": case.labels,  # only where somebody has verified them: rewards trust them over the report
            }
            lines.write(json.dumps(study) + "\n")
    return reports


def reasoner(*command: str | Path) -> None:
    """Runs the `reasoner` command as its own process, so that each stage gives its memory back."""
    print("$ reasoner", *command, flush=True)
    subprocess.run([sys.executable, "-m", "recipes.cli", *map(str, command)], check=True)


def answer(checkpoint: Path, example: Example) -> str:
    """What the model writes about the images of one example, greedily."""
    processor, model = load_processor(checkpoint), load_model(checkpoint)
    messages = ask(example, OURS, len(example.images))
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    images = [Image.open(path).convert("RGB") for path in example.images]
    inputs = processor(text=[text], images=images, return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=96, suppress_tokens=vision_token_ids(processor))
    return processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="steps of SFT")
    parser.add_argument("--output", type=Path, default=Path("outputs/examples/pictures"))
    args = parser.parse_args()

    output = args.output.resolve()
    reports = draw_stand_ins(output / "pictures")
    recipe = output / "recipe.yaml"
    recipe.write_text(RECIPE.format(output=json.dumps(str(output)), reports=json.dumps(str(reports))), encoding="utf-8")

    reasoner("mine", "--config", recipe)
    reasoner("sft", "--config", recipe, "--max_steps", str(args.steps))

    example = load_examples(output / "data", "test", ["abnormality_list"])[0]
    print(f"\n{example.question}\n  the model: {answer(output / 'sft', example)}")
    print(f"  reference: <think>{example.reasoning}</think>\n<answer>{example.answer}</answer>")
    print(f"\nNext: reasoner grpo --config {recipe}, then eval and export in the same way.")


if __name__ == "__main__":
    main()
