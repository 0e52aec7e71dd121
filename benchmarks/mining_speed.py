"""Reports per second per core: extraction, the whole mining, and medspaCy's ConText on the same reports.

    python -m benchmarks.mining_speed [--data FOLDER] [--reports 3800] [--large 400000] [--workers 2]

`--data` names a folder in the layout of source `iu_xray`; without one, reports are put together from the hand-written
sentences of the tests. medspaCy is measured where it is installed (`pip install -e .[bench]`). Rates per core are by
CPU time of this process, the end-to-end time is by the clock. `--large N` mines N reports made by repetition and
perturbation, in steps, and prints the memory of all processes at each.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray

from benchmarks import DATA
from reasoner.findings import extract_report
from reasoner.findings.extract import read_sentence
from reasoner.findings.lexicon import load
from reasoner.runtime.cluster import ensure_ray

SUITE = Path(__file__).parents[1] / "tests" / "reasoner" / "findings" / "data"
TASKS = {"abnormality_list": 1.0, "binary": 1.0, "single": 1.0}
SECTIONS = ("indication", "comparison", "findings", "impression")
#: medspaCy is slow: it gets a sample.
SAMPLE = 200


def real_reports(folder: Path) -> list[str]:
    with (folder / "indiana_reports.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return ["\n\n".join(f"{name.upper()}: {row[name]}" for name in SECTIONS if row[name]) for row in rows]


def drawn_reports(count: int, rng: random.Random) -> list[str]:
    lines = [line for path in sorted(SUITE.glob("sentences*.txt")) for line in path.read_text("utf-8").splitlines()]
    sentences = [line.rpartition(" => ")[0] for line in lines if " => " in line]
    sentences = [text for text in sentences if text.endswith(".")]
    return [
        f"FINDINGS: {' '.join(rng.sample(sentences, 6))}\n\nIMPRESSION: {rng.choice(sentences)}" for _ in range(count)
    ]


def perturb(report: str, rng: random.Random) -> str:
    """The same report with other sides, other numbers and a few words said twice: no sentence repeats for long."""
    swap = {"left": "right", "right": "left", "small": "moderate", "mild": "severe"} if rng.random() < 0.5 else {}
    words = re.split(r"(\W+)", report)
    for k in range(0, len(words), 2):
        words[k] = swap.get(words[k], words[k])
        if words[k].isdigit():
            words[k] = str(rng.randrange(100))
        elif rng.random() < 0.03 and words[k].isalpha() and not words[k].isupper():
            words[k] += f" {rng.choice('abcdefgh')}{rng.randrange(10**4)}"
    return "".join(words)


def synthesise(base: Sequence[str], count: int, seed: int = 0) -> Iterator[str]:
    rng = random.Random(seed)
    for n in range(count):
        yield perturb(base[n % len(base)], rng)


def rate(name: str, reports: Sequence[str], work: Callable[[str], object], beside: float | None = None) -> float:
    start = time.process_time()
    for report in reports:
        work(report)
    value = len(reports) / (time.process_time() - start)
    print(f"{name:58s} {value:9,.0f} reports/s/core" + (f"  {value / beside:7.1f} x" if beside else ""), flush=True)
    return value


def context_pipeline() -> Any:
    """medspaCy's sentences, target matcher and ConText with its own rules; the targets are our lexicon's terms."""
    import medspacy
    from loguru import logger
    from medspacy.ner import TargetRule

    logger.disable("PyRuSH")  # else it writes debug lines for every sentence, which would slow it down

    nlp = medspacy.load()
    rules = [TargetRule(term, name) for name, terms in load().terms.items() for term in terms]
    nlp.get_pipe("medspacy_target_matcher").add(rules)
    return nlp


def mine_one(report: str) -> None:
    from reasoner.mining.pipeline.partition import mine_study
    from reasoner.schema import Study

    for _ in mine_study(Study(report[:40], report[:40], report), TASKS, "concise", 0):
        pass


def end_to_end(reports: Iterator[str], workers: int) -> tuple[float, float, int]:
    """Seconds by the clock and peak memory in MB (PSS of this process and its children) of a mining run, and rows."""
    from reasoner.mining.pipeline.run import mine
    from reasoner.sources import open_source

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reports.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for n, report in enumerate(reports):
                file.write(json.dumps({"study_id": f"s{n}", "report": report}) + "\n")
        source = open_source("jsonl", str(path), Path(folder), {"require_images": False})
        stop, peak = threading.Event(), [0.0]

        def watch() -> None:
            while not stop.wait(1.0):
                peak[0] = max(peak[0], memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        summary = mine(source, Path(folder) / "out", tasks=TASKS, workers=workers)
        seconds = time.perf_counter() - start
        stop.set()
        watcher.join()
        return seconds, peak[0], summary["studies"]["mined"]


def memory() -> float:
    """Proportional set size of this process and all its children, in MB."""
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA / "iu")
    parser.add_argument("--reports", type=int, default=3800)
    parser.add_argument("--large", type=int, default=0, help="also mine this many reports and print the memory")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    real = (args.data / "indiana_reports.csv").is_file()
    base = real_reports(args.data) if real else drawn_reports(args.reports, random.Random(0))
    fresh = list(synthesise(base, len(base)))
    print(f"{len(base)} {'real' if real else 'drawn'} reports of {sum(map(len, base)) / len(base):,.0f} characters")
    load()
    beside = None
    try:
        nlp = context_pipeline()
    except ImportError:
        print("medspaCy is not installed: pip install -e .[bench]")
    else:
        nlp(base[0])
        beside = rate("medspaCy: sentences, targets, ConText", base[:SAMPLE], nlp)
    read_sentence.cache_clear()
    rate("extraction, caches empty", base, extract_report, beside)
    rate("extraction, the same reports again", base, extract_report, beside)
    rate("extraction, every report perturbed", fresh, extract_report, beside)
    rate("whole mining without Ray, every report perturbed", list(synthesise(base, len(base), 1)), mine_one, beside)
    ensure_ray(args.workers)
    steps = [args.reports]
    if args.large:
        steps += [n for n in (args.large // 100, args.large // 10, args.large) if n]
    for count in steps:
        seconds, peak, mined = end_to_end(synthesise(base, count, count), args.workers)
        print(
            f"mining {count:,} reports end to end: {seconds:.1f} s, {mined / seconds:,.0f} reports/s on {args.workers} "
            f"workers, peak memory {peak:,.0f} MB",
            flush=True,
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
