"""The first stage of a read: which views, how good, from the study's views and what its report says on technique."""

from __future__ import annotations

import re

from reasoner.findings import split_sections, written
from reasoner.mining.wording import choose, join_words
from reasoner.schema import Evidence, Step, Study

#: What limits an image, as reports say it, and what one sees.
_LIMITS = (
    (r"rotated|rotation", ("The patient is rotated.", "The patient is slightly turned, which distorts the contours.")),
    (r"under-?penetrated|underexposed|underexposure", ("The image is underexposed.", "The exposure is low.")),
    (r"over-?penetrated|overexposed|overexposure", ("The image is overexposed.", "The exposure is high.")),
    (r"motion artifact|respiratory motion", ("There is blurring by motion.", "The image is blurred by motion.")),
    (r"body habitus", ("Large body habitus limits the image.", "Soft tissue overlies and limits the image.")),
    (r"lordotic|apical lordotic", ("The projection is lordotic.",)),
    (r"(?:study|exam(?:ination)?|evaluation|assessment) is (?:somewhat |mildly )?limited"
     r"|limited (?:study|exam\w*|evaluation)",
     ("The quality of the image is limited.", "Image quality is limited.")),
)  # fmt: skip
_LIMIT = [(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), texts) for words, texts in _LIMITS]
_NEGATED = re.compile(r"\b(?:no|not|non|without|nor)\b[^.;]{0,30}$", re.IGNORECASE)
#: Anything of the kind above, or less: where it stands, silence is not read as good quality.
_DOUBT = re.compile(
    r"\b(?:limit\w*|subopt\w*|portable|rotat\w*|low lung volumes?|inspirat\w+|artifact|penetrat\w+|expos\w+|lordotic"
    r"|supine)\b",
    re.IGNORECASE,
)
GOOD = (
    "The image quality is adequate.",
    "The quality is good enough to judge.",
    "The image is of adequate quality.",
    "Image quality is sufficient.",
)
_VIEWS = ("{V} shown.", "I look at {v}.", "{V} available.")


def views_in_words(study: Study) -> str:
    """`a frontal and a lateral view`; empty when the source names no view for each image."""
    names = [name.strip().replace("_", " ") for name in study.views if name and name.strip()]
    if not names or (study.images and len(study.images) != len(study.views)):
        return ""
    names = [name.upper() if len(name) <= 3 else name.lower() for name in names]
    said = list(dict.fromkeys(names))
    counts = [names.count(name) for name in said]
    words = [
        f"{_article(name)} {name}" if n == 1 else f"{_number(n)} {name}" for name, n in zip(said, counts, strict=True)
    ]
    return join_words(words) + (" view" if counts[-1] == 1 else " views")


def quality_steps(study: Study, key: tuple[object, ...], attempt: int = 0) -> list[Step]:
    """The views, then what limits the image, with the report's words. A silent report means good quality."""
    steps: list[Step] = []
    if attempt == 0 and (texts := _views_texts(study)):
        steps.append(Step(choose(texts, *key, "views"), "quality"))
    report = written(study.report)
    limits = list(_limits(report, key))
    steps += limits
    if not limits and not _DOUBT.search(report):
        steps.append(Step(choose(GOOD, *key, "quality"), "quality"))
    return steps


def quality_wordings(study: Study) -> tuple[tuple[str, ...], ...]:
    """The sentences of `quality_steps` that mean the same."""
    return (_views_texts(study), GOOD, *(texts for _, texts in _LIMITS))


def _views_texts(study: Study) -> tuple[str, ...]:
    """All ways to say which views are shown; none where the source names none."""
    views = views_in_words(study)
    if not views:
        return ()
    verb = " are" if " and " in views or views.endswith("views") else " is"
    return tuple(text.format(v=views, V=views[0].upper() + views[1:] + verb) for text in _VIEWS)


def _limits(report: str, key: tuple[object, ...]) -> list[Step]:
    found: list[Step] = []
    for section in split_sections(report):
        if section.name not in ("findings", "impression", "technique"):
            continue
        for pattern, texts in _LIMIT:
            match = pattern.search(report, section.start, section.end)
            if match and not _NEGATED.search(report[section.start : match.start()]):
                text = choose(texts, *key, texts[0])
                if text not in {step.text for step in found}:
                    found.append(Step(text, "quality", evidence=Evidence(section.name, match.start(), match.end())))
    return found


def _article(name: str) -> str:
    # Letters are spelled: an AP, an LL; words by their first vowel.
    return "an" if name[0] in ("AFHILMNRSX" if name.isupper() else "aeiou") else "a"


def _number(n: int) -> str:
    return {2: "two", 3: "three", 4: "four"}.get(n, str(n))
