"""Questions of every kind: right letters in every position, balance, no leaks, and the dialogue of eight stages."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from reasoner.findings import extract_report, labels_of
from reasoner.mining.chains import merge
from reasoner.mining.pipeline.balance import Balance, answer_key
from reasoner.mining.pipeline.run import mine
from reasoner.mining.pipeline.tables import EXAMPLE, to_table
from reasoner.mining.questions import BUILDERS, Read, build_examples
from reasoner.mining.verify import leak, unseeable
from reasoner.profiles import OURS
from reasoner.prompts import ask
from reasoner.schema import CLASSES, Example, Study
from reasoner.sources import open_source
from reasoner.training.dataset import load_examples
from reasoner.training.feed import to_dataset

REPORTS = (
    "FINDINGS: Small left pleural effusion. No pneumothorax. Heart mildly enlarged. Atelectasis in the left base.",
    "FINDINGS: The lungs are clear. No pleural effusion or pneumothorax. Heart size is normal.",
    "FINDINGS: Right upper lobe consolidation, likely pneumonia. A PICC line is seen. CT of the chest is recommended.",
    "FINDINGS: The left effusion has increased. New right pneumothorax. No fracture.",
    "FINDINGS: Displaced fracture of a left rib. Possible nodule in the right lower lobe. Pulmonary edema.",
)


def read_of(report: str, name: str = "s1", style: str = "systematic", **fields: object) -> Read:
    study = Study(name, name, report, **({"images": ("now.png",), "source": "test"} | fields))  # type: ignore[arg-type]
    findings = extract_report(report)
    return Read(study, tuple(merge(findings)), labels_of(findings), style, 0)


def examples(tasks: dict[str, float], count: int = 1, **fields: object) -> list[Example]:
    rows = []
    for i in range(count):
        for n, report in enumerate(REPORTS):
            rows += list(build_examples(read_of(report, f"s{i}-{n}", **fields), tasks))  # type: ignore[arg-type]
    assert all(isinstance(row, Example) for row in rows), rows
    return [row for row in rows if isinstance(row, Example)]


def chosen(row: Example) -> set[str]:
    words = {option[0]: option[3:] for option in row.options}
    return {words[letter] for letter in row.answer.split(", ")}


@pytest.mark.parametrize("task", ["single", "multiple", "anomaly"])
def test_letters_are_shuffled(task: str) -> None:
    rows = [row for row in examples({task: 1.0}, 80) if row.options]
    places = Counter(letter for row in rows for letter in row.answer.split(", "))
    letters = max(len(row.options) for row in rows)
    assert len(places) == letters and len(rows) > 100
    for count in places.values():
        assert 0.6 < count * letters / places.total() < 1.4, places


def test_single_and_multiple_choice_hold_just_the_right_options() -> None:
    for row in examples({"single": 1.0, "multiple": 2.0}, 10):
        if not row.options:
            continue
        labels = labels_of(extract_report(row.report))
        present = {name for name in CLASSES if labels[name] == "present"}
        assert chosen(row) == {option[3:] for option in row.options} & present
        assert len(row.options) == len(set(row.options))
        unsure = {name for name in CLASSES if labels[name] == "uncertain"}
        assert not unsure & {option[3:] for option in row.options}, "an option that may be right is no distractor"
        assert (row.task == "single") == (len(chosen(row)) == 1)


def test_distractors_are_hard() -> None:
    rows = [row for row in examples({"single": 1.0}, 10) if row.report == REPORTS[0]]
    rows = [row for row in rows if chosen(row) == {"Pleural Effusion"}]
    assert rows and all(any("Pneumothorax" in option for option in row.options) for row in rows)


def test_open_questions_name_all_findings_of_a_region() -> None:
    read = read_of("FINDINGS: Pulmonary edema. Atelectasis in the left base. Cardiomegaly.")
    rows = [r for r in build_examples(read, {"multiple": 2.0}) if isinstance(r, Example) and not r.options]
    assert [(row.question, row.answer) for row in rows] == [
        ("Which findings are present in the lungs? Name all, separated by commas.", "Atelectasis, Edema")
    ]


def test_anomaly_is_normal_or_abnormal() -> None:
    rows = examples({"anomaly": 6.0})
    for row in rows:
        if row.report == REPORTS[1]:
            assert chosen(row) == {"Normal"}
        if row.report == REPORTS[0] and ("pleural" in row.question or "heart" in row.question):
            assert chosen(row) == {"Abnormal"}
    assert {frozenset(chosen(row)) for row in rows} == {frozenset({"Normal"}), frozenset({"Abnormal"})}
    uncertain = read_of("FINDINGS: Possible nodule in the right lower lobe.")
    asked = [row.question for row in build_examples(uncertain, {"anomaly": 6.0}) if isinstance(row, Example)]
    assert not any("lungs" in question or "best described" in question for question in asked)


def test_no_question_gives_its_answer_away() -> None:
    for row in examples({name: 2.0 for name in BUILDERS} | {"stage": 1.0}, prior_images=("then.png",)):
        if row.task in ("binary", "single", "multiple", "anomaly"):
            assert leak(row.question, row.answer, row.options) is None
        if row.task not in ("temporal", "stage"):
            assert unseeable(row.question) is None


def test_leaks_are_found() -> None:
    assert leak("How large is the left effusion?", "left effusion", ()) == "left effusion"
    assert leak("Is this normal?", "A", ("A) Normal", "B) Abnormal")) == "Normal"
    assert leak("Is this normal?", "B", ("A) Normal", "B) Abnormal")) is None
    assert leak("Which is it: stable or worsening?", "stable", (), ("stable", "worsening")) is None
    assert unseeable("What did the report of 2019 say?") and unseeable("What changed since the prior study?")
    assert unseeable("What changed since the prior study?", prior=True) is None


def test_temporal_answers() -> None:
    rows = examples({"temporal": 2.0}, prior_images=("then.png",))
    assert {row.answer for row in rows} == {"worsening", "new"}
    assert all(row.images == ("then.png", "now.png") for row in rows)
    assert examples({"temporal": 2.0}) == []


def test_a_dialogue_has_eight_stages_that_see_those_before() -> None:
    for report in REPORTS:
        for prior in ((), ("then.png",)):
            rows = [*build_examples(read_of(report, prior_images=prior), {"stage": 1.0})]
            assert all(isinstance(row, Example) for row in rows), rows
            rows = [row for row in rows if isinstance(row, Example)]
            assert [row.stage for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
            for number, row in enumerate(rows):
                assert row.task == "stage" and row.images == (*prior, "now.png")
                assert row.context == tuple(t for t in rows[-1].context[:number])
                assert [turn.answer for turn in row.context] == [earlier.answer for earlier in rows[:number]]
                assert row.reasoning and row.answer


def test_a_dialogue_about_something_unnamed() -> None:
    rows = [*build_examples(read_of("FINDINGS: There is a subtle abnormality."), {"stage": 1.0})]
    assert [getattr(row, "stage", row) for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not any(isinstance(row, Example) and "No acute" in row.answer for row in rows)


def test_a_dialogue_says_what_the_report_says() -> None:
    def answers(report: str, **fields: object) -> dict[int | None, str]:
        rows = build_examples(read_of(report, **fields), {"stage": 1.0})
        return {row.stage: row.answer for row in rows if isinstance(row, Example)}

    said = answers(REPORTS[0], views=("Frontal",))
    assert "frontal view" in said[1].lower()
    assert {"Pleural effusion.", "Cardiomegaly.", "Atelectasis."} <= {part + "." for part in said[2].split(".")} | {
        part.strip() + "." for part in said[2].split(".")
    }
    assert "small left pleural effusion" in said[3].lower()
    assert "left" in said[4]
    assert "prior" in said[5] and "open" in said[6]
    assert "effusion" in said[8]
    assert "CT" in answers(REPORTS[2])[7] and "neumonia" in answers(REPORTS[2])[7]
    assert answers(REPORTS[1])[2].startswith("No acute")
    changed = answers(REPORTS[3], prior_images=("then.png",))
    assert "effusion" in changed[5] and "worsening" in changed[6]


def test_balance_levels_answers_and_keeps_the_rest() -> None:
    labels = dict.fromkeys(CLASSES)
    rows = [
        Example(f"{task}{i}", "s", task, question, answer, options=options, labels=labels)
        for task, question, answer, options, count in (
            ("binary", "Is there edema?", "Yes", (), 7),
            ("binary", "Is there edema?", "No", (), 40),
            ("binary", "Is there a fracture?", "No", (), 30),
            ("temporal", "How?", "new", (), 5),
            ("temporal", "How?", "stable", (), 50),
            ("temporal", "How?", "worsening", (), 9),
            ("stage", "What?", "Clear.", (), 12),
        )
        for i in (f"{question}{answer}{n}" for n in range(count))
    ]
    table = to_table([vars(row) for row in rows], EXAMPLE)
    kept = []
    for parts in ((table,), (table.slice(90), table.slice(0, 90))):
        balance = Balance(1.0)
        for part in parts:
            balance.count(part)
        kept.append({name for part in parts for name in balance.keep(part)["id"].to_pylist()})
    assert kept[0] == kept[1], "the order of the shards does not matter"
    counts = Counter((row.task, row.question, row.answer) for row in rows if row.id in kept[0])
    assert counts == {
        ("binary", "Is there edema?", "Yes"): 7,
        ("binary", "Is there edema?", "No"): 7,
        ("temporal", "How?", "new"): 5,
        ("temporal", "How?", "stable"): 9,
        ("temporal", "How?", "worsening"): 9,
        ("stage", "What?", "Clear."): 12,
    }
    loose = Balance(3.0)
    loose.count(table)
    edema = [r for r in loose.keep(table).to_pylist() if r["question"] == "Is there edema?"]
    assert Counter(r["answer"] for r in edema) == {"Yes": 7, "No": 21}


def test_letters_are_balanced_by_their_words() -> None:
    key = answer_key("train", "single", "Which?", ("A) Edema", "B) Fracture"), "B")
    assert key is not None and key.answer == "Fracture"


def test_patients_do_not_cross_splits(tmp_path: Path) -> None:
    lines = "".join(
        f'{{"study_id": "s{i}", "patient_id": "p{i % 40}", "report": "{REPORTS[i % 5]}"}}\n' for i in range(120)
    )
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    source = open_source("jsonl", str(tmp_path / "rows.jsonl"), tmp_path / "out", {"require_images": False})
    mine(source, tmp_path / "out", tasks={"binary": 1.0}, workers=0)
    import pyarrow.parquet as pq

    splits: dict[str, set[str]] = {}
    for row in pq.read_table(tmp_path / "out" / "studies.parquet").to_pylist():
        splits.setdefault(row["patient_id"], set()).add(row["split"])
    assert len(splits) == 40 and all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "val", "test"}


def test_a_trainer_can_take_the_conversation(tmp_path: Path) -> None:
    """From the mined files to the chat template's text, images in the first turn only."""
    from trl.data_utils import prepare_multimodal_messages

    folder = tmp_path / "out"
    for name in ("then", "now"):
        Image.new("L", (56, 56)).save(tmp_path / f"{name}.png")
    report = REPORTS[3]
    row = {"study_id": "s", "report": report, "images": ["now.png"], "prior_images": ["then.png"], "split": "train"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    mine(open_source("jsonl", str(tmp_path / "rows.jsonl"), folder), folder, tasks={"stage": 1.0}, workers=0)
    rows = load_examples(folder, "train")
    assert [row.stage for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    [taught] = to_dataset(load_examples(folder, "train", dialogues=True), completions=True)
    asked = to_dataset(rows, completions=False)
    prompt = prepare_multimodal_messages(asked[7]["prompt"], images=asked[7]["images"])
    assert [m["role"] for m in prompt] == ["user", "assistant"] * 7 + ["user"]
    images = [sum(block["type"] == "image" for block in m["content"]) for m in prompt]
    assert images == [2] + [0] * 14
    said = prompt[9]["content"][0]["text"]
    assert rows[4].answer in said and rows[4].reasoning in said, "as it is taught to be written"
    assert [*taught["prompt"], *taught["completion"][:-1]] == asked[7]["prompt"]
    completion = taught["completion"][-1]["content"][0]["text"]
    assert completion.startswith("<think>") and rows[7].answer in completion


def test_a_question_without_context_is_one_turn() -> None:
    (row,) = [r for r in examples({"abnormality_list": 1.0}) if r.report == REPORTS[0]]
    assert [m["role"] for m in ask(row, OURS, 1)] == ["user"]
    assert replace(row, context=()) == row
