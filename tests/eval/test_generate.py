import numpy as np
import pytest
from PIL import Image

from eval.generate import Job, generate
from eval.predictions import (
    Decoding,
    checkpoint_fingerprint,
    fingerprint,
    is_complete,
    prediction_rows,
    read_predictions,
    write_predictions,
)
from reasoner.errors import UserError
from reasoner.schema import Example

QUESTION = "Which abnormalities are present in this chest X-ray?"


def make_examples(folder, count):
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    examples = []
    for number in range(count):
        path = folder / "images" / f"{number}.png"
        Image.fromarray(generator.integers(0, 255, (112, 112), dtype=np.uint8)).save(path)
        labels = {"Cardiomegaly": "present"}
        examples.append(
            Example(
                f"e{number}",
                f"s{number}",
                "abnormality_list",
                QUESTION,
                "Cardiomegaly",
                images=(str(path),),
                labels=labels,
            )
        )
    return examples


def test_predictions_are_reused_only_for_the_same_checkpoint_rows_and_decoding(tmp_path):
    rows = prediction_rows(make_examples(tmp_path, 3), tmp_path)
    assert rows[0]["images"] == ["images/0.png"]
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    greedy = Decoding("greedy", 1, 0.0, 8, seed=0)
    described = fingerprint(tmp_path, rows, greedy)
    path = tmp_path / "test-greedy.jsonl"
    assert not is_complete(path, described)
    write_predictions(path, [{**row, "sample": 0, "completion": "x"} for row in rows], described)
    assert is_complete(path, described)
    assert [row["id"] for row in read_predictions(path)] == ["e0", "e1", "e2"]
    now = [{**row, "labels": None, "label_source": None} for row in rows]
    assert [(r["labels"], r["completion"]) for r in read_predictions(path, now)] == [(None, "x")] * 3
    assert not is_complete(path, fingerprint(tmp_path, rows, greedy._replace(max_tokens=9)))
    assert not is_complete(path, fingerprint(tmp_path, rows[:2], greedy))
    weights.write_bytes(b"other")
    assert not is_complete(path, fingerprint(tmp_path, rows, greedy))


def test_a_hub_id_is_its_own_fingerprint():
    assert checkpoint_fingerprint("Qwen/Qwen2.5-VL-3B-Instruct") == ["Qwen/Qwen2.5-VL-3B-Instruct"]


@pytest.fixture
def written(tmp_path):
    """A prediction file of two rows and its description."""
    rows = prediction_rows(make_examples(tmp_path, 2), tmp_path)
    described = fingerprint(tmp_path, rows, Decoding("greedy", 1, 0.0, 8, seed=0))
    path = tmp_path / "test-greedy.jsonl"
    write_predictions(path, [{**row, "sample": 0, "completion": "x"} for row in rows], described)
    return path, described


@pytest.mark.parametrize("damage", [b"{broken\n", b"\xff\n", b"[1]\n", b'{"id": "a"}\n', b"[" * 100_000 + b"\n", b"\n"])
def test_a_damaged_prediction_file_is_named_and_made_again(written, damage, capsys):
    path, described = written
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0] + damage)
    with pytest.raises(UserError, match=r"test-greedy.jsonl:2: damaged"):
        read_predictions(path)
    assert not is_complete(path, described) and capsys.readouterr().err.count("\n") == 1


def test_a_truncated_prediction_file_is_made_again(written):
    path, described = written
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert not is_complete(path, described)


@pytest.mark.parametrize("damage", [b"", b"\xff", b"{", b"[" * 100_000])
def test_a_damaged_description_is_made_again(written, damage, capsys):
    path, described = written
    path.with_suffix(".meta.json").write_bytes(damage)
    assert not is_complete(path, described) and capsys.readouterr().err.count("\n") == 1
    write_predictions(path, read_predictions(path), described)
    assert is_complete(path, described)


def test_predictions_that_cannot_be_written_leave_the_old(written):
    path, described = written
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_predictions(path, [{"id": "a"}, {"id": object()}], described)
    assert path.read_bytes() == before and is_complete(path, described)


@pytest.mark.slow
@pytest.mark.anywhere(to="cpu")
def test_generates_with_vllm_and_then_reuses(tmp_path):
    from reasoner.models import tiny

    rows = prediction_rows(make_examples(tmp_path / "data", 4), tmp_path / "data")
    model = tiny.build(tmp_path / "model", [QUESTION, "The heart is enlarged."] * 4, vocab_size=320)
    jobs = [
        Job("test", rows, Decoding("greedy", 1, 0.0, 6, seed=0), tmp_path / "test-greedy.jsonl"),
        Job("test", rows, Decoding("sampled", 3, 1.0, 6, seed=0), tmp_path / "test-sampled.jsonl"),
    ]
    assert generate(model, jobs, tmp_path / "data", dtype="float32") == [job.path for job in jobs]
    sampled = read_predictions(jobs[1].path)
    assert [(row["id"], row["sample"]) for row in sampled] == [(row["id"], n) for row in rows for n in range(3)]
    assert any(row["completion"] for row in sampled) and all(1 <= row["tokens"] <= 6 for row in sampled)
    assert sampled[0]["labels"] == {"Cardiomegaly": "present"}
    assert generate(model, jobs, tmp_path / "data", dtype="float32") == []
