"""Seconds and memory of `reasoner eval --benchmark radrbench --predictions` by number of rows (goal: 10,000 in 60 s).

    python -m benchmarks.eval_rows                  # 1,000 and 10,000 rows
    python -m benchmarks.eval_rows --rows 100000

Rows are drawn: questions of four kinds about two or three of twelve findings, each with a chain of its own, so that few
are alike. Prints one JSON line a size; memory is the peak of the command and all its processes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

FINDINGS = (
    "pleural effusion",
    "pneumothorax",
    "consolidation",
    "atelectasis",
    "lung nodule",
    "rib fracture",
    "pulmonary edema",
    "mediastinal widening",
    "emphysema",
    "pleural thickening",
    "hilar enlargement",
    "granuloma",
)
SIDES, SIZES = ("left", "right"), ("small", "moderate", "large")
TABLES = (
    "mimic_binary_test_option",
    "mimic_single_test_option",
    "chexpert_multi_test_option",
    "chexpert_binary_test_option",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "rows", rows)
            print(json.dumps({"rows": rows, **measure(Path(folder), options.workers)}), flush=True)


def write(folder: Path, rows: int) -> None:
    folder.mkdir()
    draw = random.Random(0)
    files = [(folder / f"{name}.jsonl").open("w", encoding="utf-8") for name in TABLES]
    for number in range(rows):
        kind = number % len(TABLES)
        files[kind].write(json.dumps(row(draw, number, kind)) + "\n")
    for file in files:
        file.close()


def row(draw: random.Random, number: int, kind: int) -> dict[str, object]:
    asked = draw.sample(FINDINGS, 4)
    there = draw.sample(asked, draw.choice((1, 2)))
    report = " ".join(sentence(draw, one, one in there) for one in asked)
    chain = " ".join(sentence(draw, one, (one in there) != (draw.random() < 0.2)) for one in asked)
    if TABLES[kind].endswith("binary_test_option"):
        question, answers = f"Is there {asked[0]}?", ["Yes" if asked[0] in there else "No"]
    else:
        letters = [f"{'ABCD'[i]}) {one}" for i, one in enumerate(asked)]
        question = "What is seen?\n" + "\n".join(letters)
        answers = ["ABCD"[i] for i, one in enumerate(asked) if one in there][: None if "multi" in TABLES[kind] else 1]
    said = ", ".join(answers) if draw.random() < 0.7 else "B"
    pred = (
        f"<think>{chain}</think><answer>{said}</answer>" if draw.random() < 0.8 else f"{chain}\n\nThe answer is {said}."
    )
    return {"item_id": number, "question": question, "answer": f"<answer>{', '.join(answers)}</answer>", "pred": pred,
            "reason_steps": report.split(". "), "original_report": report}  # fmt: skip


def sentence(draw: random.Random, finding: str, there: bool) -> str:
    if not there:
        return draw.choice(("There is no {}.", "No {} is seen.", "I see no evidence of {}.")).format(finding)
    words = draw.choice(("There is a {} {} {}.", "A {} {} {} is seen.", "On this film I note a {} {} {}."))
    return words.format(draw.choice(SIZES), draw.choice(SIDES), finding)


def measure(folder: Path, workers: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "recipes.cli",
        "eval",
        "--benchmark",
        "radrbench",
        f"--predictions=m={folder / 'rows'}",
    ]
    command += [f"--output={folder / 'run'}", f"--workers={workers}"]
    began, peak = time.monotonic(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.5)
        peak = max(peak, memory(process))
    if process.returncode:
        raise SystemExit(process.returncode)
    return {"seconds": round(time.monotonic() - began, 1), "peak_mib": round(peak / 2**20)}


def memory(process: psutil.Process) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.Error:  # ended meanwhile
        return total
    return total


if __name__ == "__main__":
    main()
