"""Sample traces for the report: which examples to show, and each model's reading of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from eval.best_of import quality
from eval.metrics import LIST_TASK, gold_classes
from eval.predictions import Cell, image_paths
from eval.verdicts import Segment, missed, segments
from reasoner.pictures import PictureError, read_picture
from reasoner.prompts import parse_completion
from reasoner.runtime.terminal import say
from rewards.registry import Score

#: Longest image edge in the page, in pixels: keeps real radiographs from bloating it.
_MAX_EDGE = 512


class Reading(NamedTuple):
    """One model's completion on the example."""

    model: str
    segments: tuple[Segment, ...]
    answer: str | None
    answer_reward: float | None
    radrscore: float | None
    missed: tuple[str, ...]


class Trace(NamedTuple):
    """One example with every model's greedy reading. `images` are data URIs; `why` says why it was chosen."""

    id: str
    split: str
    why: str
    question: str
    gold: str
    reference: str
    images: tuple[str, ...]
    readings: tuple[Reading, ...]


def pick_traces(
    predictions: Mapping[Cell, Sequence[Mapping[str, Any]]],
    rewards: Mapping[Cell, Sequence[Mapping[str, Score]]],
    data: Path,
) -> list[Trace]:
    """Per split, by rule: the two examples where the last model gained most over the one before it, the one where it
    lost most, and the one of median score. Ties go to the smaller id, so the choice is reproducible."""
    traces = []
    for split in dict.fromkeys(split for _, split, mode in predictions if mode == "greedy"):
        cells = [cell for cell in predictions if cell[1:] == (split, "greedy")]
        for index, why in _choose([rewards[cell] for cell in cells[-2:]], predictions[cells[-1]]).items():
            row = predictions[cells[-1]][index]
            readings = tuple(
                read_completion(cell[0], predictions[cell][index]["completion"], rewards[cell][index]) for cell in cells
            )
            gold = gold_classes(row).text if row["task"] == LIST_TASK else row["answer"]
            images = tuple(_data_uris(image_paths(row, data)))
            question = "\n".join([row["question"], *row["options"]])
            traces.append(Trace(row["id"], split, why, question, gold, row["reasoning"], images, readings))
    return traces


def _choose(scores: Sequence[Sequence[Mapping[str, Score]]], rows: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Row -> why it is shown."""
    last = [quality(score) for score in scores[-1]]
    gains = [ours - quality(before) for ours, before in zip(last, scores[0], strict=True)]
    by_gain = sorted(range(len(rows)), key=lambda i: (-gains[i], rows[i]["id"]))
    by_score = sorted(range(len(rows)), key=lambda i: (last[i], rows[i]["id"]))
    chosen = {by_score[len(rows) // 2]: "typical (median score)"}
    if len(scores) > 1:
        chosen |= {by_gain[-1]: "largest loss of the last stage"} if gains[by_gain[-1]] < 0 else {}
        chosen |= {index: "largest gain of the last stage" for index in by_gain[:2] if gains[index] > 0}
    return dict(reversed(chosen.items()))


def _data_uris(paths: Sequence[Path]) -> Iterator[str]:
    """The pictures, small and grey; one that turned bad since the models read it is left out."""
    for path in paths:
        try:
            yield _data_uri(path)
        except PictureError as error:
            say(f"report without a picture: {error}")


def _data_uri(path: Path) -> str:
    small = read_picture(path).convert("L")
    small.thumbnail((_MAX_EDGE, _MAX_EDGE))
    buffer = BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def read_completion(model: str, completion: str, scores: Mapping[str, Score]) -> Reading:
    """The completion's reasoning, cut at its claims (part factuality); `missed` is what the reference says and it does
    not."""
    parsed, process = parse_completion(completion), scores["process"]
    return Reading(
        model,
        tuple(segments(parsed.reasoning, process.evidence)),
        parsed.answer,
        scores["answer"].value,
        process.value,
        missed(process.evidence),
    )
