"""Warm-up of the vision tower: before a model learns to read images aloud, its tower learns what reports find in them.

In a chain a handful of words depends on the image, and the image speaks through few of its tokens: a tower that starts
from nothing learns the findings one by one, in jumps, and which of them is luck (docs/results.md). Here it is told
directly. A linear head gives each image token one logit per class and side; the logits of all tokens of a study are
pooled by logsumexp, a soft maximum, since a finding is seen where it is (multiple-instance learning: Pinheiro and
Collobert, arXiv 1411.6228, section 3.2); the loss is binary cross-entropy against what the study's report says. The
head is thrown away; what remains are image tokens from which findings can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from reasoner.findings import concept_class, extract_report
from reasoner.schema import CLASSES, NO_FINDING, Example

#: What is told of an image: each class, and each class on each side.
TARGETS = tuple((name, side) for name in CLASSES if name != NO_FINDING for side in (None, "left", "right"))
_PLACE = {target: number for number, target in enumerate(TARGETS)}
#: The label of what a report leaves open.
OPEN = -1.0


def report_targets(report: str) -> list[float]:
    """For each of `TARGETS` 1 if the report finds it, `OPEN` if it may be there, else 0: silence is read as normal."""
    found = [0.0] * len(TARGETS)
    for finding in extract_report(report):
        name = concept_class(finding.concept)
        if name is None or name == NO_FINDING or finding.status == "absent":
            continue
        sides = ("left", "right") if finding.laterality == "bilateral" else (finding.laterality,)
        for place in {_PLACE[name, side] for side in (None, *sides)}:
            found[place] = 1.0 if finding.status == "present" else found[place] or OPEN
    return found


def studies_to_warm(examples: Iterable[Example]) -> list[int]:
    """The place of one example of each study that has a report: the first without an earlier image, whose findings are
    others."""
    chosen: dict[str, int] = {}
    for number, example in enumerate(examples):
        if example.report and example.task != "temporal":
            chosen.setdefault(example.study_id, number)
    return list(chosen.values())


class FindingsReader(nn.Module):
    """A vision tower with a linear head, and the loss of what the two read.

    Args:
        tower: of a Qwen-VL; trained in place.
        width: of the image tokens that it gives the language model.
    """

    def __init__(self, tower: nn.Module, width: int):
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(width, len(TARGETS))
        nn.init.normal_(self.head.weight, std=0.3 / width**0.5)
        nn.init.constant_(self.head.bias, -3.0)  # most findings are absent

    def forward(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, images: list[int], labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The mean loss and the logits of a batch of studies.

        Args:
            pixel_values, image_grid_thw: of all images, as the Qwen-VL's image processor makes them.
            images: how many of them each study has.
            labels: (studies, targets); `OPEN` ones do not count.
        """
        tower: Any = self.tower
        tokens = tower(pixel_values.to(tower.dtype), grid_thw=image_grid_thw).pooler_output
        sizes = (image_grid_thw.prod(1) // tower.spatial_merge_size**2).split(images)
        pooled = [part.logsumexp(0) for part in self.head(tokens.float()).split([int(n.sum()) for n in sizes])]
        logits = torch.stack(pooled)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.clamp(min=0), reduction="none")
        known = labels != OPEN
        return {"loss": (loss * known).sum() / known.sum().clamp(min=1), "logits": logits}


class StudyCollator:
    """Makes a batch for a `FindingsReader` of rows with `images` and `report`."""

    def __init__(self, processor: Any):
        self.process = processor.image_processor

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        pixels = self.process([image for row in rows for image in row["images"]], return_tensors="pt")
        labels = torch.tensor([report_targets(row["report"]) for row in rows])
        return {**pixels, "images": [len(row["images"]) for row in rows], "labels": labels}
