"""Completions corrected from their reference (EditGRPO, arXiv 2509.22812): sentences that the verdicts find at fault
are replaced by those of the reference chain, what was missed is put in where the reading order wants it, and the answer
is mended. The rest stays in the words of the policy, so that an edited text is near to what it says by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from reasoner.findings import kin
from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, parse_completion
from rewards.radrscore.claims import Claim
from rewards.radrscore.reading import Sentence, read_reasoning

#: Verdicts on words of a completion that are not borne out.
WRONG = ("contradicted", "unsupported")
MISSED = "missed"
#: Sentences that claim nothing (plans, conclusions) are the same from this share of common words on.
ALIKE = 0.6


@dataclass
class _Piece:
    """A sentence of the text as it becomes: its words, what stands before it, and which sentence of the reference it
    goes with (None: none)."""

    words: str
    gap: str
    place: int | None


def corrections(completion: str, reasoning: str, answer: str, evidence: Sequence[Mapping[str, Any]]) -> list[str]:
    """The corrected versions of a completion, most thorough first; empty where nothing is at fault or can be mended.

    There may be two, since a reference answer that passes over a finding can be worse than the completion's own: which
    pays is for the rewards to say. A completion without its four tags is left alone.

    Args:
        completion: think and answer block.
        reasoning, answer: those of the reference.
        evidence: of `skill` or `process`, for this completion.

    >>> chain = "There is a small left pleural effusion. The heart is not enlarged."
    >>> said = "No pleural effusion. The heart is not enlarged."
    >>> from reasoner.prompts import format_completion
    >>> from rewards.process import process
    >>> text = format_completion(said, "No Finding")
    >>> better = corrections(text, chain, "Pleural Effusion", process(text, reasoning=chain, report=chain).evidence)
    >>> parse_completion(better[0]).reasoning
    'There is a small left pleural effusion. The heart is not enlarged.'
    """
    said = parse_completion(completion)
    if not said.well_formed or not reasoning.strip():
        return []
    drafts = []
    for text in (answer, said.answer or ""):
        mended = _mended(said.reasoning, reasoning, evidence, concludes=text != said.answer)
        if mended and text.strip():
            drafts.append(_with_blocks(completion, mended, text.strip()))
    return [draft for draft in dict.fromkeys(drafts) if draft != completion]


def _with_blocks(completion: str, reasoning: str, answer: str) -> str:
    """A completion of four tags with other words in its blocks; what stands around them is the policy's, whatever its
    prompt profile teaches."""
    for begin, end, words in ((THINK_OPEN, THINK_CLOSE, reasoning), (ANSWER_OPEN, ANSWER_CLOSE, answer)):
        head, _, rest = completion.partition(begin)
        inner, _, tail = rest.partition(end)
        before = inner[: len(inner) - len(inner.lstrip())]
        after = inner[len(inner.rstrip()) :]
        completion = f"{head}{begin}{before}{words}{after}{end}{tail}"
    return completion


def _mended(text: str, reference: str, evidence: Sequence[Mapping[str, Any]], *, concludes: bool) -> str:
    """The reasoning without its faults. `concludes`: the answer is replaced, and with it the sentence that draws it."""
    own, model = read_reasoning(text), read_reasoning(reference)
    lines = [reference[sentence.start : sentence.end] for sentence in model]  # with their boxes
    faulty = _at_fault(own, evidence)
    both_close = _closes(own) and _closes(model)
    body = model[:-1] if both_close else model
    places = [_counterpart(sentence, body) for sentence in own]
    if both_close:  # "So the answer is B." has few words in common with "This makes C the answer."
        places[-1] = len(model) - 1
        faulty[-1] |= concludes
    spoken = {place for place, wrong in zip(places, faulty, strict=True) if place is not None and not wrong}
    pieces: list[_Piece] = []
    end = 0
    for sentence, wrong, place in zip(own, faulty, places, strict=True):
        gap, end = text[end : sentence.start], sentence.end
        if not wrong:
            pieces.append(_Piece(text[sentence.start : sentence.end], gap, place))
            continue
        for number in _replacements(sentence, place, model if sentence is own[-1] else body, spoken):
            spoken.add(number)
            pieces.append(_Piece(lines[number], gap if gap.strip() == "" else " ", number))
    for number in _missed(model, evidence):
        if number not in spoken:
            spoken.add(number)
            _insert(pieces, _Piece(lines[number], " ", number))
    return "".join((piece.gap or " ") + piece.words for piece in pieces).strip()


def _closes(sentences: Sequence[Sentence]) -> bool:
    """Whether the last sentence draws the conclusion: it claims nothing, or only speaks of what was said before."""
    if len(sentences) < 2:
        return False
    *before, last = sentences
    return not last.claims or any(_related(last, sentence) for sentence in before)


def _at_fault(sentences: Sequence[Sentence], evidence: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which sentences a verdict on the completion's own words (not on the reference's: completeness) finds wrong, with
    those that say the same again, which verdicts pass over as repeated."""
    spans = [
        (entry["start"], entry["end"])
        for entry in evidence
        if (entry.get("verdict") in WRONG and entry["part"] != "completeness")
        or entry.get("part") == "denied"  # of `skill`: there is something, if only perhaps
    ]
    wrong = {
        fact
        for sentence in sentences
        for claim in sentence.claims
        if (sentence.start + claim.start, sentence.start + claim.end) in spans
        for fact in _asserted(claim)
    }
    return [
        bool(sentence.claims)
        and (
            any(start < sentence.end and sentence.start < end for start, end in spans)
            or any(not wrong.isdisjoint(_asserted(claim)) for claim in sentence.claims)
        )
        for sentence in sentences
    ]


