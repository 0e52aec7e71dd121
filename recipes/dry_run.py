"""`--dry-run` on data: what a stage would do with a sample of its rows, on the CPU and without any weights.

Pictures are decoded, prompts worded by the profile and the base's chat template, tokens counted, the reference answers
scored by GRPO's rewards, and one row is shown as the model will see it. Rows are the mined ones; where there are none
yet, some studies of the source are mined into a folder that goes again (`sample.py`). What cannot be had here (the
base's tokenizer, a judge's server) is said in a line, and the rest is checked all the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner.errors import UserError, one_line
from reasoner.layout import GRPO, SFT, checkpoint
from reasoner.models import TINY
from reasoner.pictures import PictureError, read_picture
from reasoner.prompts import ask, assistant_message
from reasoner.schema import Example
from reasoner.training.dataset import REWARD_COLUMNS
from recipes.config import Recipe
from recipes.reward_options import reward_options
from recipes.sample import Sample, take
from recipes.stages import working
from rewards.credit import PROCESS_REWARDS
from rewards.process import RULES
from rewards.registry import RewardSet, Score
from rewards.skill import base_rates_of

if TYPE_CHECKING:
    from reasoner.sources.base import Source

#: So many faults of a kind are named.
_NAMED = 3
#: The columns without which most rewards have nothing to say.
_ASKED = ("answer", "reasoning", "report")


class Length(NamedTuple):
    """The tokens of a row: of its prompt, pictures included, and of the reference as a policy would sample it."""

    prompt: int
    completion: int


def inspect(recipe: Recipe, stage: str, source: Source | None = None) -> list[str]:
    """What a sample of the stage's rows comes to, line by line; nothing for `export`, which reads none.

    Args:
        source: to mine from in the place of the recipe's.

    Raises:
        UserError: no row of the sample can be used: its pictures, or its length.
    """
    if stage == "export":
        return []
    with TemporaryDirectory(prefix="reasoner-dry-run-") as name:
        folder = Path(name)
        sample = take(recipe, stage, folder, source)
        if not sample.examples:
            return [_told("rows", f"not checked: {sample.origin}"), *sample.notes]
        lines = [_told("rows", f"{_counts(sample.examples)}; from {sample.origin}"), *sample.notes]
        examples, seen = _opened(sample)
        lines.append(_told("pictures", seen))
        with redirect_stderr(StringIO()):  # bars and notices of libraries
            processor, missing = _processor(recipe, stage, examples, folder)
        lengths = [_length(example, processor, recipe) for example in examples] if processor else []
        lines.append(_told("tokens", missing or _limits(recipe, stage, examples, lengths)))
        lines += _rewards(recipe, stage, examples, lengths, folder)
        return lines + _shown(recipe, examples, processor)


def _told(what: str, words: str) -> str:
    return f"{what:<8} {words}"


def _counts(examples: Sequence[Example]) -> str:
    counts = Counter(example.task for example in examples)
    bare = sum(not example.reasoning.strip() for example in examples)
    return ", ".join(f"{n} {task}" for task, n in counts.items()) + (f" ({bare} without reasoning)" if bare else "")


def _opened(sample: Sample) -> tuple[list[Example], str]:
    """The examples whose pictures can all be decoded, and words on the pictures."""
    good: list[Example] = []
    sizes: dict[str, tuple[int, int]] = {}
    faults: dict[str, None] = {}
    for example in sample.examples:
        try:
            for path in example.images:
                if path not in sizes:
                    sizes[path] = read_picture(path).size
        except PictureError as error:
            faults[str(error)] = None
        else:
            good.append(example)
    bad = f"{len(faults)} cannot be used ({_named(faults)})" if faults else ""
    if not good:
        raise UserError(f"pictures of {sample.origin}: {bad}; restore them or run `make mine` again")
    if not sizes:
        return good, "none: these rows have text alone"
    least, most = (f"{w} x {h}" for w, h in (min(sizes.values()), max(sizes.values())))
    words = f"{len(sizes)} decoded, {least} to {most} pixels" + (f"; {bad}" if bad else "")
    without = sum(not example.images for example in good)
    return good, words + (f"; {without} rows have none" if without else "")


def _named(faults: Iterable[str]) -> str:
    first, *more = list(faults)
    return "; ".join([first, *more[: _NAMED - 1]]) + ("; ..." if len(more) >= _NAMED else "")


def _processor(recipe: Recipe, stage: str, examples: Sequence[Example], folder: Path) -> tuple[Any, str]:
    """The processor that the stage will use, or None and why it cannot be had here.

    Raises:
        UserError: it is a folder that lacks it.
    """
    trained = checkpoint(recipe.output, SFT)
    start = str(trained) if stage in (GRPO, "eval") and trained.is_dir() else recipe.model.base
    if start == TINY and stage in ("mine", "eval"):
        return None, "not counted: sft makes the tiny model's tokenizer from the rows"
    try:
        from reasoner.models.load import load_processor

        if start == TINY:
            start = _tiny(recipe, examples, folder)
        model = recipe.model
        sizes: dict[str, Any] = {"min_pixels": model.min_pixels, "max_pixels": model.max_pixels}
        return load_processor(start, **sizes, offline=not Path(start).is_dir() and not _hub_answers()), ""
    except Exception as error:  # no network, a gated model, a library that does not load: the rest can be checked
        if isinstance(error, UserError) and Path(start).is_dir():
            raise
        return None, f"not counted, nor the chat template applied: {one_line(error)}"


def _hub_answers() -> bool:
    """Whether the Hub can be asked: without network each of a processor's files would be asked for six times."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # whatever keeps it away
        return False
    return True


