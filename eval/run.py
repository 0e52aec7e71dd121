"""The evaluation stage: generate, score, compare, report.

Writes below `output/eval`: `predictions/{model}/{split}-{greedy|sampled}.jsonl`, `scores.json`, `report.html` (one
self-contained page), `report.md` with `figures/`. Finished prediction files of an unchanged checkpoint are reused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from eval.bootstrap import Estimate, Statistics, differences, estimates
from eval.generate import Job, generate
from eval.metrics import LIST_TASK, metrics, statistics
from eval.predictions import Decoding, prediction_rows, read_description, read_predictions, write_predictions
from eval.report import Evaluation, write_report
from eval.scoring import score_rows, with_rewards
from eval.traces import pick_traces
from eval.trivial import as_predictions, training_readings, trivial_readings
from reasoner.data import load_examples
from reasoner.errors import UserError
from reasoner.models.load import load_processor, resolve_dtype
from recipes.config import Recipe
from rewards.registry import Score

#: In the order of training; differences are taken between neighbours.
MODELS = ("base", "sft", "grpo")
GREEDY, SAMPLED = "greedy", "sampled"
Rows = list[dict[str, Any]]
#: (model, split, mode)
Cell = tuple[str, str, str]


def run(recipe: Recipe, models: Sequence[str] | None = None, limit: int | None = None) -> dict[str, Any]:
    """Evaluates `models` (default: those that exist) on the recipe's splits; returns what `scores.json` holds.

    `limit` caps the examples of each split (default: `eval.limit`).

    Raises:
        UserError: a named model, a split or its images are missing, or no model was trained.
    """
    data, folder = recipe.output / "data", recipe.output / "eval"
    checkpoints = _checkpoints(recipe, models)
    limit = limit or recipe.eval.limit
    splits = {
        split: prediction_rows(load_examples(data, split, recipe.eval.tasks, limit), data)
        for split in recipe.eval.splits
    }
    for checkpoint in checkpoints.values():
        load_processor(checkpoint)

    files = _generate(recipe, checkpoints, splits, data, folder)
    predictions = {cell: read_predictions(path) for cell, path in files.items()}
    trivial = _trivial_predictions(recipe, splits, data)
    everything = [*predictions.values(), *trivial.values()]
    scored = iter(score_rows([row for rows in everything for row in rows], workers=recipe.grpo.reward_workers))
    rewards = {key: [next(scored) for _ in rows] for key, rows in [*predictions.items(), *trivial.items()]}
    for cell, path in files.items():
        pairs = zip(predictions[cell], rewards[cell], strict=True)
        write_predictions(path, [with_rewards(row, score) for row, score in pairs], read_description(path))

    evaluation = evaluate(predictions, trivial, rewards, resamples=recipe.eval.bootstrap, seed=recipe.seed)
    evaluation = evaluation._replace(
        name=recipe.name,
        source=recipe.data.source,
        meta=_meta(recipe, checkpoints, splits),
        histories={model: _history(recipe.output / model) for model in ("sft", "grpo")},
        traces=pick_traces(predictions, rewards, data),
    )
    scores = evaluation.to_dict()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
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


def _checkpoints(recipe: Recipe, models: Sequence[str] | None) -> dict[str, str]:
    """Model name -> checkpoint, in the order of training."""
    unknown = [model for model in models or () if model not in MODELS]
    if unknown:
        raise UserError(f"unknown model {unknown[0]!r}: choose among {', '.join(MODELS)}")
    tiny = recipe.model.base == "tiny"
    places = {model: recipe.output / model for model in MODELS}
    found = {model: str(place) for model, place in places.items() if (place / "config.json").is_file()}
    if not tiny:
        found = {"base": recipe.model.base} | found
    if models is None:
        if not {"sft", "grpo"} & found.keys():
            raise UserError(f"no trained model in {recipe.output}: run `make sft RECIPE={recipe.name}` first")
        return {model: found[model] for model in MODELS if model in found}
    for model in models:
        if model not in found:
            target = "sft" if model == "base" else model
            raise UserError(f"no {model} checkpoint in {places[model]}: run `make {target} RECIPE={recipe.name}` first")
    return {model: found[model] for model in MODELS if model in models}


def _generate(
    recipe: Recipe, checkpoints: Mapping[str, str], splits: Mapping[str, Rows], data: Path, folder: Path
) -> dict[Cell, Path]:
    settings = recipe.eval
    files: dict[Cell, Path] = {}
    for model, checkpoint in checkpoints.items():
        samples = settings.base_samples if model == "base" else settings.samples
        decodings = [Decoding(GREEDY, 1, 0.0, settings.max_new_tokens, recipe.seed)]
        if samples:
            decodings.append(Decoding(SAMPLED, samples, settings.temperature, settings.max_new_tokens, recipe.seed))
        jobs = [
            Job(split, rows, decoding, folder / "predictions" / model / f"{split}-{decoding.mode}.jsonl")
            for split, rows in splits.items()
            for decoding in decodings
        ]
        print(f"{model}: {sum(len(job.rows) * job.decoding.samples for job in jobs):,} completions of {checkpoint}")
        made = generate(
            checkpoint,
            jobs,
            data,
            max_prompt_tokens=recipe.model.max_length,
            dtype=resolve_dtype(recipe.model.dtype),
        )
        reused = [job.path.name for job in jobs if job.path not in made]
        if reused:
            print(f"{model}: reusing {', '.join(reused)} (same checkpoint, examples and decoding)")
        files |= {(model, job.split, job.decoding.mode): job.path for job in jobs}
    return files


def _trivial_predictions(recipe: Recipe, splits: Mapping[str, Rows], data: Path) -> dict[Cell, Rows]:
    """Prediction rows of the policies that see no image, on the splits' abnormality lists."""
    asked = {split: [row for row in rows if row["task"] == LIST_TASK] for split, rows in splits.items()}
    if not any(asked.values()):
        return {}
    train = training_readings(load_examples(data, "train", [LIST_TASK]))
    if not train:
        return {}
    return {
        (policy, split, GREEDY if len(samples) == 1 else SAMPLED): as_predictions(rows, samples)
        for split, rows in asked.items()
        if rows
        for policy, samples in trivial_readings(train, len(rows), recipe.seed).items()
    }


def _meta(recipe: Recipe, checkpoints: Mapping[str, str], splits: Mapping[str, Rows]) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "bootstrap_resamples": recipe.eval.bootstrap,
        "samples": recipe.eval.samples,
        "temperature": recipe.eval.temperature,
        "max_new_tokens": recipe.eval.max_new_tokens,
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
    return json.loads(path.read_text())["log_history"] if path.is_file() else []
