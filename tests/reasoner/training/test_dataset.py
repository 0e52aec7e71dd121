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
from reasoner.training.dataset import REWARD_COLUMNS, load_examples
from reasoner.training.feed import to_dataset
from reasoner.training.lengths import row_lengths

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


def test_labels_of_an_older_data_set_count_as_mined(write):
    older = {name: value for name, value in example(0).to_dict().items() if name != "label_source"}
    (row,) = load_examples(write([older]), "train")
    assert row.labels and row.label_source == "mined"


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


def test_rows_with_bad_pictures_are_left_out_counted_and_named(write, capsys):
    data = write([example(n, images=(f"images/{n}.png",)) for n in range(5)])
    for number in range(5):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8)).save(
            data / "images" / f"{number}.png"
        )
    (data / "images" / "1.png").unlink()
    whole = (data / "images" / "3.png").read_bytes()
    (data / "images" / "3.png").write_bytes(whole[: len(whole) // 2])
    assert [e.id for e in load_examples(data, "train")] == ["e0", "e2", "e3", "e4"], "the header of 3 is whole"
    told = capsys.readouterr().err
    assert "left out 1 of 5 rows" in told and "1.png: missing image" in told and len(told.splitlines()) == 1
    assert [e.id for e in load_examples(data, "train", decode=True)] == ["e0", "e2", "e4"]
    assert "3.png: damaged image" in capsys.readouterr().err
    assert [e.id for e in load_examples(data, "train", limit=2)] == ["e0", "e2"]
    (data / "images" / "0.png").unlink()
    with pytest.raises(UserError, match=r"3 of 5 rows .*restore them or run `make mine` again"):
        load_examples(data, "train", decode=True)


@pytest.mark.parametrize("completions", [True, False])
def test_the_next_good_row_takes_the_place_of_one_whose_picture_turned_bad(write, capsys, completions):
    data = write([example(n, answer=f"Answer {n}", images=(f"images/{n}.png",)) for n in (0, 1, 2, 3)])
    for number in range(4):
        Image.new("L", (64, 64), number).save(data / "images" / f"{number}.png")
    examples = [*load_examples(data, "train"), example(9, images=(str(data / "images" / "3.png"),))]
    rows = to_dataset(examples, completions=completions, augment=Augment(film=0.4), seed=1)
    answer = "completion" if completions else "answer"
    good = rows[0]
    for number in (1, 3):
        path = data / "images" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:50])
    for group in (rows.__getitems__([1, 1, 2]), [rows[1], rows[1], rows[2]]):
        assert len({row["images"][0].tobytes() for row in group}) == 1
        assert [row[answer] for row in group] == [rows[2][answer]] * 3
    assert rows[3][answer] == rows[4][answer] == good[answer], "after the last row comes the first"
    assert rows[3]["images"][0].tobytes() == good["images"][0].tobytes()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "1.png: damaged image" in told[0] and "(2 bad so far)" in told[1]
    for path in (data / "images").glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="no picture of 5 rows can be used"):
        rows[0]


def test_training_sees_what_vllm_sees(write, tmp_path):
    from reasoner.models.engine import Prompt, prompt_inputs

    exif = Image.Exif()
    exif[274] = 6
    turned, wide = tmp_path / "turned.jpg", tmp_path / "wide.png"
    Image.linear_gradient("L").resize((90, 60)).save(turned, exif=exif)
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)).save(wide)
    processor = load_processor(tiny.build(tmp_path / "model", [QUESTION] * 4))
    for path in (turned, wide):
        [seen] = prompt_inputs(processor, [Prompt(QUESTION, (), (path,))])
        trained = to_dataset([example(0, images=(str(path),))], completions=False)[0]["images"][0]
        assert trained.mode == "RGB" and trained.tobytes() == seen["multi_modal_data"]["image"][0].tobytes()
    varied = to_dataset([example(0, images=(str(wide),))], completions=True, augment=Augment(0.4, 0.05))
    assert varied[0]["images"][0].size == (64, 64), "16-bit pixels are no index of a table of 256"


def test_sft_rows_teach_the_completion_and_grpo_rows_hide_it(write):
    examples = load_examples(write([example(0)]), "train")
    taught = to_dataset(examples, completions=True)[0]
    assert taught["completion"][0]["content"][0]["text"].startswith("<think>The heart is enlarged.</think>")
    asked = to_dataset(examples, completions=False)[0]
    assert "completion" not in asked and set(REWARD_COLUMNS) <= set(asked)
    assert asked["images"][0].size == (112, 112)


def test_the_length_is_the_processors_own(write, tmp_path):
    processor = load_processor(tiny.build(tmp_path / "model", [QUESTION, "The heart is enlarged."] * 4))
    examples = load_examples(write([example(0), example(1, reasoning="The heart is enlarged. " * 99)]), "train")
    short, long = row_lengths(examples, processor, completions=True)
    assert short <= 120 < long
    # The count is the processor's own, image tokens included.
    row = to_dataset(examples, completions=False)[0]
    content = [{"type": "image", "image": row["images"][0]}, {"type": "text", "text": QUESTION}]
    ids = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"][0]
    assert row_lengths(examples[:1], processor, completions=False) == [len(ids)]


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
