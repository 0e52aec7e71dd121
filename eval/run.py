"""The evaluation stage: generate, score, compare, report.

Writes `predictions/{model}/{split}-{greedy|sampled}.jsonl`, `statistics/`, `scores.json`, `report.html` (one
self-contained page), `report.md` with `figures/`. Finished prediction files of an unchanged checkpoint are reused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from eval.best_of import Chosen, Rows, Scores, best_of_n
from eval.bootstrap import Estimate, Statistics, differences, estimates, write_statistics
from eval.generate import Job, generate
from eval.metrics import LIST_TASK, metrics, statistics
from eval.predictions import Cell, Decoding, prediction_rows, read_description, read_predictions, write_predictions
from eval.report import Evaluation, write_report
from eval.scoring import score_rows, with_rewards
from eval.settings import EvalSettings, Run, find_checkpoints
from eval.specificity import OTHER, held_to, partners
from eval.traces import pick_traces
from eval.trivial import as_predictions, training_guesses, trivial_guesses
from reasoner import layout
from reasoner.errors import UserError
from reasoner.layout import BASE, BASE_RATES, MODELS, PREDICTIONS, SCORES, STATISTICS, TRAINED, TRAINER_STATE
from reasoner.models.load import load_processor, resolve_dtype
from reasoner.models.positions import check_positions
from reasoner.runtime.disk import read_object, write_whole
from reasoner.runtime.terminal import say
from reasoner.scores import GREEDY, SAMPLED
from reasoner.training.dataset import load_examples
from rewards.radrscore.base_rates import DEFAULT
from rewards.skill import find_base_rates


def run(subject: Run, settings: EvalSettings) -> dict[str, Any]:
    """Evaluates the models (default: those that exist) on the splits of `settings`; returns what `scores.json` holds.

    Raises:
        UserError: a named model, a split or its images are missing, no model was trained, a record is damaged, or rows
            do not fit a model.
    """
    data, folder = layout.data(subject.output), subject.folder
    checkpoints = find_checkpoints(subject, settings.models)
    longest = {"model.max_length": subject.max_length, "eval.max_new_tokens": settings.max_new_tokens}
    for checkpoint in checkpoints.values():
        check_positions(checkpoint, longest)
    histories = {model: _history(subject.output / model) for model in TRAINED}
    splits: dict[str, Rows] = {
        split: prediction_rows(load_examples(data, split, settings.tasks, settings.limit, decode=True), data)
        for split in settings.splits
    }
    for checkpoint in checkpoints.values():
        load_processor(checkpoint)

    files = _generate(subject, settings, checkpoints, splits, data)
    predictions = {cell: read_predictions(path, splits[cell[1]]) for cell, path in files.items()}
    trivial = _trivial_predictions(subject.seed, splits, data) if settings.trivial else {}
    swapped = _held_to_others(predictions, splits)
    everything = [*predictions.values(), *trivial.values(), [other for _, other in swapped]]
    base_rates = _base_rates(data, folder)
    scored = iter(
        score_rows(
            [row for rows in everything for row in rows], base_rates, workers=subject.workers, profile=subject.profile
        )
    )
    rewards: dict[Cell, list[Scores]] = {
        key: [next(scored) for _ in rows] for key, rows in [*predictions.items(), *trivial.items()]
    }
    for row, _ in swapped:
        row[OTHER] = next(scored)["process"].value
    for cell, path in files.items():
        pairs = zip(predictions[cell], rewards[cell], strict=True)
        write_predictions(path, [with_rewards(row, score) for row, score in pairs], read_description(path))

    if settings.best_of_n:
        for cell, chosen in _best(predictions, rewards).items():
            predictions[cell], rewards[cell] = chosen
    evaluation = evaluate(predictions, trivial, rewards, resamples=settings.bootstrap, seed=subject.seed)
    evaluation = evaluation._replace(
        name=subject.name,
        source=subject.source,
        meta=_meta(subject, settings, checkpoints, splits),
        histories=histories,
        traces=pick_traces(predictions, rewards, data),
    )
    scores = evaluation.to_dict()
    folder.mkdir(parents=True, exist_ok=True)
    write_report(folder, evaluation)
    for (model, split, mode), found in evaluation.statistics.items():
        write_statistics(folder / STATISTICS / model / f"{split}-{mode}.npz", found)
    write_whole(folder / SCORES, json.dumps(scores, indent=1) + "\n")
    return scores


def evaluate(
    predictions: Mapping[Cell, Rows],
    trivial: Mapping[Cell, Rows],
    rewards: Mapping[Cell, Sequence[Scores]],
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
        statistics=measured,
    )


def _generate(
    subject: Run, settings: EvalSettings, checkpoints: Mapping[str, str], splits: Mapping[str, Rows], data: Path
) -> dict[Cell, Path]:
    files: dict[Cell, Path] = {}
    for model, checkpoint in checkpoints.items():
        samples = settings.base_samples if model == BASE else settings.samples
        decodings = [Decoding(GREEDY, 1, 0.0, settings.max_new_tokens, subject.seed)]
        if samples:
            decodings.append(Decoding(SAMPLED, samples, settings.temperature, settings.max_new_tokens, subject.seed))
        jobs = [
            Job(split, rows, decoding, subject.folder / PREDICTIONS / model / f"{split}-{decoding.mode}.jsonl")
            for split, rows in splits.items()
            for decoding in decodings
        ]
        say(f"{model}: {sum(len(job.rows) * job.decoding.samples for job in jobs):,} completions of {checkpoint}")
        made = generate(
            checkpoint,
            jobs,
            data,
            max_prompt_tokens=subject.max_length,
            dtype=resolve_dtype(subject.dtype),
            min_pixels=subject.min_pixels,
            max_pixels=subject.max_pixels,
            profile=subject.profile,
        )
        reused = [job.path.name for job in jobs if job.path not in made]
        if reused:
            say(f"{model}: reusing {', '.join(reused)} (same checkpoint, examples and decoding)")
        files |= {(model, job.split, job.decoding.mode): job.path for job in jobs}
    return files


def _held_to_others(
    predictions: Mapping[Cell, Rows], splits: Mapping[str, Rows]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each prediction row that has a partner in its split, and the same held to that."""
    others = {split: partners(rows) for split, rows in splits.items()}
    return [
        (row, held_to(row, other))
        for (_, split, _), rows in predictions.items()
        for row in rows
        if (other := others[split].get(row["id"]))
    ]


