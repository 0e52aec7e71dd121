"""Memory that `reasoner plan` predicts beside what real steps take, for tiny models of three sizes on the CPU.

    python -m benchmarks.plan_check [--sizes 0.9 10 60] [--stages sft grpo] [--work FOLDER]

Each stage is a process of its own, which trains three steps with the recipe's own trainer: SFT as it is, GRPO with
completions that are drawn at random in the place of vLLM's (log-probabilities, rewards and the update are real). First
it does so with a minimal model, so that all code is loaded; measured is the most resident memory that comes on top of
what the process has before it starts with a size. glibc gives back what is freed here; the stages keep some of it
(`reasoner/runtime/memory.py`).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Millions of parameters -> sizes of the tiny model, rows a step of SFT and completions a step of GRPO.
SIZES: dict[str, tuple[dict[str, int], int, int]] = {
    "0.9": ({}, 64, 128),
    "10": (
        {"hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 5, "num_key_value_heads": 5,
         "intermediate_size": 864, "vision_hidden_size": 256, "vision_intermediate_size": 512, "vision_depth": 4},
        16, 48,
    ),
    "60": (
        {"hidden_size": 704, "num_hidden_layers": 9, "num_attention_heads": 11, "num_key_value_heads": 11,
         "intermediate_size": 1856, "vision_hidden_size": 384, "vision_intermediate_size": 1024, "vision_depth": 5},
        8, 16,
    ),
}  # fmt: skip
MINIMAL = {"hidden_size": 48, "num_hidden_layers": 1, "intermediate_size": 64, "vision_hidden_size": 32}
GROUP, COMPLETION, STEPS = 8, 96, 3
REWARDS = {"answer": 1.0, "process": 2.0, "format": 0.2}
SENTENCES = (
    "There is a small left pleural effusion.", "The heart is moderately enlarged.", "No pneumothorax is seen.",
    "The mediastinum is not widened.", "There is no consolidation in either lung.", "Both hila look normal.",
)  # fmt: skip
#: Of an image, which becomes a token for each 28 x 28.
PIXELS = 112 * 112
MIB = 2**20


def overrides(stage: str, output: Path, options: dict[str, int], rows: int, checkpointing: bool) -> list[str]:
    trainer = {
        "max_steps": STEPS, "per_device_train_batch_size": rows, "gradient_checkpointing": checkpointing,
        "dataloader_num_workers": 0, "dataloader_persistent_workers": False, "dataloader_prefetch_factor": None,
        "report_to": "none", "save_strategy": "no",
    }  # fmt: skip
    if stage == "grpo":
        trainer |= {"use_vllm": False, "max_completion_length": COMPLETION}
    settings: dict[str, Any] = {"output": str(output), "model.options": options, "sft.vision_warmup": None}
    settings |= {f"{stage}.trainer.{name}": value for name, value in trainer.items()}
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


class Here:
    """The rewards in this process, in the place of the pool of Ray workers."""

    def __init__(self, weights: dict[str, float]):
        from rewards.registry import RewardSet

        self.rewards = RewardSet.build(weights)

    def score(self, rows: list[dict], *, evidence: bool = True) -> list:
        return [self.rewards.score(row) for row in rows]

    def metrics(self) -> dict[str, float]:
        return {}


def train_sft(overridden: list[str]) -> dict[str, int]:
    """Trains, and returns the shape of the largest batch."""
    from reasoner.compat.trl import TurnsCollator
    from recipes import sft
    from recipes.load import load_recipe

    seen: list[tuple[int, int]] = []
    collate = TurnsCollator.torch_call

    def watched(self: Any, examples: list) -> dict[str, Any]:
        batch = collate(self, examples)
        seen.append(tuple(batch["input_ids"].shape))
        return batch

    TurnsCollator.torch_call = watched  # type: ignore[method-assign]
    try:
        sft.run(load_recipe("phantom", overridden))
    finally:
        TurnsCollator.torch_call = collate  # type: ignore[method-assign]
    rows, length = max(seen, key=lambda shape: shape[0] * shape[1])
    return {"rows": rows, "length": length, "scored": length}


def train_grpo(overridden: list[str]) -> dict[str, int]:
    import torch
    from trl import GRPOTrainer

    from reasoner.layout import SFT
    from reasoner.models.load import vision_token_ids
    from recipes import grpo, training
    from recipes.load import load_recipe
    from recipes.reward_bridge import RewardBridge

    recipe = load_recipe("phantom", [*overridden, f"grpo.rewards={json.dumps(REWARDS)}"])
    start = recipe.output / SFT
    if not start.exists():
        base = Path(training.base_checkpoint(recipe))
        base.rename(start)
    args = grpo.check(recipe)
    examples, processor = grpo.load_data(recipe, start)
    bridge = RewardBridge(Here(recipe.grpo.rewards), recipe.grpo.rewards, recipe.output / "rollouts", 0)  # type: ignore[arg-type]
    trainer = grpo.build_trainer(recipe, args, start, examples, processor, bridge)
    tokenizer, banned = processor.tokenizer, {*vision_token_ids(processor), *processor.tokenizer.all_special_ids}
    words = torch.tensor([token for token in range(len(tokenizer)) if token not in banned])
    seen: list[tuple[int, int]] = []

    def drawn(self: Any, prompts: list) -> tuple:
        ids, images, _ = self._tokenize_prompts(prompts)
        said = words[torch.randint(len(words), (len(ids), COMPLETION))].tolist()
        texts = tokenizer.batch_decode(said)
        seen.append((args.per_device_train_batch_size, max(map(len, ids)) + COMPLETION))
        logprobs = [[-1.0] * COMPLETION for _ in said]
        return ids, said, None, [[{"role": "assistant", "content": text}] for text in texts], logprobs, {}, images, []

    generate = GRPOTrainer._generate
    GRPOTrainer._generate = drawn
    trainer.use_vllm = True  # its log-probabilities are used as vLLM's are
    try:
        trainer.train()
    finally:
        GRPOTrainer._generate = generate
    rows, length = max(seen)
    return {"rows": rows, "length": length, "scored": COMPLETION}


def resident(name: str = "VmRSS") -> int:
    """Bytes of this process, from /proc; `VmHWM` is the most since the mark was reset."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


