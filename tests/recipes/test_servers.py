"""GRPO that samples from real vLLM servers. All cases share one server, which the stage's own code starts: starting is
what takes long. The cases that end a server stand last."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from recipes.load import load_recipe

pytestmark = pytest.mark.slow
SERVED = ("grpo.trainer.vllm_mode=server", "grpo.server.start_timeout_s=1800")  # on a busy machine
GAP = "sampling/sampling_logp_difference/max"


class Start:
    """A folder with data and an untrained policy, and the server that all runs from there share."""

    def __init__(self, folder: Path):
        from benchmarks.server_faults import small_start

        self.folder, self.settings = folder, [*small_start(folder), *SERVED]

    def train(self, output: Path, steps: int, *more: str) -> list[dict]:
        """GRPO on the server; returns what was logged at each step."""
        from benchmarks.server_faults import trained

        return trained(output, self.folder, "phantom", steps, [*self.settings, *more])

    @property
    def process(self):
        return self.servers.servers[0].process


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    import ray

    from recipes import grpo, servers

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    start = Start(tmp_path_factory.mktemp("servers"))
    recipe = load_recipe("phantom", [*start.settings, f"output={start.folder}"])
    args = grpo.check(recipe)
    start.what = servers.served(recipe, start.folder / "sft", args.vllm_max_model_length, 1)
    try:
        with servers.rollout_servers(recipe, args, start.what, start.folder) as start.servers:

            @contextmanager
            def same(*_):
                yield start.servers

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(grpo, "rollout_servers", same)
                yield start
        assert not start.servers.servers[0].client.well(), "it ends with the stage"
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def whole(start):
    """What ten steps logged, and their folder."""
    return start.train(start.folder / "whole", 10), start.folder / "whole"


def test_trainer_and_server_agree_over_ten_pushes(start, whole):
    steps, _ = whole
    assert len(steps) == 10 and max(step[GAP] for step in steps) <= 1e-3
    assert start.servers.version.endswith("-10"), "a push before each batch"
    assert start.servers.servers[0].client.version() == start.servers.version
    assert start.servers.lost == 0


def test_adapters_are_merged_into_what_is_pushed(start, tmp_path):
    steps = start.train(tmp_path / "run", 3, "model.lora.r=4", "grpo.trainer.learning_rate=0.01")
    assert max(step[GAP] for step in steps) <= 1e-3 and all(step["grad_norm"] > 0 for step in steps)


def test_no_vision_token_is_sampled_whatever_the_weights_say(start):
    import torch
    from safetensors.torch import load_file

    from reasoner.models.load import load_processor, vision_token_ids
    from reasoner.serving.client import Request

    weights = load_file(start.folder / "sft" / "model.safetensors")
    [name] = [name for name in weights if name.endswith("embed_tokens.weight")]
    processor = load_processor(start.folder / "sft")
    banned = vision_token_ids(processor)
    embedding = weights[name].clone()
    embedding[banned[0]], embedding[banned[1]] = 50.0, -50.0  # tied to the head: one of them has the largest logit
    prompt = processor.tokenizer("What is shown?")["input_ids"]
    sampling = {"temperature": 1.0, "max_tokens": 32, "ignore_eos": True}
    start.servers.push(iter({**weights, name: embedding}.items()), [])
    [answer] = start.servers.generate([Request(prompt, [], 8, 1)], sampling)
    said = {token for tokens in answer.tokens for token in tokens}
    assert len(said) > 1 and not said & set(banned)
    assert all(torch.isfinite(torch.tensor(row)).all() for row in answer.logprobs)


def test_what_a_server_lacks_is_told(start):
    from reasoner.serving.check import lacks

    client = start.servers.servers[0].client
    assert lacks(client, start.what) == [] == lacks(client, None)
    other = start.folder / "other"
    other.mkdir()
    config = json.loads((start.folder / "sft" / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["intermediate_size"] += 32
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for change, told in (
        ({"checkpoint": other}, "serves another model (text_config.intermediate_size"),
        ({"dtype": "bfloat16"}, "computes in float32"),
        ({"max_model_len": start.what.max_model_len + 1}, "tokens"),
        ({"max_images": 2}, "takes 1 images"),
        ({"transfer": "nccl"}, "takes weights by files"),
    ):
        [lack] = lacks(client, start.what._replace(**change))
        assert lack.startswith(told) or told in lack


def test_a_killed_server_leaves_no_trace_in_what_is_learned(start, whole, tmp_path):
    """SIGKILL in the middle of a step; the run is the one that nothing happened to."""
    from benchmarks.server_faults import completions

    pid = start.process.pid
    begun = tmp_path / "killed" / "grpo.part" / "rollouts" / "step-000000.parquet"

    def kill() -> None:
        while not begun.exists():
            time.sleep(0.01)
        os.killpg(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    killed = start.train(tmp_path / "killed", 3)
    killer.join()
    assert start.servers.lost == 1 and start.process.pid != pid
    assert max(step[GAP] for step in killed) <= 1e-3
    steps, folder = whole
    rows = completions(tmp_path / "killed")
    first = completions(folder)[: len(rows)]
    assert [row[:2] for row in rows] == [row[:2] for row in first] and len(rows) == 3 * 16
    # Seeded, so the same words but for what rounding decides.
    same = [one == other for one, other in zip(rows, first, strict=True)]
    assert sum(same) >= 0.9 * len(same)
    assert [row["reward"] for row in killed] == pytest.approx([row["reward"] for row in steps[:3]], rel=0.1)
