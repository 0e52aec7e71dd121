"""A dialogue is one row on disk and as many questions in memory, and takes no more room than its source."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reasoner.dialogues import last_question, packed, questions, relinked
from reasoner.findings import extract_report, labels_of
from reasoner.findings.lexicon import load
from reasoner.mining.chains import merge
from reasoner.mining.drafts import Read
from reasoner.mining.pipeline.run import mine
from reasoner.mining.pipeline.tables import EXAMPLE, to_table
from reasoner.mining.questions import build_examples
from reasoner.schema import Example, Study, Target, Turn
from reasoner.sources import open_source
from reasoner.training.dataset import load_examples

REPORT = "FINDINGS: There is a small left pleural effusion. The heart is enlarged. IMPRESSION: Worse left effusion."


def mined(**fields) -> list[Example]:
    """The rows of a study as the miner builds them, one a question."""
    study = Study("s", "p", REPORT, **{"images": ("now.png",), "views": ("frontal",), **fields})
    found = extract_report(REPORT)
    tasks = {"binary": 1.0, "stage": 1.0, "anomaly": 1.0}
    rows = build_examples(Read(study, tuple(merge(found)), labels_of(found), "brief", 0), tasks)
    return [row for row in rows if isinstance(row, Example)]


@pytest.mark.parametrize("prior", [(), ("then.png",)])
def test_what_is_packed_is_unpacked_to_the_letter_from_disk_too(prior, tmp_path):
    rows = mined(prior_images=prior)
    whole = packed(rows)
    assert [(row.task, len(row.turns)) for row in whole] == [("binary", 0), ("stage", 8), ("anomaly", 0)]
    assert [asked for row in whole for asked in questions(row)] == rows
    pq.write_table(to_table([vars(row) for row in whole], EXAMPLE), tmp_path / "rows.parquet")
    back = [Example.from_dict(row) for row in pq.read_table(tmp_path / "rows.parquet").to_pylist()]
    again = [asked for row in back for asked in questions(row)]
    assert [row.id for row in again] == [row.id for row in rows]
    for one, other in zip(again, rows, strict=True):
        labels = {name: status for name, status in (one.labels or {}).items() if status is not None}
        known = {name: status for name, status in (other.labels or {}).items() if status is not None}
        assert labels == known and replace(one, labels=None) == replace(other, labels=None)


def test_a_question_sees_what_was_shown_and_said_before_it():
    asked = list(questions(packed(mined(prior_images=("then.png",)))[1]))
    for number, row in enumerate(asked):
        assert [turn.question for turn in row.context] == [earlier.question for earlier in asked[:number]]
        assert [turn.reasoning for turn in row.context] == [earlier.reasoning for earlier in asked[:number]]
        assert row.images == ("then.png", "now.png") and row.gold_findings == tuple(
            finding for step in row.steps for finding in step.findings
        )
    assert last_question(packed(mined())[1]) == mined()[8]


@pytest.mark.parametrize(
    "change",
    [
        {"images": ("other.png",)},
        {"context": ()},
        {"context": (Turn("What?", "That."),)},
        {"labels": {"Edema": "present"}},
        {"split": "test"},
        {"report": "Another."},
        {"gold_findings": mined()[2].gold_findings[:1]},
    ],
)
def test_what_makes_no_dialogue_stays_rows(change):
    rows = [row for row in mined() if row.task == "stage"]
    rows[3] = replace(rows[3], **change)
    assert packed(rows) == rows


def test_rows_of_data_sets_without_dialogues_are_questions(tmp_path):
    """As the miner wrote them: no `turns`, no `target`, and contexts of questions and answers alone."""
    old = []
    for row in (row for row in mined() if row.task == "stage"):
        fields = {name: value for name, value in row.to_dict().items() if name not in ("turns", "target")}
        fields["context"] = [{"question": t.question, "answer": t.answer, "options": []} for t in row.context]
        old.append(fields)
    (tmp_path / "examples").mkdir()
    picture(tmp_path / "now.png")
    pq.write_table(pa.Table.from_pylist(old), tmp_path / "examples" / "train-00000.parquet")
    for dialogues in (True, False):
        rows = load_examples(tmp_path, "train", dialogues=dialogues)
        assert [row.id for row in rows] == [row["id"] for row in old] and not any(row.turns for row in rows)
        assert rows[4].context[0] == Turn(old[0]["question"], old[0]["answer"])
    assert [row.stage for row in load_examples(tmp_path, "train", stages=[8])] == [8]


def test_what_was_made_of_older_contexts_stays_current():
    assert Turn("Q?", "A").to_dict() == {"question": "Q?", "answer": "A", "options": ()}
    assert Turn("Q?", "A", reasoning="", images=2).to_dict()["reasoning"] == ""


_WORDS = st.text(max_size=5)
_TURN = st.tuples(_WORDS, _WORDS, st.integers(0, 2), st.integers(1, 8))


@given(st.lists(_TURN, min_size=1, max_size=6))
def test_any_dialogue_comes_back(asked):
    shown, rows = 0, []
    for number, (question, answer, images, stage) in enumerate(asked):
        shown = max(shown, images)
        rows.append(
            Example(
                f"s-{number}", "s", "stage", question, answer, images=("a.png", "b.png")[:shown], stage=stage,
                target=Target("captioning", chosen=(answer,)) if stage % 2 else None,
            )
        )  # fmt: skip
    rows = relinked(rows)
    [whole] = packed(rows)
    assert list(questions(whole)) == rows


def picture(path: Path) -> None:
    Image.new("L", (56, 56), 90).save(path)


def trek(folder: Path, studies: int, asked: int) -> Path:
    """CXRTrek's layout with words drawn at random, so that no compression gains by their repeating."""
    chance = random.Random(0)
    words = sorted({word for concept in load().concepts for word in concept.split("_")})

    def text(count: int) -> str:
        return " ".join(chance.choice(words) + str(chance.randrange(100)) for _ in range(count)) + "."

    rows = []
    for number in range(studies):
        content = []
        for turn in range(asked):
            row = {"stage": 1 + turn * 8 // asked, "task_type": "T", "qtype": "captioning", "image_input_count": 1}
            row |= {"question": text(10), "answer": text(12), "option_list": [], "answer_list": []}
            if turn % 3 == 0:
                options = [f"{letter}. {text(4)}" for letter in "AB"]
                row |= {"qtype": "single-choice", "question": f"{text(6)} [ {options[0]} or {options[1]} ]."}
                row |= {"answer": options[0], "option_list": options, "answer_list": options[:1]}
            content.append(row)
        rows.append({"pat_id": f"p{number}", "study_id": f"s{number + 10000}", "ref_study_id": "", "image": ["a.png"],
                     "content": content})  # fmt: skip
    path = folder / "train.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    picture(folder / "a.png")
    return path


def test_a_study_is_one_row_and_takes_no_more_room_than_its_source(tmp_path):
    source = trek(tmp_path, studies=60, asked=26)
    folder = tmp_path / "out"
    summary = mine(open_source("cxrtrek", str(source), folder), folder, tasks={"stage": 1.0}, workers=0)
    assert summary["examples"] == {"stage": {"train": 60 * 26}}
    [table] = (folder / "examples").glob("*.parquet")
    assert pq.read_table(table).num_rows == 60
    written = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    assert written <= 1.3 * source.stat().st_size
    asked = load_examples(folder, "train")
    assert len(asked) == 60 * 26 and len(asked[25].context) == 25
    assert len(load_examples(folder, "train", dialogues=True)) == 60
    last = load_examples(folder, "train", stages=[8], limit=5)
    assert len(last) == 5 and {row.stage for row in last} == {8} and asked[23:26] == last[:3]
    bare = {"compression": "none", "use_dictionary": False}
    pq.write_table(to_table([vars(row) for row in asked], EXAMPLE), tmp_path / "rows.parquet", **bare)
    pq.write_table(pq.read_table(table), tmp_path / "dialogues.parquet", **bare)
    rows, dialogues = ((tmp_path / f"{name}.parquet").stat().st_size for name in ("rows", "dialogues"))
    assert dialogues <= 1.3 * source.stat().st_size < rows / 3, "even uncompressed, unlike one row a question"
