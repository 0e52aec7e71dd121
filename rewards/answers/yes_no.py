"""Whether an answer says yes or no: by its words, or by what it reports of what was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from reasoner.findings import QUALITY, ancestors, extract_text, region
from reasoner.findings.answers import is_attribute, roles_of, singular, vocabulary
from reasoner.schema import STATUSES, Finding
from rewards.answers.lists import impression, name_of, stances
from rewards.answers.phrases import is_no, kind_at, withdraws
from rewards.answers.text import Item, parse, plain, remembered, tokens_of

#: What makes a question of a statement: "Is there an effusion", "Does the film show ...".
_INVERTED = re.compile(r"^\W*(?:(?:is|are|was|were) there|is|are|was|were|does|do|did|has|have|can|could)\b\s*", re.I)
#: "Is the heart size normal?", and what may be said of it.
_ABOUT = re.compile(r"\W*(is|are|was|were)\s+the\s+(.+)", re.I | re.S)
_PREDICATE = re.compile(
    r"\W*(?:(?:it|they|this|that|these|those)\s+(?:is|are|was|were|looks?|appears?)\s+)?(\w[\w -]{1,60})\W*", re.I
)
_SENTENCE_END = re.compile(r"[.;!?\n•]+(?=\s|$)|$")
#: What is asked about in general: any abnormality.
_ANYTHING = "cardiopulmonary_abnormality"
_OTHER = {"yes": "no", "no": "yes"}
_PLAIN = re.compile(r"(?:yes|no)\b", re.I)
#: What a clause without a verb is made of, as far as it matters.
_NO_VERB = frozenset(("word", "among", "good", "bad", "not", "none", "and", "or", "mark", "stop", *",:–()"))
_VALUES = frozenset(("good", "bad", "not"))
#: What says something of what was asked.
_SAYING = frozenset(("good", "bad", "not", "none", "exists", "answer", "final", "or", "doubt"))
#: A question whose answer would deny so many findings asks whether all is normal.
_MANY = 5


@lru_cache(maxsize=4096)
def _topics(question: str) -> tuple[Finding, ...]:
    """What is asked about, as the findings that the question would report."""
    return tuple(extract_text(_INVERTED.sub("", question.partition("?")[0])))


def asks(question: str) -> bool:
    """Whether it is known what a question asks about."""
    return bool(_topics(question))


@remembered
def yes_or_no(text: str, question: str = "") -> str | None:
    """`yes` or `no`, by word or by what is reported of what was asked; None where an answer is unclear or says both."""
    text = plain(text)
    if said := vocabulary().yes_no.get(text.lower().strip(" .")):
        return said
    topics = _topics(question)
    for part in reversed(_parts(text)):
        votes = _part_votes(part, topics) or _told(_completed(part, question), topics)
        if votes:
            clear = set(votes) - {"doubt"}
            return clear.pop() if len(clear) == 1 and "open" not in clear else None
    return None


def _part_votes(part: str, topics: Sequence[Finding]) -> list[str]:
    """What the sentences of a text say."""
    votes: list[str] = []
    asked: list[str] = []  # what the question before would say of the topics
    start = 0
    for match in _SENTENCE_END.finditer(part):
        if sentence := part[start : match.end()].strip():
            vote = _votes(sentence, topics, bool(votes))
            if asked == ["no"] and _PLAIN.match(sentence):  # "Normal? Yes."
                vote = [_OTHER.get(said, said) for said in vote[:1]] + vote[1:]
            votes += vote
            asked = _told(sentence.rstrip("?"), topics) if sentence.endswith("?") else []
        start = match.end()
    return votes


def _completed(text: str, question: str) -> str:
    """`Enlarged`, `it is enlarged` as an answer to `Is the heart normal?`: `the heart is enlarged`."""
    about, found = _ABOUT.match(question), _PREDICATE.fullmatch(text)
    if about is None or found is None:
        return ""
    words = about[2].split()
    last = max((n for n, word in enumerate(words, 1) if "anatomy" in roles_of(singular(word.strip("?,.")))), default=0)
    return f"The {' '.join(words[:last])} {about[1]} {found[1]}." if last else ""


def _parts(text: str) -> list[str]:
    """The text in parts, each of which takes back those before it."""
    tokens = tokens_of(text)
    items = parse(tokens)
    cuts: list[int] = []
    for k, item in enumerate(items):
        if withdraws(items, k):
            cuts += [tokens[item.first].start] if is_no(items, k) else []
            cuts.append(tokens[item.last - 1].end)
    return [text[start:end].lstrip(" .,:–") for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _votes(sentence: str, topics: Sequence[Finding], told: bool) -> list[str]:
    """What one sentence says: by its opening words, and by its findings."""
    tokens = tokens_of(sentence)
    items = parse(tokens)
    if items and items[0].kind == "if":  # "if there were one, I would see it, but ..."
        after = _after_but(sentence)
        return _votes(after, topics, told) if after else []
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
    plainly = vocabulary().yes_no.keys() & {item.value for item in items if item.last <= rest}
    concluded = _concluded([segment for segment in segments if segment[0].first >= rest])
    if _general(topics) and not concluded and not (plainly and votes) and (whole := _told(sentence, topics)):
        return whole
    if rest < len(tokens):
        prose = sentence[tokens[rest].start :]
        weighed = (concluded and _after_but(prose)) or prose  # "it looks like A, but it is B, so no"
        votes += _told(weighed, topics, bool(concluded))
        votes += [] if votes or told or concluded else _being(prose, items, topics)
        votes += concluded
    return votes


def _concluded(segments: Sequence[Sequence[Item]]) -> list[str]:
    """What segments conclude in so many words: `..., hence the answer is no`; `the angle is blunted: yes`."""
    found = [_polarity(segment) for segment in segments if _concludes(segment)]
    if len(segments) > 1 and not _NO_VERB.issuperset(item.kind for item in segments[-2]):
        plain_words = [item.value for item in segments[-1] if item.kind != "stop"]
        found += [_polarity(segments[-1])] if len(plain_words) == 1 and plain_words[0] in _OTHER else []
    return [vote for vote in found if vote]


def _concludes(segment: Sequence[Item]) -> bool:
    kinds = {item.kind for item in segment[:2]}
    said = {item.value for item in segment}
    return (
        _polar(segment) and bool(kinds & {"so", "but", "answer", "final"}) and bool(said & vocabulary().yes_no.keys())
    )


def _general(topics: Sequence[Finding]) -> bool:
    """Whether it is asked if anything is abnormal, or all is normal."""
    return len(topics) >= _MANY or any(topic.concept == _ANYTHING for topic in topics)


def _told(prose: str, topics: Sequence[Finding], surely: bool = False) -> list[str]:
    """What the findings of some prose say about what was asked; `surely`: uncertain ones do not count."""
    if _general(topics):
        said = impression(prose) or impression(_after_but(prose))
        normal = all(topic.status == "absent" for topic in topics)
        return [] if said is None else ["yes" if (said == "normal") == normal else "no"]
    reading = stances(prose)
    votes: list[str] = []
    for finding in extract_text(prose):
        name = name_of(finding.concept)
        if name in reading.silent or (surely and finding.status == "uncertain"):
            continue
        if name in reading.open:
            finding = replace(finding, status="uncertain")
        elif name in reading.clear ^ reading.excluded:
            finding = replace(finding, status="absent" if name in reading.excluded else "present")
        vote = _relation(finding, topics)
        votes += ["open" if vote and name in reading.open else vote] if vote else []
    return list(dict.fromkeys(votes if topics else votes[:1]))


def _after_but(text: str) -> str:
    """What follows the last `but` of a text; "" without one."""
    tokens = tokens_of(text)
    turns = [item.last for item in parse(tokens) if item.kind == "but" and item.last < len(tokens)]
    return text[tokens[turns[-1]].start :] if turns else ""


def _segments(items: Sequence[Item]) -> list[list[Item]]:
    found: list[list[Item]] = [[]]
    for k, item in enumerate(items):
        found[-1].append(item)
        if item.kind == ":" and {i.kind for i in found[-1]} == {"good", ":"} and kind_at(items, k + 1) in _VALUES:
            continue  # "present: no"
        if item.kind == "so" and len(found[-1]) > 1:  # it begins the next
            found.append([found[-1].pop()])
        elif item.kind in (",", "stop", "–", ":", "(", "but", "because"):
            found.append([])
    return [segment for segment in found if segment]


def _polar(segment: Sequence[Item]) -> bool:
    """Whether a segment says nothing but yes or no."""
    return all(
        item.kind not in ("all", "except", "allbut", "word") or item.value in vocabulary().glue for item in segment
    )


def _polarity(segment: Sequence[Item]) -> str | None:
    """What a segment without findings says; `doubt` is outweighed by whatever is said beside it."""
    compared = next((n for n, item in enumerate(segment) if item.value.endswith("than")), len(segment))
    segment = segment[:compared]  # "yes rather than no"
    kinds = [item.kind for item in segment]
    said = {item.value for item in segment}
    if "or" in kinds or "either" in kinds or said >= {"yes", "no"} or "neither" in said:
        return "open"
    if "doubt" in kinds or "if" in kinds:
        return "doubt"
    if "aside" in kinds or _assures(segment):  # "at first I thought no"
        return None
    denials = [item.value for item in segment if item.kind in ("not", "none", "bad")]
    if denials and any(is_attribute(item.value) for item in segment if item.kind == "word"):  # "but not large"
        return None
    if denials:
        return "no" if len(set(denials)) % 2 else "yes"
    being = "this" in kinds and not {"one", "verb", "modal"}.isdisjoint(kinds)
    return "yes" if "good" in kinds or "exists" in kinds or being else None


def _assures(items: Sequence[Item]) -> bool:
    """`I am 90% sure`: how sure one is of what is said elsewhere."""
    said = [item.value for item in items if item.kind in _SAYING]
    return any(item.value == "i" for item in items) and bool(said) and vocabulary().certain.issuperset(said)


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


def reported(findings: Sequence[Finding], question: str) -> str | None:
    """`yes` or `no`: what findings that were read elsewhere say of what is asked. What is there outweighs a denial ("no
    left effusion, but a right one"). None where they are silent, or what is asked is only supposed."""
    topics = _topics(question)
    if _general(topics):
        said = overall(findings)
        normal = all(topic.status == "absent" for topic in topics)
        return said and ("yes" if (said == "normal") == normal else "no")
    votes = {
        status: {_relation(finding, topics) for finding in findings if finding.status == status} - {None}
        for status in STATUSES
    }
    told = votes["present"] or (set() if votes["uncertain"] else votes["absent"])
    return told.pop() if topics and len(told) == 1 else None


def overall(findings: Sequence[Finding]) -> str | None:
    """`normal` or `abnormal`: what findings say on the whole; None where there are none, or something is supposed."""
    statuses = {finding.status for finding in findings if region(finding.concept) != QUALITY}
    if "present" in statuses:
        return "abnormal"
    return "normal" if statuses == {"absent"} else None


def _being(prose: str, items: Sequence[Item], topics: Sequence[Finding]) -> list[str]:
    """Of what the lexicon does not know: whether its being there is asserted."""
    kinds = [item.kind for item in items]
    if _assures(items) or (topics and extract_text(prose)) or not {"doubt", "if", "or"}.isdisjoint(kinds):
        return []
    if sum(kind in ("not", "bad", "none") for kind in kinds) % 2:
        return ["no"]
    return ["yes"] if "good" in kinds or "exists" in kinds else []
