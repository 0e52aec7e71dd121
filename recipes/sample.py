"""Some rows of a stage to look at before it runs: of the mined data set, or of a few studies that are mined here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from reasoner.dialogues import last_question, packed
from reasoner.errors import UserError
from reasoner.layout import GRPO, SFT
from reasoner.mining.pipeline.partition import mine_study
from reasoner.mining.wording import stable_hash
from reasoner.schema import Example, Rejected, Study
from reasoner.sources import open_source
from reasoner.sources.base import Source
from reasoner.training.dataset import load_examples
from recipes.config import Recipe
from recipes.mine import design_of, rates_of
from recipes.stages import result

#: Rows that are looked at, and the mined ones among which they are chosen.
ROWS, SCANNED = 32, 512
#: Studies of a source that are read, from so many places of it.
STUDIES, PLACES = 36, 3


class Sample(NamedTuple):
    """Examples, where they come from (or why there are none), and what was noticed on the way."""

    examples: list[Example]
    origin: str
    notes: tuple[str, ...] = ()


def take(recipe: Recipe, stage: str, folder: Path, source: Source | None = None) -> Sample:
    """Some examples as the stage will have them.

    Args:
        folder: for what a source draws.
        source: to mine from in the place of the recipe's.

    Raises:
        UserError: in the data set, or for `mine` in the source, nothing can be read.
    """
    split = recipe.eval.splits[0] if stage == "eval" else "train"
    tasks = {SFT: recipe.sft.tasks, GRPO: recipe.grpo.tasks, "eval": recipe.eval.tasks}.get(stage)
    stages = recipe.grpo.stages if stage == GRPO else None
    data = result(recipe, "mine")
    if stage != "mine" and any((data / "examples").glob(f"{split}-*.parquet")):
        found = load_examples(data, split, tasks, SCANNED, stages=stages, dialogues=stage == SFT)
        sample = Sample(_spread([last_question(example) for example in found]), f"{data} ({split})")
    else:
        try:
            source = source or open_source(recipe.data.source, recipe.data.input, folder, recipe.data.options)

            def wanted(e: Example) -> bool:
                return (tasks is None or e.task in tasks) and (stages is None or e.stage is None or e.stage in stages)

            sample = _mined(recipe, source, split, wanted, folder, whole=stage == SFT)
        except UserError as error:
            if stage == "mine":
                raise
            return Sample([], f"nothing is mined yet, and {error}")
    if stage == SFT and recipe.sft.answer_only:
        from recipes.sft import teaching

        if teach := teaching(recipe):
            return sample._replace(examples=[teach(example) for example in sample.examples])
    return sample


def _mined(
    recipe: Recipe, source: Source, split: str, wanted: Callable[[Example], bool], folder: Path, *, whole: bool
) -> Sample:
    """Examples of some studies of a source: those that are wanted, of the split as far as there are any among them.
    `whole`: of a dialogue the last question, after which it is whole."""
    if source.draws:
        source = source.drawing_into(folder)
    data, examples, rejected, studies = recipe.data, list[Example](), Counter[str](), 0
    for item in _read(source):
        if isinstance(item, Rejected):
            rejected[item.reason] += 1
            continue
        studies += 1
        own: list[Example] = []
        for kind, row in mine_study(item, rates_of(data), data.style, recipe.seed, design_of(data)):
            if kind == "example":
                own.append(Example(**row))
            elif kind == "rejected":
                rejected[row["reason"]] += 1
        examples += map(last_question, packed(own)) if whole else own
    notes = []
    if rejected:
        notes.append("         left out: " + ", ".join(f"{n} x {reason}" for reason, n in rejected.most_common()))
    asked = [e for e in examples if wanted(e)]
    chosen = [example for example in asked if example.split == split] or asked
    origin = f"{studies} studies of '{source.name}' that were mined for this check"
    if not chosen:
        return Sample([], f"{origin} gave no question", tuple(notes))
    if chosen[0].split != split:
        notes.append(f"         none of them is in the split '{split}'; others are shown")
    return Sample(_spread(chosen), origin, tuple(notes))


def _read(source: Source) -> Iterator[Study | Rejected]:
    """The first studies of the first partition, one in the middle, and the last."""
    parts = source.partitions()
    places = sorted({round(n * (len(parts) - 1) / (PLACES - 1)) for n in range(PLACES)}) if parts else []
    for place in places:
        yield from islice(source.read(parts[place]), STUDIES // len(places))


def _spread(examples: Sequence[Example]) -> list[Example]:
    """At most `ROWS` of them, as many of each task as there are, and in each from all over."""
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    groups = (sorted(group, key=lambda example: stable_hash(example.id)) for group in by_task.values())
    return [example for round_ in zip_longest(*groups) for example in round_ if example is not None][:ROWS]