def child(stage: str, sizes: Sequence[str], work: Path, checkpointing: bool) -> None:
    """Trains one model after another and prints a JSON line for each: what was seen, and the peak on top."""
    from reasoner.runtime.threads import share_cores

    share_cores()
    train = {"sft": train_sft, "grpo": train_grpo}[stage]
    for size in ("", *sizes):
        options, *rows = SIZES[size] if size else (MINIMAL, GROUP, GROUP)
        with tempfile.TemporaryDirectory(dir=work) as place:
            output = Path(place)
            (output / "data").symlink_to(work / "data")
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the mark
            before = resident()
            seen = train(overrides(stage, output, options, rows[stage == "grpo"], checkpointing))
            peak = resident("VmHWM") - before
            folder = output / ("sft" if stage == "grpo" else "sft.part/base")
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if size:
            print(json.dumps({**seen, "size": size, "peak": peak, "baseline": before, "config": config}), flush=True)


def predicted(stage: str, found: dict[str, Any], checkpointing: bool, folder: Path) -> tuple[float, int]:
    """Bytes that the planner expects for what the child has seen, and the model's parameters."""
    from reasoner.models.cost import DEVICES
    from reasoner.models.sharding import Sharding
    from recipes.load import load_recipe
    from recipes.plan import Machine, Plan
    from recipes.workload import Given

    (folder / "config.json").write_text(json.dumps(found["config"]), encoding="utf-8")
    settings = overrides(stage, folder, {}, found["rows"], checkpointing)
    settings += [f"model.base={json.dumps(str(folder))}", f"model.max_pixels={PIXELS}"]
    written = COMPLETION if stage == "grpo" else found["length"] // 2
    given = Given(asked=found["length"] - written - PIXELS // 28**2, written=written)
    plan = Plan(load_recipe("phantom", settings), Machine(DEVICES["cpu"], 1, 8, 1, Sharding("none", 1)), given)
    memory = getattr(plan, stage).usual
    return memory.total - memory.vllm - memory.overhead, plan.shape.parameters.total


def measured(stage: str, sizes: Sequence[str], work: Path, checkpointing: bool) -> Iterator[dict[str, Any]]:
    """What a child process prints, as it does."""
    command = [sys.executable, "-m", "benchmarks.plan_check", "--child", stage, "--work", str(work), "--sizes", *sizes]
    environment = os.environ | {
        "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_MMAP_THRESHOLD_": str(MIB), "MALLOC_TRIM_THRESHOLD_": str(MIB),
    }  # fmt: skip
    command += ["--checkpointing"] * checkpointing
    with (
        open(work / f"{stage}.log", "w", encoding="utf-8") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, encoding="utf-8") as process,
    ):
        assert process.stdout is not None
        yield from (json.loads(line) for line in process.stdout if line.startswith("{"))
    if process.returncode:
        raise SystemExit(f"{stage} died: {(work / f'{stage}.log').read_text(encoding='utf-8')[-3000:]}")


def write_data(work: Path) -> None:
    """A data set of lists of abnormalities as `mine` writes it, with pictures of noise."""
    import numpy as np
    import PIL.Image
    import pyarrow.parquet as pq

    from reasoner.mining.pipeline.tables import EXAMPLE, to_table
    from reasoner.schema import Example

    random, rows = np.random.default_rng(0), []
    (work / "data" / "examples").mkdir(parents=True)
    for number in range(160):
        path = work / "data" / f"{number}.png"
        PIL.Image.fromarray(random.integers(0, 255, (112, 112), dtype=np.uint8)).save(path)
        chain = " ".join(random.permutation(SENTENCES)[:3])
        row = Example(
            id=f"row-{number}", study_id=f"{number}", task="abnormality_list", question="What does the film show?",
            answer="Pleural Effusion, Cardiomegaly", reasoning=chain, report=chain, images=(str(path),),
        )  # fmt: skip
        rows.append(row.to_dict())
    pq.write_table(to_table(rows, EXAMPLE), work / "data" / "examples" / "train-00000.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES), metavar="MILLIONS")
    parser.add_argument("--stages", nargs="+", default=["sft", "grpo"], choices=["sft", "grpo"])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.sizes, args.work, args.checkpointing)
        return
    with tempfile.TemporaryDirectory() as place:
        work = args.work or Path(place)
        if not (work / "data").exists():
            write_data(work)
        print("| stage | parameters | rows x tokens | predicted MiB | measured MiB | predicted / measured |")
        print("|---|---|---|---|---|---|")
        for stage in args.stages:
            for found in measured(stage, args.sizes, work, args.checkpointing):
                expected, parameters = predicted(stage, found, args.checkpointing, Path(place))
                print(
                    f"| {stage} | {parameters / 1e6:.1f} M | {found['rows']} x {found['length']} | "
                    f"{expected / MIB:.0f} | {found['peak'] / MIB:.0f} | {expected / found['peak']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
