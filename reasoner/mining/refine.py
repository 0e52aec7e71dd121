"""Fluent wording by a language model: chains go to an OpenAI-compatible server, the verifier guards what comes back.

The server is asked to rewrite the sentences that hold findings, one by one, so that each keeps its evidence. A sentence
enters the chain only if the extractor reads it to say exactly what the rule-made one says; else that one stays.
Replies are cached on disk by the content of the request, so a run that was stopped, or is repeated, asks only for
what is missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from reasoner.findings import extract_report, split_sentences
from reasoner.findings.lexicon import load
from reasoner.llm import Llm, ask
from reasoner.mining.chains import merge
from reasoner.mining.verify import faults, read, step_faults
from reasoner.schema import Chain, Example, Finding, Step

SYSTEM = (
    "You edit what a radiologist thinks while looking at a chest X-ray. Rewrite each numbered sentence in fluent, "
    "natural English. Keep every finding with its side, place, size and certainty; add nothing and leave nothing "
    "out. Do not mention a report, a patient, a date or an earlier image. Answer with the same numbers, "
    "one sentence a line, and nothing else."
)
CACHE = "llm_cache.sqlite"
_LINE = re.compile(r"\s*(\d+)\s*[.):]\s*(\S.*?)\s*")
_SENTENCE = re.compile(r"[A-Z][ -~]*[a-z)]\.")
_WORD = re.compile(r"[a-z]+")
_STAMMER = re.compile(r"\b(\w+) \1\b", re.IGNORECASE)
#: Words that need not come from the sentence or the lexicon.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """a an the and or but with without of in on at to from by for as into over under near along
        within both each side sides is are was be been there here this that these it its i we see seen
        look looks appear appears appearing note noted show shows shown showing visible evident present
        absent identified demonstrated observed no not nor neither any evidence sign signs normal clear
        intact unremarkable size sized limits may might could possible possibly likely probably suspected
        cannot excluded also well do does can sits lies located seems contour contours appearance
        slightly somewhat which has have one two image view chest other otherwise additionally""",
    )
)
#: Share of a sentence's words that must be known: enough for any honest paraphrase, too much for babble.
KNOWN = 0.75
#: Words of the longest sentence that is taken where there is none to compare it with.
LONGEST = 40


def refine(examples: Sequence[Example], llm: Llm, folder: Path) -> tuple[list[Example], Counter[str]]:
    """The examples with their chains reworded where that is safe, and what became of them.

    Counts: `accepted` (every sentence sent), `repaired` (some; the others keep the rule-made words), `rejected` (none),
    `failed` (no reply).

    Args:
        folder: holds the cache of replies.

    Raises:
        UserError: the server stopped answering.
    """
    replies = ask([request(example.steps, llm.model) for example in examples], llm, folder / CACHE)
    counts: Counter[str] = Counter()
    refined = []
    for example, reply in zip(examples, replies, strict=True):
        outcome, steps = ("failed", None) if reply is None else reworded(example, reply)
        counts[outcome] += 1
        refined.append(replace(example, steps=steps, reasoning=Chain(steps).text) if steps else example)
    return refined, counts


def request(steps: Sequence[Step], model: str) -> dict[str, Any]:
    """The body of the request about a chain."""
    sent = [step.text for step in steps if step.findings]
    lines = "\n".join(f"{number}. {text}" for number, text in enumerate(sent, 1))
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": lines}]
    return {"model": model, "messages": messages, "temperature": 0, "seed": 0, "max_tokens": 32 + 48 * len(sent)}


def reworded(example: Example, reply: str) -> tuple[str, tuple[Step, ...] | None]:
    """`accepted`, `repaired` or `rejected`, and the new steps where there are any."""
    sent = [number for number, step in enumerate(example.steps) if step.findings]
    texts = _lines(reply, len(sent))
    if texts is None:
        return "rejected", None
    findings = merge(extract_report(example.report))
    prior = any(finding.change for step in example.steps for finding in step.findings)
    steps, kept = list(example.steps), 0
    for number, text in zip(sent, texts, strict=True):
        new = replace(steps[number], text=text)
        if says_the_same(steps[number], text) and not step_faults(new, findings, example.report, prior=prior):
            steps[number] = new
            kept += 1
    if not kept or faults(Chain(tuple(steps)), findings, example.report, prior=prior):
        return "rejected", None
    return ("accepted" if kept == len(sent) else "repaired"), tuple(steps)


def says_the_same(step: Step, text: str) -> bool:
    """Whether a sentence asserts and denies exactly what the step does, in known words and at a like length."""
    old = step.text
    if not plausible(text, frozenset(_WORD.findall(old.lower())), 2 * len(old.split()) + 10):
        return False
    return _meaning(read(text)) == _meaning(read(old))


def plausible(text: str, own: Set[str] = frozenset(), most: int = LONGEST) -> bool:
    """Whether a text is one sentence of at most `most` words, nearly all known: common, of the lexicon, or `own`."""
    words = _WORD.findall(text.lower())
    if not 2 <= len(words) <= most or not _SENTENCE.fullmatch(text) or _STAMMER.search(text):
        return False
    known = sum(word in own or word in _COMMON or word in _vocabulary() for word in words)
    return len(split_sentences(text)) == 1 and known >= KNOWN * len(words)


def _meaning(findings: Sequence[Finding]) -> set[tuple[str | None, ...]]:
    return {(f.concept, f.status, f.laterality, f.location, f.severity, f.change) for f in findings}


@cache
def _vocabulary() -> frozenset[str]:
    """All words of the lexicon."""
    words: set[str] = set()
    nodes = [load().trie]
    while nodes:
        for word, below in nodes.pop().items():
            if word:
                words.add(word)
                nodes.append(below)
    return frozenset(words)


def numbered(reply: str) -> list[str | None]:
    """The lines of a reply without their numbers; None for a line that has none."""
    matches = (_LINE.fullmatch(line) for line in reply.strip().splitlines() if line.strip())
    return [match[2] if match else None for match in matches]


def _lines(reply: str, count: int) -> list[str] | None:
    """The numbered sentences of a reply; None unless there are just as many as were sent, in order."""
    matches = [_LINE.fullmatch(line) for line in reply.strip().splitlines() if line.strip()]
    if len(matches) != count or any(m is None or int(m[1]) != n for n, m in enumerate(matches, 1)):
        return None
    return [m[2] for m in matches if m is not None]
