"""Findings into the 14 CheXpert labels."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner.findings.lexicon import concept_class
from reasoner.schema import CLASSES, NO_FINDING, Finding

_RANK = {"absent": 1, "uncertain": 2, "present": 3}


def labels_of(findings: Iterable[Finding]) -> dict[str, str | None]:
    """Each class -> present | absent | uncertain, or None where nothing was said; the strongest assertion wins.

    `No Finding` is present when something was said and no other class is present or uncertain.
    """
    labels: dict[str, str | None] = dict.fromkeys(CLASSES)
    said = False
    for finding in findings:
        said = True
        name = concept_class(finding.concept)
        if name is not None and _RANK[finding.status] > _RANK.get(labels[name] or "", 0):
            labels[name] = finding.status
    if said:
        found = any(labels[name] in ("present", "uncertain") for name in CLASSES if name != NO_FINDING)
        labels[NO_FINDING] = "absent" if found else "present"
    return labels
