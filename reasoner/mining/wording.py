"""The words of a chain: noun phrases and sentences that read naturally and that the extractor reads back unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from reasoner.schema import Change, Finding

T = TypeVar("T")

#: Names of concepts where the identifier with spaces is not what one says.
PHRASES = {
    "cardiomegaly": "cardiomegaly",
    "enlarged_cardiomediastinum": "mediastinal widening",
    "costophrenic_blunting": "costophrenic blunting",
    "interstitial_markings": "interstitial prominence",
    "vascular_prominence": "vascular prominence",
    "lung_opacity": "opacity",
    "density": "density",
    "other_mass": "soft tissue mass",
    "lung_nodule": "nodule",
    "lung_mass": "mass",
    "scar": "scarring",
    "apical_scar": "apical scarring",
    "pulmonary_congestion": "pulmonary vascular congestion",
    "picc": "PICC line",
    "port": "port catheter",
    "central_line": "central venous catheter",
    "hilar_enlargement": "hilar enlargement",
    "flattened_diaphragm": "diaphragmatic flattening",
    "elevated_diaphragm": "hemidiaphragm elevation",
    "degenerative_change": "degenerative change",
    "surgical_material": "surgical hardware",
    "emphysema": "emphysema",
    "valve_prosthesis": "prosthetic valve",
    "fracture": "fracture",
    "aortic_aneurysm": "aneurysm",
    "low_lung_volumes": "low lung volumes",
}
#: Concepts that take an article: by their last word, or by the whole name where that alone would not tell.
COUNTABLE_NOUNS = frozenset({
    "aneurysm", "band", "body", "bronchogram", "cannula", "catheter", "cavity", "clip", "cyst", "defibrillator",
    "deformity", "density", "device", "dislocation", "drain", "effusion", "filter", "fistula", "fracture",
    "fragment", "graft", "granuloma", "hamartoma", "hematoma", "hernia", "implant", "infiltrate", "lead", "lesion",
    "line", "lobe", "marker", "node", "nodule", "occluder", "opacity", "osteophyte", "pacemaker", "pad", "picc",
    "plaque", "port", "probe", "pump", "recorder", "ring", "sheath", "stent", "stimulator", "tube", "tumor",
    "valve", "wire",
})  # fmt: skip
COUNTABLE = frozenset({
    "lung_mass", "other_mass", "pneumothorax", "pleural_abnormality", "bone_abnormality", "tortuous_aorta",
    "valve_prosthesis",
})  # fmt: skip
#: Where a finding lies: before the noun, or after it with the side.
ADJECTIVES = {
    "perihilar": "perihilar",
    "retrocardiac": "retrocardiac",
    "diffuse": "diffuse",
    "paratracheal": "paratracheal",
}
PLACES = {
    "upper lobe": "in the {s}upper lobe",
    "middle lobe": "in the {s}middle lobe",
    "lower lobe": "in the {s}lower lobe",
    "upper zone": "in the {s}upper lung zone",
    "mid zone": "in the {s}mid lung zone",
    "lower zone": "in the {s}lower lung zone",
    "lingula": "in the lingula",
    "base": "at the {s}lung base",
    "apex": "at the {s}lung apex",
    "rib": "of a {s}rib",
    "clavicle": "of the {s}clavicle",
    "humerus": "of the {s}humerus",
    "spine": "of the spine",
}
#: Regions where a place adds nothing to the side.
PLACELESS = frozenset({"pleura", "devices", "heart", "mediastinum"})

PRESENT = ("There is {a}.", "{A} is present.", "{A} is seen.")
UNCERTAIN = ("Possible {n}.", "There may be {a}.", "{A} cannot be excluded.")
#: More ways to say the same, for the styles of large models; `{v}` is the verb, is or are.
VARIED_PRESENT = (
    *PRESENT, "I see {a}.", "{A} can be seen.", "{A} {v} visible.", "{A} {v} evident.", "{A} {v} noted.", "I note {a}.",
    "The image shows {a}.",
)  # fmt: skip
VARIED_UNCERTAIN = (
    *UNCERTAIN, "{A} {v} possible.", "{A} may be present.", "There is possibly {a}.", "I cannot exclude {a}.",
    "{A} {v} suspected.", "There {v} questionable {n}.",
)  # fmt: skip
CHANGED: dict[Change, tuple[str, ...]] = {
    "new": ("There is a new {n}.", "New {n}."),
    "worse": ("The {n} has increased.", "The {n} has worsened."),
    "stable": ("The {n} is unchanged.", "The {n} is stable."),
    "improved": ("The {n} has decreased.", "The {n} has improved."),
    "resolved": ("The {n} has resolved.", "Resolved {n}."),
}
VARIED_CHANGED: dict[Change, tuple[str, ...]] = {
    "new": ("{A} has newly appeared.", "The {n} is new."),
    "worse": ("The {n} is worse than before.", "The {n} is larger than before.", "The {n} has progressed."),
    "stable": ("The {n} has not changed.", "The {n} remains unchanged.", "The {n} looks similar."),
    "improved": ("The {n} is smaller than before.", "The {n} is improving.", "The {n} is less extensive."),
    "resolved": ("The {n} is no longer seen.", "The {n} has disappeared."),
}
HEART = ("The heart is {dly}enlarged.", "There is {d}cardiomegaly.", "The cardiac silhouette is {dly}enlarged.")
ADVERBS = {"mild": "mildly ", "moderate": "moderately ", "severe": "severely ", "minimal": "minimally "}
DEGREES_OF_HEART = frozenset(ADVERBS)

#: Plans with and without a topic: what the question is about.
PLANS = (
    "To answer this, the {r} must be examined.",
    "First the {r} must be examined.",
    "The answer lies in the {r}, so I examine the {r}.",
    "I start by examining the {r}.",
    "For this question the {r} must be looked at.",
)
TOPIC_PLANS = (
    "To determine whether there is {t}, the {r} must be examined.",
    "I need to determine whether there is {t}, so I examine the {r}.",
    "To look for {t}, I examine the {r}.",
    "To decide whether there is {t}, I look at the {r}.",
)
READ_PLANS = (
    "To answer this, the whole image must be read, region by region.",
    "I go through the image region by region and note what departs from normal.",
    "All regions must be examined in turn.",
)
CONCLUSIONS = (
    "The answer is therefore {c}.",
    "So the answer is {c}.",
    "This makes {c} the answer.",
    "Hence the answer is {c}.",
    "Therefore I answer {c}.",
)
#: How the systematic style turns to a region.
OPENERS = ("Turning to the {r}: ", "{R}: ", "Next, the {r}: ", "Looking at the {r}: ", "Now the {r}: ", "", "", "")
SUMMARIES = ("In summary, {x}.", "Overall: {x}.", "Altogether, {x}.", "Taken together, {x}.", "To sum up, {x}.")
NORMAL_SUMMARIES = ("no acute abnormality", "no acute cardiopulmonary abnormality", "no acute abnormality is seen")
COMPARISON_PLANS = (
    "First the two images must be compared.",
    "I compare the current image with the prior one.",
    "To judge the change, both images must be examined.",
)
REGION_WORDS = {"bones": "bones", "pleura": "pleural spaces", "lungs": "lungs", "heart": "heart", "devices": "chest"}

#: One concept that stands for each class in questions and denials, and its name there.
CLASS_CONCEPT = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "pulmonary_edema",
    "Enlarged Cardiomediastinum": "enlarged_cardiomediastinum",
    "Fracture": "fracture",
    "Lung Lesion": "lung_nodule",
    "Lung Opacity": "lung_opacity",
    "Pleural Effusion": "pleural_effusion",
    "Pleural Other": "pleural_thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Support Devices": "support_device",
}


def choose(items: Sequence[T], *key: object) -> T:
    """One of `items`, the same for the same key in every process."""
    return items[stable_hash(*key) % len(items)]


def stable_hash(*key: object) -> int:
    """A number of 64 bits that depends on the key alone."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def noun(concept: str) -> str:
    return PHRASES.get(concept, concept.replace("_", " "))


