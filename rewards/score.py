"""`reasoner score`: existing completions in, one row of scores per completion out; no model is loaded.

In: JSON lines (UTF-8, plain or `.gz`) with `completion`, `reasoning` (the reference chain) and `report`, and if at hand
`id`, `question`, `answer`, `task`, `options`, `labels` (verified, unless `label_source` is `mined`); also under the
names of ChestX-Reasoner's files (`pred`, `reason_steps`, ...: `reasoner/sources/spellings.py`). Out: as many JSON lines
in the same order with `id`, `factuality`, `completeness`, `effectiveness`, `radrscore`, `answer`, `format`, `skill`
(numbers, or null where not applicable) and `evidence` by reward. A row that cannot be read or scored gets nulls and an
`error`, and is counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import DownloadColumn

from reasoner.errors import UserError
from reasoner.layout import BASE_RATES
from reasoner.prompts import parse_completion
from reasoner.runtime.disk import replacing, same_file
from reasoner.runtime.progress import progress
from reasoner.runtime.terminal import say
from reasoner.schema import LABEL_SOURCES, STATUSES
from reasoner.sources.io.files import BROKEN, PACKED, open_bytes
from reasoner.sources.spellings import READERS, FieldError, present, unread
from rewards.radrscore import PARTS
from rewards.registry import RewardError, RewardSet, Score
from rewards.skill import find_base_rates

#: Unweighted: each is reported on its own.
REWARDS = {"format": 1.0, "answer": 1.0, "process": 1.0, "skill": 1.0}
COLUMNS = (*PARTS, "radrscore", "answer", "format", "skill")
_TEXT = ("completion", "reasoning", "report", "question", "answer", "task")
#: All that is read of a row.
_READ = (*_TEXT, "labels", "options", "id")
_CHUNK = 2000
MOST_WORKERS = 1000
#: What a line without a row is made of: white space and the mark of UTF-8.
_BLANK = b" \t\r\n\v\f\xef\xbb\xbf"

#: What some readers take for the end of a line, though JSON does not.
_ONE_LINE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}

Row = dict[str, Any]
Scores = Mapping[str, Score]
#: The scores of each row, or why it has none.
Scorer = Callable[[Sequence[Row]], Sequence[Scores | str]]


def score_file(input: Path, output: Path, workers: int = 1, base_rates: Path | None = None) -> dict[str, Any]:
    """Scores the rows of `input` into `output` and returns the summary: n, means, nulls and bad rows.

    `output` is replaced when all is scored; until then, and if anything fails, it is as it was.

    Args:
        output: JSON lines, packed where the name ends in `.gz`.
        workers: 1 scores in this process; more use as many Ray actors, but not more than there are cores (of a cluster,
            `RAY_ADDRESS`, the user is to know).
        base_rates: for `skill`, a mined data folder or the file that GRPO or eval left; by default the public ones.

    Raises:
        UserError: `input` cannot be read or has no usable row, `output` is the same file or cannot be written, or the
            workers are none or too many.
    """
    workers = possible_workers(workers)
    if output.suffix == ".zip":
        raise UserError(f"{output}: no .zip can be written; name a .jsonl or .jsonl.gz as --output")
    if same_file(input, output):
        raise UserError(f"{output} is the input, too, and would be lost; name another --output")
    summary = _Summary()
    lines = _Lines(input)
    with (
        lines.file,
        open_scorer(workers, base_rates) as scorer,
        replacing(output) as sink,
        progress(f"scoring {input.name}", lines.size, count=DownloadColumn()) as advance,
    ):
        for number, row, words in _score_lines(lines, scorer, advance):
            summary.add(number, row)
            sink.write(words.translate(_ONE_LINE) + "\n")
        if summary.n == summary.bad_rows:
            first = f": line {summary.errors[0]['line']}: {summary.errors[0]['error']}" if summary.errors else ""
            raise UserError(f"{input}: no usable row among {summary.n}{first}; each line must be a JSON object")
    return summary.to_dict()


def possible_workers(workers: int) -> int:
    """At most the cores of this machine. `UserError`: none, or too many."""
    if not 1 <= workers <= MOST_WORKERS:
        raise UserError(f"--workers {workers}: give 1 to {MOST_WORKERS}")
    cores = os.cpu_count() or 1
    if workers <= cores or os.environ.get("RAY_ADDRESS"):
        return workers
    say(f"{workers} workers, but {cores} cores: {cores} are used")
    return cores


class _Lines:
    """The lines of a file, plain or packed. `size` is that of the file in bytes, where it says how many come."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = open_bytes(path)
            self.size = None if path.suffix in PACKED[1:] else path.stat().st_size or None
        except BROKEN as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"cannot read {path}: {why}; give a JSON-lines file as --input") from error

    def __iter__(self) -> Iterator[tuple[int, bytes, str]]:
        """(number, line, "") of each line that is not blank; of what cannot be read (number, b"", why)."""
        number = 0
        try:
            for number, line in enumerate(self.file, 1):
                if line.strip(_BLANK):
                    yield number, line, ""
        except BROKEN as error:
            yield number + 1, b"", f"the rest of the file cannot be read: {error}"


