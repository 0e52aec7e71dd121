"""CXRTrek (arXiv 2505.23143): eight stages of a read, asked as one conversation about a study.

A table is a stage and a kind of question (`stage5-single-choice`). The kind decides the score: accuracy of choices,
intersection over union of boxes, likeness of texts (`trek_scores.py`). Each question is asked after all those before
it in the file, with the model's own answers or with the reference ones: the difference between the two is the error
that is carried on. The order is the file's, as the authors ask (CXRTrekReasoner, `infer_scheduler.py`): some of their
dialogues go back and forth between stages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from eval.benchmarks.base import AnswerReader, Grade, Item, Malformed, Published, writable
from eval.benchmarks.trek_scores import BOXES, CLOSED, DETAILED, NAMED, TEXT, kind_of, reference, score
from eval.bootstrap import Array
from eval.lists import f1
from reasoner.dialogues import turn_of
from reasoner.errors import UserError, one_line
from reasoner.schema import Example, Turn
from reasoner.sources.cxrtrek import (
    FIELDS,
    LAST_STAGE,
    count_of,
    entries,
    image_names,
    name_of,
    options_beside,
    problem_of,
    question_of,
    stage_of,
    study_of,
)
from reasoner.sources.io.cells import get, text, verbatim
from reasoner.sources.io.checks import is_file
from reasoner.sources.io.collection import PROBES, Pictures
from reasoner.sources.io.json_rows import read_numbered

#: What a model wrote, in files of predictions.
COMPLETION = ("completion", "pred", "prediction", "response")
_ABOUT = {"view": ("view", "view_position"), "sex": ("sex", "gender"), "age": ("age",)}
_F1 = {"detection_f1": BOXES, "claim_f1": DETAILED, "claim_f1_names": NAMED}


@dataclass(frozen=True)
class Cxrtrek:
    """The benchmark. No number of the paper was at hand with its source, so none is `published` here."""

    name: ClassVar[str] = "cxrtrek"
    profile: ClassVar[str] = "cxrtrek"
    gathers: ClassVar[bool] = True
    published: Sequence[Published] = field(default=())

    def read(self, file: Path, images: Path | None) -> Iterator[Item | Malformed]:
        """The questions of one JSON file of studies, with their `content`; a question may hold a completion.

        Pictures that are not at hand at all are left out of the items; where the first studies' are there, or `images`
        is given, each must be.

        Raises:
            UserError: there is no such file, or none of its first rows is a study.
        """
        if not is_file(str(file)):
            raise UserError(f"{file}: no such file; give a JSON or JSON-lines file of CXRTrek's studies")
        pictures = Pictures.of(str(images) if images else None, file.parent, file.parent / "images", file.parent.parent)
        first = [study_of(row.value) for _, (_, row) in zip(range(PROBES), read_numbered(file, FIELDS), strict=False)]
        if not any(isinstance(entry.get("content"), list) for entry in first):
            raise UserError(f"{file}: no study of CXRTrek in its first rows; each needs a list 'content' of questions")
        at_hand = pictures.present(str(images) if images else None, (n for entry in first for n in image_names(entry)))
        return self._items(file, pictures, at_hand)

    def _items(self, file: Path, pictures: Pictures, at_hand: bool) -> Iterator[Item | Malformed]:
        index = 0
        known: dict[str, dict[int, int]] = {}  # study -> its dialogues (hashed) and their rows
        for line, row in read_numbered(file, FIELDS):
            if row.reason:
                yield Malformed(str(file), line, one_line(f"{row.reason}: {row.detail}"))
                continue
            entry = study_of(row.value)
            content = entry.get("content")
            if not isinstance(content, list) or not content:
                yield Malformed(str(file), line, "'content' must be a list of questions")
                index += 1
                continue
            name = name_of(entry, f"{file}:{line}")
            talks = known.setdefault(name, {})
            first = talks.setdefault(hash(json.dumps(content)), line)
            if first != line:
                yield Malformed(str(file), line, one_line(f"the dialogue of row {first} again, study {name}"))
                index += len(content)
                continue
            named = image_names(entry)
            study = _Study(
                name,
                name if len(talks) == 1 else f"{name} ({len(talks)})",
                named,
                [pictures.find(one) for one in named] if at_hand else [],
                {label: words for label, keys in _ABOUT.items() if (words := text(get(entry, *keys)))},
            )
            turns: list[Turn] = []
            pictures_shown = 0
            for number, item in enumerate(content):
                try:
                    if problem := problem_of(item, len(named)) or study.lost(item):
                        raise ValueError(problem)
                    pictures_shown = max(pictures_shown, count_of(item, len(named)))
                    found = _item(item, study, number, index, line, turns, study.paths[:pictures_shown])
                except ValueError as error:
                    yield Malformed(str(file), line, one_line(f"content[{number}]: {error}"))
                else:
                    yield found
                    turns.append(turn_of(replace(found.example, reasoning="")))
                index += 1

    def grade(self, item: Item, completion: str, reader: AnswerReader) -> Grade:
        """`official` is the accuracy of closed questions: what stands there is the reference's choice and nothing else.
        Texts have neither verdict. `values`: `f1` of several choices, `iou` of boxes, `rouge_l`, `bleu`, `bertscore` of
        texts."""
        kind, asked = item.gold["kind"], item.example
        read = reader(completion)
        scored = score(kind, read, item.gold["answer"], item.gold["options"], asked.question)
        note = scored.why
        if kind in CLOSED and scored.exact is not scored.right:
            note = f"official: {'the same' if scored.exact else 'other'} words; strict: {scored.why or 'as it is read'}"
        return Grade(scored.exact, scored.right, read, one_line(note), scored.values, scored.counts)

    def metrics(self, totals: Mapping[str, Array]) -> dict[str, Array]:
        """`detection_f1` at an intersection over union of 0.5; `claim_f1` and `claim_f1_names` of texts."""
        return {name: f1(totals, [kind]) for name, kind in _F1.items() if f"tp:{kind}" in totals}


@dataclass(frozen=True)
class _Study:
    name: str
    #: A study may be talked about more than once: each dialogue is a conversation.
    conversation: str
    #: Names of its pictures, and where they are; none where no picture is at hand.
    pictures: Sequence[str]
    paths: Sequence[str]
    about: Mapping[str, str]

    def shown(self, item: dict[str, Any]) -> tuple[str, ...]:
        return tuple(self.paths[: count_of(item, len(self.pictures))])

    def lost(self, item: dict[str, Any]) -> str:
        """What is wrong with the pictures that a question shows; "" where they are there."""
        shown = zip(self.pictures, self.shown(item), strict=False)
        return next((f"no picture {name}" for name, path in shown if not is_file(path)), "")


def _item(
    item: dict[str, Any],
    study: _Study,
    number: int,
    index: int,
    line: int,
    turns: Sequence[Turn],
    shown: Sequence[str],
) -> Item:
    """`shown`: the pictures that it and the questions before it show."""
    stage, answer = stage_of(item), verbatim(item["answer"])
    options, listed = tuple(entries(item, "option_list")), entries(item, "answer_list")
    kind = kind_of([text(item.get("qtype")), text(item.get("task_type"))], options, answer)
    question = question_of(item)
    example = Example(
        id=f"{study.name}-stage{stage}-{number}",
        study_id=study.name,
        task="stage",
        question=question,
        answer=answer,
        reasoning=answer if kind == TEXT else "",
        options=options_beside(question, item),
        images=tuple(shown),
        report=answer if stage == LAST_STAGE else "",
        stage=stage,
        source="cxrtrek",
        context=tuple(turns),
    )
    compared = reference(kind, answer, listed, item.get("bbox_list"), options, question)
    return Item(
        table=f"stage{stage}-{kind}",
        index=index,
        example=example,
        conversation=study.conversation,
        gold={"kind": kind, "answer": compared, "options": options},
        about=study.about,
        completion=_completion_of(item),
        line=line,
    )


def _completion_of(item: Mapping[str, Any]) -> str | None:
    """What a model wrote; of an empty cell an empty text, None where no column holds a text."""
    found = ["" if item[name] is None else item[name] for name in COMPLETION if name in item]
    texts = [words for words in found if isinstance(words, str)]
    return writable(next(filter(None, texts), "")) if texts else None