def with_article(phrase: str, concept: str) -> str:
    if not countable(concept) or "bilateral" in phrase:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def countable(concept: str) -> bool:
    return concept in COUNTABLE or concept.rpartition("_")[2] in COUNTABLE_NOUNS


def noun_phrase(finding: Finding, region: str, *, degree: bool = True) -> str:
    """`small left pleural effusion`, `nodule in the right upper lobe`."""
    side, place = finding.laterality, finding.location
    head: list[str] = []
    if degree and finding.severity:
        head.append(finding.severity)
    tail = ""
    if place in PLACES and region not in PLACELESS and side != "bilateral":
        template = PLACES[place]
        tail = " " + template.format(s=f"{side} " if side else "")
        if side and "{s}" in template:
            side = None
    if side:
        head.append(side)
    if place in ADJECTIVES and region not in PLACELESS:
        head.append(ADJECTIVES[place])
    name = noun(finding.concept)
    if finding.laterality == "bilateral" and countable(finding.concept):
        name = plural(name)
    return " ".join([*head, name]) + tail


def ending(tip: str | None) -> str:
    """Where a device ends, as a phrase after its name; empty where that is not known.

    >>> ending("40 mm above carina"), ending("right atrium")
    (' with its tip 40 mm above the carina', ' with its tip in the right atrium')
    """
    if not tip:
        return ""
    before, place = tip.rpartition(" ")[::2]
    return f" with its tip {before} the {place}" if place in ("carina", "diaphragm") else f" with its tip in the {tip}"


