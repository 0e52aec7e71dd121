"""The evaluation stage: generate, score, compare, report.

Writes below `output/eval`: `predictions/{model}/{split}-{greedy|sampled}.jsonl`, `scores.json`, `report.html` (one
self-contained page), `report.md` with `figures/`. Finished prediction files of an unchanged checkpoint are reused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from eval.bootstrap import Estimate, Statistics, differences, estimates
from eval.generate import Job, generate
from eval.metrics import LIST_TASK, metrics, statistics
from eval.predictions import Cell, Decoding, prediction_rows, read_description, read_predictions, write_predictions
from eval.report import Evaluation, write_report
from eval.scoring import score_rows, with_rewards
from eval.traces import pick_traces
from eval.trivial import as_predictions, training_guesses, trivial_guesses
from reasoner.errors import UserError
from reasoner.models import TINY
from reasoner.models.load import load_processor, resolve_dtype
from reasoner.terminal import say
from reasoner.training.dataset import load_examples
from rewards.registry import Score

#: In the order of training; differences are taken between neighbours.
MODELS = ("base", "sft", "grpo")
GREEDY, SAMPLED = "greedy", "sampled"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """What an evaluation needs to know of a recipe (`recipes/cli.py` fills it in)."""

    name: str
    source: str
    #: The recipe's output folder: data and checkpoints are read there, `eval/` is written there.
    output: Path
    base: str
    splits: Sequence[str]
    tasks: Sequence[str] | None = None
    models: Sequence[str] | None = None
    limit: int | None = None
    max_new_tokens: int = 256
    samples: int = 4
    base_samples: int = 0
    temperature: float = 1.0
    bootstrap: int = 2000
    seed: int = 0
    workers: int = 2
    max_length: int = 1024
    dtype: str = "auto"
    min_pixels: int | None = None
    max_pixels: int | None = None


def run(settings: Settings) -> dict[str, Any]:
    """Evaluates the models (default: those that exist) on the splits of `settings`; returns what `scores.json` holds.

    Raises:
        UserError: a named model, a split or its images are missing, or no model was trained.
    """
    data, folder = settings.output / "data", settings.output / "eval"
    checkpoints = _checkpoints(settings, settings.models)
    splits = {
        split: prediction_rows(load_examples(data, split, settings.tasks, settings.limit), data)
        for split in settings.splits
    }
    for checkpoint in checkpoints.values():
        load_processor(checkpoint)

    files = _generate(settings, checkpoints, splits, data, folder)
    predictions = {cell: read_predictions(path) for cell, path in files.items()}
    trivial = _trivial_predictions(settings, splits, data)
    everything = [*predictions.values(), *trivial.values()]
    scored = iter(score_rows([row for rows in everything for row in rows], workers=settings.workers))
    rewards = {key: [next(scored) for _ in rows] for key, rows in [*predictions.items(), *trivial.items()]}
    for cell, path in files.items():
        pairs = zip(predictions[cell], rewards[cell], strict=True)
        write_predictions(path, [with_rewards(row, score) for row, score in pairs], read_description(path))

    evaluation = evaluate(predictions, trivial, rewards, resamples=settings.bootstrap, seed=settings.seed)
    evaluation = evaluation._replace(
        name=settings.name,
        source=settings.source,
        meta=_meta(settings, checkpoints, splits),
        histories={model: _history(settings.output / model) for model in ("sft", "grpo")},
        traces=pick_traces(predictions, rewards, data),
    )
    scores = evaluation.to_dict()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    write_report(folder, evaluation)
    return scores


def evaluate(
    predictions: Mapping[Cell, Rows],
    trivial: Mapping[Cell, Rows],
    rewards: Mapping[Cell, list[dict[str, Score]]],
    *,
    resamples: int,
    seed: int,
) -> Evaluation:
    """Every metric of every cell with its interval, and the paired differences between neighbouring models."""

    def table(cells: Mapping[Cell, Rows]) -> dict[Cell, Statistics]:
        return {cell: statistics(rows, rewards[cell]) for cell, rows in cells.items()}

    def nested(cells: Mapping[Cell, dict[str, Estimate]]) -> dict[str, dict[str, dict[str, dict[str, Estimate]]]]:
        found: dict[str, dict[str, dict[str, dict[str, Estimate]]]] = {}
        for (model, split, mode), values in cells.items():
            found.setdefault(model, {}).setdefault(split, {})[mode] = values
        return found

    how = {"resamples": resamples, "seed": seed}
    measured, without_image = table(predictions), table(trivial)
    trained = [model for model in MODELS if any(cell[0] == model for cell in measured)]
    compared = {
        (f"{after}-{before}", split, mode): differences(found, measured[before, split, mode], metrics, **how)
        for before, after in pairwise(trained)
        for (model, split, mode), found in measured.items()
        if model == after and (before, split, mode) in measured
    }
    policies = nested({cell: estimates(found, metrics, **how) for cell, found in without_image.items()})
    return Evaluation(
        scores=nested({cell: estimates(found, metrics, **how) for cell, found in measured.items()}),
        differences=nested(compared),
        trivial={
            policy: {split: next(iter(modes.values())) for split, modes in splits.items()}
            for policy, splits in policies.items()
        },
    )


def _checkpoints(settings: Settings, models: Sequence[str] | None) -> dict[str, str]:
    """Model name -> checkpoint, in the order of training."""
    unknown = [model for model in models or () if model not in MODELS]
    if unknown:
        raise UserError(f"unknown model {unknown[0]!r}: choose among {', '.join(MODELS)}")
    tiny = settings.base == TINY
    places = {model: settings.output / model for model in MODELS}
    found = {model: str(place) for model, place in places.items() if (place / "config.json").is_file()}
    if not tiny:
        found = {"base": settings.base} | found
    if models is None:
        if not {"sft", "grpo"} & found.keys():
            raise UserError(f"no trained model in {settings.output}: run `make sft RECIPE={settings.name}` first")
        return {model: found[model] for model in MODELS if model in found}
    for model in models:
        if model not in found:
            target = "sft" if model == "base" else model
            raise UserError(
                f"no {model} checkpoint in {places[model]}: run `make {target} RECIPE={settings.name}` first"
            )
    return {model: found[model] for model in MODELS if model in models}


def _generate(
    settings: Settings, checkpoints: Mapping[str, str], splits: Mapping[str, Rows], data: Path, folder: Path
) -> dict[Cell, Path]:
    files: dict[Cell, Path] = {}
    for model, checkpoint in checkpoints.items():
        samples = settings.base_samples if model == "base" else settings.samples
        decodings = [Decoding(GREEDY, 1, 0.0, settings.max_new_tokens, settings.seed)]
        if samples:
            decodings.append(Decoding(SAMPLED, samples, settings.temperature, settings.max_new_tokens, settings.seed))
        jobs = [
            Job(split, rows, decoding, folder / "predictions" / model / f"{split}-{decoding.mode}.jsonl")
            for split, rows in splits.items()
            for decoding in decodings
        ]
        say(f"{model}: {sum(len(job.rows) * job.decoding.samples for job in jobs):,} completions of {checkpoint}")
        made = generate(
            checkpoint,
            jobs,
            data,
            max_prompt_tokens=settings.max_length,
            dtype=resolve_dtype(settings.dtype),
            min_pixels=settings.min_pixels,
            max_pixels=settings.max_pixels,
        )
        reused = [job.path.name for job in jobs if job.path not in made]
        if reused:
            say(f"{model}: reusing {', '.join(reused)} (same checkpoint, examples and decoding)")
        files |= {(model, job.split, job.decoding.mode): job.path for job in jobs}
    return files


def _trivial_predictions(settings: Settings, splits: Mapping[str, Rows], data: Path) -> dict[Cell, Rows]:
    """Prediction rows of the policies that see no image, on the splits' abnormality lists."""
    asked = {split: [row for row in rows if row["task"] == LIST_TASK] for split, rows in splits.items()}
    if not any(asked.values()):
        return {}
    train = training_guesses(load_examples(data, "train", [LIST_TASK]))
    if not train:
        return {}
    return {
        (policy, split, GREEDY if len(samples) == 1 else SAMPLED): as_predictions(rows, samples)
        for split, rows in asked.items()
        if rows
        for policy, samples in trivial_guesses(train, len(rows), settings.seed).items()
    }


def _meta(settings: Settings, checkpoints: Mapping[str, str], splits: Mapping[str, Rows]) -> dict[str, Any]:
    return {
        "recipe": settings.name,
        "seed": settings.seed,
        "bootstrap_resamples": settings.bootstrap,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_new_tokens,
        "checkpoints": dict(checkpoints),
        "splits": {
            split: {
                "studies": len({row["study_id"] for row in rows}),
                "examples": len(rows),
                "tasks": dict(Counter(row["task"] for row in rows)),
            }
            for split, rows in splits.items()
        },
    }


def _history(stage: Path) -> list[dict[str, Any]]:
    """The stage's `log_history`; empty for a checkpoint that was not trained here."""
    path = stage / "trainer_state.json"
    return json.loads(path.read_text(encoding="utf-8"))["log_history"] if path.is_file() else []
