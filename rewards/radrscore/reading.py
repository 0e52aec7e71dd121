"""The sentences of a reasoning text: which assert something, and what each claims.

A chain of thought is not a report. It announces what it will look for, explains what that would look like, and lists
options before it finds anything; none of that is a claim. And it answers in the next clause or sentence: "We look for
scarring. None is seen." denies scarring. Which clauses do what, `reasoner.findings.discourse` says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from reasoner.findings.anaphora import Reply
from reasoner.findings.discourse import Clause, clauses
from reasoner.findings.headings import kind_of_heading
from reasoner.findings.layout import spans
from reasoner.findings.lexicon import load
from reasoner.findings.replies import REACH, answer, correct, correction, fragment, read_line, speaks
from reasoner.findings.text import tokenize
from reasoner.schema import Status
from rewards.radrscore.claims import Claim, Fact, read_claims

#: A clause with a subject of its own says nothing of that of another clause.
_OTHER = re.compile(r"(?:and|but|so|then|\W)*(?:i|we|you|one|there)\b", re.IGNORECASE)
_RELATIVE = re.compile(r"^\s*which\b", re.IGNORECASE)
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


def read_reasoning(text: str) -> list[Sentence]:
    """The sentences and headings of a reasoning text with what each asserts; offsets are in `text`."""
    found = spans(text)
    words = [text[span.start : span.end] for span in found]
    said: list[tuple[Claim, ...]] = []
    for n, span in enumerate(found):
        said.append(() if span.topic else _stated(words[n], span.head))
        if n and not span.topic and not words[n].endswith("?") and kind_of_heading(span.head) != "withhold":
            first = max(n - REACH, 0)
            said[first:] = _answered_before(words[first : n + 1], said[first:], span.head)
    correct(words, [span.head for span in found], said, lambda claim: claim.concepts, _turned)
    return [
        Sentence(span.start, span.end, claims, line, span.head)
        for span, claims, line in zip(found, said, words, strict=True)
    ]


@lru_cache(maxsize=1 << 14)
def asserts(sentence: str) -> bool:
    """Whether the sentence states what is (or is not) on the image, rather than a plan or general knowledge."""
    return not sentence.endswith("?") and any(not part.void for part in clauses(sentence))


@lru_cache(maxsize=1 << 15)
def _stated(sentence: str, head: str) -> tuple[Claim, ...]:
    """The claims of a sentence under a heading, as far as they do not depend on the sentences before."""
    if sentence.endswith("?") or (head and fragment(sentence) and not asserts(head)):
        return ()
    parts = clauses(sentence)
    plain = not any(part.frame or part.reply or part.speaks > part.start for part in parts)
    if plain or (head and not named(sentence)):
        return _claims(sentence, head)
    said = _read_apart(sentence, head, parts)
    for n, part in enumerate(parts):
        own = named(sentence[part.start : part.end])
        if part.frame == "denies":
            said = _told(said, own, Reply("absent"), sentence)
        elif part.outcome:
            said = _told(said, _announced(sentence, parts[: n + 1]), Reply(part.outcome), sentence)
        elif part.reply:
            said = _told(said, _announced(sentence, parts[:n]), part.reply, sentence)
    return said or _answered(sentence, parts)


def _read_apart(sentence: str, head: str, parts: Sequence[Clause]) -> tuple[Claim, ...]:
    """The claims of the clauses that assert something: each is read without what the others do to it, and keeps the
    subject that one of them gives it ("Looking at the heart, it is enlarged")."""
    kept = [_kept(sentence, part) for part in parts]
    for n in range(1, len(kept)):
        if not kept[n - 1].strip():  # "..., which are clear" asks nothing
            kept[n] = _RELATIVE.sub(lambda match: " " * len(match.group()), kept[n])
    blank = "".join(kept)
    own = [_in(sentence, claim) for claim in _claims(blank, head)] if blank.strip() else []
    known = {concept for claim in own for concept in claim.concepts}
    return (*own, *(claim for claim in _claims(sentence, head) if _shared(sentence, parts, claim, known)))


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


def _told(said: Iterable[Claim], names: Sequence[str], reply: Reply, words: str) -> tuple[Claim, ...]:
    """What is said once a clause has answered for the things named before it."""
    about = names if reply.whose == "all" else names[:1] if reply.whose == "first" else names[1:2]
    said = tuple(said)
    before = [claim for claim in said if not claim.concepts.isdisjoint(about)]
    status = reply.status
    denied = bool(before) and all(claim.status == "absent" for claim in before)
    if denied and reply.turns:
        status = "present"
    repeats = denied and status == "absent" and {*about} <= {concept for claim in before for concept in claim.concepts}
    if before and (
        repeats or reply.side or (status == "present" and any(claim.status != "uncertain" for claim in before))
    ):
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


@lru_cache(maxsize=1 << 15)
def claims_of(sentence: str) -> tuple[Claim, ...]:
    """What a sentence by itself claims; offsets are within it."""
    return _claims(sentence, "")


def _claims(sentence: str, head: str) -> tuple[Claim, ...]:
    found = read_line(sentence, head)
    doubtful = {finding.evidence for finding in found if finding.status == "uncertain"}
    # Of "atelectasis versus pneumonia" either may be so: one claim, as doubtful as its parts.
    settled = [replace(f, status="uncertain") if f.status == "present" and f.evidence in doubtful else f for f in found]
    return read_claims(sentence, settled)


def _turned(claims: Sequence[Claim], words: str) -> tuple[Claim, ...]:
    """What is so if none of the claims is; that a normal statement does not hold says nothing of each finding."""
    facts = [
        Fact(fact.concept, "present" if claim.status == "absent" else "absent", fact.laterality)
        for claim in claims
        if not claim.general
        for fact in claim.facts
    ]
    return tuple(Claim.of([fact], words, 0) for fact in facts)


def _answered_before(words: Sequence[str], said: Sequence[tuple[Claim, ...]], head: str) -> list[tuple[Claim, ...]]:
    """What some sentences claim once the last of them has answered for what was announced: "None is seen" for the last
    that named something, "Yes" for the one right before, which claimed nothing itself."""
    *before, sentence = words
    *earlier, own = said
    parts = clauses(sentence)
    if parts and parts[-1].frame == "same":
        return [*earlier, _alike(sentence, parts, earlier, own)]
    replies = [
        part.reply
        for n, part in enumerate(parts)
        if part.reply and not _announced(sentence, parts[:n]) and not _of_organs(sentence, parts[:n])
    ]
    if correction(sentence) == "reverse" or (own and head and not _open(own, replies)):
        return [*said]
    if not replies:
        status = None if own or earlier[-1] else _STATUS.get(answer(sentence, 1) or "")
        names = named(before[-1]) if status else ()
        return [*earlier, (*own, *(Claim.of([Fact(name, status)], sentence, 0) for name in names if status))]
    for m in range(len(before) - 1, -1, -1):
        names = _announced(before[m], clauses(before[m]))
        if names:
            told = earlier[m]
            for reply in replies:
                told = _told(told, names, reply, sentence)
            kept = tuple(claim for claim in told if claim in earlier[m])
            if any(correction(line) in ("withdraw", "reverse") for line in before[m + 1 :]):
                kept = earlier[m]  # it is taken back anyway
            fresh = tuple(claim for claim in told if claim not in earlier[m])
            return [*earlier[:m], kept, *earlier[m + 1 :], (*(() if head else own), *fresh)]
    return [*said]


def _of_organs(sentence: str, parts: Sequence[Clause]) -> bool:
    """Whether a plan of these clauses is about organs, so that what answers it is no word on a finding."""
    return any(part.void and speaks(sentence[part.start : part.end]) for part in parts)


def _alike(
    sentence: str, parts: Sequence[Clause], earlier: Sequence[Sequence[Claim]], own: Sequence[Claim]
) -> tuple[Claim, ...]:
    """What a sentence claims that ends in "the same is true of Y": of that what was claimed last."""
    last = parts[-1]
    before = [claim for claims in (*earlier, [c for c in own if c.end <= last.start]) for claim in claims]
    names = named(sentence[last.start : last.end])
    return _told(own, names, Reply(before[-1].status), sentence) if before and names else tuple(own)


def _open(claims: Sequence[Claim], replies: Sequence[Reply]) -> bool:
    """Whether a line settles what the heading or question over it leaves open: "X or Y? Both."."""
    left = any(len(claim.facts) > 1 and not claim.general for claim in claims)
    return any(reply.whose != "all" or (left and reply.status != "uncertain") for reply in replies)


@lru_cache(maxsize=1 << 15)
def named(words: str) -> tuple[str, ...]:
    """The concepts that the words name, asserted or not."""
    return tuple(dict.fromkeys(i.roles["concept"] for i in load().match(tokenize(words)) if "concept" in i.roles))
