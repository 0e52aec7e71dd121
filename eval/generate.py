"""Completions by vLLM: one engine per model, greedy and sampled, for every split. Finished files are reused."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from eval.predictions import Decoding, fingerprint, image_paths, is_complete, write_predictions
from reasoner.profiles import OURS, Profile
from reasoner.runtime.terminal import stream
from reasoner.schema import Turn

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
    from tqdm import tqdm
    from transformers import AutoConfig, AutoProcessor

    from reasoner.models.engine import Prompt, build_engine, prompt_inputs, sampling_params

    processor = AutoProcessor.from_pretrained(checkpoint)
    max_images = max((len(row["images"]) for job in missing for row in job.rows), default=0)
    longest = max_prompt_tokens + max(job.decoding.max_tokens for job in missing)
    engine = build_engine(
        checkpoint,
        # Bounded: a real Qwen-VL's own 128k tokens would be reserved in the cache.
        max_model_len=min(longest, AutoConfig.from_pretrained(checkpoint).get_text_config().max_position_embeddings),
        max_images=max_images,
        dtype=dtype,
        seed=missing[0].decoding.seed,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
    )
    bar = partial(tqdm, file=stream(), leave=False) if stream().isatty() else False
    for job in missing:
        params = sampling_params(
            processor,
            temperature=job.decoding.temperature,
            max_tokens=job.decoding.max_tokens,
            n=job.decoding.samples,
        )
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
            inputs: Any = prompt_inputs(processor, prompts, profile)
            outputs = engine.generate(inputs, params, use_tqdm=bar)
            completed += [
                {**row, "sample": sample, "completion": choice.text, "tokens": len(choice.token_ids)}
                for row, output in zip(rows, outputs, strict=True)
                for sample, choice in enumerate(output.outputs)
            ]
        write_predictions(job.path, completed, described[job.path])
    del engine
    gc.collect()
    return [job.path for job in missing]
