"""The two ways to ask a model: a chat server, and vLLM in this process."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from eval.benchmarks import run as runs
from eval.benchmarks.run import Wanted, run
from eval.benchmarks.tables import rows_of
from reasoner.errors import UserError

RIGHT = "<think>The heart is enlarged.</think><answer>Yes</answer>"


@pytest.fixture(autouse=True)
def without_page(monkeypatch):
    monkeypatch.setattr(runs, "write_run_page", lambda folder: None)


def write_questions(folder, count, stages=(None,)):
    """Questions about random pictures; with stages a conversation a picture."""
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        pixels = generator.integers(0, 255, (112, 112), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        context = []
        for stage in stages:
            question = "Is there cardiomegaly?" if stage is None else f"Stage {stage}?"
            rows.append({
                "id": f"q{number}-{stage}", "study_id": f"s{number}", "task": "stage" if stage else "binary",
                "split": "test", "question": question, "answer": "Yes", "reasoning": "The heart is enlarged.",
                "images": [f"images/{number}.png"], "stage": stage, "context": list(context),
            })  # fmt: skip
            context.append({"question": question, "answer": f"reference {stage}", "options": []})
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def wanted(tmp_path, path, url, **more):
    return Wanted("phantom", tmp_path / "run", path, path.parent, models={"m": url}, resamples=50, **more)


def test_a_server_is_sent_the_picture_and_its_answers_are_kept(tmp_path, openai_server):
    seen = []

    def answer(content, number):
        seen.append(content)
        return 200, RIGHT

    server = openai_server(answer)
    path = write_questions(tmp_path / "data", 3)
    scores = run(wanted(tmp_path, path, server.url))
    assert scores["m"]["test_binary"]["strict"] == 1.0 and server.asked == 3
    picture, text = seen[0]
    assert text == {"type": "text", "text": "Is there cardiomegaly?"}
    data = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (112, 112)
    run(wanted(tmp_path, path, server.url))
    assert server.asked == 3, "unchanged predictions are reused"


def test_refused_requests_are_counted_and_never_dropped(tmp_path, openai_server):
    server = openai_server(lambda content, number: (400, "no") if number == 2 else (200, RIGHT))
    path = write_questions(tmp_path / "data", 4)
    scores = run(wanted(tmp_path, path, server.url))
    cell = scores["m"]["test_binary"]
    assert (cell["n"], cell["strict"]) == (4, 0.75)
    notes = [row["note"] for row in rows_of(tmp_path / "run" / "items.jsonl")]
    assert sum("no answer: HTTP 400" in note for note in notes) == 1


def test_a_server_that_answers_nothing_ends_the_run_with_what_it_said(tmp_path, openai_server):
    server = openai_server(lambda content, number: (400, "no images here"))
    path = write_questions(tmp_path / "data", 25)
    with pytest.raises(UserError, match=r"answered none of 25 questions.*HTTP 400.*no images here"):
        run(wanted(tmp_path, path, server.url))


def test_a_server_that_holds_too_few_tokens_is_refused_before_it_is_asked(tmp_path, openai_server, monkeypatch):
    from eval.benchmarks import asking

    server = openai_server(lambda content, number: (200, RIGHT))
    monkeypatch.setattr(asking, "served_models", lambda llm, option: [{"id": "m", "max_model_len": 608}])
    path = write_questions(tmp_path / "data", 2)
    with pytest.raises(UserError, match=r"holds 608 tokens.*lower --max-new-tokens"):
        run(wanted(tmp_path, path, server.url))
    assert server.asked == 0
    assert run(wanted(tmp_path, path, server.url, max_new_tokens=200))["m"]["test_binary"]["n"] == 2


def test_a_killed_run_goes_on(tmp_path, openai_server, monkeypatch):
    from eval.benchmarks.asking import Server

    server = openai_server(lambda content, number: (200, RIGHT))
    path = write_questions(tmp_path / "data", 6)
    monkeypatch.setattr(Server, "block", 2)
    answered = Server.answer

    def dies(self, prompts, number):
        if number == 2:
            raise KeyboardInterrupt
        return answered(self, prompts, number)

    monkeypatch.setattr(Server, "answer", dies)
    with pytest.raises(KeyboardInterrupt):
        run(wanted(tmp_path, path, server.url))
    assert server.asked == 4
    journal = tmp_path / "run" / "predictions" / "m" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])  # the last line was cut off
    monkeypatch.setattr(Server, "answer", answered)
    assert run(wanted(tmp_path, path, server.url))["m"]["test_binary"]["n"] == 6
    assert server.asked == 6, "the replies of the block that was cut are cached"


@pytest.mark.parametrize(("context", "labels"), [("own", ["m"]), ("both", ["m-own", "m-reference"])])
def test_conversations_show_own_or_reference_answers(tmp_path, openai_server, context, labels, monkeypatch):
    from reasoner.models.engine import Prompt

    shown = set()
    messages = Prompt.messages

    def spied(self, profile):
        shown.update(turn.answer for turn in self.context)
        return messages(self, profile)

    monkeypatch.setattr(Prompt, "messages", spied)
    server = openai_server(lambda content, number: (200, "<think>I see.</think><answer>own words</answer>"))
    path = write_questions(tmp_path / "data", 2, stages=(1, 2, 3))
    scores = run(wanted(tmp_path, path, server.url, context=context))
    assert list(scores) == labels
    reference = {"reference 1", "reference 2"} if context == "both" else set()
    assert shown == {"own words"} | reference


def test_no_server_is_one_line(tmp_path):
    path = write_questions(tmp_path / "data", 1)
    with pytest.raises(UserError, match="mend --model"):
        run(wanted(tmp_path, path, "http://127.0.0.1:9"))


def test_a_judge_scores_beside_the_rules_and_its_failures_are_counted(tmp_path, openai_server):
    judge = openai_server(lambda content, number: (200, "not JSON"))
    path = write_questions(tmp_path / "data", 2)
    rows = [json.loads(line) | {"completion": RIGHT, "report": "Large heart."} for line in path.open(encoding="utf-8")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run(Wanted("phantom", tmp_path / "run", predictions={"m": path}, judge=(judge.url, "model"), resamples=50))
    failures = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["failures"]["m"]
    assert failures["judged"] == 2 and any(why.startswith("judge, findings") for why in failures)


@pytest.mark.slow
def test_a_checkpoint_is_asked_in_this_process_and_again_alike(tmp_path):
    from reasoner.models import tiny

    path = write_questions(tmp_path / "data", 4)
    model = tiny.build(tmp_path / "model", ["Is there cardiomegaly?", "The heart is enlarged."] * 4, vocab_size=320)
    how = {"max_new_tokens": 6, "samples": 2}
    run(wanted(tmp_path, path, str(model), **how))
    files = sorted((tmp_path / "run" / "predictions").rglob("*.jsonl"))
    before = [file.read_bytes() for file in files]
    row = json.loads(before[0].splitlines()[0])
    assert len(row["completions"]) == 2 and row["cost"] == sum(row["tokens"])
    for file in files:
        file.unlink()
    run(wanted(tmp_path, path, str(model), **how))
    assert [file.read_bytes() for file in files] == before
