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
from reasoner.schema import Change

Rng = np.random.Generator


@dataclass(frozen=True)
class WrittenReport:
    """What the report says of one study: `report` in full, its `sections`, and which classes it left out or hedged."""

    report: str
    sections: dict[str, str]
    omitted: tuple[str, ...] = ()
    hedged: tuple[str, ...] = ()


#: Words for the degrees 1, 2, ... of each class; several words for one degree are synonyms.
DEGREES: dict[str, tuple[tuple[str, ...], ...]] = {
    "Cardiomegaly": (("mild",), ("moderate", "severe", "marked")),
    "Consolidation": (("focal", "patchy"), ("dense", "extensive")),
    "Lung Lesion": (("9 mm", "1 cm", "small"), ("2 cm", "large")),
    "Pleural Effusion": (("small", "trace"), ("moderate", "moderate-sized"), ("large",)),
    "Pneumothorax": (("small", "small apical"), ("large", "moderate-to-large")),
}

#: Noun phrases; `{d}` is the degree's word, `{s}` the side, `{z}` the zone.
NOUNS: dict[str, tuple[str, ...]] = {
    "Cardiomegaly": ("{d} cardiomegaly", "{d} enlargement of the cardiac silhouette", "{d} cardiac enlargement"),
    "Consolidation": (
        "{d} consolidation in the {s} {z} lung",
        "{d} {s} {z} lung zone consolidation",
        "{d} airspace consolidation in the {s} {z} lung zone",
    ),
    "Fracture": (
        "displaced {s} rib fracture",
        "displaced fracture of a {s} posterior rib",
        "displaced {s}-sided rib fracture",
    ),
    "Lung Lesion": (
        "{d} nodule in the {s} {z} lung",
        "{d} {s} {z} lung nodule",
        "{d} rounded nodule in the {s} {z} lung zone",
        "{d} {s} {z} lung zone pulmonary nodule",
    ),
    "Pleural Effusion": ("{d} {s} pleural effusion", "{d} {s}-sided pleural effusion", "{d} {s} effusion"),
    "Pneumothorax": ("{d} {s} pneumothorax", "{d} {s}-sided pneumothorax"),
    "central_line": (
        "{s} internal jugular central venous catheter",
        "{s} central venous line",
        "{s} IJ central line",
    ),
    "endotracheal_tube": ("endotracheal tube", "ET tube"),
    "pacemaker": ("{s} chest wall pacemaker", "{s}-sided single-lead pacemaker", "{s} pectoral pacemaker"),
}

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

#: Sentences of their own making, beside the noun phrases.
EXTRA: dict[str, tuple[str, ...]] = {
    "Cardiomegaly": (
        "The heart is {dly} enlarged.",
        "The cardiac silhouette is {dly} enlarged.",
        "Heart size is {dly} enlarged.",
    ),
    "central_line": (
        "{S} internal jugular central venous catheter terminates in the SVC.",
        "{S} central venous line with tip in the superior vena cava.",
        "A {s} IJ central line ends in the lower SVC.",
    ),
    "endotracheal_tube": (
        "The endotracheal tube tip is above the carina.",
        "Endotracheal tube in standard position.",
        "ET tube terminates 4 cm above the carina.",
    ),
    "pacemaker": (
        "{S} chest wall pacemaker with lead in the right ventricle.",
        "A {s}-sided pacemaker is in place with its lead in the right ventricle.",
    ),
    "Fracture": ("There is a displaced fracture of a {s} rib.", "Displaced fracture of a {s} posterior rib is seen."),
}

LUNGS = ("Consolidation", "Lung Lesion")
PLEURA = ("Pleural Effusion", "Pneumothorax")
#: Normal statements by the classes they deny; said only when none of those was drawn.
NORMAL: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (LUNGS + PLEURA, ("No focal consolidation, pleural effusion, or pneumothorax.",
                      "There is no focal consolidation, pleural effusion or pneumothorax.",
                      "The lungs are clear without consolidation, effusion or pneumothorax.")),
    (LUNGS, ("The lungs are clear.", "Lungs are clear bilaterally.", "The lungs are clear of nodules.")),
    (PLEURA, ("No pneumothorax or pleural effusion.", "No pleural effusion or pneumothorax is seen.",
              "There is no pleural effusion or pneumothorax.")),
    (("Pleural Effusion",), ("No pleural effusion.", "There is no pleural effusion.",
                             "Costophrenic angles are sharp.")),
    (("Pneumothorax",), ("No pneumothorax.", "There is no evidence of pneumothorax.", "No pneumothorax is seen.")),
    (("Consolidation",), ("No focal consolidation.", "There is no focal consolidation.")),
    (("Lung Lesion",), ("No pulmonary nodule.", "No suspicious pulmonary nodule or mass.")),
    (("Cardiomegaly",), ("Heart size is normal.", "The heart is normal in size.", "The cardiac silhouette is normal.",
                         "Cardiac silhouette is within normal limits.", "The heart is not enlarged.")),
    (("Fracture",), ("No acute osseous abnormality.", "The osseous structures are intact.",
                     "No displaced rib fracture.", "No acute fracture is seen.")),
    ((), ("The mediastinal contours are normal.", "The mediastinum is unremarkable.", "Hilar contours are normal.",
          "Pulmonary vasculature is normal.", "The trachea is midline.", "No pulmonary edema.")),
)  # fmt: skip

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


