"""TRL: a generation that samples from vLLM servers which may be several, die, and come back.

Why not TRL's own: it knows one server, pushes weights by NCCL alone, waits for ever for a server that hangs, ends the
run with one that dies, and does not compare the prompt that was read, images expanded, with the trainer's.
Guard: tests/recipes/test_servers.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from reasoner.compat.vllm import collapse_runs
from reasoner.serving import LOGPROBS
from reasoner.serving.client import Answer, Request, encoded
from reasoner.serving.servers import Servers


class ServedGeneration(VLLMGeneration):
    """TRL's generation with `servers` in the place of its client. Only the main process has them; the others take part
    in the gathering of weights and prompts.

    `seed`: of all sampling; None leaves it to the servers.
    """

    servers: Servers | None = None
    seed: int | None = None
    logit_bias: Mapping[int, float] = {}
    # TRL's own.
    generation_kwargs: dict[str, Any]
    _weight_metadata: list[tuple[str, str, list[int]]] | None

    def _init_vllm(self) -> None:
        self.generation_kwargs = {
            **self.generation_kwargs,
            "logit_bias": {**self.generation_kwargs.get("logit_bias", {}), **self.logit_bias},
        }
        self.begin(0)
        self.accelerator.wait_for_everyone()

    @property
    def vllm_client(self) -> ServedGeneration:
        """TRL asks its client one thing about the server, which `reasoner/serving/check.py` has looked at before."""
        return self

    def get_server_info(self) -> dict[str, Any]:
        return {"model_config": {"logprobs_mode": LOGPROBS}}

    def begin(self, batch: int) -> None:
        """Says which batch is sampled next, so that its seeds are the same in a resumed run."""
        self._batch, self._call = batch, 0

    def sync_weights(self) -> None:
        if self._weight_metadata is None:
            self._weight_metadata = [
                (name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape))
                for name, tensor in self._iter_named_params()
            ]
        weights = self._iter_named_params()
        if self.servers is not None:
            self.servers.push(weights, self._weight_metadata)
        for _ in weights:  # gathering is collective
            pass

    def generate(self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any = None) -> tuple:
        all_prompts = gather_object(prompts)
        all_images = gather_object(images if images is not None else [None] * len(prompts))
        requests = []
        if self.servers is not None:
            requests = self._requests(all_prompts[::num_generations], all_images[::num_generations], num_generations)
        self._call += 1
        with profiler or nullcontext():
            answers = self._answers(requests)
        if self.servers is not None:
            for answer, prompt in zip(answers, all_prompts[::num_generations], strict=True):
                if answer.prompt != prompt:
                    raise RuntimeError(
                        f"a server read a prompt of {len(answer.prompt)} tokens where the trainer has {len(prompt)}: "
                        "their image processors disagree (compare min_pixels/max_pixels of both)"
                    )
        first = self.accelerator.process_index * len(prompts)
        ours = slice(first, first + len(prompts))
        tokens = [ids for answer in answers for ids in answer.tokens][ours]
        logprobs = [[[value] for value in row] for answer in answers for row in answer.logprobs][ours]
        return prompts, tokens, logprobs, [[[token] for token in row] for row in tokens]

    def _answers(self, requests: list[Request]) -> list[Answer]:
        """The answers, in every process; servers that came back are given the weights as often as it takes."""
        while True:
            answered = [self.servers.generate(requests, self._sampling()) if self.servers is not None else None]
            broadcast_object_list(answered, from_process=0)
            if answered[0] is not None:
                return answered[0]
            self.sync_weights()

    def _sampling(self) -> dict[str, Any]:
        regex = self.structured_outputs_regex
        return {
            "repetition_penalty": self.repetition_penalty,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": 0.0 if self.min_p is None else self.min_p,
            "max_tokens": self.max_completion_length,
            **({} if regex is None else {"structured_outputs": {"regex": regex}}),
            **self.generation_kwargs,
        }

    def _requests(self, prompts: list[list[int]], images: list[list | None], count: int) -> list[Request]:
        token = self.processing_class.image_token_id
        return [
            Request(collapse_runs(ids, token), [encoded(one) for one in pictures or ()], count, self._seed_of(number))
            for number, (ids, pictures) in enumerate(zip(prompts, images, strict=True))
        ]

    def _seed_of(self, number: int) -> int | None:
        """The seed of the prompt's first completion; the others have those that follow."""
        if self.seed is None:
            return None
        words = f"{self.seed} {self._batch} {self._call} {number}".encode()
        return int.from_bytes(blake2b(words, digest_size=6).digest(), "big")


@contextmanager
def served_rollouts(servers: Servers | None, logit_bias: Mapping[int, float], seed: int | None) -> Iterator[None]:
    """While this is active, TRL trainers that are built sample from the servers (None in all but the main process)."""
    ours = {"servers": servers, "logit_bias": logit_bias, "seed": seed}
    original = grpo_trainer.VLLMGeneration
    grpo_trainer.VLLMGeneration = type("ServedGeneration", (ServedGeneration,), ours)
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = original
