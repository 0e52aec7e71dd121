"""Completions by vLLM: one engine per model, greedy and sampled, for every split. Finished files are reused."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from eval.predictions import Decoding, fingerprint, image_paths, is_complete, write_predictions
from reasoner.profiles import OURS, Profile
from reasoner.runtime.terminal import stream
from reasoner.schema import Turn

if TYPE_CHECKING:
    from reasoner.models.engine import Prompt

#: Rows whose images are held in memory at once: radiographs are large.
_CHUNK = 1000


class Job(NamedTuple):
    """One prediction file to be made."""

    split: str
    rows: list[dict[str, Any]]
    decoding: Decoding
    path: Path


def generate(
    checkpoint: str | Path,
    jobs: Sequence[Job],
    data: Path,
    *,
    max_prompt_tokens: int = 2048,
    dtype: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    profile: Profile = OURS,
) -> list[Path]:
    """Writes the jobs' prediction files; returns those that were made now, the others being complete already.

    The engine is built only if something is missing, and is freed before returning. Rows are `Example` fields plus
    `sample`, `completion` and its number of `tokens`, in the order of `Job.rows` with a row's samples together.
    """
    described = {job.path: fingerprint(checkpoint, job.rows, job.decoding, profile) for job in jobs}
    missing = [job for job in jobs if not is_complete(job.path, described[job.path])]
    if not missing:
        return []
    from reasoner.models.engine import Prompt

    sampler = Sampler(
        checkpoint,
        longest=max_prompt_tokens + max(job.decoding.max_tokens for job in missing),
        max_images=max((len(row["images"]) for job in missing for row in job.rows), default=0),
        dtype=dtype,
        seed=missing[0].decoding.seed,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        profile=profile,
    )
    for job in missing:
        completed: list[dict[str, Any]] = []
        for start in range(0, len(job.rows), _CHUNK):
            rows = job.rows[start : start + _CHUNK]
            prompts = [
                Prompt(
                    row["question"],
                    row["options"],
                    image_paths(row, data),
                    [*map(Turn.from_dict, row["context"])],
                    row["task"],
                    profile.reasons(row["reasoning"]),
                )
                for row in rows
            ]
            completed += [
                {**row, "sample": sample, "completion": choice.text, "tokens": choice.tokens}
                for row, choices in zip(rows, sampler.complete(prompts, job.decoding), strict=True)
                for sample, choice in enumerate(choices)
            ]
        write_predictions(job.path, completed, described[job.path])
    sampler.close()
    return [job.path for job in missing]


class Choice(NamedTuple):
    """One completion and the number of tokens that were sampled for it."""

    text: str
    tokens: int


class Sampler:
    """A vLLM engine on a checkpoint, with its processor and the profile that it is asked by.

    Args:
        longest: most tokens of prompt and completion; fewer where the model has fewer positions.
        max_images: most images of a prompt.
        min_pixels, max_pixels: the image budget, where it is not the checkpoint's own.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        longest: int,
        max_images: int,
        dtype: str,
        seed: int,
        min_pixels: int | None,
        max_pixels: int | None,
        profile: Profile,
    ) -> None:
        from transformers import AutoConfig, AutoProcessor

        from reasoner.models.engine import build_engine

        self.profile = profile
        self.processor = AutoProcessor.from_pretrained(checkpoint)
        positions = AutoConfig.from_pretrained(checkpoint).get_text_config().max_position_embeddings
        self._engine: Any = build_engine(
            checkpoint,
            # Bounded: a real Qwen-VL's own 128k tokens would be reserved in the cache.
            max_model_len=min(longest, positions),
            max_images=max_images,
            dtype=dtype,
            seed=seed,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
        )

    def complete(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[list[Choice]]:
        """`decoding.samples` completions of each prompt."""
        from tqdm import tqdm

        from reasoner.models.engine import prompt_inputs, sampling_params

        params = sampling_params(
            self.processor, temperature=decoding.temperature, max_tokens=decoding.max_tokens, n=decoding.samples
        )
        bar = partial(tqdm, file=stream(), leave=False) if stream().isatty() else False
        outputs = self._engine.generate(prompt_inputs(self.processor, prompts, self.profile), params, use_tqdm=bar)
        return [[Choice(choice.text, len(choice.token_ids)) for choice in output.outputs] for output in outputs]

    def close(self) -> None:
        """Frees the engine."""
        self._engine = None
        gc.collect()
