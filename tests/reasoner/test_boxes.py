"""Boxes as words: the grid, the ways to write them, and texts without them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.boxes import GRID, box_spans, on_grid, without_boxes, write
from reasoner.findings import extract_text
from reasoner.schema import Box
from rewards.answers.boxes import boxes_of
from rewards.radrscore.reading import read_reasoning

ANYWHERE = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-0.2, 1.2)
STEPS = (
    "There is a small left pleural effusion.", "A displaced fracture of a right rib is seen.",
    "Small nodule in the left upper lung zone.", "A pacemaker is present with its tip in the right ventricle.",
    "The heart is enlarged.", "Possible right pneumothorax.",
)  # fmt: skip


@given(ANYWHERE, ANYWHERE, ANYWHERE, ANYWHERE)
def test_what_has_an_area_keeps_it_on_the_grid(x0, y0, x1, y1):
    corners = on_grid(Box("effusion", x0, y0, x1, y1))
    assert (corners is None) == (not (x0 < x1 and y0 < y1))
    if corners is not None:
        assert 0 <= corners[0] < corners[2] <= GRID and 0 <= corners[1] < corners[3] <= GRID
        near = [min(max(value, 0.0), 1.0) * GRID for value in (x0, y0, x1, y1)]
        assert all(math.isclose(a, b, abs_tol=1.01) for a, b in zip(corners, near, strict=True))


@given(st.lists(st.tuples(*[st.integers(0, 49)] * 2, *[st.integers(50, 100)] * 2), min_size=1, max_size=4))
def test_what_is_written_is_read(boxes):
    text = write(boxes)
    assert boxes_of(text) == ([tuple(map(float, box)) for box in boxes], len(boxes))
    assert len([*box_spans(text)]) == len(boxes) and without_boxes(text).replace(",", "").strip() == ""


FORMS = ("[62, 70, 88, 92]", "[62,70,88,92]", "(62, 70), (88, 92)", "<62 70 88 92>", "[6, 70, 88, 92], [12, 1, 20, 8]")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", STEPS)
def test_a_box_changes_nothing_of_what_a_step_claims(step, form):
    boxed = f"{step[:-1]} {form}."

    def claims(text):
        return [(c.meaning.key, c.words.strip()) for s in read_reasoning(text) for c in s.claims]

    def findings(text):
        return [f.to_dict() for f in extract_text(text)]

    assert claims(boxed) == claims(step) != [] and findings(boxed) == findings(step)
    twice = f"{boxed} No pneumothorax. {boxed.replace('62', '61')}"
    assert claims(twice) == claims(f"{step} No pneumothorax. {step}")
    for sentence in read_reasoning(twice):  # offsets are those of the text with its boxes
        assert twice[sentence.start : sentence.end].startswith(sentence.words[:8])


@given(st.text(alphabet="[]()<>{},.- 0123456789xyneffusion", max_size=200))
def test_any_text_keeps_its_length_without_its_boxes(text):
    bare = without_boxes(text)
    assert len(bare) == len(text) and without_boxes(bare) == bare
