"""How fast phantoms are made: `python -m benchmarks.phantom [STUDIES]` prints images per second on one core."""

from __future__ import annotations

import sys
import tempfile
import time

from reasoner.phantom.source import PhantomSource
from reasoner.schema import Study


def main(studies: int = 400) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = PhantomSource(None, folder, train=studies, val=0, test=0, site_b=studies)
        for split in ("train", "site_b"):
            start, images = time.perf_counter(), 0
            for partition in (part for part in source.partitions() if part["split"] == split):
                images += sum(1 + len(row.prior_images) for row in source.read(partition) if isinstance(row, Study))
            seconds = time.perf_counter() - start
            print(
                f"{split}: {images / seconds:.0f} images/s ({1e3 * seconds / images:.2f} ms each, with report and PNG)"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
