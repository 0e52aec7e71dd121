"""How fast phantoms are made: `python -m benchmarks.phantom [STUDIES]` prints images per second of one core."""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import product

from reasoner.phantom.source import PhantomSource
from reasoner.schema import Study


def main(studies: int = 400) -> None:
    with tempfile.TemporaryDirectory() as folder:
        few = PhantomSource(None, folder, train=studies, val=0, test=0, site_b=studies)
        full = PhantomSource(None, folder, train=studies, val=0, test=0, site_b=studies, findings="all", films="ade")
        for source, split in product((few, full), ("train", "site_b")):
            start, images = time.process_time(), 0
            for partition in (part for part in source.partitions() if part["split"] == split):
                images += sum(1 + len(row.prior_images) for row in source.read(partition) if isinstance(row, Study))
            seconds = time.process_time() - start
            each = f"{1e3 * seconds / images:.2f} ms each, with report and PNG"
            print(f"{source.findings} {split}: {images / seconds:.0f} images/s ({each})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
