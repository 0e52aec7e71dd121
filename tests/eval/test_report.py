import json
import re

import numpy as np
import pytest

from eval import figures
from eval.best_of import best_of_n
from eval.report import Evaluation, write_report
from eval.run import evaluate
from eval.traces import Reading, Segment, Trace
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES
from reasoner.scores import BY_AGREEMENT, BY_REWARD
from rewards.registry import Score

pytestmark = pytest.mark.anywhere(to="system")

PIXEL = "data:image/png;base64,iVBORw0KGgo="
ACCURACY = {"base": 0.1, "sft": 0.7, "grpo": 0.9}


def simulate(generator, accuracy, studies, samples):
    """Prediction rows and scores of a model that is right with probability `accuracy`."""
    rows, scores = [], []
    for study in range(studies):
        gold = CLASSES[study % 3]
        for sample in range(samples):
            right = generator.random() < accuracy
            answer = gold if right else "Fracture"
            rows.append(
                {
                    "id": f"q{study}",
                    "study_id": f"s{study:03}",
                    "task": "abnormality_list",
                    "question": "Which abnormalities are present?",
                    "options": [],
                    "images": [],
                    "reasoning": "",
                    "answer": gold,
                    "labels": {gold: "present"},
                    "sample": sample,
                    "tokens": 20,
                    "completion": format_completion("Look.", answer),
                }
            )
            parts = {name: float(right) for name in ("factuality", "completeness", "effectiveness")}
            process = Score(float(right), parts=parts)
            scores.append({"format": Score(1.0), "answer": Score(float(right)), "process": process, "skill": process})
    return rows, scores


@pytest.fixture(scope="module")
def evaluation():
    generator = np.random.default_rng(0)
    predictions, rewards, trivial = {}, {}, {}
    for model, accuracy in ACCURACY.items():
        for split, loss in (("test", 0.0), ("site_b", 0.1)):
            for mode, samples in (("greedy", 1), ("sampled", 3)):
                if model == "base" and mode == "sampled":
                    continue
                cell = model, split, mode
                predictions[cell], rewards[cell] = simulate(generator, accuracy - loss, 150, samples)
    for split in ("test", "site_b"):
        cell = "always No Finding", split, "greedy"
        trivial[cell], rewards[cell] = simulate(generator, 0.0, 150, 1)
        for mode, chosen in best_of_n(predictions["sft", split, "sampled"], rewards["sft", split, "sampled"]).items():
            predictions["sft", split, mode], rewards["sft", split, mode] = chosen
    found = evaluate(predictions, trivial, rewards, resamples=200, seed=0)
    reading = Reading(
        "grpo",
        (Segment("The heart is enlarged. ", "supported", "cardiomegaly"), Segment("<b>Look</b>.")),
        "Cardiomegaly",
        1.0,
        0.9,
        ("pleural effusion, left",),
    )
    trace = Trace(
        "q1", "test", "largest gain", "Which?", "Cardiomegaly", "The heart is enlarged.", (PIXEL,), (reading,)
    )
    history = [
        {
            "step": step,
            "loss": 1 / step,
            "mean_token_accuracy": 1 - 1 / step,
            "rewards/answer/mean": step / 50,
            "reward": step / 50,
        }
        for step in range(1, 50)
    ]
    meta = {
        "seed": 0,
        "bootstrap_resamples": 200,
        "samples": 3,
        "temperature": 1.0,
        "max_new_tokens": 96,
        "checkpoints": {"sft": "outputs/phantom/sft"},
        "splits": {"test": {"studies": 150, "examples": 150, "tasks": {}}},
    }
    return found._replace(
        name="phantom", source="phantom", meta=meta, histories={"sft": history, "grpo": history}, traces=[trace]
    )


def test_scores_hold_every_cell_and_paired_differences(evaluation):
    scores = json.loads(json.dumps(evaluation.to_dict()))
    assert scores["grpo"]["test"]["greedy"]["micro_f1"]["value"] == pytest.approx(0.9, abs=0.08)
    assert set(scores["differences"]) == {"sft-base", "grpo-sft"}
    assert set(scores["differences"]["sft-base"]["test"]) == {"greedy"}
    gain = scores["differences"]["grpo-sft"]["test"]["sampled"]["radrscore"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert scores["trivial"]["always No Finding"]["test"]["micro_f1"]["value"] == 0.0
    assert scores["meta"]["seed"] == 0


def test_choosing_among_samples_is_reported_with_its_cost(evaluation, tmp_path):
    modes = evaluation.scores["sft"]["test"]
    assert modes[BY_REWARD]["answer"].value > modes["sampled"]["answer"].value + 0.1  # the best of three
    assert modes[BY_AGREEMENT]["answer"].value <= modes[BY_REWARD]["answer"].value
    assert modes["greedy"]["tokens"].value == modes["sampled"]["tokens"].value == 20
    assert modes[BY_AGREEMENT]["tokens"].value == modes[BY_REWARD]["tokens"].value == 60
    assert BY_AGREEMENT not in evaluation.scores["grpo"]["test"]
    write_report(tmp_path, evaluation)
    for name in ("report.html", "report.md"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "Tokens sampled per question" in page and "60.0" in page
        assert "best of n by reward (upper limit)" in page and "grpo against sft, test, best" not in page


def test_the_page_is_self_contained_and_escapes_model_output(evaluation, tmp_path):
    write_report(tmp_path, evaluation)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "<b>Look</b>" not in page and "&lt;b&gt;Look" in page
    assert '<mark class="supported"' in page
    assert "Out of distribution" in page and "another drawing style" in page
    assert "always No Finding" in page and "{{" not in page


def test_markdown_tables_are_regular_and_plots_exist(evaluation, tmp_path):
    write_report(tmp_path, evaluation)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    for name in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    blocks = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(blocks) >= 6
    for block in blocks:
        lines = block.splitlines()
        assert len(lines) > 2 and len({line.count("|") for line in lines}) == 1, block


def test_one_model_alone_can_be_reported(evaluation, tmp_path):
    alone = Evaluation({"sft": evaluation.scores["sft"]}, {}, {}, name="x", meta=evaluation.meta)
    write_report(tmp_path, alone)
    assert "nothing to compare" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_learning_curves_leave_out_what_was_not_logged():
    history = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    figure = figures.learning_curves(history, [("Loss", {"loss": "loss"}), ("Entropy", {"entropy": "entropy"})])
    assert [axis.get_ylabel() for axis in figure.axes if axis.has_data()] == ["Loss"]
    with pytest.raises(ValueError, match="none of the asked curves"):
        figures.learning_curves(history, [("Entropy", {"entropy": "entropy"})])