def _words(rng: Rng, sign: Sign) -> dict[str, str]:
    degrees = DEGREES.get(sign.label)
    degree = _pick(rng, degrees[sign.degree - 1]) if degrees else ""
    side = sign.side or ""
    return {"d": degree, "dly": degree + "ly", "s": side, "S": _upper(side) if side else "", "z": sign.zone or ""}


def _noun(rng: Rng, sign: Sign, words: dict[str, str]) -> str:
    nouns = NOUNS[sign.kind or sign.label]
    if sign.side == "bilateral":
        return f"{words['d']} bilateral pleural effusions"
    return _pick(rng, nouns).format(**words)


def _article(noun: str) -> str:
    if "bilateral" in noun or noun.split()[-1] == "cardiomegaly" or "enlargement" in noun:
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' or noun.startswith('ET ') else 'a'} {noun}"


def _fill(frame: str, noun: str) -> str:
    article = _article(noun)
    text = frame.format(n=noun, N=_upper(noun), a=article, A=_upper(article), the=f"the {noun}")
    if "bilateral" in noun:
        for one, many in ((" is ", " are "), ("There is", "There are"), (" has ", " have "), ("a new ", "new ")):
            text = text.replace(one, many)
    return text


def _state(rng: Rng, sign: Sign, change: Change | None, hedged: bool) -> tuple[str, str]:
    """The sentence for FINDINGS and the one for IMPRESSION."""
    words = _words(rng, sign)
    noun = _noun(rng, sign, words)
    if hedged:
        return _fill(_pick(rng, HEDGED), noun), _fill("Possible {n}.", noun)
    if change:
        return _fill(_pick(rng, CHANGED[change]), noun), _fill(CHANGED[change][0], noun)
    extra = EXTRA.get(sign.kind or sign.label)
    if extra and rng.random() < 0.5:
        return _pick(rng, extra).format(**words), _fill("{N}.", noun)
    return _fill(_pick(rng, PRESENT), noun), _fill("{N}.", noun)


def _state_resolved(rng: Rng, sign: Sign) -> tuple[str, str]:
    """As `_state`, for a finding of the prior that is gone; a device was taken out."""
    noun = " ".join(_noun(rng, sign, {**_words(rng, sign), "d": ""}).split())
    frames = REMOVED if sign.kind else CHANGED["resolved"]
    return _fill(_pick(rng, frames), noun), _fill(frames[-1], noun)


def _normals(rng: Rng, undeniable: set[str]) -> list[str]:
    """Normal statements, each class denied at most once and never one of `undeniable`."""
    sentences: list[str] = []
    covered = set(undeniable)
    for i in rng.permutation(len(NORMAL)):
        classes, choices = NORMAL[i]
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
    signs: Sequence[Sign],
    changes: dict[str, Change] | None = None,
    resolved: Sequence[Sign] = (),
    omit_rate: float = 0.0,
    hedge_rate: float = 0.0,
) -> WrittenReport:
    """The report of a study. `changes` (class -> change) is given when there is a prior; `resolved` are findings of
    the prior alone. Each finding is left out with `omit_rate`, and otherwise hedged with `hedge_rate`."""
    omitted = tuple(sign.label for sign in signs if rng.random() < omit_rate)
    said = [sign for sign in signs if sign.label not in omitted]
    hedged = tuple(sign.label for sign in said if rng.random() < hedge_rate)
    stated = [_state(rng, sign, changes[sign.label] if changes else None, sign.label in hedged) for sign in said]
    stated += [_state_resolved(rng, sign) for sign in resolved]
    stated = [stated[i] for i in rng.permutation(len(stated))]

    sentences = [sentence for sentence, _ in stated]
    for normal in _normals(rng, {sign.label for sign in (*signs, *resolved)}):
        sentences.insert(int(rng.integers(len(sentences) + 1)), normal)
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