def _tiny(recipe: Recipe, examples: Sequence[Example], folder: Path) -> str:
    from recipes.training import tiny_base

    here = recipe.model_copy(update={"output": folder})
    working(here, SFT).mkdir()
    return tiny_base(here, examples)


def _length(example: Example, processor: Any, recipe: Recipe) -> Length:
    from reasoner.training.lengths import row_lengths

    profile = recipe.model.prompts
    prompt, both = (row_lengths([example], processor, completions=c, profile=profile)[0] for c in (False, True))
    return Length(prompt, both - prompt - 1)  # what ends the turn is sampled, the new line after it is not


def _limits(recipe: Recipe, stage: str, examples: Sequence[Example], lengths: Sequence[Length]) -> str:
    """The lengths beside the limits of the stage. `UserError` when no row is within `model.max_length`."""
    trained_on = stage in ("mine", SFT)
    rows = [length.prompt + length.completion + 1 if trained_on else length.prompt for length in lengths]
    longest = {GRPO: recipe.grpo.trainer.get("max_completion_length"), "eval": recipe.eval.max_new_tokens}.get(stage)
    words = f"prompts {_range([length.prompt for length in lengths])}, references "
    words += _range([length.completion for length in lengths])
    limit = recipe.model.max_length
    if min(rows) > limit:
        raise UserError(f"no row of the sample fits model.max_length={limit} (shortest {min(rows)} tokens); raise it")
    over = [f"{sum(row > limit for row in rows)} longer than model.max_length={limit}"]
    if isinstance(longest, int):
        name = "grpo.trainer.max_completion_length" if stage == GRPO else "eval.max_new_tokens"
        over.append(f"{sum(length.completion > longest for length in lengths)} references longer than {name}={longest}")
    return f"{words}; {', '.join(over)}"


def _range(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}"