def plural(name: str) -> str:
    """The plural of a noun phrase's last word."""
    if name.endswith("pneumothorax"):
        return name.removesuffix("x") + "ces"
    if name.endswith("y"):
        return name.removesuffix("y") + "ies"
    return name + ("es" if name.endswith("s") else "s")


def ways(finding: Finding, region: str, *, change: bool = False) -> list[str]:
    """All sentences that assert the finding, the plain ones of `state` first; not each reads back for each finding."""
    kinds = CHANGED[finding.change] if change and finding.change else HEART
    plain = [state(finding, region, frame, change=change) for frame in range(max(len(kinds), len(PRESENT)))]
    plain = [] if finding.tip else plain  # they do not say where a device ends
    phrase = noun_phrase(finding, region, degree=not change or finding.change == "new") + ending(finding.tip)
    article = with_article(phrase, finding.concept)
    many = finding.laterality == "bilateral" and finding.concept in COUNTABLE
    if change and finding.change:
        frames = VARIED_CHANGED[finding.change]
    else:
        frames = VARIED_PRESENT if finding.status == "present" else VARIED_UNCERTAIN
    words = {"n": phrase, "a": article, "A": article[0].upper() + article[1:], "v": "are" if many else "is"}
    texts = [frame.format(**words) for frame in frames]
    if many:
        texts = [_plural_verb(text) for text in texts]
    return list(dict.fromkeys([*plain, *texts]))


def _plural_verb(text: str) -> str:
    for one, several in (("There is ", "There are "), (" is ", " are "), (" has ", " have "), (" looks ", " look "),
                         (" remains ", " remain ")):  # fmt: skip
        text = text.replace(one, several)
    return text


def state(finding: Finding, region: str, frame: int, *, change: bool = False) -> str:
    """One sentence that asserts the finding; `frame` chooses among the wordings."""
    if change and finding.change is not None:
        frames = CHANGED[finding.change]
        phrase = noun_phrase(finding, region, degree=finding.change == "new")
        text = frames[frame % len(frames)]
        if finding.concept not in COUNTABLE or finding.laterality == "bilateral":
            text = text.replace(
                "There is a new", "There is new" if finding.concept not in COUNTABLE else "There are new"
            )
        text = text.format(n=phrase)
        if finding.laterality == "bilateral" and countable(finding.concept):
            text = text.replace(" has ", " have ").replace(" is ", " are ")
        return text
    if finding.concept == "cardiomegaly" and finding.status == "present":
        degree = finding.severity if finding.severity in DEGREES_OF_HEART else None
        return HEART[frame % len(HEART)].format(dly=ADVERBS.get(degree or "", ""), d=f"{degree} " if degree else "")
    phrase = noun_phrase(finding, region)
    article = with_article(phrase, finding.concept)
    frames = PRESENT if finding.status == "present" else UNCERTAIN
    text = frames[frame % len(frames)].format(n=phrase, a=article, A=article[0].upper() + article[1:])
    if finding.laterality == "bilateral" and countable(finding.concept):
        text = (
            text.replace("There is ", "There are ")
            .replace(" is present", " are present")
            .replace(" is seen", " are seen")
        )
    return text
