"""A mined data set of ours (`reasoner mine`), drawn phantoms or not, as a benchmark: a table a split and task.

`strict` is a full answer reward; where no rule grades the answer (reports, stages), that it names exactly the findings
of the reference answer, and of one that names none that it says the same. There is no other authors' rule: `official`
is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.benchmarks.base import AnswerReader, Grade, Item, Malformed, Published
from eval.benchmarks.store import json_lines
from eval.bootstrap import Array
from eval.lists import f1
from reasoner.dialogues import STAGE, questions
from reasoner.errors import UserError
from reasoner.prompts import format_completion
from reasoner.schema import Example, Target
from rewards.answers import answer_reward
from rewards.answers.kinds import TEXT
from rewards.claims import DETAILED, NAMED, text_counts
from rewards.stage import grade_turn

_BATCH = 1000


class Phantom:
    """The Parquet files of `DATA/examples`, or JSON lines of their rows, with or without `completion`."""

    name = "phantom"
    profile = "ours"
    published: Sequence[Published] = ()
    gathers = False

    def read(self, file: Path, images: Path | None) -> Iterator[Item | Malformed]:
        """The rows of one `examples/{split}-*.parquet`; pictures are named relative to the data set, or `images`."""
        place = images or file.parent.parent
        counts: dict[str, int] = {}
        for line, row in _rows(file):
            try:
                asked, completion = list(_examples(row, place)), row.get("completion")
                if row.get("sample"):
                    raise TypeError("a further sample; one row a question")
                if not isinstance(completion, str | None):
                    raise TypeError("completion must be text")
            except (TypeError, KeyError, AttributeError, ValueError) as error:
                yield Malformed(str(file), line, f"no example: {error}")
                continue
            for example in asked:
                dialogue = example.task == STAGE
                table = f"{example.split}_{example.task}" + (f"_{example.stage}" if dialogue else "")
                index = counts[table] = counts.get(table, -1) + 1
                talk = f"{example.split}/{example.study_id}" if dialogue else ""
                yield Item(table, index, example, conversation=talk, completion=completion, line=line)

    def grade(self, item: Item, completion: str, reader: AnswerReader) -> Grade:
        """`values`: `answer_reward`; `counts`: of the findings that the answer of an open question names."""
        read, asked = reader(completion), item.example
        if asked.target is not None:
            return _grade_turn(asked, read)
        score = answer_reward(
            format_completion("-", read) if read is not None else "",
            answer=asked.answer,
            task=asked.task,
            question=asked.question,
            options=asked.options,
            labels=asked.labels,
            label_source=asked.label_source,
        )
        if score.value is not None:
            return Grade(None, score.value == 1.0, read, values={"answer_reward": score.value})
        counts = text_counts(read or "", asked.answer, asked.task)
        wrong = counts.get(f"fp:{NAMED}", 0.0) + counts.get(f"fn:{NAMED}", 0.0)
        return Grade(None, read is not None and not wrong, read, counts=counts)

    def metrics(self, totals: Mapping[str, Array]) -> dict[str, Array]:
        """`answer_claim_f1` and, by name alone, `answer_claim_f1_names`: of findings in open answers."""
        kinds = {"answer_claim_f1": DETAILED, "answer_claim_f1_names": NAMED}
        return {name: f1(totals, [kind]) for name, kind in kinds.items() if f"tp:{kind}" in totals}


def _examples(row: dict[str, Any], place: Path) -> Iterator[Example]:
    """The questions of a row: one, or those of a dialogue."""
    example = Example.from_dict({**row, "images": [str(place / name) for name in row.get("images") or ()]})
    for asked in questions(example):
        if not all(isinstance(text, str) for text in (asked.question, asked.answer, asked.id)):
            raise TypeError("id, question and answer must be text")
        yield asked


def _grade_turn(asked: Example, read: str | None) -> Grade:
    """Of a question of a dialogue, `strict`: a full stage reward; of a text that names findings, that it names them
    exactly. `values`: `stage_reward`."""
    worth = grade_turn(read, asked.question, asked.answer, asked.options, asked.target or Target())
    counts = text_counts(read or "", asked.answer, asked.task) if worth.kind == TEXT else {}
    right = worth.value == 1.0
    if counts.get(f"tp:{NAMED}", 0.0) + counts.get(f"fn:{NAMED}", 0.0):
        right = read is not None and not counts[f"fp:{NAMED}"] + counts[f"fn:{NAMED}"]
    return Grade(None, right, read, worth.why, {"stage_reward": worth.value}, counts)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row); of JSON lines, a line that holds no object is an empty row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix != ".parquet":
        yield from ((line, row if isinstance(row, dict) else {}) for line, row in json_lines(file))
        return
    try:
        with pq.ParquetFile(file) as table:
            yield from enumerate((row for batch in table.iter_batches(_BATCH) for row in batch.to_pylist()), 1)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as Parquet ({error}); give the data folder of a recipe") from error
