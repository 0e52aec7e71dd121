"""How long SFT and GRPO take to their first step, and how much memory, by the number of rows.

    python -m benchmarks.startup --rows 100000 [--folder DIR]

makes a data set of so many rows once (below DIR, a temporary folder by default), each with a picture of its own path,
and runs each stage twice in a process of its own, from its start through one step of a tiny model. One JSON line a
stage: `rows`, `stage`, `seconds` by the clock, `cpu_s` (of the process and those it waited for), `rss_mib` (peak
resident memory of the process, mapped files included) and `own_mib` (without what is mapped from files, which processes
share). The last line has the memory of eight processes that read 2,000 rows each at random, files counted by their
share.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from reasoner.runtime.disk import remove

#: Studies whose reports and chains the rows repeat, and pictures that their files are links to.
STUDIES, PICTURES = 200, 64
TASKS = {"abnormality_list": 1.0, "binary": 1.0, "single": 1.0}
#: Rows that are written at a time, and files of a folder.
BLOCK, FILES = 20_000, 200
SHARERS, READS = 8, 2000
STAGES = ["rows", "sft", "grpo"]
SETTINGS: dict[str, Any] = {
    "data.options": "{}", "model.max_length": 960, "sft.vision_warmup": "null", "sft.trainer.max_steps": 1,
    "sft.trainer.save_strategy": '"no"', "grpo.tasks": "null", "grpo.trainer.max_steps": 1,
    "grpo.trainer.save_strategy": '"no"', "grpo.trainer.max_completion_length": 32,
    "grpo.trainer.per_device_train_batch_size": 16, "grpo.rewards": "{answer: 1.0, skill: 1.0, format: 0.2}",
}  # fmt: skip


def make(folder: Path, rows: int) -> None:
    """Writes `folder/data` with the pictures of all rows, unless it is there."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from reasoner.mining.pipeline.tables import EXAMPLE, ROW_GROUP, to_table

    data = folder / "data"
    place = data / "examples" / "train-00000.parquet"
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    mined = list(_mined())
    base = to_table(mined, EXAMPLE)
    build_base(folder / "base", [f"{row['question']} {row['reasoning']} {row['answer']}" for row in mined])
    draw_pictures(data)
    part = place.with_suffix(".part")
    with pq.ParquetWriter(part, EXAMPLE, compression="zstd") as out:
        for first in range(0, rows, BLOCK):
            numbers = np.arange(first, min(first + BLOCK, rows))
            table = base.take(pa.array(numbers % base.num_rows))
            paths = [path_of(number) for number in numbers.tolist()]
            link(data, first, paths)
            names = [f"s{50_000_000 + number}" for number in numbers.tolist()]
            report = pc.binary_join_element_wise(table["report"], pa.array(names), " ")
            for name, values in {
                "id": pa.array([f"{name}-{n % 3}" for n, name in enumerate(names)]),
                "study_id": pa.array(names),
                "report": report,
                "images": pa.array([[path] for path in paths]),
            }.items():
                table = table.set_column(EXAMPLE.get_field_index(name), EXAMPLE.field(name), values)
            out.write_table(table, row_group_size=ROW_GROUP)
    part.rename(place)


def _mined() -> Iterator[dict[str, Any]]:
    """Rows of drawn reports, without their pictures."""
    from reasoner.mining.pipeline.partition import mine_study
    from reasoner.phantom.source import PhantomSource
    from reasoner.schema import Study

    source = PhantomSource(None, Path(), train=STUDIES, findings="all", films="ade")
    for number in range(STUDIES):
        case, written, _ = source.case("train", number)
        study = Study(f"s{number}", f"p{number}", written.report, ("a.png",), labels=case.labels, source="phantom")
        yield from (row for kind, row in mine_study(study, TASKS, "systematic", 0) if kind == "example")


def build_base(folder: Path, words: list[str]) -> None:
    """A tiny model, as the base of SFT."""
    from reasoner.models import tiny

    tiny.build(folder, [*words, *["system\nuser\nassistant\n"] * 2])


def path_of(number: int) -> str:
    """As MIMIC-CXR names them."""
    name = "-".join(f"{number * 2654435761 % 2**64:016x}{number:024x}"[n : n + 8] for n in range(0, 40, 8))
    folder = number // FILES
    return f"images/p{10 + folder % 10}/p{10_000_000 + folder}/{name}.png"


def draw_pictures(data: Path) -> None:
    from PIL import Image

    (data / "drawn").mkdir(exist_ok=True)
    for number in range(PICTURES):
        noise = np.random.default_rng(number).integers(0, 256, (112, 112), np.uint8)
        Image.fromarray(noise).save(data / "drawn" / f"{number}.png")


def link(data: Path, first: int, paths: list[str]) -> None:
    for number, path in enumerate(paths, first):
        place = data / path
        if number % FILES == 0 or number == first:
            place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.link(data / "drawn" / f"{number % PICTURES}.png", place)


