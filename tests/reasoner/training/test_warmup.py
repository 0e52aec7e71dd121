"""Warm-up of the vision tower: what it is told of a report, how images of a study count, and that it learns."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from reasoner.errors import UserError
from reasoner.mining.pipeline.tables import EXAMPLE, to_table
from reasoner.models import tiny
from reasoner.models.load import load_model, load_processor
from reasoner.schema import Example
from reasoner.training.kept import Wanted, keep
from reasoner.training.warmup import OPEN, TARGETS, FindingsReader, StudyCollator, report_targets, studies_to_warm

NORMAL = "FINDINGS: The lungs are clear. No pleural effusion or pneumothorax."
EFFUSION = "FINDINGS: There is a small left pleural effusion. The lungs are otherwise clear."


def told(report: str) -> dict[tuple[str, str | None], float]:
    return {target: value for target, value in zip(TARGETS, report_targets(report), strict=True) if value}


def test_a_report_tells_classes_with_their_sides():
    assert told(NORMAL) == {}
    assert told(EFFUSION) == {("Pleural Effusion", None): 1.0, ("Pleural Effusion", "left"): 1.0}
    both = told("FINDINGS: Bilateral pleural effusions. The heart is enlarged.")
    assert set(both) == {("Pleural Effusion", side) for side in (None, "left", "right")} | {("Cardiomegaly", None)}


def test_what_is_left_open_does_not_count_and_presence_wins():
    assert told("FINDINGS: Possible small right pneumothorax.") == {
        ("Pneumothorax", None): OPEN,
        ("Pneumothorax", "right"): OPEN,
    }
    mixed = told("FINDINGS: There is a left pneumothorax. Possible right pneumothorax.")
    assert mixed[("Pneumothorax", None)] == 1.0 and mixed[("Pneumothorax", "right")] == OPEN
    assert told("FINDINGS: Possible right pneumothorax. There is a left pneumothorax.") == mixed


def test_one_example_a_study_without_earlier_images():
    row = {"question": "?", "answer": "", "report": NORMAL}
    rows = [
        Example(id="1", study_id="a", task="temporal", **row),
        Example(id="2", study_id="a", task="binary", **row),
        Example(id="3", study_id="a", task="abnormality_list", **row),
        Example(id="4", study_id="b", task="binary", question="?", answer=""),
    ]
    assert studies_to_warm(rows) == [1]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tiny.build(tmp_path_factory.mktemp("tiny"), ["user\nassistant\n"] * 4)
    return load_model(folder, dtype="float32"), load_processor(folder)


def picture(bright: bool, seed: int) -> Image.Image:
    """Noise, with a bright square in one corner."""
    grey = np.random.default_rng(seed).integers(60, 120, (112, 112)).astype(np.uint8)
    if bright:
        grey[70:100, 80:110] = 240
    return Image.fromarray(grey).convert("RGB")


def rows(count: int) -> list[dict]:
    return [{"images": [picture(n % 2 == 1, n)], "report": (NORMAL, EFFUSION)[n % 2]} for n in range(count)]


def test_a_study_of_two_images_has_what_either_shows(parts):
    model, processor = parts
    torch.manual_seed(0)
    reader, collate = FindingsReader(model.model.visual, model.config.text_config.hidden_size), StudyCollator(processor)
    one, two = picture(False, 1), picture(True, 2)
    both = reader(**collate([{"images": [one, two], "report": NORMAL}, {"images": [two], "report": NORMAL}]))["logits"]
    first = reader(**collate([{"images": [one], "report": NORMAL}]))["logits"]
    torch.testing.assert_close(both[0], torch.logaddexp(first[0], both[1]), rtol=1e-4, atol=1e-4)


def test_open_labels_do_not_move_the_loss(parts):
    model, processor = parts
    reader = FindingsReader(model.model.visual, model.config.text_config.hidden_size)
    batch = StudyCollator(processor)(rows(4))
    batch["labels"][:] = OPEN
    assert reader(**batch)["loss"].item() == 0.0


def test_the_tower_learns_to_tell_two_kinds_of_images_apart(parts):
    model, processor = parts
    torch.manual_seed(0)
    reader = FindingsReader(model.model.visual, model.config.text_config.hidden_size)
    batch = StudyCollator(processor)(rows(16))
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3)
    for _ in range(60):
        loss = reader(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    place = TARGETS.index(("Pleural Effusion", "left"))
    unseen = StudyCollator(processor)([{"images": [picture(n % 2 == 1, 900 + n)], "report": ""} for n in range(20)])
    logits = reader(**unseen)["logits"][:, place]
    assert logits[1::2].min() > logits[0::2].max(), "every image with the square above every one without"


def test_settings_that_cannot_work_are_one_line(tmp_path, parts):
    from recipes.load import load_recipe
    from recipes.vision_warmup import check, warm_up

    recipe = load_recipe("phantom", ["sft.vision_warmup.max_step=3", f"output={tmp_path}"])
    with pytest.raises(UserError, match=r"sft\.vision_warmup: unknown key 'max_step'.*max_steps"):
        check(recipe)
    recipe = load_recipe("phantom", [f"output={tmp_path}"])
    silent = Example(id="1", study_id="a", task="binary", question="?", answer="")
    (tmp_path / "examples").mkdir()
    pq.write_table(to_table([silent.to_dict()], EXAMPLE), tmp_path / "examples" / "train-00000.parquet")
    wanted = Wanted(completions=True, max_length=1000)
    examples = keep(tmp_path, "train", wanted, parts[1], tmp_path / "cache", "sft")
    with pytest.raises(UserError, match="no example has a report"):
        warm_up(recipe, "base", examples, parts[1])
