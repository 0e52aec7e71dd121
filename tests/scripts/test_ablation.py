from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def ablation(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    args = [sys.executable, str(ROOT / "scripts" / "ablation.py"), *words]
    return subprocess.run(args, cwd=folder, env=env, capture_output=True, encoding="utf-8")


def test_without_a_start_it_says_what_to_run(tmp_path):
    done = ablation(tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: outputs/phantom/data: is missing; run `make sft RECIPE=phantom` first\n"


def test_a_run_that_fails_ends_it_with_the_run_named(tmp_path):
    for name in ("data", "sft"):
        (tmp_path / "outputs" / "phantom" / name).mkdir(parents=True)
    done = ablation(tmp_path, "--seeds", "1", "--steps", "1")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: grpo of outcome, seed 0 ended with exit code 2: ")


def test_counts_are_counts(tmp_path):
    for text in ("0", "-1", "x", "1.5"):
        done = ablation(tmp_path, "--seeds", text)
        assert done.returncode == 2 and f"'{text}' is no count" in done.stderr
