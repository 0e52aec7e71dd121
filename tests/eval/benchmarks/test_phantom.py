"""Mined dialogues as a benchmark: one row, a question a stage, graded by what its target says."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from eval.benchmarks.phantom import Phantom
from reasoner.dialogues import packed, relinked
from reasoner.mining.pipeline.tables import EXAMPLE, to_table
from reasoner.profiles import OURS
from reasoner.prompts import format_completion
from reasoner.schema import Example, Target

TURNS = (
    ("How good is it?", "It is sharp.", Target("captioning", chosen=("The image is sharp.",))),
    ("What do you see?", "Small left pleural effusion.", Target("captioning")),
    ("Is it wide?", "Yes", Target("yes_no")),
)


@pytest.fixture
def items(tmp_path):
    rows = [
        Example(f"s-{n}", "s", "stage", question, answer, "-", images=("images/a.png",), stage=n + 1, target=target,
                split="test")
        for n, (question, answer, target) in enumerate(TURNS)
    ]  # fmt: skip
    (tmp_path / "examples").mkdir()
    path = tmp_path / "examples" / "test-00000.parquet"
    pq.write_table(to_table([vars(row) for row in packed(relinked(rows))], EXAMPLE), path)
    return list(Phantom().read(path, None))


def test_a_row_is_a_conversation_of_its_questions(items, tmp_path):
    assert [(item.table, item.index, item.conversation) for item in items] == [
        (f"test_stage_{stage}", 0, "test/s") for stage in (1, 2, 3)
    ]
    assert [len(item.example.context) for item in items] == [0, 1, 2]
    assert items[0].example.images == (str(tmp_path / "images" / "a.png"),)


@pytest.mark.parametrize(
    ("stage", "answer", "strict", "value"),
    [
        (1, "It is sharp.", True, 1.0),
        (1, "The image is sharp", True, 1.0),
        (1, "It is blurred.", False, 2 / 3),
        (1, "There is edema.", False, 0.0),
        (2, "There is a left pleural effusion.", True, 0.5),  # the reward wants the degree, too
        (2, "There is a small left pleural effusion.", True, 1.0),
        (2, "Edema.", False, 0.0),
        (3, "yes", True, 1.0),
        (3, "no", False, 0.0),
    ],
)
def test_each_stage_is_graded_by_its_target(items, stage, answer, strict, value):
    grade = Phantom().grade(items[stage - 1], format_completion("-", answer), OURS.read_answer)
    assert grade.strict is strict and grade.values["stage_reward"] == pytest.approx(value)


def test_no_answer_is_wrong(items):
    assert not any(Phantom().grade(item, "<answer>", OURS.read_answer).strict for item in items)
