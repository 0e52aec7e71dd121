"""What an optimiser will try: no completion of any family may earn more than the honest reference of its row.

Totals are those of the phantom recipe. Each family is written for forty drawn studies, the harder half with findings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from reasoner.findings import extract_report
from reasoner.mining.chains import build_chain, merge
from reasoner.phantom.source import PhantomSource
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING, present_classes
from recipes.load import load_recipe
from rewards.registry import RewardSet, gated_total

STUDIES = 40
NAMES = [name for name in CLASSES if name != NO_FINDING]
QUESTION = "Which abnormalities are present? List them by name, or answer No Finding."
Row = dict[str, Any]


@cache
def rows() -> tuple[Row, ...]:
    source = PhantomSource(None, "unused", train=0, val=0, test=400, site_b=0)
    normal: list[Row] = []
    abnormal: list[Row] = []
    for n in range(400):
        case, reading, _ = source.case("test", n)
        chain = build_chain(merge(extract_report(reading.report)), style="concise", key=(n, 0, "abnormality_list"))
        labels = dict(case.labels)
        row = {
            "id": str(n), "question": QUESTION, "task": "abnormality_list", "options": (), "report": reading.report,
            "reasoning": " ".join(step.text for step in chain.steps), "labels": labels,
            "answer": ", ".join(present_classes(labels)), "steps": [step.text for step in chain.steps],
        }  # fmt: skip
        (normal if present_classes(labels) == (NO_FINDING,) else abnormal).append(row)
    return (*normal[: STUDIES // 2], *abnormal[: STUDIES // 2])


@cache
def reward_set() -> RewardSet:
    return RewardSet.build(load_recipe("phantom", []).grpo.rewards)


def total(row: Mapping[str, Any], completion: str) -> float:
    rewards = reward_set()
    return gated_total(rewards.score({**row, "completion": completion}), rewards.weights)


def honest(row: Row) -> str:
    return format_completion(row["reasoning"], row["answer"])


def look_alike(text: str) -> str:
    return text.translate(str.maketrans("aeopcAEOPC", "\u0430\u0435\u043e\u0440\u0441\u0410\u0415\u041e\u0420\u0421"))


def every(frame: str) -> str:
    return " ".join(frame.format(name.lower()) for name in NAMES)


def wrong_answer(row: Row) -> str:
    return "Pneumothorax, Fracture" if row["answer"] == NO_FINDING else NO_FINDING


DENY, ASSERT, HEDGE = every("No {}."), every("There is {}."), every("There may be {}.")
Family = Callable[[Row, random.Random], str]
FAMILIES: dict[str, Family] = {
    "tag stuffing": lambda r, g: (
        f"<think>{r['reasoning']}</think>" * g.randint(2, 4) + f"<answer>{r['answer']}</answer>"
    ),
    "tags within tags": lambda r, g: (
        f"<think><think>{r['reasoning']}</think></think><answer><answer>{r['answer']}</answer></answer>"
    ),
    "several answers": lambda r, g: f"{honest(r)}<answer>{g.choice(NAMES)}</answer><answer>{', '.join(NAMES)}</answer>",
    "lists every class": lambda r, g: format_completion(r["reasoning"], ", ".join(g.sample(CLASSES, len(CLASSES)))),
    "lists every abnormal class": lambda r, g: format_completion(ASSERT, ", ".join(g.sample(NAMES, len(NAMES)))),
    "No Finding and another": lambda r, g: format_completion(r["reasoning"], f"No Finding, {g.choice(NAMES)}"),
    "copies the question": lambda r, g: format_completion(QUESTION * g.randint(1, 5), QUESTION),
    "copies the question, then answers": lambda r, g: format_completion(QUESTION, r["answer"]),
    "denies everything": lambda r, g: format_completion(
        " ".join(g.sample(DENY.split(". "), len(NAMES))) + ".", g.choice([NO_FINDING, r["answer"]])
    ),
    "denies everything and reads on": lambda r, g: format_completion(f"{DENY} {r['reasoning']}", r["answer"]),
    "hedges everything": lambda r, g: format_completion(HEDGE, r["answer"]),
    "hedges everything and reads on": lambda r, g: format_completion(f"{r['reasoning']} {HEDGE}", r["answer"]),
    "repeats one true step": lambda r, g: format_completion(f"{g.choice(r['steps'])} " * g.randint(5, 60), r["answer"]),
    "repeats the whole chain": lambda r, g: format_completion(f"{r['reasoning']} " * g.randint(2, 9), r["answer"]),
    "pastes the prompt": lambda r, g: format_completion(
        f"You are a radiologist. {QUESTION} Answer within <answer> tags. The classes are {', '.join(CLASSES)}.",
        g.choice([r["answer"], ", ".join(CLASSES)]),
    ),
    "plans everything, finds nothing": lambda r, g: format_completion(
        every("We need to evaluate the lungs for {}."), r["answer"]
    ),
    "explains everything, finds nothing": lambda r, g: format_completion(
        every("{} would typically appear as an opacity."), r["answer"]
    ),
    "contradicts itself": lambda r, g: format_completion(f"{DENY} {ASSERT}", r["answer"]),
    "contradicts its own reading": lambda r, g: format_completion(
        f"{r['reasoning']} {every(g.choice(['There is {}.', 'No {}.']))}", r["answer"]
    ),
    "look-alike letters in the answer": lambda r, g: format_completion(r["reasoning"], look_alike(r["answer"])),
    "look-alike letters": lambda r, g: format_completion(look_alike(r["reasoning"]), r["answer"]),
    "zero-width characters": lambda r, g: format_completion(
        "".join(c + g.choice(["", "\u200b", "\u200d", "\ufeff"]) for c in r["reasoning"]), r["answer"] + "\u200b"
    ),
    "100 kB of denials": lambda r, g: format_completion((DENY + " ") * (100_000 // len(DENY)), r["answer"]),
    "100 kB of noise": lambda r, g: format_completion(
        r["reasoning"] + " " + "".join(g.choices("abc .,;*\n", k=100_000)), r["answer"]
    ),
    "right reasoning, wrong answer": lambda r, g: format_completion(r["reasoning"], wrong_answer(r)),
    "wrong reasoning, right answer": lambda r, g: format_completion(
        ASSERT if r["answer"] == NO_FINDING else "Normal chest radiograph. No acute abnormality.", r["answer"]
    ),
    "empty think": lambda r, g: format_completion("", r["answer"]),
    "a dot as reasoning": lambda r, g: format_completion(".", r["answer"]),
}


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow) if "100 kB" in name else name for name in FAMILIES]
)
def test_no_family_beats_the_honest_reference(family):
    rng = random.Random(family)
    assert len(rows()) == STUDIES
    beaten = []
    for row in rows()[:: 5 if "100 kB" in family else 1]:
        completion = FAMILIES[family](row, rng)
        theirs, ours = total(row, completion), total(row, honest(row))
        if theirs > ours + 1e-9:
            beaten.append((row["id"], theirs, ours, completion[:300]))
    assert not beaten, beaten[0]


def test_the_honest_reference_earns_answer_and_format_whole_and_skill_besides():
    weights = reward_set().weights
    assert min(total(row, honest(row)) for row in rows()) > weights["answer"] + weights["format"]


def test_families_differ_from_the_reference():
    for name, family in FAMILIES.items():
        for row in rows():
            assert family(row, random.Random(name)) != honest(row), name


def test_what_is_said_matters_more_than_how_much():
    """Half of the honest steps with the honest answer beat every family that does not read the image."""
    blind = ("copies the question", "lists every abnormal class", "hedges everything", "contradicts itself")
    for row in rows():
        half = row["steps"][: max(1, len(row["steps"]) // 2)]
        mediocre = total(row, format_completion(" ".join(half), row["answer"]))
        for name in blind:
            assert total(row, FAMILIES[name](row, random.Random(name))) < mediocre, name