def _asserted(claim: Claim) -> set[tuple[str, str, str | None]]:
    """What a claim says, without details; a denial also without its side."""
    return {(f.concept, f.status, None if f.status == "absent" else f.laterality) for f in claim.facts}


def _concepts(sentence: Sentence) -> frozenset[str]:
    return frozenset().union(*(claim.concepts for claim in sentence.claims))


def _related(one: Sentence, other: Sentence) -> bool:
    """Whether both speak of one finding, under whichever name."""
    theirs = _concepts(other)
    return any(not kin(concept).isdisjoint(theirs) for concept in _concepts(one))


def _likeness(one: Sentence, other: Sentence) -> float:
    return SequenceMatcher(None, one.words.lower().split(), other.words.lower().split()).ratio()


def _counterpart(sentence: Sentence, model: Sequence[Sentence]) -> int | None:
    """The sentence of the reference that says what this one should: on its findings, else in its words."""
    found = [
        (_likeness(sentence, other), -number)
        for number, other in enumerate(model)
        if bool(sentence.claims) == bool(other.claims)
        and (_related(sentence, other) if sentence.claims else _likeness(sentence, other) >= ALIKE)
    ]
    return -max(found)[1] if found else None


def _replacements(
    sentence: Sentence, place: int | None, model: Sequence[Sentence], spoken: Collection[int]
) -> list[int]:
    """The sentences of the reference on what a faulty one speaks of, as far as they are not said elsewhere."""
    return [
        number
        for number, other in enumerate(model)
        if number not in spoken and (number == place or (other.claims and _related(sentence, other)))
    ]


def _missed(model: Sequence[Sentence], evidence: Sequence[Mapping[str, Any]]) -> list[int]:
    """The sentences of the reference with what the completion missed: `process` points at them, `skill` quotes."""
    numbers = set()
    for entry in (entry for entry in evidence if entry.get("verdict") == MISSED):
        for number, sentence in enumerate(model):
            if entry["part"] == "completeness":
                missed = sentence.start <= entry["start"] < sentence.end
            else:
                missed = bool(entry["against"]) and entry["against"].lower() in sentence.words.lower()
            if missed:
                numbers.add(number)
                break
    return sorted(numbers)


def _insert(pieces: list[_Piece], new: _Piece) -> None:
    """Puts a sentence of the reference before the first that follows it there, else after the last that is of it."""
    placed = [(n, piece.place) for n, piece in enumerate(pieces) if piece.place is not None]
    later = next((n for n, place in placed if place > (new.place or 0)), None)
    pieces.insert(later if later is not None else placed[-1][0] + 1 if placed else len(pieces), new)
