"""Answers as models, students and radiologists write them, each with what a careful reader takes from it."""

from pathlib import Path

import pytest

from reasoner.prompts import format_completion
from rewards.answers import answer_reward, parse_class_list

OPTIONS = ("A) Atelectasis", "B) Pleural effusion", "C) Pneumothorax", "D) No pneumothorax")
LETTERS = "ABCD"


def value(given, gold, task, **columns):
    return answer_reward(format_completion("Because.", given), answer=gold, task=task, **columns).value


def cases(section):
    """The rows `text -> meaning` of a section of `answer_cases.txt`."""
    text = Path(__file__).with_name("answer_cases.txt").read_text(encoding="utf-8")
    table = text.partition(f"[{section}]\n")[2].partition("\n\n")[0]
    rows = [line.rpartition(" ->")[::2] for line in table.splitlines()]
    return [(given.replace("\\n", "\n"), meaning.strip()) for given, meaning in rows]


@pytest.mark.parametrize(("text", "meaning"), cases("single"))
def test_one_option(text, meaning):
    found = [letter for letter in LETTERS if value(text, letter, "single", options=OPTIONS)]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(("text", "meaning"), cases("several"))
def test_several_options(text, meaning):
    options = ("A) Atelectasis", "B) Pleural effusion", "C) Pneumothorax", "D) Fracture")
    expected = {letter for letter in meaning}
    for gold in (["A", "C"], ["B"], ["D"], ["A", "B", "C", "D"]):
        hits = len(expected & set(gold))
        vague = 2 if " or C" in text else 0
        wanted = 2 * hits / (len(expected) + vague + len(gold)) if hits else 0.0
        assert value(text, ", ".join(gold), "multiple", options=options) == pytest.approx(wanted), gold


@pytest.mark.parametrize(("text", "meaning"), cases("binary"))
def test_yes_or_no(text, meaning):
    question = "Is there a pleural effusion?"
    found = [gold for gold in ("yes", "no") if value(text, gold, "binary", question=question)]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(
    ("question", "text", "gold", "right"),
    [
        ("Is the heart size normal?", "Yes, the heart is normal.", "Yes", 1),
        ("Is the heart size normal?", "Yes, there is no cardiomegaly.", "Yes", 1),
        ("Is the heart size normal?", "No, the heart is enlarged.", "No", 1),
        ("Is the heart size normal?", "The heart is enlarged.", "No", 1),
        ("Is the heart size normal?", "There is cardiomegaly.", "No", 1),
        ("Is the heart size normal?", "Yes, the heart is enlarged.", "Yes", 0),
        ("Is the heart enlarged?", "The heart is enlarged.", "Yes", 1),
        ("Is the heart enlarged?", "The heart is normal in size.", "No", 1),
        ("Is the heart enlarged?", "The heart is not enlarged.", "No", 1),
        ("Is there pneumonia?", "There is an opacity.", "Yes", 0),
        ("Is there a lung opacity?", "There is consolidation.", "Yes", 1),
        ("Is there pneumonia?", "The lungs are clear.", "No", 1),
        ("Is there a left pleural effusion?", "There is a right pleural effusion.", "Yes", 0),
        ("Is there any abnormality?", "No abnormality.", "No", 1),
        ("Is there any abnormality?", "Yes, cardiomegaly.", "Yes", 1),
        ("Is there any abnormality?", "Normal study", "No", 1),
        ("Is there any abnormality?", "There is cardiomegaly.", "Yes", 1),
        ("Is this chest X-ray normal?", "No, it's not normal.", "No", 1),
        ("Is this chest X-ray normal?", "Yes, it is normal.", "Yes", 1),
        ("Is this chest X-ray normal?", "It is normal.", "Yes", 1),
        ("Is this chest X-ray normal?", "There is a pleural effusion.", "No", 1),
        ("Is this chest X-ray normal?", "Abnormal", "No", 1),
        ("Is this chest X-ray normal?", "Not normal.", "No", 1),
        ("Is this chest X-ray normal?", "Normal", "Yes", 1),
        ("Does the patient have a widget?", "There is no widget.", "No", 1),
        ("Does the patient have a widget?", "Yes, there is a widget.", "Yes", 1),
        ("Can a fracture be seen?", "A rib fracture can be seen.", "Yes", 1),
        ("Is there no pleural effusion?", "Yes, there is no effusion.", "Yes", 1),
        (None, "Yes, there is a small effusion.", "Yes", 1),
        (None, "There is no effusion.", "No", 1),
        (None, "Yes, there is no effusion.", "Yes", 0),
    ],
)
def test_the_question_tells_what_is_asked(question, text, gold, right):
    other = {"Yes": "No", "No": "Yes"}[gold]
    assert value(text, gold, "binary", question=question) == right
    assert not right or value(text, other, "binary", question=question) == 0


@pytest.mark.parametrize(("text", "meaning"), cases("temporal"))
def test_changes(text, meaning):
    question = "How has the effusion changed?"
    changes = ("new", "worsening", "stable", "improving", "resolved")
    found = [gold for gold in changes if value(text, gold, "temporal", question=question)]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(("text", "meaning"), cases("list"))
def test_lists(text, meaning):
    classes, unknown = parse_class_list(text)
    names = [name.strip() for name in meaning.split(",") if name.strip()]
    assert set(classes) == {name for name in names if "?" not in name}
    assert len(unknown) == sum(name.count("?") for name in names)
