"""Reading a mined data set back: bad rows are named before anything expensive starts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reasoner.errors import UserError
from reasoner.models import tiny
from reasoner.models.load import load_processor
from reasoner.schema import Example
from reasoner.training.augment import Augment, augmented
from reasoner.training.dataset import REWARD_COLUMNS, load_examples, to_dataset
from reasoner.training.lengths import fit_length

QUESTION = "Which abnormalities are present?"


def example(number: int, **fields) -> Example:
    values = {
        "id": f"e{number}",
        "study_id": f"s{number}",
        "task": "abnormality_list",
        "question": QUESTION,
        "answer": "Cardiomegaly",
        "reasoning": "The heart is enlarged.",
        "images": ("images/a.png",),
        "labels": {"Cardiomegaly": "present"},
        "report": "Cardiomegaly.",
    }
    return Example(**{**values, **fields})


@pytest.fixture
def write(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.full((112, 112), 90, np.uint8)).save(tmp_path / "images" / "a.png")

    def write_split(examples, split="train"):
        (tmp_path / "examples").mkdir(exist_ok=True)
        rows = [e.to_dict() if isinstance(e, Example) else e for e in examples]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "examples" / f"{split}-00000.parquet")
        return tmp_path

    return write_split


def test_examples_come_back_as_they_were_with_absolute_paths(write):
    data = write([example(0), example(1, task="binary", answer="Yes")])
    both = load_examples(data, "train")
    assert [e.id for e in both] == ["e0", "e1"] and both[0].images == (str(data / "images" / "a.png"),)
    assert both[0].labels == {"Cardiomegaly": "present"}
    assert [e.id for e in load_examples(data, "train", ["binary"])] == ["e1"]
    assert len(load_examples(data, "train", limit=1)) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([example(0, images=("images/gone.png",))], "gone.png: missing image"),
        ([example(0, images=("The lungs are clear.",))], "holds text, not an image path"),
        ([{**example(0).to_dict(), "images": [7]}], "must hold file paths, found int"),
        ([example(0, task="binary")], "no examples of tasks abnormality_list"),
    ],
)
def test_bad_rows_name_the_file_and_the_fix(write, rows, message):
    data = write(rows)
    with pytest.raises(UserError, match=message):
        load_examples(data, "train", ["abnormality_list"])


def test_a_missing_split_says_make_mine(tmp_path):
    with pytest.raises(UserError, match="make mine"):
        load_examples(tmp_path, "train")


def test_sft_rows_teach_the_completion_and_grpo_rows_hide_it(write):
    examples = load_examples(write([example(0)]), "train")
    taught = to_dataset(examples, completions=True)[0]
    assert taught["completion"][0]["content"].startswith("<think>The heart is enlarged.</think>")
    asked = to_dataset(examples, completions=False)[0]
    assert "completion" not in asked and set(REWARD_COLUMNS) <= set(asked)
    assert asked["images"][0].size == (112, 112)


def test_rows_that_do_not_fit_are_left_out_whole(write, tmp_path):
    processor = load_processor(tiny.build(tmp_path / "model", [QUESTION, "The heart is enlarged."] * 4))
    examples = load_examples(write([example(0), example(1, reasoning="The heart is enlarged. " * 99)]), "train")
    kept, dropped, longest = fit_length(examples, processor, 120, completions=True)
    assert [e.id for e in kept] == ["e0"] and [e.id for e in dropped] == ["e1"] and longest > 120
    # The count is the processor's own, image tokens included.
    row = to_dataset(kept, completions=False)[0]
    content = [{"type": "image", "image": row["images"][0]}, {"type": "text", "text": QUESTION}]
    ids = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"][0]
    assert fit_length(kept, processor, 120, completions=False)[2] == len(ids)


def test_a_checkpoint_without_processor_files_says_what_is_missing(tmp_path):
    folder = tiny.build(tmp_path / "model", [QUESTION] * 4)
    (folder / "processor_config.json").unlink()
    with pytest.raises(UserError, match="no processor files"):
        load_processor(folder)


def test_augmentation_varies_the_film_and_the_pose_but_never_mirrors():
    picture = np.zeros((112, 112), np.uint8) + 40
    picture[:, :30] = 200
    random = np.random.default_rng(0)
    for mode in ("L", "RGB"):
        for _ in range(20):
            image = augmented(Image.fromarray(picture).convert(mode), Augment(film=0.5, geometry=0.05), random)
            varied = np.asarray(image.convert("L")).astype(int)
            assert image.mode == mode and varied.shape == (112, 112)
            assert varied[:, :30].mean() > varied[:, -30:].mean() and not np.array_equal(varied, picture)


def test_augmented_rows_are_the_same_whenever_and_however_often_they_are_read(write):
    examples = load_examples(write([example(0), example(1)]), "train")
    plain = to_dataset(examples, completions=False)
    for completions in (True, False):
        rows = to_dataset(examples, completions=completions, augment=Augment(film=0.4), seed=1)
        group = rows[[1, 1, 0]]["images"]
        assert group[0][0].tobytes() == group[1][0].tobytes() == rows[1]["images"][0].tobytes()
        assert group[0][0].tobytes() != plain[1]["images"][0].tobytes()
