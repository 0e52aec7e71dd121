"""A run that is killed while a server answers goes on where it was, and ends like one that was never killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import OpenAiServer
from tests.eval.outside.runs import evaluate, write_json

TABLE = "mimic_single_test_option"
QUESTIONS, KILLED_AT = 160, 140


@pytest.mark.slow  # starts a process
def test_a_killed_run_goes_on(tmp_path: Path, openai_server: Callable[..., OpenAiServer]):
    """The server falls silent after most questions; then the run is killed."""
    Image.new("L", (64, 64)).save(tmp_path / "film.png")
    questions = [
        {
            "item_id": f"i{n}",
            "question": f"Film {n}: which? A) Edema B) Pneumonia",
            "answer": "B",
            "image_path": "film.png",
        }
        for n in range(QUESTIONS)
    ]
    asked = write_json(tmp_path / f"{TABLE}.json", questions)
    reached, silent = threading.Event(), threading.Event()

    def answer(prompt: object, number: int) -> tuple[int, str]:
        if number > KILLED_AT and not silent.is_set():
            reached.set()
            silent.wait(120)
        return 200, "<answer>B</answer>"

    server = openai_server(answer)
    arguments = ["--input", str(asked), "--model", f"m={server.url}"]
    command = [sys.executable, "-m", "recipes.cli", "eval", "--benchmark", "radrbench", "--output", tmp_path / "run"]
    process = subprocess.Popen(
        [*command, *arguments, "--bootstrap", "50", "--workers", "1"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert reached.wait(300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    silent.set()
    before = server.asked
    gone_on = evaluate("radrbench", tmp_path / "run", *arguments)
    assert server.asked - before < QUESTIONS / 2
    whole = evaluate("radrbench", tmp_path / "whole", *arguments)
    for name in ("items.jsonl", "scores.json"):
        assert (gone_on.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    before = server.asked
    evaluate("radrbench", tmp_path / "run", *arguments)
    assert server.asked == before, "answers that are there are used again"
