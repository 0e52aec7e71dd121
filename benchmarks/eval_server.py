"""The same checkpoint offline and behind `vllm serve`: how many greedy answers are equal, of 200 phantoms.

    .venv/bin/python -m benchmarks.eval_server [--model CHECKPOINT --input DATA] [--items 200]

Without a trained checkpoint a tiny one is built, which babbles: 128 tokens an answer, each of which may differ.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eval.benchmarks.run import Wanted, run
from eval.benchmarks.tables import ITEMS, rows_of
from reasoner.models.load import resolve_dtype

_START_S = 600
QUESTION = "Which abnormalities are present in this chest X-ray?"


@contextmanager
def served(model: str, log: Path) -> Iterator[str]:
    """The address of a vLLM server with the model, while it runs.

    Raises:
        RuntimeError: it did not start; the log says why.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    defaults = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    options = ["--dtype", resolve_dtype("auto"), "--enforce-eager", "--limit-mm-per-prompt", '{"image": 2, "video": 0}']
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, *options]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**defaults, **os.environ},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _ready(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(60)


def _ready(process: subprocess.Popen, url: str, log: Path) -> str:
    import httpx

    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return url
        except httpx.HTTPError:
            time.sleep(1)
    raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')[-2000:]}")


def phantoms(folder: Path, count: int) -> Path:
    """A file of questions about `count` drawn films, in the rows of the benchmark `phantom`."""
    from PIL import Image

    from reasoner.phantom.source import PhantomSource

    folder.mkdir(parents=True, exist_ok=True)
    source = PhantomSource(None, folder)
    rows = []
    for number in range(count):
        _, _, pixels, _ = source.draw("test", number)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append({
            "id": f"p{number}", "study_id": f"p{number}", "task": "abnormality_list", "split": "test",
            "question": QUESTION, "answer": "No Finding", "images": [f"{number}.png"],
        })  # fmt: skip
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def compared(model: str, input: Path, images: Path | None, items: int, folder: Path) -> dict[str, float]:
    """Shares of items with equal completions and equal grades."""
    with served(model, folder / "server.log") as url:
        wanted = Wanted(
            "phantom",
            folder / "run",
            input,
            images,
            models={"server": url, "offline": model},
            max_new_tokens=128,
            limit=items,
            resamples=100,
        )
        run(wanted)
    rows: dict[str, list[dict[str, Any]]] = {"server": [], "offline": []}
    for row in rows_of(folder / "run" / ITEMS):
        rows[row["label"]].append(row)
    pairs = list(zip(rows["server"], rows["offline"], strict=True))
    alike = {
        name: sum(ours[name] == theirs[name] for ours, theirs in pairs) / len(pairs)
        for name in ("completion", "strict", "radrscore", "tokens")
    }
    return {"items": len(pairs), **alike, "distinct": len({row["completion"] for row in rows["offline"]})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a trained checkpoint; default: a tiny one, built on the spot")
    parser.add_argument("--input", type=Path, help="a mined data folder; default: drawn films")
    parser.add_argument("--items", type=int, default=200)
    args = parser.parse_args()
    with TemporaryDirectory() as place:
        folder = Path(place)
        model = args.model
        if model is None:
            from reasoner.models import tiny

            model = str(tiny.build(folder / "model", [QUESTION, "The heart is enlarged."] * 4, vocab_size=320))
        input = args.input or phantoms(folder / "data", args.items)
        images = None if args.input else folder / "data"
        print(json.dumps(compared(model, input, images, args.items, folder), indent=1))


if __name__ == "__main__":
    main()