@contextmanager
def open_scorer(
    workers: int, base_rates: Path | None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Scorer]:
    """What scores rows by `REWARDS`: in this process, or by as many Ray actors as `workers`.

    Args:
        base_rates: as for `score_file`.
        options: of the other rewards.
    """
    with TemporaryDirectory() as folder:
        options = dict(options or {})
        if base_rates is not None:  # learned once, not by each worker
            known = Path(folder) / BASE_RATES
            find_base_rates(str(base_rates)).write(known)
            options["skill"] = {"base_rates": str(known)}
        with _scorer_with(workers, options) as scorer:
            yield scorer


@contextmanager
def _scorer_with(workers: int, options: Mapping[str, Mapping[str, Any]]) -> Iterator[Scorer]:
    if workers > 1:
        from rewards.workers import RewardPool

        with RewardPool(REWARDS, workers=workers, options=options, name="reward-pool-score") as pool:
            yield lambda rows: _pooled(pool, rows)
    else:
        rewards = RewardSet.build(REWARDS, options=options)
        yield lambda rows: [_scored(rewards, row) for row in rows]


def _scored(rewards: RewardSet, row: Row) -> Scores | str:
    scores, name = {}, ""
    try:
        for name in rewards.weights:
            scores[name] = rewards.score_one(name, row)
    except Exception as error:  # whatever it is, it costs this row alone
        return f"reward {name!r}: {type(error).__name__}: {error}"
    return scores


def _pooled(pool: Any, rows: Sequence[Row]) -> list[Scores | str]:
    try:
        return [_failure(scores) or scores for scores in pool.score(rows)]
    except (UserError, RewardError) as error:  # ends a batch: find the row to blame
        return [str(error)] if len(rows) == 1 else [scored for row in rows for scored in _pooled(pool, [row])]


def _failure(scores: Scores) -> str:
    """Why the pool has no score for a row; empty when it has."""
    return next((score.failure for score in scores.values() if score.failure), "")


def _score_lines(lines: _Lines, scorer: Scorer, advance: Callable[[int], None]) -> Iterator[tuple[int, Row, str]]:
    """(line number, output row, that row as JSON) of each line that is not blank."""
    waiting = iter(lines)
    while chunk := list(islice(waiting, _CHUNK)):
        read = [(number, *(({}, broken) if broken else read_row(line))) for number, line, broken in chunk]
        scores = iter(scorer([row for _, row, error in read if not error]))
        for number, row, error in read:
            yield number, *(_failed(row, error) if error else _output(row, next(scores)))
        advance(sum(len(line) for _, line, _ in chunk))


def read_row(line: bytes) -> tuple[Row, str]:
    """The row with every column the rewards may ask for, and what is wrong with it; nothing wrong is ""."""
    try:
        text = line.decode("utf-8-sig")
        data = json.loads(text)
    except UnicodeDecodeError as error:
        return {}, f"not UTF-8: {error.reason} at byte {error.start}"
    except (ValueError, RecursionError) as error:
        return {}, f"not JSON: {error}"
    if not isinstance(data, dict):
        return {}, f"a JSON object is needed, found {type(data).__name__}"
    row: Row = {**dict.fromkeys(_READ), **data}
    respelled = _respell(row, data)
    row["options"] = row["options"] or ()
    if not isinstance(row["id"], str | int | None) and not _writable(row["id"]):
        row["id"] = None
        return row, "column 'id' cannot be repeated: it holds what JSON has no words for"
    fault = respelled or _fault(row)
    if not fault and ("\\ud" in text or "\\uD" in text):
        fault = next((f"column '{name}' holds a lone surrogate" for name in _READ if not _writable(row[name])), "")
    if not fault and isinstance(row["answer"], str):  # some collections keep the gold answer in its tags
        row["answer"] = parse_completion(row["answer"]).answer or row["answer"]
    return row, fault


