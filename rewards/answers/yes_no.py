"""Whether an answer says yes or no: by its words, or by what it reports of what was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from reasoner.findings import ancestors, extract_text
from reasoner.findings.answers import is_attribute, vocabulary
from reasoner.schema import Finding
from rewards.answers.lists import impression, name_of, stances
from rewards.answers.text import Item, parse, plain, remembered, tokens_of

#: What makes a question of a statement: "Is there an effusion", "Does the film show ...".
_INVERTED = re.compile(r"^\W*(?:(?:is|are|was|were) there|is|are|was|were|does|do|did|has|have|can|could)\b\s*", re.I)
_SENTENCE_END = re.compile(r"[.;!?\n•]+(?=\s|$)|$")
#: What is asked about in general: any abnormality.
_ANYTHING = "cardiopulmonary_abnormality"
#: A question whose answer would deny so many findings asks whether all is normal.
_MANY = 5


@lru_cache(maxsize=4096)
def _topics(question: str) -> tuple[Finding, ...]:
    """What is asked about, as the findings that the question would report."""
    return tuple(extract_text(_INVERTED.sub("", question.partition("?")[0])))


@remembered
def yes_or_no(text: str, question: str = "") -> str | None:
    """`yes` or `no`, by word or by what is reported of what was asked; None where an answer is unclear or says both."""
    text = plain(text)
    if said := vocabulary().yes_no.get(text.lower().strip(" .")):
        return said
    votes: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if text[start : match.start()].strip():
            votes += _votes(text[start : match.end()], _topics(question), bool(votes))
        start = match.end()
    clear = set(votes) - {"doubt"}
    return clear.pop() if len(clear) == 1 and "open" not in clear else None


def _votes(sentence: str, topics: Sequence[Finding], told: bool) -> list[str]:
    """What one sentence says: by its opening words, and by its findings."""
    tokens = tokens_of(sentence)
    items = parse(tokens)
    votes: list[str] = []
    rest = 0
    segments = _segments(items)
    for segment in segments:
        if not _polar(segment):
            break
        votes += filter(None, [_polarity(segment)])
        rest = segment[-1].last
    if rest < len(tokens) and not votes:
        follows = tokens[rest + 1].word if rest + 1 < len(tokens) else ""
        if tokens[rest].word == "yes" or (tokens[rest].word == "no" and follows in vocabulary().pronouns):
            votes.append(tokens[rest].word)
            rest += 1
    if sentence.rstrip().endswith("?"):
        return ["open"] if votes else []
    if rest < len(tokens):
        prose = sentence[tokens[rest].start :]
        votes += _told(prose, topics) or ([] if votes or told else _being(prose, items, topics))
    return votes


def _told(prose: str, topics: Sequence[Finding]) -> list[str]:
    """What the findings of some prose say about what was asked."""
    if len(topics) >= _MANY or any(topic.concept == _ANYTHING for topic in topics):
        said = impression(prose)
        normal = all(topic.status == "absent" for topic in topics)
        return [] if said is None else ["yes" if (said == "normal") == normal else "no"]
    reading = stances(prose)
    votes: list[str] = []
    for finding in extract_text(prose):
        name = name_of(finding.concept)
        if name in reading.open:
            finding = replace(finding, status="uncertain")
        elif name in reading.clear ^ reading.excluded:
            finding = replace(finding, status="absent" if name in reading.excluded else "present")
        vote = _relation(finding, topics)
        votes += ["open" if vote and name in reading.open else vote] if vote else []
    return list(dict.fromkeys(votes if topics else votes[:1]))


def _segments(items: Sequence[Item]) -> list[list[Item]]:
    found: list[list[Item]] = [[]]
    for item in items:
        found[-1].append(item)
        if item.kind in (",", "stop", "–", ":", "(", "but", "because"):
            found.append([])
    return [segment for segment in found if segment]


def _polar(segment: Sequence[Item]) -> bool:
    """Whether a segment says nothing but yes or no."""
    return all(
        item.kind not in ("all", "except", "allbut", "word") or item.value in vocabulary().glue for item in segment
    )


def _polarity(segment: Sequence[Item]) -> str | None:
    """What a segment without findings says; `doubt` is outweighed by whatever is said beside it."""
    kinds = [item.kind for item in segment]
    said = {item.value for item in segment}
    if "or" in kinds or "either" in kinds or said >= {"yes", "no"} or "neither" in said:
        return "open"
    if "doubt" in kinds:
        return "doubt"
    if any(is_attribute(item.value) for item in segment if item.kind == "word"):  # "Yes, but not large"
        return None
    denials = [item.value for item in segment if item.kind in ("not", "none", "bad")]
    if denials:
        return "no" if len(set(denials)) % 2 else "yes"
    being = "this" in kinds and ("one" in kinds or "verb" in kinds)
    return "yes" if "good" in kinds or "exists" in kinds or being else None


def _relation(finding: Finding, topics: Sequence[Finding]) -> str | None:
    """What a finding of the answer says about what was asked."""
    if not topics:
        return "no" if finding.status == "absent" else "yes"
    for topic in topics:
        sides = {finding.laterality, topic.laterality}
        if not sides & {None, "bilateral"} and len(sides) > 1:
            continue
        if finding.status == "absent":
            if finding.concept in (topic.concept, *ancestors(topic.concept)):
                return "yes" if topic.status == "absent" else "no"
        elif topic.concept in (finding.concept, *ancestors(finding.concept)):
            return "no" if topic.status == "absent" else "yes"
    return None


def _being(prose: str, items: Sequence[Item], topics: Sequence[Finding]) -> list[str]:
    """Of what the lexicon does not know: whether its being there is asserted."""
    kinds = [item.kind for item in items]
    if (topics and extract_text(prose)) or "doubt" in kinds or "or" in kinds:
        return []
    if sum(kind in ("not", "bad", "none") for kind in kinds) % 2:
        return ["no"]
    return ["yes"] if "good" in kinds or "exists" in kinds else []
