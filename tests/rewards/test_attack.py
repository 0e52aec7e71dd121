"""The attacker in short: that it finds what is planted, and what it finds in the rewards as they are."""

from __future__ import annotations

import random
from functools import cache

import pytest

from benchmarks.reward_attack.blind import Blind, Policy, Prior, groups, search, things
from benchmarks.reward_attack.edits import FORM, LOWER
from benchmarks.reward_attack.gains import Editor, is_value, pays
from benchmarks.reward_attack.rows import TOTAL, Budget, Means, Reader, Scorer, Seen, climb, draw, is_normal
from reasoner.findings import extract_report, labels_of
from reasoner.mining.chains import merge
from reasoner.mining.drafts import Read
from reasoner.mining.grounding import PLACED
from reasoner.mining.questions import MINED_TASKS, build_examples
from reasoner.phantom.source import PhantomSource
from reasoner.prompts import format_completion, parse_completion
from reasoner.schema import Example, Study
from recipes.load import load_recipe

STUDIES, SEEN, UNSEEN = 160, 30, 60
LIST = "abnormality_list"


@cache
def examples() -> dict[str, list[Example]]:
    """Rows of every task, mined from the reports of phantoms that nobody draws."""
    source = PhantomSource(None, "unused", train=STUDIES, val=0, test=0, site_b=0)
    found: dict[str, list[Example]] = {task: [] for task in MINED_TASKS}
    for n in range(STUDIES):
        case, written, _ = source.case("train", n)
        prior = ("prior.png",) if case.prior is not None else ()
        study = Study(f"s{n}", f"p{n}", written.report, ("now.png",), prior_images=prior, labels=case.labels)
        findings = extract_report(study.report)
        read = Read(study, tuple(merge(findings)), labels_of(findings), "concise", 0)
        for row in build_examples(read, {**dict.fromkeys(MINED_TASKS, 1.0), "stage": 0.1}):
            if isinstance(row, Example):
                found[row.task].append(row)
    return found


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> Scorer:
    return Scorer(load_recipe("phantom", []).grpo.rewards, examples()[LIST], tmp_path_factory.mktemp("rates"))


class Planted:
    """A scorer with a hole: it pays for a word."""

    weights = {"planted": 1.0}

    def __init__(self, word: str) -> None:
        self.word = word

    def value(self, objective: str, example: Example, completion: str) -> float:
        return float(self.word in parse_completion(completion).reasoning.lower())


@pytest.mark.parametrize("word", ["history", "bilateral", "- "])
def test_the_search_finds_what_pays(word):
    rows = examples()[LIST]
    best = search("planted", Planted(word), rows, rows[:5], Budget(tries=500), random.Random(0))
    assert Planted(word).value("planted", rows[0], Prior(rows).write(best, rows[0])) == 1.0


def test_a_question_may_have_a_policy_of_its_own():
    class Asked(Planted):
        def value(self, objective, example, completion):
            return float(things(example)[0] in parse_completion(completion).reasoning.lower())

    rows = [row for row in examples()["binary"] if row.question in ("Is there a fracture?", "Is there cardiomegaly?")]
    blind = Blind("planted", Asked(""), rows, rows, Budget(tries=600), random.Random(0))
    assert all(Asked("").value("planted", row, blind.write(row)) == 1.0 for row in rows)


def test_blindness_earns_next_to_nothing_in_a_whole_read(scorer):
    rows = examples()[LIST]
    unseen, reader, rng = rows[-UNSEEN:], Reader(rows), random.Random(0)
    for objective, most in ((TOTAL, 0.5), ("skill", 0.1)):
        blind = Blind(objective, scorer, rows[:-UNSEEN], rows[:SEEN], Budget(tries=150), random.Random(0))
        earned = sum(scorer.value(objective, row, blind.write(row)) for row in unseen)
        mediocre = sum(scorer.value(objective, row, reader.write(row, rng)) for row in unseen)
        assert earned <= most * mediocre, list(blind.texts())


def test_no_edit_that_lowers_the_truth_pays(scorer):
    rows = examples()[LIST]
    editor = Editor(scorer, Reader(rows), rows, rows[-20:], 0)
    gains = [gain for base in editor.bases for name in LOWER for gain in editor.gains(base, (name,))]
    assert len({gain.edits for gain in gains}) > 60
    paid = [gain for gain in gains if pays(gain) and gain.what in (TOTAL, "skill")]
    assert not paid, [(gain.base, gain.edits, gain.what, gain.mean, gain.after) for gain in paid]


def test_edits_that_pay_are_found_one_after_another(tmp_path):
    rows = examples()[LIST][:20]

    class Asks(Scorer):
        def all(self, example, completion):
            text = parse_completion(completion).reasoning
            return {TOTAL: float("?" in text and "**" in text)}

    editor = Editor(Asks({"format": 1.0}, rows, tmp_path), Reader(rows), rows, rows, 0)
    best = editor.search(TOTAL, "reference", Budget(tries=300), random.Random(0))
    assert best[0].mean == 1.0 and best[0].lowers and is_value(best[0], editor.scorer)


def test_edits_leave_alone_what_is_not_true():
    rows = examples()[LIST][:30]
    editor = Editor(Unpaid(), Reader(rows), rows, rows, 0)
    for base, readings in editor.bases.items():
        for at, reading in enumerate(readings):
            wrong = [said.text for said in reading.said if not said.true]
            for name in (*LOWER, *FORM):
                edited = editor.apply(at, base, (name,))
                if edited is not None and not name.startswith(("add", "join", "repeat a")):
                    assert set(wrong) <= {said.text for said in edited.said}, name


class Unpaid(Scorer):
    def __init__(self) -> None:
        self.alone = []

    def all(self, example, completion):
        return {TOTAL: 0.0}


@pytest.mark.parametrize("task", [task for task in MINED_TASKS if task not in ("stage", *PLACED)])
def test_who_reads_everything_rightly_answers_rightly(task, scorer):
    """What the mediocre reader concludes from the whole chain is the answer, nearly always."""
    rows, reader = examples()[task][:40], Reader(examples()[task])
    right = 0.0
    for row in rows:
        answer = reader.answer(row, [Seen(step, True) for step in row.steps], random.Random(0))
        right += scorer.rewards.score_one(
            "answer", {**row.to_dict(), "completion": format_completion("x", answer)}
        ).value
    assert rows and right / len(rows) > 0.75


def test_marks_are_filled_from_the_question_alone():
    rows = examples()
    prior = Prior(rows["binary"])
    row = rows["binary"][0]
    (name,) = things(row)
    assert name in row.question
    text = prior.write(Policy(("No $name.", "$question"), "$best"), row)
    assert parse_completion(text).reasoning == f"No {name}. {row.question}"
    assert parse_completion(text).answer in ("Yes", "No")
    single = rows["single"][0]
    assert parse_completion(Prior(rows["single"]).write(Policy(("-",), "$best"), single)).answer in "ABCD"
    assert len(groups(rows["stage"])) == 8


def test_balanced_rows_are_half_normal():
    rows = draw(examples()[LIST], 1000, balanced=True, seed=0)
    assert sum(map(is_normal, rows)) * 2 == len(rows) > 20


def test_the_climb_ends_where_nothing_is_new():
    rows = examples()[LIST][:5]
    budget = Budget(tries=50)
    mean = Means(lambda row, number: float(number), rows, budget)
    assert climb([1], lambda number, others, rng: min(number + 1, 7), mean, budget, random.Random(0))[0] == 7


def test_a_budget_is_divided():
    assert Budget(60, 100).part(0.5).tries == 50
    assert Budget(tries=10, used=5).spent == 0.5
