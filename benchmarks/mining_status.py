"""Status (present, absent, uncertain) on the hand-written sentences: our scopes beside medspaCy's ConText.

    python -m benchmarks.mining_status        (needs `pip install -e .[bench]`)

medspaCy gets our terms as targets and its own ConText rules. Counted are expectations of the suite whose concept both
find by name in the sentence, so that neither is charged for the other's lexicon; "resolved" counts as absent.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.mining_speed import SUITE, context_pipeline
from reasoner.findings import extract_report, extract_text


def cases(folder: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """(text, [(concept, status)]) of all sentences; whole reports are left out, medspaCy has no sections here."""
    found = []
    for path in sorted(folder.glob("sentences*.txt")):
        for line in path.read_text("utf-8").splitlines():
            text, mark, wanted = line.rpartition(" => ")
            if mark and not line.startswith(("#", "REPORT ")) and wanted != "nothing":
                found.append((text, [tuple(part.split(" ")[:2]) for part in wanted.split("; ")]))
    return found  # type: ignore[return-value]


def by_context(nlp: Any, text: str) -> dict[str, str]:
    statuses = {}
    for entity in nlp(text).ents:
        flags = entity._
        if flags.is_hypothetical or flags.is_historical:
            statuses[entity.label_] = "nothing"
        elif flags.is_negated:
            statuses[entity.label_] = "absent"
        else:
            statuses[entity.label_] = "uncertain" if flags.is_uncertain else "present"
    return statuses


def main() -> None:
    if importlib.util.find_spec("medspacy") is None:
        print("skipped: medspaCy is not installed (pip install -e .[bench])")
        return
    nlp = context_pipeline()
    right: Counter[tuple[str, str]] = Counter()
    total: Counter[str] = Counter()
    for text, expected in cases(SUITE):
        ours = {f.concept: f.status for f in (*extract_text(text), *extract_report(text))}
        theirs = by_context(nlp, text)
        for concept, status in expected:
            if concept in ours and concept in theirs:
                total[status] += 1
                right["ours", status] += ours[concept] == status
                right["ConText", status] += theirs[concept] == status
    for status in ("present", "absent", "uncertain"):
        print(
            f"{status:10s} {total[status]:4d}  ours {right['ours', status] / total[status]:.3f}  "
            f"medspaCy ConText {right['ConText', status] / total[status]:.3f}"
        )
    for name in ("ours", "ConText"):
        hits = sum(n for (who, _), n in right.items() if who == name)
        print(f"{name}: {hits / total.total():.3f} of {total.total()}")


if __name__ == "__main__":
    main()