def _best(predictions: Mapping[Cell, Rows], rewards: Mapping[Cell, list[Scores]]) -> dict[Cell, Chosen]:
    """The best of the samples, where there are at least two."""
    return {
        (model, split, choice): chosen
        for (model, split, mode), rows in predictions.items()
        if mode == SAMPLED and any(row["sample"] for row in rows)
        for choice, chosen in best_of_n(rows, rewards[model, split, mode]).items()
    }


def _base_rates(data: Path, folder: Path) -> Path:
    """The base rates of the training split, written to the folder; the public ones where there is no such split."""
    if not any((data / "examples").glob("train-*.parquet")):
        return DEFAULT
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / BASE_RATES
    find_base_rates(str(data)).write(path)
    return path


def _trivial_predictions(seed: int, splits: Mapping[str, Rows], data: Path) -> dict[Cell, Rows]:
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
        for policy, samples in trivial_guesses(train, len(rows), seed).items()
    }


def _meta(
    subject: Run, settings: EvalSettings, checkpoints: Mapping[str, str], splits: Mapping[str, Rows]
) -> dict[str, Any]:
    return {
        "recipe": subject.name,
        "seed": subject.seed,
        "bootstrap_resamples": settings.bootstrap,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_new_tokens,
        "profile": subject.profile.name,
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
    path = stage / TRAINER_STATE
    if not path.exists():
        return []
    fix = "delete it to evaluate without learning curves"
    history = read_object(path, fix).get("log_history")
    if not isinstance(history, list) or not all(isinstance(row, dict) and "step" in row for row in history):
        raise UserError(f"{path}: damaged, log_history is not as a trainer writes it; {fix}")
    return [{name: value for name, value in row.items() if isinstance(value, int | float)} for row in history]
