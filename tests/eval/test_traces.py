import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eval.traces import pick_traces, read_completion
from eval.verdicts import SEVERITY
from reasoner.prompts import format_completion
from rewards.registry import RewardSet
from rewards.score import REWARDS

REPORT = "FINDINGS: The heart is enlarged. There is a small left pleural effusion. No pneumothorax."
REFERENCE = "The heart is enlarged. There is a small left pleural effusion. There is no pneumothorax."


def prediction(number, reasoning, answer):
    return {
        "id": f"q{number}",
        "study_id": f"s{number}",
        "task": "abnormality_list",
        "question": "Which abnormalities are present?",
        "options": [],
        "images": [f"{number}.png"],
        "reasoning": REFERENCE,
        "answer": "Cardiomegaly, Pleural Effusion",
        "labels": None,
        "report": REPORT,
        "sample": 0,
        "completion": format_completion(reasoning, answer),
    }


def scored(row):
    return RewardSet.build(REWARDS).score(row)


def test_a_reading_is_cut_at_its_claims_and_tells_what_it_missed():
    row = prediction(0, "The heart is enlarged. There is a right pneumothorax. Look again.", "Cardiomegaly")
    reading = read_completion("sft", row["completion"], scored(row))
    assert "".join(segment.text for segment in reading.segments) == (
        "The heart is enlarged. There is a right pneumothorax. Look again."
    )
    verdicts = {segment.verdict for segment in reading.segments}
    assert {"supported", "contradicted", None} <= verdicts
    assert any("effusion" in words for words in reading.missed)
    assert reading.answer == "Cardiomegaly" and 0 < reading.radrscore < 1


@given(st.text(max_size=200))
def test_segments_always_make_up_the_reasoning(text):
    row = prediction(0, text, "Edema")
    reading = read_completion("base", row["completion"], scored(row))
    assert all(segment.verdict is None or segment.verdict in SEVERITY for segment in reading.segments)
    assert "".join(segment.text for segment in reading.segments) in row["completion"]


def test_traces_are_chosen_by_gain_loss_and_median(tmp_path):
    for number in range(4):
        Image.fromarray(np.full((700, 600), 60 * number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    good, bad = (REFERENCE, "Cardiomegaly, Pleural Effusion"), ("There is a right pneumothorax.", "Pneumothorax")
    sft = [prediction(n, *text) for n, text in enumerate([bad, good, good, bad])]
    grpo = [prediction(n, *text) for n, text in enumerate([good, bad, good, bad])]
    predictions = {("sft", "test", "greedy"): sft, ("grpo", "test", "greedy"): grpo}
    rewards = {cell: [scored(row) for row in rows] for cell, rows in predictions.items()}
    traces = pick_traces(predictions, rewards, tmp_path)
    why = {trace.id: trace.why for trace in traces}
    assert why["q0"].startswith("largest gain") and why["q1"].startswith("largest loss")
    assert [reading.model for reading in traces[0].readings] == ["sft", "grpo"]
    assert traces[0].gold == "Cardiomegaly, Pleural Effusion"
    assert all(image.startswith("data:image/png;base64,") for trace in traces for image in trace.images)


def test_a_picture_that_is_gone_costs_itself_and_not_the_report(tmp_path, capsys):
    rows = [prediction(0, REFERENCE, "Cardiomegaly")]
    cell = ("sft", "test", "greedy")
    [trace] = pick_traces({cell: rows}, {cell: [scored(row) for row in rows]}, tmp_path)
    assert trace.images == () and "0.png: missing image" in capsys.readouterr().err
