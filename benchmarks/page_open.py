"""How large the page of a run is, and how fast it opens in headless Chromium.

    .venv/bin/python -m benchmarks.page_open [--cases 1000 10000] [--edge 512]

Runs are made up (`benchmarks/page/fake.py`), two models each. Without a browser the sizes alone are printed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.page.browser import browser, why_not
from benchmarks.page.fake import write_run
from eval.page import write_page

_TIMES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--edge", type=int, default=512, help="of the films, in pixels")
    args = parser.parse_args()
    if reason := why_not():
        print(f"no times of opening: {reason}")
    for cases in args.cases:
        with TemporaryDirectory() as folder:
            run = write_run(Path(folder) / "run", cases, edge=args.edge)
            start = time.perf_counter()
            page = write_page(run)
            written = time.perf_counter() - start
            size = sum(file.stat().st_size for file in page.parent.rglob("*") if file.is_file())
            index = (page.parent / "data" / "index.js").stat().st_size
            print(
                f"{cases:,} cases: written in {written:.1f} s, {size / 1e6:.1f} MB, index {index / 1e6:.2f} MB",
                flush=True,
            )
            if not why_not():
                measure(page)


def measure(page: Path) -> None:
    """Prints the median time until the first case stands there, and that of a search through all texts."""
    with browser() as tab:
        opened = [tab.open(page) for _ in range(_TIMES)]
        searched = tab.js(
            "(async () => { const start = performance.now(); const field = document.querySelector('[name=search]');"
            "field.value = 'no such words'; field.dispatchEvent(new Event('input'));"
            "while (!document.querySelector('#count').textContent.startsWith('0 of'))"
            " await new Promise((done) => setTimeout(done, 20));"
            "return performance.now() - start; })()"
        )
    print(f"  opens in {median(opened):.0f} ms (worst of {_TIMES}: {max(opened):.0f}), first search {searched:.0f} ms")


if __name__ == "__main__":
    main()
