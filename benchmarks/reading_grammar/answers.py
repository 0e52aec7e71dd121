"""Answers of known worth: the constructions of `answers.txt` for several questions of each task."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache, partial
from typing import Any, NamedTuple

from benchmarks.reading_grammar.cases import Case, table
from benchmarks.reading_grammar.words import THINGS, draw, fillings, shuffled
from rewards.registry import RewardSet

#: Questions per construction and possible answer.
TIMES, LETTERS = 6, "ABCDE"
CHANGES = ("new", "worsening", "stable", "improving", "resolved")
#: The possible answers of the tasks that have a few.
_GOLDS = {
    "binary": ("yes", "no"),
    "temporal": CHANGES,
    "anomaly": ("normal", "abnormal"),
    "anything": ("yes", "no"),
}


class Label(NamedTuple):
    """A class of abnormality: how it is spoken of, by another name, and a severity that fits."""

    name: str
    spoken: str
    article: str
    alias: str
    severity: str = ""
    sided: bool = False


LABELS = (
    Label("Cardiomegaly", "cardiomegaly", "", "enlarged heart", "mild"),
    Label("Pleural Effusion", "pleural effusion", "a", "pleural effusions", "small", True),
    Label("Pneumothorax", "pneumothorax", "a", "pneumothoraces", "large", True),
    Label("Edema", "pulmonary edema", "", "pulmonary oedema", "moderate"),
    Label("Atelectasis", "atelectasis", "", "atelectatic changes", "mild", True),
    Label("Fracture", "rib fracture", "a", "broken rib", "", True),
    Label("Pneumonia", "pneumonia", "", "pneumonias", "severe", True),
    Label("Lung Lesion", "lung nodule", "a", "pulmonary nodule", "small", True),
    Label("Support Devices", "pacemaker", "a", "cardiac pacemaker"),
)


def _slots(letter: str, label: Label) -> dict[str, str]:
    """As in `words.fillings`, for classes: `a` its name, `an` spoken, `ax` with its article, `aa` another name."""
    spoken = label.spoken
    return {
        letter: label.name,
        letter + "n": spoken,
        letter + "x": f"{label.article} {spoken}".strip(),
        letter + "a": label.alias,
        letter + "A": label.name.upper(),
        letter + "v": f"{label.severity} {spoken}",
        letter + "sev": label.severity,
        letter + "s": f"left {spoken}",
    }


def answer_cases() -> Iterator[Case]:
    for name, worth, text in table("answers.txt", 3):
        task = name.split("/")[0]
        for row, value in _rows(task, name, worth, text):
            yield Case("answer", name, row["given"], partial(_misgraded, row, value))


def _rows(task: str, name: str, worth: str, text: str) -> Iterator[tuple[dict[str, Any], float]]:
    """The columns of a row with the answer given, and what it is worth."""
    if task in _GOLDS:
        yield from _decided(task, name, worth, text)
        return
    for number in range(TIMES):
        labels = _drawn(f"{name}{number}", text)
        if not labels:
            continue
        named = task[:4] in ("list", "open")
        row = _classes(task, labels, text) if named else _lettered(task, name + str(number), labels, text)
        yield row, float(Fraction(worth))


def _drawn(key: str, text: str) -> list[Label]:
    """The labels in an order drawn by `key`, those first that have the side and severity that the text wants."""
    order = shuffled(LABELS, key)
    sides, severe = "{as}" in text or "(left)" in text, "sev}" in text or any(f"{{{c}v}}" in text for c in "abl")
    fit = [label for label in order if (label.sided or not sides) and (label.severity or not severe)]
    return fit[:5]


def _classes(task: str, labels: list[Label], text: str) -> dict[str, Any]:
    slots: dict[str, str] = {}
    for letter, label in zip("abwv", labels, strict=False):
        slots |= _slots(letter, label)
    gold = {"list0": "No Finding", "list1": slots["a"]}.get(task, f"{slots['a']}, {slots['b']}")
    if task == "open":
        question = "Which findings are present in the chest? Name all, separated by commas."
        return {"task": "multiple", "question": question, "answer": gold, "given": text.format(**slots)}
    question = "Which abnormalities are present? List the classes, separated by commas, or No Finding."
    return {"task": "abnormality_list", "question": question, "answer": gold, "given": text.format(**slots)}


def _lettered(task: str, key: str, labels: list[Label], text: str) -> dict[str, Any]:
    """`single`: one of four is right, `l`; `multiple`: two of five, `l` and `k`; the others are `w`, `v` and `u`."""
    labels = labels[: 4 if task == "single" else 5]
    shown = shuffled(labels, key + "shown")
    slots: dict[str, str] = {}
    for small, label in zip("lwvu" if task == "single" else "lkwvu", labels, strict=True):
        letter = LETTERS[shown.index(label)]
        slots |= _slots(small, label) | {small.upper(): letter, small.upper() + "l": letter.lower()}
    options = tuple(f"{letter}) {label.name}" for letter, label in zip(LETTERS, shown, strict=False))
    gold = slots["L"] if task == "single" else ", ".join(sorted((slots["L"], slots["K"])))
    question = "Which of these is present? Answer with the letter."
    if task == "multiple":
        question = "Which of these are present? Answer with all letters that apply, separated by commas."
    return {"task": task, "question": question, "options": options, "answer": gold, "given": text.format(**slots)}


def _decided(task: str, name: str, worth: str, text: str) -> Iterator[tuple[dict[str, Any], float]]:
    """The same text where each possible answer is the right one."""
    golds = _GOLDS[task]
    assert worth in (*golds, "none"), name
    things = [thing for thing in THINGS if thing.moves and (thing.severities or "{xv}" not in text)]
    for number in range(1 if task == "anomaly" else 3):
        slots = fillings(things[draw(name + str(number), len(things))], name + str(number))
        row: dict[str, Any] = {"task": "anomaly" if task == "anything" else task, "given": text.format(**slots)}
        if task == "binary":
            row["question"] = f"Is there {slots['x']}?"
        elif task == "anything":
            row["question"] = "Is there any abnormality in this chest X-ray?"
        elif task == "temporal":
            row["question"] = f"How has the {slots['xn']} changed? Answer with {', '.join(CHANGES)}."
        else:
            row |= {"question": "How is this chest X-ray best described?", "options": ("A) Normal", "B) Abnormal")}
        for gold in golds:
            answer = {"normal": "A", "abnormal": "B"}.get(gold, gold.capitalize() if "yes" in golds else gold)
            yield {**row, "answer": answer}, float(gold == worth)


@cache
def _rewards() -> RewardSet:
    return RewardSet.build({"answer": 1.0})


def _misgraded(row: dict[str, Any], value: float) -> str | None:
    completion = f"<think>I look at the image.</think><answer>{row['given']}</answer>"
    given = _rewards().score({**row, "completion": completion})["answer"].value
    if given is not None and abs(given - value) < 0.01:
        return None
    return f"{given}, not {value:.2f} ({row['task']}, gold {row['answer']!r}, {row.get('options') or row['question']})"