class Peak:
    """The most resident memory of this process since it began, in MiB."""

    def __init__(self) -> None:
        self.rss = self.own = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def look(self) -> None:
        words = Path("/proc/self/status").read_text(encoding="ascii").split()
        held = {name: float(words[words.index(f"{name}:") + 1]) / 1024 for name in ("VmRSS", "RssAnon")}
        self.rss, self.own = max(self.rss, held["VmRSS"]), max(self.own, held["RssAnon"])

    def _watch(self) -> None:
        while True:
            self.look()
            time.sleep(0.1)


def run(stage: str, folder: Path, rows: int, use: str, start: float) -> None:
    """Runs a stage through its first step, in this process, and prints what each part took since `start`; stage `rows`
    reads the first rows alone."""
    peak = Peak()

    def tell(what: str) -> None:
        peak.look()
        line = {"rows": rows, "stage": f"{stage}, {use} use: {what}", "seconds": round(time.time() - start, 1)}
        used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        line["cpu_s"] = round(sum(one.ru_utime + one.ru_stime for one in used), 1)
        print(json.dumps({**line, "rss_mib": round(peak.rss), "own_mib": round(peak.own)}), flush=True)

    if stage == "rows":
        import datasets
        import transformers.models.qwen2_5_vl

        assert datasets and transformers
        tell("libraries")
        dataset = kept(folder)
        tell("rows")
        dataset[range(0, rows, max(1, rows // 16))]
        tell("first batch")
        return
    from transformers import TrainerCallback

    from recipes import grpo, sft
    from recipes.load import load_recipe
    from recipes.stages import working

    module: Any = {"sft": sft, "grpo": grpo}[stage]
    keep_rows = module.keep_rows

    class Watch(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            tell("first step")

    def told(*args: Any, **kwargs: Any) -> Any:
        tell("libraries and processor")
        found = keep_rows(*args, **kwargs)
        tell("rows")
        return found

    module.keep_rows, module.show_progress = told, lambda trainer, *_: trainer.add_callback(Watch())
    settings = SETTINGS | {"model.base": folder / "base", "output": folder}
    recipe = load_recipe("phantom", [f"{key}={value}" for key, value in settings.items()])
    working(recipe, stage).mkdir(parents=True, exist_ok=True)
    module.run(recipe)


def kept(folder: Path) -> Any:
    """The rows as a trainer reads them."""
    from reasoner.models.load import load_processor
    from reasoner.training.feed import to_dataset
    from reasoner.training.kept import Wanted, keep

    wanted = Wanted(completions=True, max_length=SETTINGS["model.max_length"], dialogues=True)
    processor = load_processor(folder / "base")
    return to_dataset(keep(folder / "data", "train", wanted, processor, folder / "cache", "rows"), completions=True)


def share(folder: Path) -> None:
    """Reads rows at random, then says so and waits to be looked at."""
    dataset = kept(folder)
    for number in np.random.default_rng(os.getpid()).integers(len(dataset), size=READS).tolist():
        dataset[number]
    print("ready", flush=True)
    sys.stdin.read()


def start_child(*words: str, **more: Any) -> subprocess.Popen:
    environment = {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR", **os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.startup", *words],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        **more,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the data set is made, and kept")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="what to run; grpo needs an sft")
    parser.add_argument("--child", nargs="*", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, *rest = args.child
        share(args.folder) if what == "share" else run(what, args.folder, args.rows, rest[0], float(rest[1]))
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        measure(args.folder or Path(temporary), args.rows, args.stages)


def measure(folder: Path, rows: int, stages: list[str]) -> None:
    common = ("--rows", str(rows), "--folder", str(folder), "--child")
    began = time.time()
    make(folder, rows)
    print(json.dumps({"rows": rows, "stage": "data set", "seconds": round(time.time() - began, 1)}), flush=True)
    for stage in stages:
        for use in ("first", "second"):
            child = start_child(*common, stage, use, str(time.time()), stderr=subprocess.DEVNULL)
            for line in child.stdout or ():
                if line.startswith('{"rows"'):
                    print(line, end="", flush=True)
            if child.wait():
                raise SystemExit(f"{stage} failed: run it with --child {stage} {use} {time.time()}")
        if stage != "rows":
            remove(folder / stage)
            (folder / f"{stage}.part").rename(folder / stage)
    children = [start_child(*common, "share", stdin=subprocess.PIPE) for _ in range(SHARERS)]
    for child in children:
        assert child.stdout and child.stdout.readline() == "ready\n"
    held = [psutil.Process(child.pid).memory_full_info() for child in children]
    for child in children:
        child.communicate()
    line = {"rows": rows, "stage": f"{SHARERS} processes", "rss_mib": round(sum(one.pss for one in held) / 2**20)}
    print(json.dumps({**line, "own_mib": round(sum(one.uss for one in held) / 2**20)}))


if __name__ == "__main__":
    main()
