"""The sentences of a reasoning text: which assert something, and what each claims.

A chain of thought is not a report. It announces what it will look for, explains what that would look like, and lists
options before it finds anything; none of that is a claim. And it answers in the next clause or sentence: "We look for
scarring. None is seen." denies scarring. Which clauses do what, `reasoner.findings.discourse` says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from reasoner.boxes import without_boxes
from reasoner.findings.anaphora import MEANT, Reply
from reasoner.findings.discourse import Clause, clauses
from reasoner.findings.headings import kind_of_heading
from reasoner.findings.layout import spans
from reasoner.findings.lexicon import ancestors, kin, matched
from reasoner.findings.replies import REACH, answer, correct, correction, fragment, speaks
from reasoner.schema import Status
from rewards.radrscore.claims import Claim, Fact, claims_of
from rewards.radrscore.pointing import filled, pointing

#: A clause with a subject of its own says nothing of that of another clause.
_OTHER = re.compile(r"(?:and|but|so|then|\W)*(?:i|we|you|one|there)\b", re.IGNORECASE)
#: What a clause says of one of the candidates; what denies in the words of others.
_ONLY = re.compile(r"\W*(?:(?:it is|there is|i see)\s+)?(?:only|just|solely|merely)\b", re.IGNORECASE)
_DENIAL = re.compile(r"\b(?:no|not|without|never|absent|absence|free of|clear of|rule[sd]? out|exclude[sd]?)\b")
_SEEMING = re.compile(r"\W*(?:\w+\W+){,2}what\b", re.IGNORECASE)
_NO = re.compile(r"\W*no\W*[,;.—–-]\s", re.IGNORECASE)
#: "X was not there in March, but is there now".
_NOW = re.compile(r"\W*(?:but|yet|however|whereas)\b.*\b(?:now|today|again)\b", re.IGNORECASE)
#: "I looked for X but found Y instead".
_INSTEAD = re.compile(r"\b(?:but|and)\s+(?:found|saw|see|find|got)\b.*\binstead\b", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|n['’]t)\b", re.IGNORECASE)
_CONTRARY: dict[Status, Status] = {"present": "absent", "absent": "present"}
_BARE = re.compile(r"\W*(?:no|nope|yes)\W*", re.IGNORECASE)
_AGAIN = re.compile(r"\b(?:c[ao]me back|returned|recurred|reappeared|reaccumulated)\b", re.IGNORECASE)
_STRUCK = re.compile(r"~~[^~\n]+~~")
#: "The only abnormality is ..." takes back what was denied in general before.
_EXCEPTED = re.compile(
    r"\b(?:only|sole|single|one) (?:abnormality|exception|finding|abnormal finding)\b"
    r"|^\W*(?:well\W+)?(?:except|apart from|aside from|save for|with the exception of)\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(r"^\s*which\b", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"\W*(?:and\s+)?(?:otherwise|elsewhere|(?:(?:apart|aside) from|other than|beyond|besides|except for)"
    r" (?:that|this|these|it)|for the rest|the (?:rest|remainder) of|the remaining|the other)\b",
    re.IGNORECASE,
)
_STATUS: dict[str, Status] = {"yes": "present", "no": "absent", "maybe": "uncertain"}


@dataclass(slots=True)  # not frozen: many are made, and that takes three times as long
class Sentence:
    """`words`, `text[start:end]` of a reasoning text, with its claims (their offsets are in `words`); without any it is
    a plan, general knowledge, or a heading. `head`: the heading or question that it stands under."""

    start: int
    end: int
    claims: tuple[Claim, ...]
    words: str
    head: str = ""


class _Line(NamedTuple):
    """What a sentence claims by itself, and what it may do to those before it: nothing (`mute`, a question or what
    stands under a history), answer for what they announce, except from them, or tell what they leave (`remains`)."""

    claims: tuple[Claim, ...]
    mute: bool
    answers: bool
    excepts: bool
    remains: bool


def read_reasoning(text: str) -> list[Sentence]:
    """The sentences and headings of a reasoning text with what each asserts; offsets are in `text`. Boxes
    (`rewards.radrscore.places` reads them) and what is struck through are blanks in its words."""
    text = without_boxes(text)
    if "~~" in text:
        text = _STRUCK.sub(lambda match: " " * len(match.group()), text)
    found = spans(text)
    words = [text[span.start : span.end] for span in found]
    said: list[tuple[Claim, ...]] = []
    for n, span in enumerate(found):
        if span.topic:
            said.append(())
            continue
        line = _alone(words[n], span.head)
        said.append(line.claims)
        first = max(n - REACH, 0)
        if line.answers or (n and not line.mute and not line.claims and not said[n - 1]):
            said[first:] = _answered_before(words[first : n + 1], said[first:], span.head)
            if n and not said[n] and not said[n - 1] and not span.head:
                said[n] = pointing(words[n], words[n - 1])
        if n and said[n - 1] and not said[n]:
            said[n - 1] = filled(said[n - 1], words[n])
        if said[n] and line.excepts:
            said[first:n] = [_without(claims, said[n]) for claims in said[first:n]]
        if n and line.remains:
            said[n] = _without(said[n], [claim for claims in said[first:n] for claim in claims])
    correct(words, [span.head for span in found], said, lambda claim: claim.concepts, _turned, _amended)
    return [
        Sentence(span.start, span.end, claims, line, span.head)
        for span, claims, line in zip(found, said, words, strict=True)
    ]


@lru_cache(maxsize=1 << 14)
def asserts(sentence: str) -> bool:
    """Whether the sentence states what is (or is not) on the image, rather than a plan or general knowledge."""
    return not sentence.endswith("?") and any(not part.void for part in clauses(sentence))


@lru_cache(maxsize=1 << 15)
def _alone(sentence: str, head: str) -> _Line:
    """A sentence under a heading, as far as it does not depend on the sentences before."""
    mute = sentence.endswith("?") or kind_of_heading(head) == "withhold"
    parts = clauses(sentence)
    same = bool(parts) and parts[-1].frame == "same"
    opens = _NO.match(sentence) is not None or _ONLY.match(sentence) is not None
    answers = not mute and (same or opens or bool(_replies(sentence, parts)))
    excepts, remains = _EXCEPTED.search(sentence) is not None, _OTHERWISE.match(sentence) is not None
    return _Line(_stated(sentence, head), mute, answers, excepts, remains)


def _stated(sentence: str, head: str) -> tuple[Claim, ...]:
    """What a sentence under a heading claims by itself."""
    if sentence.endswith("?") or (head and fragment(sentence) and not asserts(head)):
        return ()
    parts = clauses(sentence)
    plain = not any(part.frame or part.reply or part.speaks > part.start for part in parts)
    if plain or (head and not named(sentence)):
        return claims_of(sentence, head) or (() if head else _about_organ(sentence, parts))
    said = _read_apart(sentence, head, parts)
    for n, part in enumerate(parts):
        own = named(sentence[part.start : part.end])
        if part.frame == "denies":
            unmasked = _SEEMING.match(sentence, part.speaks) is not None  # "what looks like X is really Y"
            said = _told(said, own[:1] if unmasked else own, Reply("absent"), sentence)
        elif n and parts[n - 1].frame == "plan" and _INSTEAD.search(sentence[part.start : part.end]) and own:
            said = _told(said, named(sentence[parts[n - 1].start : parts[n - 1].end]), Reply("absent"), sentence)
        elif part.outcome:
            said = _told(said, _announced(sentence, parts[: n + 1]), Reply(part.outcome), sentence)
        elif part.reply and not _announced(sentence, parts[:n]) and fragment(sentence[part.end :]):
            said = _told(said, named(sentence[part.end :]), part.reply, sentence)  # "Neither of the two, X or Y"
        elif part.reply:
            now = _NOW.match(sentence, part.start, part.end) is not None
            said = _told(said, _announced(sentence, parts[:n]), part.reply, sentence, sentence[: part.start], now)
        elif _picks(sentence, parts, n):
            listed = _announced(sentence, parts[:n])
            left = (name for name in listed if name not in own and len(listed) > 1)
            said = (*said, *(Claim.of([Fact(name, "absent")], sentence, 0) for name in left))
    if said and any(part.frame == "topic" for part in parts):  # "As for X, the film is normal"
        known = {concept for claim in said for concept in claim.concepts}
        return (*said, *(claim for claim in _answered(sentence, parts) if known.isdisjoint(claim.concepts)))
    return said or _answered(sentence, parts) or _about_organ(sentence, parts)


def _picks(sentence: str, parts: Sequence[Clause], n: int) -> bool:
    """Whether clause n asserts but one thing of a list of candidates: "Of X, Y and Z, only Y is seen"."""
    one, before = parts[n], parts[n - 1] if n else parts[n]
    return not one.void and before.frame == "topic" and _ONLY.match(sentence, one.speaks) is not None


def _read_apart(sentence: str, head: str, parts: Sequence[Clause]) -> tuple[Claim, ...]:
    """The claims of the clauses that assert something: each is read without what the others do to it, and keeps the
    subject that one of them gives it ("Looking at the heart, it is enlarged")."""
    kept = [_kept(sentence, part) for part in parts]
    for n in range(1, len(kept)):
        if parts[n].void and kept[n - 1].rstrip().endswith(":"):  # "Effusion: cannot be assessed"
            kept[n - 1] = " " * len(kept[n - 1])
        if not kept[n - 1].strip():  # "..., which are clear" asks nothing
            kept[n] = _RELATIVE.sub(lambda match: " " * len(match.group()), kept[n])
    blank = "".join(kept)
    own = [_in(sentence, claim) for claim in claims_of(blank, head)] if blank.strip() else []
    known = {concept for claim in own for concept in claim.concepts}
    return (*own, *(claim for claim in claims_of(sentence, head) if _shared(sentence, parts, claim, known)))


def _shared(sentence: str, parts: Sequence[Clause], claim: Claim, known: Collection[str]) -> bool:
    """Whether a claim that nothing else makes has its subject in a clause without claims, and the rest in another."""
    subject, rest = _part(parts, claim.start), _part(parts, claim.end - 1)
    hidden = subject.void or claim.start < subject.speaks
    if not hidden or rest.void or claim.concepts <= {*known} or _OTHER.match(sentence, rest.speaks):
        return False
    told = claim.status != "present" or claim.concepts.isdisjoint(named(sentence[subject.start : subject.end]))
    return told or answer(sentence[rest.start : rest.end]) in ("yes", "details")


def _kept(sentence: str, part: Clause) -> str:
    start = part.end if part.void or (part.reply and not part.reply.side) else part.speaks
    return " " * (start - part.start) + sentence[start : part.end]


def _in(sentence: str, claim: Claim) -> Claim:
    """A claim of a sentence with blanks, in the words of the whole."""
    words = sentence[claim.start : claim.end]
    return claim if words == claim.words else Claim.of(claim.facts, words, claim.start, claim.alternatives)


def _part(parts: Sequence[Clause], at: int) -> Clause:
    return next(part for part in parts if at < part.end)


def _told(
    said: Iterable[Claim], names: Sequence[str], reply: Reply, words: str, told: str = "", corrects: bool = False
) -> tuple[Claim, ...]:
    """What is said once a clause has answered for the things named before it; `told` is what others say of them, and
    what `corrects` may turn round what was said."""
    about = names[MEANT[reply.whose]]
    said = tuple(said)
    before = [claim for claim in said if not claim.concepts.isdisjoint(about)]
    status = reply.status
    denied = all(claim.status == "absent" for claim in before) if before else _DENIAL.search(told) is not None
    if denied and reply.turns and status != "uncertain":
        status = "present" if status == "absent" else "absent"
    denied = denied and bool(before)
    repeats = denied and status == "absent" and {*about} <= {concept for claim in before for concept in claim.concepts}
    stands = (
        status == "present"
        and reply.whose == "all"
        and not corrects
        and any(claim.status != "uncertain" for claim in before)
    )
    if before and (repeats or reply.side or stands):
        return said
    others = [name for name in names if name not in about] if reply.only else []
    taken = {*about, *others}
    facts = [*(Fact(name, status, reply.side) for name in about), *(Fact(name, "absent") for name in others)]
    return (
        *(claim for claim in said if claim.concepts.isdisjoint(taken)),
        *(Claim.of([fact], words, 0) for fact in facts),
    )


def _announced(sentence: str, parts: Sequence[Clause]) -> tuple[str, ...]:
    """What the last of the clauses that name something names, with those that it goes on with."""
    for last in range(len(parts) - 1, -1, -1):
        if named(sentence[parts[last].start : parts[last].end]):
            first = last
            while first and parts[first].goes_on:
                first -= 1
            return named(sentence[parts[first].start : parts[last].end])
    return ()


def _answered(sentence: str, parts: Sequence[Clause]) -> tuple[Claim, ...]:
    """What a sentence says of the topic that it opens with: "Search for edema: minimal, on the left"."""
    cut = next((part.start for part in parts if not part.void), 0)
    said = (_STATUS | {"details": "present"}).get(answer(sentence[cut:], 0) or "") if cut else None
    return tuple(Claim.of([Fact(name, said)], sentence, 0) for name in named(sentence[:cut])) if said else ()


def _without(said: Iterable[Claim], before: Sequence[Claim]) -> tuple[Claim, ...]:
    """Normal statements without denials of what is asserted before them."""
    there = {name for claim in before if claim.status != "absent" for name in claim.concepts}
    there.update(*map(ancestors, there))
    kept = []
    for claim in said:
        facts = [fact for fact in claim.facts if not (claim.general and fact.concept in there)]
        if len(facts) == len(claim.facts):
            kept.append(claim)
        elif facts:
            kept.append(Claim.of(facts, claim.words, claim.start))
    return tuple(kept)


def _about_organ(sentence: str, parts: Sequence[Clause]) -> tuple[Claim, ...]:
    """What a clause says of the organ that one without claims names: "..., but they are sharp"."""
    for before, part in pairwise(parts):
        words = " " * part.speaks + sentence[part.speaks : part.end]
        claims = () if part.void else pointing(words, sentence[: before.end])
        if claims:
            return claims
    return ()


def _turned(claims: Sequence[Claim], words: str) -> tuple[Claim, ...]:
    """What is so if none of the claims is; that a normal statement does not hold says nothing of each finding."""
    facts = [
        Fact(fact.concept, "present" if claim.status == "absent" else "absent", fact.laterality)
        for claim in claims
        if not claim.general
        for fact in claim.facts
    ]
    return tuple(Claim.of([fact], words, 0) for fact in facts)


def _amended(claim: Claim, details: dict[str, str], words: str) -> Claim:
    facts = [fact._replace(**details) for fact in claim.facts]  # type: ignore[arg-type]
    return Claim.of(facts, words, 0, claim.alternatives)


def _answered_before(words: Sequence[str], said: Sequence[tuple[Claim, ...]], head: str) -> list[tuple[Claim, ...]]:
    """What some sentences claim once the last of them has answered for what was announced: "None is seen" for the last
    that named something, "Yes" for the one right before, which claimed nothing itself."""
    *before, sentence = words
    *earlier, own = said
    parts = clauses(sentence)
    if parts and parts[-1].frame == "same":
        return [*earlier, _alike(sentence, parts, earlier, own)]
    if not before:
        return [*said]
    replies = _replies(sentence, parts)
    if own and before[-1].endswith("?") and (_NO.match(sentence) or _ONLY.match(sentence)):  # "Is it X? No, rather Y."
        others = [name for name in named(before[-1]) if all(kin(name).isdisjoint(claim.concepts) for claim in own)]
        own = (*own, *(Claim.of([Fact(name, "absent")], sentence, 0) for name in others))
        return [*earlier, own]
    if (correction(sentence) == "reverse" and any(earlier)) or (own and head and not _open(own, replies)):
        return [*said]
    if not replies:
        spoken = next((part.start for part in reversed(parts) if not part.void), 0)  # "Let me see... no."
        status = None if own or earlier[-1] else _STATUS.get(answer(sentence[spoken:], 1) or "")
        names = named(before[-1]) if status else ()
        return [*earlier, (*own, *(Claim.of([Fact(name, status)], sentence, 0) for name in names if status))]
    for m in range(len(before) - 1, -1, -1):
        names = _announced(before[m], clauses(before[m]))
        if names:
            told = earlier[m]
            changed = correction(sentence) in ("withdraw", "revise") or _AGAIN.search(sentence) is not None
            for reply in replies:
                told = _told(told, names, reply, sentence, before[m], changed)
            kept = tuple(claim for claim in told if claim in earlier[m])
            if any(correction(line) in ("withdraw", "reverse") for line in before[m + 1 :]):
                kept = earlier[m]  # it is taken back anyway
            fresh = tuple(claim for claim in told if claim not in earlier[m])
            return [*earlier[:m], kept, *earlier[m + 1 :], (*(() if head else own), *fresh)]
    return [*said]


def _replies(sentence: str, parts: Sequence[Clause]) -> list[Reply]:
    """What the clauses of a sentence answer for things that it does not name itself."""
    replies = [
        (part.reply, sentence[part.start : part.end])
        for n, part in enumerate(parts)
        if part.reply and not _announced(sentence, parts[:n]) and not _of_organs(sentence, parts[:n])
    ]
    if len(replies) > 1 and _BARE.fullmatch(replies[0][1]):  # "Is that an artifact? No, it is real."
        replies = replies[1:]
    return [reply for reply, _ in replies]


def _of_organs(sentence: str, parts: Sequence[Clause]) -> bool:
    """Whether a plan of these clauses is about organs, so that what answers it is no word on a finding."""
    return any(part.void and speaks(sentence[part.start : part.end]) for part in parts)


def _alike(
    sentence: str, parts: Sequence[Clause], earlier: Sequence[Sequence[Claim]], own: Sequence[Claim]
) -> tuple[Claim, ...]:
    """What a sentence claims that ends in "the same is true of Y": of that what was claimed last."""
    last = parts[-1]
    before = [claim for claims in (*earlier, [c for c in own if c.end <= last.start]) for claim in claims]
    names = named(sentence[last.start : last.end]) or named(sentence)
    if not before or not names:
        return tuple(own)
    status = before[-1].status
    if _DENIED.search(sentence, last.start):  # "the same is not true of Y"
        status = _CONTRARY.get(status, status)
    return _told(own, names, Reply(status), sentence)


def _open(claims: Sequence[Claim], replies: Sequence[Reply]) -> bool:
    """Whether a line settles what the heading or question over it leaves open: "X or Y? Both."."""
    left = any(len(claim.facts) > 1 and not claim.general for claim in claims)
    return any(reply.whose != "all" or (left and reply.status != "uncertain") for reply in replies)


@lru_cache(maxsize=1 << 15)
def named(words: str) -> tuple[str, ...]:
    """The concepts that the words name, asserted or not."""
    return tuple(dict.fromkeys(i.roles["concept"] for i in matched(words).terms if "concept" in i.roles))