def _respell(row: Row, data: Row) -> str:
    """Gives a row what `data` spells otherwise, and says what is wrong with that."""
    try:
        for name, read in READERS.items():
            if any(spelling != name for spelling in present(data, name)):
                row[name] = read(data)
    except FieldError as error:
        return f"column {error}"
    row["id"] = row["id"] if row["id"] is not None else data.get("item_id")
    # Without question or answer a row is as good as any: what may be one of them is none of our business.
    return unread(data, (*READERS, "id"), loosely=("completion", "reasoning", "report"))


def _fault(row: Row) -> str:
    """What is wrong with the kinds of the columns; labels that are JSON, as in mined Parquet files, are read."""
    for name in _TEXT:
        if not isinstance(row[name], str | None):
            return f"column '{name}' must be text, found {type(row[name]).__name__}"
    if row["completion"] is None:
        return "column 'completion' is missing"
    if isinstance(row["labels"], str):
        try:
            row["labels"] = json.loads(row["labels"])
        except (ValueError, RecursionError):
            return "column 'labels' is text but not JSON"
    labels, options = row["labels"], row["options"]
    if not isinstance(labels, dict | None):
        return f"column 'labels' must be an object of class to status, found {type(labels).__name__}"
    for name, status in (labels or {}).items():
        if status is not None and status not in STATUSES:
            return (
                f"column 'labels' holds {name[:40]!r}: {repr(status)[:40]}; statuses are {', '.join(STATUSES)} or null"
            )
    if row.get("label_source") not in (None, *LABEL_SOURCES):
        return f"column 'label_source' must be {' or '.join(LABEL_SOURCES)}, found {repr(row['label_source'])[:40]}"
    if not isinstance(options, list | tuple):
        return f"column 'options' must be a list, found {type(options).__name__}"
    wrong = next((option for option in options if not isinstance(option, str)), "")
    return "" if wrong == "" else f"column 'options' must hold texts, found {type(wrong).__name__}"


def _writable(value: Any) -> bool:
    """Whether a value can be written as JSON in UTF-8: no lone surrogate, no infinity, no abyss."""
    try:
        return bool(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        return False


def _output(row: Row, scores: Scores | str) -> tuple[Row, str]:
    """The output row and its JSON."""
    if isinstance(scores, str):
        return _failed(row, scores)
    process = scores["process"]
    values = {
        "id": row["id"],
        **{name: process.parts.get(name) for name in PARTS},
        "radrscore": process.value,
        "answer": scores["answer"].value,
        "format": scores["format"].value,
        "skill": scores["skill"].value,
    }
    try:
        written = {**values, "evidence": {name: list(score.evidence) for name, score in scores.items()}}
        return written, json.dumps(written, ensure_ascii=False, allow_nan=False)
    except Exception as error:  # evidence is put into words only now, by the reward's own code
        return _failed(row, f"evidence: {type(error).__name__}: {error}")


def _failed(row: Row, error: str) -> tuple[Row, str]:
    name, error = row.get("id"), error.encode("utf-8", "backslashreplace").decode()
    failed: Row = {"id": name if _writable(name) else None, **dict.fromkeys(COLUMNS), "evidence": {}, "error": error}
    return failed, json.dumps(failed, ensure_ascii=False)


class _Summary:
    """Counts while rows pass by."""

    def __init__(self) -> None:
        self.n = self.bad_rows = 0
        self.sums = dict.fromkeys(COLUMNS, 0.0)
        self.counts = dict.fromkeys(COLUMNS, 0)
        self.errors: list[dict[str, Any]] = []

    def add(self, number: int, row: Row) -> None:
        self.n += 1
        if "error" in row:
            self.bad_rows += 1
            if len(self.errors) < 10:
                self.errors.append({"line": number, "error": row["error"]})
        for name in COLUMNS:
            if row[name] is not None:
                self.sums[name] += row[name]
                self.counts[name] += 1

    def to_dict(self) -> dict[str, Any]:
        means = {name: self.sums[name] / self.counts[name] if self.counts[name] else None for name in COLUMNS}
        nulls = {name: self.n - self.counts[name] for name in COLUMNS}
        return {"n": self.n, "mean": means, "null": nulls, "bad_rows": self.bad_rows, "errors": self.errors}
