"""Where the findings of phantoms are: held to what the drawn picture shows, not to how it is drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from reasoner.findings import extract_text
from reasoner.phantom.body import Anatomy, Sign
from reasoner.phantom.draw import draw
from reasoner.phantom.places import locate
from reasoner.phantom.source import PhantomSource
from reasoner.schema import Box, Study

SIZE, KEY = 112, (3, 0, 7, 1)
SIGNS = (
    Sign("Pleural Effusion", "left", 2), Sign("Pleural Effusion", "bilateral", 1), Sign("Pneumothorax", "right", 2),
    Sign("Consolidation", "left", 1, "upper"), Sign("Lung Lesion", "right", 2, "mid"), Sign("Fracture", "left", 1),
    Sign("Cardiomegaly", degree=2), Sign("Support Devices", "right", kind="pacemaker"), Sign("Edema", degree=2),
    Sign("Atelectasis", "left", 2), Sign("Pleural Other", "right", 2), Sign("Enlarged Cardiomediastinum", degree=2),
    Sign("Support Devices", kind="endotracheal_tube"),
)  # fmt: skip


@cache
def anatomy() -> Anatomy:
    return Anatomy.sample(np.random.default_rng(5), "a")


def inside(box: Box, slack: float = 0.0) -> np.ndarray:
    at = (np.arange(SIZE) + 0.5) / SIZE
    across = (at > box.x0 - slack) & (at < box.x1 + slack)
    return ((at > box.y0 - slack) & (at < box.y1 + slack))[:, None] & across[None, :]


@pytest.mark.parametrize("site", ["a", "b"])
@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.side or ''} {sign.key}".strip())
def test_a_box_holds_what_the_finding_changes_in_the_picture(sign, site):
    boxes = locate(anatomy(), [sign], site, SIZE, KEY)
    assert len(boxes) == (2 if sign.side == "bilateral" or sign.label == "Edema" else 1)
    body = anatomy().with_volume_loss([sign])  # for both: else the whole chest is another
    bare, film = (draw(body, some, site, SIZE, KEY).astype(float) for some in ([], [sign]))
    change = np.abs(film - bare)
    within = np.any([inside(box, 0.02) for box in boxes], axis=0)
    strong = change > 0.5 * np.quantile(change[within], 0.98)
    assert strong[within].sum() > 0.95 * strong.sum() > 0


def test_a_box_lies_on_its_side_and_is_no_larger_than_its_finding():
    (left,) = locate(anatomy(), [Sign("Pneumothorax", "left", 1)], "a", SIZE, KEY)
    assert (left.x0 + left.x1) / 2 > 0.5, "the patient's left is on the image's right"
    small, large = (locate(anatomy(), [Sign("Lung Lesion", "left", n, "mid")], "a", SIZE, KEY)[0] for n in (1, 2))
    widths = [box.x1 - box.x0 for box in (small, large)]
    assert 0.05 < widths[0] < widths[1] < 0.2


def test_what_lies_over_a_finding_takes_from_its_box():
    cap = Sign("Atelectasis", "left", 1, kind="compressive")
    fluid = Sign("Pleural Effusion", "left", 2)
    effusion, lung = locate(anatomy(), [fluid, cap], "a", SIZE, KEY)
    assert lung.y1 < effusion.y1, "the airless lung is seen above the fluid"


@pytest.mark.parametrize("findings", ["few", "all"])
def test_every_finding_of_a_study_has_a_box_by_a_name_that_is_read(findings):
    source = PhantomSource(None, Path("."), findings=findings, boxes=True, image_size=84)
    for index in range(40):
        case, _, _ = source.case("test", index)
        boxes = source.locate("test", index)
        assert boxes == source.locate("test", index)
        assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
        assert len({box.label for box in boxes}) == len({sign.label + sign.kind for sign in case.signs})
        assert all(len(extract_text(box.label)) == 1 for box in boxes)


def test_boxes_are_drawn_with_the_studies_where_they_are_asked_for(tmp_path):
    counts = {"train": 4, "val": 0, "test": 0, "site_b": 0}
    told, silent = (PhantomSource(None, tmp_path, boxes=on, **counts) for on in (True, False))
    assert "boxes" not in silent.fingerprint(), "what was drawn before there were boxes stays current"
    assert told.fingerprint() == {**silent.fingerprint(), "boxes": True}
    with_boxes, without = ([*source.read(source.partitions()[0])] for source in (told, silent))
    assert any(study.boxes for study in with_boxes) and not any(study.boxes for study in without)
    assert [replace(study, boxes=()) for study in with_boxes] == without
    study = next(study for study in with_boxes if study.boxes)
    assert Study.from_dict(json.loads(json.dumps(study.to_dict()))).boxes == study.boxes
