"""Questions that tell nothing by their words: fixed menus, even answers and letters, counts with their shortfall."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.text_only import LIMIT, kind, study
from reasoner.errors import UserError
from reasoner.findings import extract_report, labels_of
from reasoner.mining.chains import merge
from reasoner.mining.drafts import Design
from reasoner.mining.level import MENUS, RIVALS, may_meet
from reasoner.mining.pipeline.balance import Balance, level_key
from reasoner.mining.pipeline.quotas import LETTER_SHARE, Key, Rule, quotas
from reasoner.mining.pipeline.run import mine
from reasoner.mining.pipeline.summary import table
from reasoner.mining.pipeline.tables import EXAMPLE, to_table
from reasoner.mining.questions import Read, build_examples
from reasoner.mining.wording import CLASS_CONCEPT
from reasoner.schema import CLASSES, NO_FINDING, Example, Study
from reasoner.sources import open_source

SAID = {
    "Atelectasis": "atelectasis", "Cardiomegaly": "cardiomegaly", "Consolidation": "consolidation",
    "Edema": "pulmonary edema", "Enlarged Cardiomediastinum": "mediastinal widening", "Fracture": "rib fracture",
    "Lung Lesion": "lung nodule", "Lung Opacity": "opacity", "Pleural Effusion": "pleural effusion",
    "Pleural Other": "pleural thickening", "Pneumonia": "pneumonia", "Pneumothorax": "pneumothorax",
    "Support Devices": "pacemaker",
}  # fmt: skip
#: As uneven as in life: some classes hold ten times as often as others.
RATES = {name: 0.25 / (1 + n) for n, name in enumerate(SAID)}
TASKS = {"binary": 13.0, "single": 6.0, "multiple": 8.0, "anomaly": 6.0}


def report(rng: random.Random) -> str:
    held = [name for name in SAID if rng.random() < RATES[name]]
    free = [name for name in SAID if all(may_meet(name, other) for other in held)]
    parts = [f"There is {SAID[name]}." for name in held] + [f"No {SAID[name]}." for name in free]
    return "FINDINGS: " + " ".join(parts)


def examples(count: int, seed: int = 0) -> list[Example]:
    rng, rows = random.Random(seed), []
    for n in range(count):
        text = report(rng)
        findings = extract_report(text)
        one = Study(f"s{seed}-{n}", f"p{n}", text, split="train" if n % 3 else "test")
        read = Read(one, tuple(merge(findings)), labels_of(findings), "brief", seed, Design(choices="level"))
        rows += list(build_examples(read, TASKS))
    assert all(isinstance(row, Example) for row in rows), [row for row in rows if not isinstance(row, Example)][:3]
    return [row for row in rows if isinstance(row, Example)]


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    return examples(420)


def thinned(rows: list[Example], balance: Balance, parts: int = 1) -> list[Example]:
    whole = to_table([vars(row) for row in rows], EXAMPLE)
    cuts = [len(rows) * n // parts for n in range(parts + 1)]
    tables = [whole.slice(a, b - a) for a, b in pairwise(cuts)]
    for one in reversed(tables):
        balance.count(one)
    kept = pa.concat_tables([balance.keep(one) for one in tables])
    names = set(kept["id"].to_pylist())
    return [row for row in rows if row.id in names]


def test_menus_offer_each_class_often_and_none_beside_its_own_kind() -> None:
    assert all(len(menu) == 4 and may_meet(*menu) for menu in MENUS)
    offered = Counter(name for menu in MENUS for name in menu)
    assert set(offered) == set(CLASSES) and min(offered.values()) >= 5
    pairs = {frozenset(pair) for menu in MENUS for pair in combinations(menu, 2)}
    assert pairs == {frozenset(pair) for pair in combinations(CLASSES, 2) if may_meet(*pair)}
    assert not may_meet("Lung Opacity", "Atelectasis") and not may_meet("Cardiomegaly", "Enlarged Cardiomediastinum")
    assert all(may_meet(*pair) for pair in RIVALS) and {name for pair in RIVALS for name in pair} == set(CLASS_CONCEPT)


def test_just_one_option_is_right(rows: list[Example]) -> None:
    for row in rows:
        labels = labels_of(extract_report(row.report))
        words = {option[0]: option[3:] for option in row.options}
        holding = {letter for letter, said in words.items() if all(labels[n] == "present" for n in said.split(", "))} \
            if row.task in ("single", "multiple") and row.options else {row.answer}  # fmt: skip
        assert holding == {row.answer}, (row.options, row.report)


def test_of_four_sets_of_one_size_each_class_is_in_two(rows: list[Example]) -> None:
    sets = [
        [option[3:].split(", ") for option in row.options] for row in rows if kind(row.to_dict()) == "multiple, letter"
    ]
    assert len(sets) > 20
    for four in sets:
        assert [len(names) for names in four] == [2, 2, 2, 2]
        assert set(Counter(name for names in four for name in names).values()) == {2}, "the sets have no centre"


def test_nothing_is_asked_twice(rows: list[Example]) -> None:
    asked = Counter((row.study_id, row.question, tuple(sorted(option[3:] for option in row.options))) for row in rows)
    assert asked.most_common(1)[0][1] == 1


def test_counts_hold_and_what_is_missing_is_told(rows: list[Example]) -> None:
    balance = Balance(None, {"binary": 15, "single": 8}, level=True)
    kept = thinned(rows, balance)
    short = balance.short()
    for split in ("train", "test"):
        binary, single = (
            Counter(unit(row) for row in kept if row.split == split and row.task == task)
            for task in ("binary", "single")
        )
        for name in CLASS_CONCEPT:
            for answer in ("Yes", "No"):
                n = binary[f"{name}: {answer}"]
                assert n + short["binary"][split].get(f"{name}: {answer}", 0) == 15
        for name in CLASSES:
            assert single[name] + short["single"][split].get(name, 0) == 8
    assert short["binary"]["train"]["Support Devices: Yes"] > 0 and "Atelectasis: Yes" not in short["binary"]["train"]


def unit(row: Example) -> str:
    key = level_key(row.split, row.task, row.question, row.options, row.answer)
    assert key is not None
    return key.unit


def test_the_words_alone_tell_nothing(rows: list[Example]) -> None:
    """Of the questions of this data set no kind can be answered by a model that was trained on their words."""
    kept = [row.to_dict() for row in thinned(rows, Balance(1.0, level=True))]
    train, held = ([row for row in kept if row["split"] == split] for split in ("train", "test"))
    results = study(train, held, epochs=30)
    assert {"anomaly", "binary", "multiple, letter", "single"} <= results.keys()
    for name, result in results.items():
        assert result.interval()[0] < LIMIT, (name, result)
        if result.held > 60:
            assert result.words < LIMIT, (name, result)


def test_a_leak_is_found() -> None:
    def asked(n: int) -> dict[str, object]:
        names = ["Edema", *random.Random(n).sample([c for c in CLASSES if c != "Edema"], 3)]
        random.Random(n + 1).shuffle(names)
        options = [f"{letter}) {name}" for letter, name in zip("ABCD", names, strict=True)]
        return {"task": "single", "question": "Which?", "options": options, "answer": "ABCD"[names.index("Edema")]}

    (result,) = study([asked(n) for n in range(60)], [asked(n) for n in range(100, 140)], epochs=30).values()
    assert result.words > 0.9 and result.chance == 0.25


def test_letters_are_even(rows: list[Example]) -> None:
    for row, letters in (("single", 4), ("multiple", 4), ("anomaly", 2)):
        kept = thinned([r for r in rows if r.task == row and r.options], Balance(1.0, level=True))
        for split in ("train", "test"):
            places = Counter(r.answer for r in kept if r.split == split)
            share = max(places.values()) / places.total()
            assert share <= LETTER_SHARE / letters or len(places) < letters, (row, split, places)


def test_what_is_kept_depends_on_no_order(rows: list[Example]) -> None:
    kept = [thinned(rows, Balance(1.0, {"single": 9}, level=True), parts) for parts in (1, 7)]
    assert kept[0] == kept[1]


def a_key(task: str, group: str, answer: str, letter: str) -> Key:
    return Key("train", task, group, answer, *((letter, 4) if task == "single" else ()))


KEYS = st.builds(a_key, st.sampled_from(["single", "binary"]), *map(st.sampled_from, ("xyz", "pqrs", "ABCD")))


@given(st.dictionaries(KEYS, st.integers(1, 300), max_size=40), st.sampled_from([None, 1.0, 2.5]), st.integers(1, 90))
def test_quotas_keep_within_what_there_is_and_what_is_asked(
    seen: dict[Key, int], ratio: float | None, most: int
) -> None:
    kept = quotas(seen, Rule(ratio, {"single": most}), {})
    assert kept.keys() == seen.keys() and all(0 <= kept[key] <= seen[key] for key in seen)
    assert kept == quotas(dict(reversed(seen.items())), Rule(ratio, {"single": most}), {})
    units = Counter()
    for key, n in kept.items():
        units[key.unit] += n if key.task == "single" else 0
    assert max(units.values(), default=0) <= most
    for task in ("single", "binary"):
        letters = Counter({key.letter: 0 for key in seen if key.task == task and key.letters})
        for key, n in kept.items():
            if key.task == task and key.letters:
                letters[key.letter] += n
        if len([n for n in letters.values() if n]) == 4:
            assert max(letters.values()) <= LETTER_SHARE / 4 * letters.total() or max(letters.values()) == min(
                letters.values()
            )


def test_a_run_tells_what_it_was_asked_for(tmp_path: Path) -> None:
    rng = random.Random(1)
    lines = [f'{{"study_id": "s{n}", "split": "train", "report": "{report(rng)}"}}\n' for n in range(25)]
    (tmp_path / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    source = open_source("jsonl", str(tmp_path / "rows.jsonl"), tmp_path / "out")
    summary = mine(
        source, tmp_path / "out", tasks={"binary": 13.0}, style="brief", counts={"binary": 3},
        design=Design(choices="level"), workers=0,
    )  # fmt: skip
    assert summary["counts"] == {"binary": 3} and summary["choices"] == "level"
    short = summary["short_of_counts"]["binary"]["train"]
    assert summary["examples"]["binary"]["train"] + sum(short.values()) == 3 * 26
    assert f"short of counts: binary, {sum(short.values())} in train" in table(summary)
    with pytest.raises(UserError, match=r"data.counts needs data.choices: level"):
        mine(source, tmp_path / "out", tasks={"binary": 1.0}, counts={"binary": 3}, workers=0)
    with pytest.raises(UserError, match=r"data.choices: 'flat' is unknown"):
        mine(source, tmp_path / "out", tasks={"binary": 1.0}, design=Design(choices="flat"), workers=0)
    with pytest.raises(UserError, match=r"data.steps are those of data.style: systematic"):
        mine(source, tmp_path / "out", tasks={"binary": 1.0}, design=Design(steps=("differential",)), workers=0)


def test_verified_labels_rule_out_options() -> None:
    """A finding that the report leaves out is no wrong option, and does not make `No Finding` right."""
    text = "FINDINGS: The lungs are clear. Heart size is normal. No effusion or pneumothorax. No fracture."
    findings = extract_report(text)
    one = Study("s", "p", text, labels={"Fracture": "absent", "Lung Lesion": "present"})
    read = Read(one, tuple(merge(findings)), labels_of(findings), "brief", 0, Design(choices="level"))
    made = [row for row in build_examples(read, {"single": 30.0}) if isinstance(row, Example)]
    assert not [row for row in made if any(NO_FINDING in option or "Lesion" in option for option in row.options)]
    normal = replace(one, labels=None)
    made = list(build_examples(replace(read, study=normal), {"single": 30.0}))
    assert made and all(NO_FINDING in option for row in made for option in row.options if option[0] == row.answer)
