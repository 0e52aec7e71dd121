"""Whether reports of phantoms with all findings say what was drawn: `python -m benchmarks.phantom_labels [STUDIES]`.

Prints, for each drawing of findings, the share of studies with each class, and micro-F1 of the mined labels against the
drawn ones on complete reports.
"""

from __future__ import annotations

import sys
from collections import Counter

from reasoner.findings import extract_report, labels_of
from reasoner.phantom.source import PhantomSource
from reasoner.schema import CLASSES, present_classes


def main(studies: int = 700) -> None:
    source = PhantomSource(None, ".", findings="all", films="ade", prior_rate=0.4, omit_rate=0, hedge_rate=0)
    for split in ("train", "test", "site_b", "site_c"):
        shares, counts = Counter[str](), Counter[tuple[bool, bool]]()
        for index in range(studies):
            case, reading, _ = source.case(split, index)
            mined = labels_of(extract_report(reading.report))
            shares.update(present_classes(case.labels))
            counts.update((case.labels[name] == "present", mined[name] == "present") for name in CLASSES)
        right, wrong = counts[True, True], counts[True, False] + counts[False, True]
        print(
            f"{split}: micro-F1 {2 * right / (2 * right + wrong):.3f}",
            {n: round(shares[n] / studies, 3) for n in CLASSES},
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
