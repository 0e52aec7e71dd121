"""A dialogue about a study: one row on disk, as many questions where one is asked.

`packed` makes the one row of the questions, `questions` gives them back one by one, each with the turns before it as
its context; what several share is stored once. Rows of data sets that were mined before there were dialogues are
questions by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reasoner.schema import Asked, Chain, Example, Turn

#: The task of a question in a dialogue.
STAGE = "stage"


def turn_of(question: Example | Asked) -> Turn:
    """A question with its reference answer as later ones see it."""
    images = question.images if isinstance(question, Asked) else len(question.images)
    return Turn(question.question, question.answer, question.options, question.reasoning, images)


def packed(rows: Sequence[Example]) -> list[Example]:
    """The rows of one study with its dialogue as one row, in the place of the first of its questions.

    Questions that do not make one dialogue (other pictures, another context, findings beside their steps) stay rows of
    their own: what is packed can be unpacked, to the letter.
    """
    asked = [row for row in rows if row.task == STAGE and not row.turns]
    if not asked:
        return list(rows)
    whole = _pack(asked)
    if list(questions(whole)) != asked:
        return list(rows)
    first = next(number for number, row in enumerate(rows) if row is asked[0])
    rest = [row for row in rows if not (row.task == STAGE and not row.turns)]
    return [*rest[:first], whole, *rest[first:]]


def relinked(rows: Sequence[Example]) -> list[Example]:
    """The rows of one study, each question of its dialogue after the others as they are now."""
    context: tuple[Turn, ...] = ()
    linked = []
    for row in rows:
        if row.task == STAGE:
            row = replace(row, context=context)
            context = (*context, turn_of(row))
        linked.append(row)
    return linked


def _pack(asked: Sequence[Example]) -> Example:
    first, most = asked[0], max(asked, key=lambda row: len(row.images))
    return Example(
        id=f"{first.study_id}-{STAGE}",
        study_id=first.study_id,
        task=STAGE,
        question="",
        answer="",
        images=most.images,
        labels=first.labels,
        label_source=first.label_source,
        report=first.report,
        boxes=first.boxes,
        split=first.split,
        source=first.source,
        turns=tuple(
            Asked(
                row.id,
                row.question,
                row.answer,
                row.reasoning,
                row.options,
                len(row.images),
                row.steps,
                row.stage,
                row.target,
            )
            for row in asked
        ),
    )


def questions(example: Example) -> Iterator[Example]:
    """The questions of a dialogue in their order, each with the images that have been shown by then and the turns
    before it; another example is its own only question."""
    if not example.turns:
        yield example
        return
    context = tuple(map(turn_of, example.turns))
    for number, turn in enumerate(example.turns):
        yield Example(
            id=turn.id,
            study_id=example.study_id,
            task=example.task,
            question=turn.question,
            answer=turn.answer,
            reasoning=turn.reasoning,
            options=turn.options,
            images=example.images[: turn.images],
            gold_findings=Chain(turn.steps).findings,
            labels=example.labels,
            label_source=example.label_source,
            report=example.report,
            steps=turn.steps,
            stage=turn.stage,
            boxes=example.boxes,
            split=example.split,
            source=example.source,
            context=context[:number],
            target=turn.target,
        )


def last_question(example: Example) -> Example:
    """The last question of a dialogue, after which the conversation is whole; another example as it is."""
    if not example.turns:
        return example
    *_, last = questions(example)
    return last
