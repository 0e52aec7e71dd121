"""What a recipe's stages read and write, in rows and tokens: from its mined data where it is there, else assumed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.errors import UserError
from reasoner.layout import data as data_folder
from reasoner.models.shape import Tower
from recipes.config import Grpo, Recipe, Sft

#: Studies of each collection's training split, about, by its authors.
STUDIES = {
    "mimic_cxr": 222_758, "chexpert_plus": 223_228, "padchest_gr": 4_555, "rexgradient": 140_000, "iu_xray": 3_955,
    "cxrtrek": 343_000,
}  # fmt: skip
#: Of a collection whose size is not known.
UNKNOWN_STUDIES = 100_000
#: What the phantom source draws to train on when a recipe does not say.
PHANTOMS = 10_000
#: Right answers that `data.counts` counts a class by.
_CLASSES, _ANSWERS = 14, {"binary": 2}


class Texts(NamedTuple):
    """Tokens of a row beside its images: what is asked, with the template, and what is written."""

    asked: int
    written: int


#: Style of chains -> tokens of a row, assumed for real reports; of drawn ones a third is written.
STYLES = {
    "concise": Texts(60, 120), "brief": Texts(100, 160), "question": Texts(100, 260), "systematic": Texts(60, 660),
}  # fmt: skip
#: A dialogue of some 26 turns, and a stage of it: half of the dialogue before it.
DIALOGUE, STAGE = Texts(950, 800), Texts(900, 60)
#: Tokens a word of Qwen's tokenizer in reports, about.
PER_WORD = 1.4
_SAMPLED = 500


@dataclass(frozen=True)
class Rows:
    """Of a stage: how many rows an epoch has, and their tokens."""

    count: int
    texts: Texts


@dataclass(frozen=True)
class Workload:
    """Of a recipe. `images` a row, each of `image_tokens` tokens; `source` says where rows and texts are from."""

    images: int
    image_tokens: int
    sft: Rows
    grpo: Rows
    source: str

    def patches(self, tower: Tower) -> int:
        """Of one image."""
        return self.image_tokens * tower.merge**2


class Given(NamedTuple):
    """What the user says of the data, in the place of what is assumed."""

    rows: int | None = None
    prompts: int | None = None
    asked: int | None = None
    written: int | None = None
    images: int | None = None
    #: Whether mined data are looked at.
    mined: bool = True


def workload_of(recipe: Recipe, tower: Tower, largest: int, given: Given) -> Workload:
    """`largest`: pixels of the largest image of the checkpoint's own processor.

    Raises:
        UserError: images that leave no room for text.
    """
    images = given.images or (2 if recipe.data.source == "cxrtrek" else 1)
    tokens = image_tokens(recipe, tower, largest)
    if images * tokens >= recipe.model.max_length:
        raise UserError(
            f"{images} images of {tokens} tokens do not fit model.max_length={recipe.model.max_length}; "
            "lower model.max_pixels or raise model.max_length"
        )
    mined = _mined(recipe) if given.mined else None
    sft, grpo, source = mined or _assumed(recipe)
    sft = _with(sft, recipe.sft.max_examples, given.rows, given)
    grpo = _with(grpo, recipe.grpo.max_examples, given.prompts, given)
    return Workload(images, tokens, sft, grpo, source)


def image_tokens(recipe: Recipe, tower: Tower, largest: int) -> int:
    """Of a large film, which the processor shrinks to as many pixels as it may have."""
    profile = recipe.model.prompts
    pixels = min(filter(None, (profile.max_pixels, profile.side and profile.side**2)), default=largest)
    return max(1, pixels // tower.edge**2)


def _with(rows: Rows, most: int | None, count: int | None, given: Given) -> Rows:
    texts = Texts(given.asked or rows.texts.asked, given.written or rows.texts.written)
    return Rows(count or min(rows.count, most or rows.count), texts)


def _assumed(recipe: Recipe) -> tuple[Rows, Rows, str]:
    data = recipe.data
    studies = _studies(recipe)
    by_task = {
        task: min(studies * rate, data.counts.get(task, 2**31) * _CLASSES * _ANSWERS.get(task, 1))  # type: ignore[call-overload,arg-type]
        for task, rate in data.tasks.items()
    }
    texts = STYLES[data.style]
    if data.source == "phantom":
        texts = Texts(min(texts.asked, 40), texts.written // 3)
    dialogues = set(by_task) == {"stage"}
    stages: list[Rows] = []
    for stage, of_dialogues in ((recipe.sft, DIALOGUE), (recipe.grpo, STAGE)):
        count = sum(number * _often(stage, task) for task, number in by_task.items())
        stages.append(Rows(max(1, round(count)), of_dialogues if dialogues and data.source != "phantom" else texts))
    if dialogues:
        stages[1] = replace(stages[1], count=stages[1].count * (26 if data.source == "cxrtrek" else 8))
    return stages[0], stages[1], "assumed"


def _studies(recipe: Recipe) -> int:
    data = recipe.data
    if data.source == "phantom":
        found = data.options.get("train", PHANTOMS)
        return found if isinstance(found, int) else PHANTOMS
    path = Path(data.input or "")
    if data.source == "jsonl" and path.is_file():
        with path.open("rb") as file:
            return max(1, sum(1 for _ in file))
    return STUDIES.get(data.source, UNKNOWN_STUDIES)


def _mined(recipe: Recipe) -> tuple[Rows, Rows, str] | None:
    """Rows and tokens of the data set that is there; None where there is none, or where it holds dialogues."""
    import pyarrow.parquet as pq

    folder = data_folder(recipe.output)
    shards = sorted((folder / "examples").glob("train-*.parquet"))
    if not shards or set(recipe.data.tasks) == {"stage"}:
        return None
    try:
        tasks = Counter(task for shard in shards for task in pq.read_table(shard, columns=["task"])["task"].to_pylist())
        columns = ["task", "question", "reasoning", "answer"]
        batches = (batch for shard in shards for batch in pq.ParquetFile(shard).iter_batches(_SAMPLED, columns=columns))
        sample = [row for batch in islice(batches, 4) for row in batch.to_pylist()]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: cannot be read ({error}); run `reasoner mine --force`") from error
    stages = []
    for stage in (recipe.sft, recipe.grpo):
        often = [_often(stage, row["task"]) for row in sample]
        if not any(often):
            return None
        count = round(sum(_often(stage, task) * number for task, number in tasks.items()))
        texts = Texts(_tokens(sample, often, "question") + 30, _tokens(sample, often, "reasoning", "answer") + 10)
        stages.append(Rows(max(1, count), texts))
    return stages[0], stages[1], f"{folder}, tokens by words"


def _often(stage: Sft | Grpo, task: str) -> float:
    """How often an epoch of the stage shows each row of the task."""
    return stage.mix.get(task, 1.0) if stage.tasks is None or task in stage.tasks else 0.0  # type: ignore[call-overload]


def _tokens(rows: Sequence[Mapping[str, Any]], often: Sequence[float], *columns: str) -> int:
    words = statistics.fmean((sum(len((row[name] or "").split()) for name in columns) for row in rows), often)
    return round(PER_WORD * words)
