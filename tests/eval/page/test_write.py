"""The files of the page: what they hold of a run, and that nothing a model wrote becomes HTML."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.page.fake import ATTACK, write_rollouts, write_run
from eval.benchmarks.tables import COMPARISONS, EVIDENCE, ITEMS, QUESTIONS, RUN, SAMPLES, SCORES, rows_of
from eval.page import report, write_page
from eval.page.cases import marked
from eval.page.pictures import EDGE, Pictures
from eval.page.rollouts import Rollouts
from reasoner.errors import UserError
from rewards.registry import RewardSet

TEXT = "<think>The heart is enlarged. There is a right pneumothorax.</think><answer>Cardiomegaly</answer>"


def script(path):
    """What a file of data hands over."""
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index("{" if text.startswith("PAGE.index") else "[") : text.rindex(")")])


def all_cases(page):
    files = sorted(
        (file for file in (page / "data").iterdir() if file.stem != "index"), key=lambda file: int(file.stem)
    )
    return [case for file in files for case in script(file)]


def test_every_item_of_the_run_is_on_the_page_word_for_word(run):
    index, cases = script(run / "page/data/index.js"), all_cases(run / "page")
    questions = list(rows_of(run / QUESTIONS))
    items = {(row["label"], row["table"], row["index"]): row for row in rows_of(run / ITEMS)}
    assert len(cases) == len(questions) == len(index["columns"]["index"]) == 60
    for number, (question, case) in enumerate(zip(questions, cases, strict=True)):
        assert index["tables"][index["columns"]["table"][number]] == question["table"]
        assert case["question"] == question["question"] and case["report"] == question["report"]
        for place, label in enumerate(index["labels"]):
            row, shown = items.get((label, question["table"], question["index"])), case["readings"][place]
            assert (row is None) == (shown is None)
            sign = index["right"]["strict"][label][number]
            assert sign == (" " if row is None else {True: "1", False: "0", None: "-"}[row["strict"]])
            if row is not None:
                whole = shown["raw"] if shown["raw"] is not None else "".join(piece[0] for piece in shown["text"])
                assert whole == row["completion"]
                assert shown["scores"].get("radrscore") == pytest.approx(row["radrscore"], abs=1e-4)


def test_missing_readings_and_values_stay_missing(run):
    index = script(run / "page/data/index.js")
    assert " " in index["right"]["strict"]["theirs"] and " " not in index["right"]["strict"]["ours"]
    assert index["scores"]["tokens"]["theirs"] == [None] * 60
    assert -1 in index["about"]["sex"]["of"] and set(index["about"]["sex"]["values"]) == {"F", "M"}


def test_pictures_are_small_copies_and_what_cannot_be_shown_is_named(run):
    cases = all_cases(run / "page")
    assert {len(case["images"]) for case in cases} == {0, 1, 2}
    assert any(case["unseen"] == ["missing.png"] for case in cases)
    for name in {name for case in cases for name in case["images"]}:
        with Image.open(run / "page/pictures" / name) as picture:
            assert picture.size == (96, 96)


def test_large_pictures_are_shrunk_once_and_others_removed(tmp_path):
    for name in ("a", "b"):
        Image.new("L", (1000, 2000)).save(tmp_path / f"{name}.png")
    both = Pictures(tmp_path / "small", [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "no\0file"])
    with Image.open(tmp_path / "small" / both.name(str(tmp_path / "a.png"))) as copy:
        assert copy.size == (EDGE // 2, EDGE)
    assert both.name("no\0file") is None and len(both.problems) == 1
    kept = tmp_path / "small" / both.name(str(tmp_path / "a.png"))
    before = kept.stat().st_mtime_ns
    Pictures(tmp_path / "small", [str(tmp_path / "a.png")])
    assert list((tmp_path / "small").iterdir()) == [kept] and kept.stat().st_mtime_ns == before


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_states_its_numbers_beside_the_published_ones_and_escapes_all_words(run):
    html = (run / "page/index.html").read_text(encoding="utf-8")
    page = _Tags()
    page.feed(html)
    text = " ".join(" ".join(page.text).split())
    cell = json.loads((run / SCORES).read_text(encoding="utf-8"))["ours"]["frontal"]
    assert f"{cell['micro_f1']:.3f}" in text and "Somebody's (published)" in text and "0.612" in text
    assert {"href": "https://example.org/paper", "rel": "nofollow noopener"} in [
        a for tag, a in page.tags if tag == "a"
    ]
    difference = next(
        row for row in json.loads((run / COMPARISONS).read_text(encoding="utf-8")) if row["metric"] == "strict"
    )
    assert f"{difference['low']:.3f} to {difference['high']:.3f}" in text
    for words in ("Subgroups", "sex, frontal", "Malformed rows (2)", "<b>bad</b> 3", "läteral & <other>", "nv_reason"):
        assert words in text
    assert [a for tag, a in page.tags if tag == "script"] == [
        {"src": source, "defer": None} for source in ("case.js", "page.js", "data/index.js")
    ]
    assert all(not a.get(name, "").startswith(("http:", "//")) for _, a in page.tags for name in ("src",))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_calibration_and_best_of_n_are_shown_where_they_were_measured(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("page"))
    scores = json.loads((copy / SCORES).read_text(encoding="utf-8"))
    more = {"confident_true": 0.81, "confident_claims": 40, "hedged_true": 0.43, "hedged_claims": 7, "pass@4": 0.97}
    for tables in scores.values():
        for cell in tables.values():
            cell.update(more)
    (copy / SCORES).write_text(json.dumps(scores), encoding="utf-8")
    first = next(rows_of(copy / ITEMS))
    where = {name: first[name] for name in ("label", "table", "index")}
    sampled = {**where, "strict": [True, None], "read": ["Edema", None], "chosen": {"best_by_vote": 1}}
    (copy / SAMPLES).write_text(json.dumps(sampled) + "\n", encoding="utf-8")
    write_page(copy)
    html = (copy / "page/index.html").read_text(encoding="utf-8")
    assert "Calibration of hedges" in html and "0.810" in html and "pass@4" in html and "0.970" in html
    assert all_cases(copy / "page")[0]["readings"][0]["more"] == [
        ["Samples", "1. ✓ Edema\n2. – none that can be read"],
        ["Chosen", "best by vote: sample 2"],
    ]
    assert "Calibration of hedges" not in (run / "page/index.html").read_text(encoding="utf-8")


def test_the_page_of_the_same_run_is_the_same_and_has_no_case_of_an_earlier_one(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "page/data/7.js").write_text("PAGE.chunk(7, [])", encoding="utf-8")
    before = (copy / "page/data/index.js").read_bytes(), (copy / "page/index.html").read_bytes()
    write_page(copy)
    assert ((copy / "page/data/index.js").read_bytes(), (copy / "page/index.html").read_bytes()) == before
    assert not (copy / "page/data/7.js").exists()


@pytest.mark.parametrize("name", [ITEMS, QUESTIONS, EVIDENCE, SCORES, COMPARISONS, RUN])
def test_a_damaged_file_is_one_line_that_names_it(run, tmp_path, name):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("page"))
    (copy / name).write_text('{"label": \n', encoding="utf-8")
    with pytest.raises(UserError, match=name):
        report(copy)


def test_a_folder_of_neither_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="rollouts"):
        report(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        report(tmp_path / "nowhere")


def scored(text):
    row = {"completion": text, "reasoning": "The heart is enlarged.", "report": "The heart is enlarged."}
    return RewardSet.build({"process": 1.0}).score(row)["process"].evidence


def test_a_completion_is_cut_at_its_verdicts_wherever_its_reasoning_stands():
    for before in ("", "system\nThe heart is enlarged. There is a right pneumothorax.\nassistant\n"):
        pieces, raw = marked(before + TEXT, scored(TEXT))
        assert raw is None and "".join(piece.text for piece in pieces) == before + TEXT
        found = [(piece.text, piece.verdict) for piece in pieces if piece.verdict]
        assert [verdict for _, verdict in found] == ["supported", "unsupported"] and "pneumothorax" in found[1][0]
        place = next(place for place, piece in enumerate(pieces) if piece.verdict)
        assert "".join(piece.text for piece in pieces[:place]) == f"{before}<think>The "


def test_reasoning_around_an_answer_is_shown_apart_from_what_was_written():
    text = "The heart is enlarged. <answer>Cardiomegaly</answer> There is a right pneumothorax."
    pieces, raw = marked(text, scored(text))
    assert raw == text and {piece.verdict for piece in pieces} >= {"supported", "unsupported"}


entries = st.fixed_dictionaries(
    {
        "part": st.sampled_from(["factuality", "found", "effectiveness", "bleu"]),
        "verdict": st.sampled_from(["supported", "contradicted", "measured", "missed"]),
        "words": st.text(max_size=5),
        "against": st.text(max_size=5),
        "start": st.one_of(st.none(), st.integers(-3, 300)),
        "end": st.integers(-3, 300),
    }
)


@given(
    st.one_of(st.text(max_size=80), st.sampled_from([TEXT, ATTACK, f"assistant\n{TEXT}"])),
    st.lists(entries, max_size=6),
)
def test_nothing_that_was_written_is_lost_whatever_a_judge_says(text, evidence):
    pieces, raw = marked(text, evidence)
    assert (raw if raw is not None else "".join(piece.text for piece in pieces)) == text


def test_rollouts_are_grouped_by_prompt_and_step_over_files(grpo, tmp_path):
    index, cases = script(grpo / "page/data/index.js"), all_cases(grpo / "page")
    assert index["kind"] == "rollouts" and index["tables"] == ["step 0", "step 20", "step 100"]
    assert len(cases) == 9 and all(len(case["readings"]) == 4 for case in cases)
    assert {"answer_reward", "skill_reward", "found"} <= set(index["metrics"])
    corrected = cases[0]["readings"][1]
    assert corrected["more"] == [["Corrected from", "what it was"]] and "corrected" in corrected["note"]
    assert any(piece[1:] for case in cases for reading in case["readings"] for piece in reading["text"])
    files = tmp_path / "grpo"
    shutil.copytree(grpo / "rollouts", files / "rollouts")
    for more in ("-1", "-rank1"):
        shutil.copy(files / "rollouts/step-000020.parquet", files / f"rollouts/step-000020{more}.parquet")
    with Rollouts(files) as rollouts:
        steps = [case.table for case in rollouts]
    assert steps == ["step 0"] * 3 + ["step 20"] * 9 + ["step 100"] * 3


def test_means_by_step_are_those_of_the_files(grpo):
    with Rollouts(grpo) as rollouts:
        history = {row["step"]: row for row in rollouts.history}
    rows = pq.read_table(grpo / "rollouts/step-000100.parquet").to_pylist()
    assert history[100]["answer_reward"] == pytest.approx(sum(row["answer_reward"] for row in rows) / len(rows))
    assert history[100]["found"] == pytest.approx(sum(json.loads(row["parts"])["found"] for row in rows) / len(rows))


def test_damaged_rollouts_name_their_file(tmp_path):
    folder = write_rollouts(tmp_path / "grpo", [0], prompts=1, samples=2)
    file = folder / "rollouts/step-000000.parquet"
    pq.write_table(pa.table({"id": ["a"]}), file)
    with pytest.raises(UserError, match=r"step-000000\.parquet"):
        report(folder)


def test_one_label_and_one_case_make_a_page(tmp_path):
    folder = write_run(tmp_path / "run", 1, ("alone",))
    assert "Comparisons</h2>" not in write_page(folder).read_text(encoding="utf-8")
    assert len(all_cases(folder / "page")) == 1
