"""What a report weighs and what it advises, as steps of their own (after NV-Reason-CXR, arXiv 2510.23968)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from reasoner.findings import ancestors, split_sections, split_sentences, written
from reasoner.mining.verify import misread
from reasoner.mining.wording import join_words, noun, stable_hash
from reasoner.schema import Evidence, Finding, Step

#: Advice as reports give it, and as an answer gives it.
_RECOMMENDED = (
    r"\b(?:recommend\w*|suggest(?:ed)?|advis\w+|consider|follow[- ]?up|further|warrant\w*|if clinically"
    r"|may be helpful|should)\b"
)
_ADVICE = (
    (r"\b(?:chest |thoracic |dedicated )*(?:ct|computed tomography)\b", "CT of the chest is advised."),
    (r"\b(?:lateral|pa and lateral|decubitus|repeat|follow[- ]?up)\b[^.;]{0,40}"
     r"\b(?:radiographs?|x-?rays?|views?|films?|imaging)\b", "Another radiograph is advised."),
    (r"\becho(?:cardiogra\w+)?\b", "Echocardiography is advised."),
    (r"\b(?:mri|magnetic resonance)\b", "Magnetic resonance imaging is advised."),
)  # fmt: skip
_MAY = re.compile(_RECOMMENDED, re.IGNORECASE)
_WHAT = [(re.compile(words, re.IGNORECASE), text) for words, text in _ADVICE]
_NOT = re.compile(r"\b(?:no|not)\b", re.IGNORECASE)
#: What makes findings of one sentence alternatives, or one of them the reading of another.
_WEIGHED = re.compile(
    r"\b(?:versus|vs|differential|or|represent\w*|reflect\w*|due to|secondary to|concern\w*|suspicious|suggest\w*)\b",
    re.IGNORECASE,
)
_OF_SIGN = ("The {p} may represent {u}.", "The {p} could represent {u}.", "The {p} may reflect {u}.")
_OF_NONE = ("The differential includes {u}.", "Differential considerations are {u}.", "Possible {u}.")


def advice(report: str) -> list[Step]:
    """What the report recommends, in our words; the span is the recommendation's."""
    report, found = written(report), dict[str, Step]()
    for section in split_sections(report):
        if section.name not in ("findings", "impression", "technique"):
            continue
        for match in re.finditer(r"[^.;\n]+", report[section.start : section.end]):
            if not _MAY.search(match.group()) or _NOT.search(match.group()):
                continue
            for pattern, text in _WHAT:
                if pattern.search(match.group()):
                    start = section.start + match.start()
                    end = section.start + match.end()
                    found.setdefault(text, Step(text, "conclusion", evidence=Evidence(section.name, start, end)))
    return list(found.values())


def differentials(report: str, findings: Sequence[Finding], key: tuple[object, ...]) -> list[Step]:
    """One step for each sentence of the report that weighs diagnoses, or reads a sign as one that it does not assert.

    Args:
        report: where the evidence of the findings lies.
        findings: merged.
        key: what the choice of words depends on.
    """
    steps: dict[str, Step] = {}
    for sign, weighed in _weighed(report, findings):
        names = [noun(f.concept) for f in weighed]
        words = {"u": " or ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" or {names[-1]}"}
        frames = _OF_NONE
        if sign is not None:
            words["p"], frames = noun(sign.concept), _OF_SIGN
        own = tuple(replace(f, change=None) for f in ((sign, *weighed) if sign else weighed))
        start = stable_hash(*key, "differential", *names)
        for n in range(len(frames)):
            frame = frames[(start + n) % len(frames)]
            filled = {**words, "u": join_words(names)} if "include" in frame or "are" in frame.split() else words
            step = Step(frame.format(**filled), "conclusion", own, weighed[0].evidence)
            if not misread(step, findings):
                steps.setdefault(step.text, step)
                break
    return list(steps.values())


def _weighed(report: str, findings: Sequence[Finding]) -> Iterator[tuple[Finding | None, tuple[Finding, ...]]]:
    """Of each weighing sentence the sign, if it names one, and what is not certain."""
    report = written(report)
    for section in split_sections(report):
        for start, end in split_sentences(report, section.start, section.end):
            if not _WEIGHED.search(report, start, end):
                continue
            inside = [f for f in findings if f.evidence and start <= f.evidence.start and f.evidence.end <= end]
            open_ = tuple({f.concept: f for f in inside if f.status == "uncertain"}.values())
            broader = {name for f in open_ for name in ancestors(f.concept)}
            open_ = tuple(f for f in open_ if f.concept not in broader)
            first = min((f.evidence.start for f in open_ if f.evidence), default=0)
            signs = [f for f in inside if f.status == "present" and f.evidence and f.evidence.start < first]
            sign = signs[-1] if signs else None
            if len(open_) > 1 or (open_ and sign):
                yield sign, open_