def _rewards(
    recipe: Recipe, stage: str, examples: Sequence[Example], lengths: Sequence[Length], folder: Path
) -> list[str]:
    """What GRPO's rewards give the references, and the columns that they read and the rows lack."""
    grpo, profile = recipe.grpo, recipe.model.prompts
    try:
        options = reward_options(recipe, partial(base_rates_of, examples), folder)
        rewards = RewardSet.build(grpo.rewards, grpo.reward_files, options)
        rewards.check_columns(REWARD_COLUMNS)
    except UserError as error:
        if stage == GRPO:
            raise
        return [_told("rewards", f"not computed: {error}")]
    rows = []
    for number, example in enumerate(examples):
        row: dict[str, Any] = {name: getattr(example, name) for name in REWARD_COLUMNS}
        told = assistant_message(example.reasoning, example.answer, profile)["content"][0]["text"]
        rows.append({**row, "completion": told, "completion_tokens": lengths[number].completion if lengths else None})
    means, lines = [], []
    for name in grpo.rewards:
        judge = getattr(rewards.settings[name], "judge", RULES)
        if judge != RULES or (rewards.needs_start(name) and name not in PROCESS_REWARDS):
            means.append(f"{name} not computed (what it needs is started with the run)")
            continue
        try:
            scores = list(rewards.score_chunk(name, rows)) if rewards.by_chunk(name) else _each(rewards, name, rows)
        except UserError:
            raise
        except Exception as error:  # a user's own reward: in the run its rows would have none
            means.append(f"{name} fails ({type(error).__name__}: {one_line(error)})")
            continue
        means.append(_mean(name, scores))
        if name == "format":
            lines += _malformed(examples, scores)
    empty = {column: sum(not row[column] for row in rows) for column in _ASKED if column in rewards.columns()}
    lacking = ", ".join(f"{column} in {n} rows" for column, n in empty.items() if n)
    lines += [_told("columns", f"empty: {lacking}")] if lacking else []
    return [_told("rewards", f"of the references: {', '.join(means)}"), *lines]


def _each(rewards: RewardSet, name: str, rows: Sequence[dict[str, Any]]) -> list[Score]:
    return [rewards.score_one(name, row) for row in rows]


def _mean(name: str, scores: Sequence[Score]) -> str:
    values = [score.value for score in scores if score.value is not None]
    none = len(scores) - len(values)
    mean = f"{name} {sum(values) / len(values):.2f}" if values else f"{name} none"
    return mean + (f" ({none} abstain)" if none else "")


def _malformed(examples: Sequence[Example], scores: Sequence[Score]) -> list[str]:
    bad = [(e.id, s.evidence[0]["why"]) for e, s in zip(examples, scores, strict=True) if s.value == 0]
    if not bad:
        return []
    row, why = bad[0]
    return [_told("", f"WARNING: {len(bad)} references are not in the form that is asked for ({row}: {why})")]


def _shown(recipe: Recipe, examples: Sequence[Example], processor: Any) -> list[str]:
    """One example: what the model is given, special tokens and all, and what it is taught or graded by."""
    profile = recipe.model.prompts
    example = next((e for e in examples if e.reasoning.strip()), examples[0])
    messages = ask(example, profile, len(example.images))
    answer = assistant_message(example.reasoning, example.answer, profile)
    head = f"-- the model is given ({example.id}):"
    if processor is None:
        given = "\n".join(f"[{m['role']}] {_words(m)}" for m in messages)
        return [head, given, "-- and the reference is:", _words(answer)]
    text, both = (
        processor.apply_chat_template(m, add_generation_prompt=m is messages, tokenize=False)
        for m in (messages, [*messages, answer])
    )
    pictures = [profile.shown(read_picture(path).convert("RGB")) for path in example.images]
    ids = processor(text=[text], images=pictures or None)["input_ids"][0]
    image = processor.image_token
    given = re.sub(
        f"(?:{re.escape(image)})+",
        lambda run: f"{image} x {len(run[0]) // len(image)}",
        processor.tokenizer.decode(ids, skip_special_tokens=False),
    )
    return [head, given.rstrip("\n"), "-- and the reference is:", both.removeprefix(text).rstrip("\n")]


def _words(message: dict[str, Any]) -> str:
    return "".join("<image>" if block["type"] == "image" else block["text"] for block in message["content"])
