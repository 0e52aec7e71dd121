"""Words for phantoms: a free-text report from the findings that were drawn, as varied as a department's.

A finding that the reader misses is never mentioned, and never denied: each normal statement lists the classes it
denies and is used only when none of them was drawn. Wording follows public report style guides; no sentence is copied
from a patient's report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner.phantom.body import Sign
from reasoner.phantom.case import Case
from reasoner.phantom.vocabulary import Vocabulary
from reasoner.phantom.words_few import FEW
from reasoner.schema import Change

Rng = np.random.Generator


@dataclass(frozen=True)
class WrittenReport:
    """What is said of one study, in full and by section, and which findings (`Sign.key`) were left out or hedged."""

    report: str
    sections: dict[str, str]
    omitted: tuple[str, ...] = ()
    hedged: tuple[str, ...] = ()


PRESENT = ("There is {a}.", "{A} is present.", "{A} is seen.", "{A} is noted.", "{N}.")
HEDGED = ("Possible {n}.", "{A} cannot be excluded.", "There may be {a}.", "Questionable {n}.", "Cannot exclude {a}.")
CHANGED: dict[Change, tuple[str, ...]] = {
    "new": ("New {n}.", "There is a new {n}.", "{A} is new since the prior study."),
    "worse": ("{N} has increased since the prior study.", "Interval increase in {the}.", "Worsening {n}."),
    "improved": ("{N} has decreased since the prior study.", "Interval decrease in {the}.", "Improving {n}."),
    "stable": ("Unchanged {n}.", "{N} is unchanged.", "Stable {n}.", "{N} is stable compared to the prior study."),
    "resolved": ("Previously seen {n} has resolved.", "Interval resolution of {the}.", "Resolved {n}."),
}
REMOVED = ("The {n} has been removed.", "Interval removal of {the}.")

INDICATIONS = (
    "Shortness of breath.", "Cough and fever.", "Chest pain.", "Evaluate for pneumothorax.", "Rule out pneumonia.",
    "Fall, evaluate for rib fracture.", "Evaluate for pleural effusion.", "Preoperative evaluation.", "Dyspnea.",
    "Assess line placement.", "Hypoxia.", "History of lung nodule, follow up.", "Question of cardiomegaly.",
    "Trauma.", "Status post central line placement, rule out pneumothorax.", "Weakness.",
)  # fmt: skip
COMPARISONS = ("Prior chest radiograph.", "Chest radiograph from one day prior.", "Prior study from two weeks ago.",
               "Frontal chest radiograph of the previous week.")  # fmt: skip
QUALITY = ("Frontal view of the chest.", "Single frontal view of the chest was obtained.", "Lung volumes are adequate.",
           "AP view of the chest.")  # fmt: skip
ALL_NORMAL = ("No acute cardiopulmonary abnormality.", "No acute cardiopulmonary process.", "Normal chest radiograph.",
              "No acute findings in the chest.")  # fmt: skip
#: When all that was drawn was missed: "unremarkable" would deny it.
NOTHING_SEEN = ("Clinical follow-up as needed.", "Routine follow-up.", "Correlate clinically.")


def _pick(rng: Rng, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _words(rng: Rng, sign: Sign, words: Vocabulary) -> dict[str, str]:
    degrees = words.degrees.get(sign.label)
    degree = _pick(rng, degrees[sign.degree - 1]) if degrees else ""
    side, tips = sign.side or "", words.tips.get((sign.kind, sign.astray))
    tip = _pick(rng, tips) if tips else ""
    return {
        "d": degree, "dly": degree + "ly", "s": side, "S": _upper(side) if side else "", "z": sign.zone or "", "t": tip
    }  # fmt: skip


def _noun(rng: Rng, sign: Sign, words: Vocabulary, filling: dict[str, str]) -> str:
    if sign.side == "bilateral":  # of the pleural spaces
        return f"{filling['d']} bilateral pleural effusions"
    return _pick(rng, words.nouns[sign.key]).format(**filling)


def _article(noun: str, words: Vocabulary) -> str:
    if "bilateral" in noun or any(word in words.bare for word in noun.split()):
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' or noun.startswith('ET ') else 'a'} {noun}"


def _fill(frame: str, noun: str, words: Vocabulary) -> str:
    article = _article(noun, words)
    text = frame.format(n=noun, N=_upper(noun), a=article, A=_upper(article), the=f"the {noun}")
    if noun.endswith("effusions"):
        for one, many in ((" is ", " are "), ("There is", "There are"), (" has ", " have "), ("a new ", "new ")):
            text = text.replace(one, many)
    return text


def _state(rng: Rng, sign: Sign, words: Vocabulary, change: Change | None, hedged: bool) -> tuple[str, str]:
    """The sentences for FINDINGS and the one for IMPRESSION."""
    filling = _words(rng, sign, words)
    noun = _noun(rng, sign, words, filling)
    if hedged:
        return _fill(_pick(rng, HEDGED), noun, words), _fill("Possible {n}.", noun, words)
    extra = words.extra.get(sign.key)
    if change:
        said, summary = _pick(rng, CHANGED[change]), CHANGED[change][0]
    elif extra and rng.random() < 0.5:
        said, summary = _pick(rng, extra).format(**filling), "{N}."
    else:
        said, summary = _pick(rng, PRESENT), "{N}."
    known_by = words.known_by.get(sign.key)
    sentence = _fill(said, noun, words) + (" " + _pick(rng, known_by).format(**filling) if known_by else "")
    return sentence, _fill(summary, noun, words)


def _state_resolved(rng: Rng, sign: Sign, words: Vocabulary) -> tuple[str, str]:
    """As `_state`, for a finding of the prior that is gone; a device was taken out."""
    noun = " ".join(_noun(rng, sign, words, {**_words(rng, sign, words), "d": "", "t": ""}).split())
    frames = REMOVED if sign.label == "Support Devices" else CHANGED["resolved"]
    return _fill(_pick(rng, frames), noun, words), _fill(frames[-1], noun, words)


def _explain(rng: Rng, stated: Sequence[Sign], hidden: Sequence[Sign], words: Vocabulary) -> list[str]:
    """How findings that the report asserts hang together, and what they hide."""
    keys = {sign.key for sign in stated}
    pairs = [(sign.cause, sign.key) for sign in stated if sign.cause in keys]
    sentences = [_pick(rng, words.because[pair]) for pair in pairs]
    lost = [sign for sign in hidden if "Pleural Effusion" in keys]
    return sentences + [_pick(rng, words.hidden[sign.key]).format(s=sign.side, z=sign.zone) for sign in lost]


def _normals(rng: Rng, undeniable: set[str], words: Vocabulary) -> list[str]:
    """Normal statements, each class denied at most once and never one of `undeniable`."""
    sentences: list[str] = []
    covered = set(undeniable)
    for i in rng.permutation(len(words.normal)):
        classes, choices = words.normal[i]
        if covered.isdisjoint(classes) and rng.random() < 0.7:
            sentences.append(_pick(rng, choices))
            covered.update(classes)
    return sentences


def _impression(rng: Rng, stated: Sequence[str], complete: bool, unchanged: bool) -> str:
    """`complete`: nothing was left out of the report; `unchanged`: there is a prior and all is as it was."""
    if not stated:
        return _pick(rng, ALL_NORMAL if complete else NOTHING_SEEN)
    phrases = [*stated, "No significant interval change."] if unchanged and rng.random() < 0.4 else list(stated)
    if len(phrases) > 1 and rng.random() < 0.5:
        return " ".join(f"{i}. {phrase}" for i, phrase in enumerate(phrases, 1))
    return " ".join(phrases)


def write_report(
    rng: Rng,
    case: Case,
    words: Vocabulary = FEW,
    omit_rate: float = 0.0,
    hedge_rate: float = 0.0,
) -> WrittenReport:
    """The report of a study. Each finding is left out with `omit_rate`, and otherwise hedged with `hedge_rate`; what
    explains it is then left out, too."""
    signs, changes, resolved = case.signs, case.changes, case.resolved
    omitted = tuple(sign.key for sign in signs if rng.random() < omit_rate)
    said = [sign for sign in signs if sign.key not in omitted]
    hedged = tuple(sign.key for sign in said if rng.random() < hedge_rate)
    stated = [_state(rng, sign, words, changes[sign.key] if changes else None, sign.key in hedged) for sign in said]
    stated += [_state_resolved(rng, sign, words) for sign in resolved]
    stated = [stated[i] for i in rng.permutation(len(stated))]

    sentences = [sentence for sentence, _ in stated]
    undeniable = {name for sign in (*signs, *resolved, *case.hidden) for name in sign.classes}
    for normal in _normals(rng, undeniable, words):
        sentences.insert(int(rng.integers(len(sentences) + 1)), normal)
    sentences += _explain(rng, [sign for sign in said if sign.key not in hedged], case.hidden, words)
    if not sentences or rng.random() < 0.4:
        sentences.insert(0, _pick(rng, QUALITY))
    unchanged = bool(changes) and not (omitted or resolved) and set((changes or {}).values()) == {"stable"}

    sections = {"indication": _pick(rng, INDICATIONS)}
    if changes is not None:
        sections["comparison"] = _pick(rng, COMPARISONS)
    sections["findings"] = " ".join(sentences)
    sections["impression"] = _impression(rng, [phrase for _, phrase in stated], not omitted, unchanged)
    report = "\n\n".join(f"{name.upper()}: {text}" for name, text in sections.items())
    return WrittenReport(report, sections, omitted, hedged)
