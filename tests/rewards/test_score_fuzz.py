"""Whatever stands in a file, `reasoner score` gives one valid row per row, or one line of error; nothing is lost."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from recipes.cli import main
from rewards.score import COLUMNS
from tests.hostile import MANY, files

CHAIN = "A small left pleural effusion is present. No pneumothorax. Heart size is normal."
GOOD: list[dict[str, Any]] = [
    {
        "id": "a",
        "completion": f"<think>{CHAIN}</think><answer>Pleural Effusion</answer>",
        "reasoning": CHAIN,
        "report": "FINDINGS: Small left pleural effusion. The heart is normal in size.",
        "task": "abnormality_list",
        "question": "Which abnormalities are present?",
        "answer": "Pleural Effusion",
        "labels": {"Pleural Effusion": "present", "Edema": None},
    },
    {
        "id": 7,
        "completion": "<think>The lungs are clear.</think><answer>B</answer>",
        "reasoning": "The lungs are clear.",
        "report": "The lungs are clear.",
        "task": "single",
        "question": "Which?",
        "options": ["A) Edema", "B) None"],
        "answer": "B",
    },
]


@pytest.mark.parametrize("count", [300, pytest.param(MANY, marks=pytest.mark.slow)])
def test_hostile_rows(tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    scored = 0
    for content in files(random.Random(0), GOOD, count):
        source.write_bytes(content)
        output.write_text("before", encoding="utf-8")
        code = main(["score", "--input", str(source), "--output", str(output)])
        printed = capsys.readouterr()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
        if code == 2:
            assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
            assert output.read_text(encoding="utf-8") == "before"
            continue
        assert code == 0 and printed.err == ""
        rows = [strict(line) for line in output.read_bytes().decode("utf-8").splitlines()]
        assert len(rows) == strict(printed.out)["n"] == sum(map(is_row, io.BytesIO(content)))
        for row in rows:
            assert {"id", "evidence", *COLUMNS} <= row.keys()
            assert "error" not in row or (row["error"] and all(row[name] is None for name in COLUMNS))
        scored += sum("error" not in row for row in rows)
    assert scored > count / 10


def is_row(line: bytes) -> bool:
    return bool(line.removeprefix(b"\xef\xbb\xbf").strip())


def strict(text: str) -> Any:
    """JSON without NaN and infinity, in text that UTF-8 can hold."""
    value = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    json.dumps(value, ensure_ascii=False).encode()
    return value
