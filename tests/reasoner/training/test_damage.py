"""A mined data set that was damaged since: one line that names the file, never a traceback."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reasoner.errors import UserError
from reasoner.schema import Box, Example
from reasoner.training.dataset import load_examples


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "examples").mkdir()
    path = tmp_path / "examples" / "train-00000.parquet"
    rows = [
        Example(
            f"e{n}", f"s{n}", "binary", "Is there an effusion?", "Yes", "A " * n, boxes=(Box("a", 0, 0, 1, 1),)
        ).to_dict()
        for n in range(50)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    assert len(load_examples(tmp_path, "train")) == 50
    return path


def test_every_damage_is_read_or_named(shard):
    good, refused = shard.read_bytes(), 0
    for seed in range(300):
        rng = random.Random(seed)
        damaged = bytearray(good[: rng.randrange(len(good))] if rng.random() < 0.2 else good)
        for _ in range(rng.choice((0, 1, 3, 20)) if damaged else 0):
            reach = len(damaged) if rng.random() < 0.5 else min(len(damaged), 4000)  # often the footer
            damaged[-rng.randint(1, reach)] ^= 1 << rng.randrange(8)
        shard.write_bytes(damaged)
        try:
            load_examples(shard.parents[1], "train")
        except UserError as error:
            refused += 1
            assert str(shard) in str(error) and "reasoner mine --force" in str(error), seed
    assert refused > 150


@pytest.mark.parametrize("rows", [[{"id": "e0", "answer": "Yes"}], [{"a": 1}]])
def test_a_table_of_something_else_is_named(rows, shard):
    pq.write_table(pa.Table.from_pylist(rows), shard)
    with pytest.raises(UserError, match=r"train-00000\.parquet: column '\w+' is missing"):
        load_examples(shard.parents[1], "train")
