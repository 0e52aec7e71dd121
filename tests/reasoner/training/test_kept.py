"""What trainers read: the rows that fit, found once, made when they are asked for, in memory that rows do not fill."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reasoner.dialogues import packed, relinked
from reasoner.errors import UserError
from reasoner.mining.pipeline.tables import EXAMPLE, to_table
from reasoner.models import tiny
from reasoner.models.load import load_processor
from reasoner.pictures import PictureError
from reasoner.runtime import once
from reasoner.schema import Example
from reasoner.training import kept
from reasoner.training.dataset import load_examples
from reasoner.training.feed import to_dataset
from reasoner.training.kept import Wanted, keep
from reasoner.training.lengths import row_lengths

ALL = Wanted(completions=True, max_length=10_000)


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    words = ["Is it wet?", "It is.", "user\nassistant\n"] * 4
    return load_processor(tiny.build(tmp_path_factory.mktemp("tiny"), words))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        Image.new("L", (64, 64), number).save(folder / f"{number}.png")
    return folder


def write(data: Path, examples: list[Example], shard: int = 0) -> Path:
    (data / "examples").mkdir(parents=True, exist_ok=True)
    table = to_table([example.to_dict() for example in examples], EXAMPLE)
    pq.write_table(table, data / "examples" / f"train-{shard:05d}.parquet", row_group_size=7)
    return data


def row(number: int, **fields) -> Example:
    values = {"task": "binary", "question": "Is it wet?", "answer": "Yes", "reasoning": "It is.", "report": "Wet."}
    return Example(**{"id": f"e{number}", "study_id": f"s{number}", **values, **fields})


def dialogue(number: int, turns: int, **fields) -> list[Example]:
    asked = [
        row(n, id=f"d{number}-{n}", study_id=f"d{number}", task="stage", stage=n + 1, **fields) for n in range(turns)
    ]
    return packed(relinked(asked))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["binary", "single", "dialogue"]),
        st.integers(0, 60),  # words of the reasoning
        st.lists(st.sampled_from(["0.png", "1.png", "gone.png"]), max_size=2, unique=True),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(
    ROWS,
    st.sampled_from([None, ["binary"], ["stage", "single"]]),
    st.sampled_from([None, [1], [2, 4]]),
    st.one_of(st.none(), st.integers(1, 20)),
    st.integers(40, 200),
    st.booleans(),
    st.booleans(),
)
def test_kept_are_the_rows_that_a_plain_filter_keeps(
    processor, pictures, tmp_path_factory, rows, tasks, stages, limit, most, dialogues, completions
):
    examples: list[Example] = []
    for number, (task, words, images, turns) in enumerate(rows):
        fields = {"reasoning": "wet " * words, "images": tuple(str(pictures / image) for image in images)}
        examples += dialogue(number, turns, **fields) if task == "dialogue" else [row(number, task=task, **fields)]
    data = tmp_path_factory.mktemp("data")
    half = len(examples) // 2
    for shard, part in enumerate([examples[:half], examples[half:]]):
        write(data, part, shard)
    wanted = Wanted(completions, most, tasks=tasks, stages=stages, limit=limit, dialogues=dialogues)

    def plain():
        found = load_examples(data, "train", tasks, limit, stages=stages, dialogues=dialogues)
        lengths = row_lengths(found, processor, completions=completions)
        short = [example for example, length in zip(found, lengths, strict=True) if length <= most]
        return short or [f"longest {max(lengths)}"]

    def ours():
        return list(keep(data, "train", wanted, processor, data / "cache", "sft"))

    def outcome(road):
        try:
            return road()
        except UserError as error:
            return str(error)

    expected, got = outcome(plain), outcome(ours)
    if isinstance(got, str) and "no row fits" in got:
        assert expected[0] in got
    elif isinstance(expected, str) and "cannot be used" in expected:
        assert "cannot be used" in got
    else:
        lean = [] if isinstance(expected, str) else [_lean(example) for example in expected]
        assert got == (expected if isinstance(expected, str) else lean)


def _lean(example: Example) -> Example:
    """Without what trainers do not read."""
    turns = tuple(replace(turn, steps=()) for turn in example.turns)
    return replace(example, gold_findings=(), steps=(), boxes=(), split="train", source="", turns=turns)


def test_the_second_use_looks_at_nothing_until_something_changes(processor, pictures, tmp_path, monkeypatch, capsys):
    shown = [row(n, images=(str(pictures / name),)) for n, name in enumerate(["0.png", "gone.png"] * 4)]
    data = write(tmp_path, [*shown, row(9)])
    looked = []
    size = kept.picture_size
    monkeypatch.setattr(kept, "picture_size", lambda path: looked.append(path) or size(path))

    def use(wanted=ALL):
        looked.clear()
        found = keep(data, "train", wanted, processor, tmp_path / "cache", "sft")
        assert "left out 4 of 9 rows of 'train'" in capsys.readouterr().err, "told each time"
        return [example.id for example in found], len(looked)

    ids = ["e0", "e2", "e4", "e6", "e9"]
    assert use() == (ids, 5)
    assert use() == use() == (ids, 0)
    before = {path.name for path in (tmp_path / "cache").glob("*.arrow")}
    assert use(replace(ALL, max_length=9_999)) == (ids, 5)
    processor.image_processor.size["longest_edge"] += 28 * 28
    try:
        assert use() == (ids, 5)
    finally:
        processor.image_processor.size["longest_edge"] -= 28 * 28
    after = {path.name for path in (tmp_path / "cache").glob("*.arrow")}
    assert len(after) == len(before) == 2 and len(after & before) == 1, "one of each kind is kept"
    write(data, [*shown, row(8)])
    assert use() == ([*ids[:4], "e8"], 5), "other data"


@pytest.mark.parametrize(
    ("wanted", "images", "message"),
    [
        (replace(ALL, tasks=("single",)), "0.png", "no examples of tasks single"),
        (replace(ALL, max_length=5), "0.png", r"no row fits max_length=5 \(longest \d+ tokens\)"),
        (ALL, "gone.png", r"pictures of 3 of 3 rows .*gone.png: missing image; restore them"),
        (ALL, "The lungs are clear.", r"train-00000.parquet:0: column 'images' holds text"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line_and_leaves_nothing(
    processor, pictures, tmp_path, wanted, images, message
):
    data = write(tmp_path, [row(n, images=(str(pictures / images),)) for n in range(3)])
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            keep(data, "train", wanted, processor, tmp_path / "cache", "sft")
    assert not list((tmp_path / "cache").glob("*sft-*"))


def test_tasks_are_mixed_by_weight_the_same_each_time(processor, tmp_path):
    data = write(tmp_path, [row(n, task=task) for n, task in enumerate(["binary", "single", "anomaly"] * 40)])

    def often(**mix):
        found = keep(data, "train", replace(ALL, mix=mix), processor, tmp_path / "cache", "sft")
        return Counter(example.id for example in found)

    counts = often(single=2.5, anomaly=0)
    assert counts == often(anomaly=0, single=2.5)
    binary, single, anomaly = ([counts[f"e{n}"] for n in range(first, 120, 3)] for first in range(3))
    assert set(binary) == {1} and set(anomaly) == {0} and set(single) == {2, 3} and 8 < single.count(3) < 32
    with pytest.raises(UserError, match="mix: nothing of 'train' is left"):
        often(binary=0, single=0, anomaly=0)


def test_what_follows_from_the_rows_is_made_once(processor, tmp_path):
    data = write(tmp_path, [row(n) for n in range(10)])
    found = keep(data, "train", ALL, processor, tmp_path / "cache", "sft")
    even = found.picked("even", lambda examples: [n for n, e in enumerate(examples) if int(e.id[1:]) % 2 == 0])
    again = pickle.loads(pickle.dumps(found)).picked("even", lambda examples: 1 / 0)
    assert [e.id for e in even] == [e.id for e in again] == ["e0", "e2", "e4", "e6", "e8"]
    made = found.beside("words.txt", lambda place: place.write_text("a", encoding="ascii"), kept)
    assert made == found.beside("words.txt", lambda place: 1 / 0, kept)
    assert made != found.beside("words.txt", lambda place: place.write_text("b", encoding="ascii"), once)


@pytest.mark.slow
def test_memory_and_objects_do_not_grow_with_the_rows(processor, pictures, tmp_path):
    """Twenty thousand rows in two processes; then what the second use holds after its first batch."""
    one = to_table([row(0, report="Wet. " * 80, images=(str(pictures / "0.png"),)).to_dict()], EXAMPLE)
    held = {}
    for count in (200, 20_000):
        data = tmp_path / str(count)
        (data / "examples").mkdir(parents=True)
        ids = pa.array([f"e{n}" for n in range(count)])
        pq.write_table(one.take([0] * count).set_column(0, "id", ids), data / "examples" / "train-00000.parquet")

        def use(data=data):
            return to_dataset(keep(data, "train", ALL, processor, data / "cache", "sft"), completions=True)

        assert len(use()) == count
        gc.collect()
        objects = len(gc.get_objects())
        tracemalloc.start()
        dataset = use()
        batch = dataset.__getitems__(list(range(0, count, count // 16))[:16])
        gc.collect()
        held[count] = tracemalloc.get_traced_memory()[1], len(gc.get_objects()) - objects
        tracemalloc.stop()
        assert len(batch) == 16 and len({str(one["row"]) for one in batch}) == 16
    assert held[20_000][0] < held[200][0] + 2**19, "half a MiB: 26 bytes a row, of which 4 are numbers"
    assert held[20_000][1] < held[200][1] + 500


@pytest.mark.slow
def test_a_picture_that_turns_bad_while_training_costs_its_row_alone(processor, pictures, tmp_path, capsys):
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from reasoner.models.load import load_model

    for number in range(4):
        Image.fromarray(np.full((64, 64), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    data = write(tmp_path, [row(n, images=(str(tmp_path / f"{n}.png"),)) for n in range(4)])
    seen = []

    class Spoil(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            (tmp_path / "1.png").write_bytes(b"\x89PNG")
            (tmp_path / "2.png").unlink(missing_ok=True)

    class Watched(SFTTrainer):
        def training_step(self, model, inputs, *args, **kwargs):
            seen.append(len(inputs["input_ids"]))
            return super().training_step(model, inputs, *args, **kwargs)

    folder = Path(processor.tokenizer.name_or_path)
    trainer = Watched(
        model=load_model(folder, dtype="float32"),
        args=SFTConfig(
            output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, report_to=[], max_length=None, max_steps=4,
            per_device_train_batch_size=4, remove_unused_columns=False, gradient_checkpointing=False,
            save_strategy="no", completion_only_loss=True,
        ),
        train_dataset=to_dataset(keep(data, "train", ALL, processor, tmp_path / "cache", "sft"), completions=True),
        processing_class=processor,
        callbacks=[Spoil()],
    )  # fmt: skip
    trainer.train()
    assert seen == [4] * 4 and trainer.state.global_step == 4
    told = [line for line in capsys.readouterr().err.splitlines() if "another row takes its place" in line]
    assert len(told) == 2 and any("1.png: damaged image" in line for line in told)
    assert any("2.png: missing image" in line and "bad so far" in line for line in told)
    rows = trainer.train_dataset[[1, 2]]
    assert rows["row"] == [3, 3], "the next good one"
    with pytest.raises(PictureError):
        kept.picture_size(str(tmp_path / "2.png"))
