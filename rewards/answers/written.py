"""Which options of a CXRTrek question an answer writes down, by letter or number, by words, or by both.

What an answer *means* is read by the answer reward; here it is only what stands there: an answer is a choice where it
is nothing but options and what joins them (`B and C`, `2. Left pleural space.`, `Left pleural space`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rewards.answers.choices import compiled, options_of

#: What may stand between two chosen options, and around them.
_JOINT = re.compile(r"(?:[\s.,;:&()\[\]*\"']|and\b)*", re.IGNORECASE)
#: What follows an option that explanations come after.
_ENDS = re.compile(r"\s*(?:[.,;:)\]]|and\b|$)", re.IGNORECASE)


def written_options(answer: str, options: Sequence[str]) -> frozenset[str]:
    """The labels of the options that an answer consists of; none where it holds anything else."""
    found, rest = _walk(answer, tuple(options))
    return frozenset() if rest else frozenset(found)


def right_options(answer: str, listed: Sequence[str], options: Sequence[str], question: str) -> tuple[str, ...]:
    """The labels of the reference: of the options in `answer_list`, else of those that the answer begins with. Empty
    where there are no options, or the reference is none of them. An option without a label has the letter of its
    place."""
    options = tuple(options) or options_of(question)
    if not options:
        return ()
    each = [written_options(entry, options) for entry in listed]
    if each and all(each):
        return tuple(sorted(frozenset().union(*each)))
    found, _ = _walk(answer, options)
    return tuple(sorted(set(found)))


def _walk(answer: str, options: tuple[str, ...]) -> tuple[list[str], str]:
    """The labels of the options that stand at the begin of an answer, one after the other, and what comes then."""
    pattern, labels = _pattern(options)
    found: list[str] = []
    end = _past(answer, 0)
    while end < len(answer):
        match = pattern.match(answer, end)
        if match is None or not _ENDS.match(answer, match.end()):
            break
        found.append(labels[(match.lastindex or 1) - 1])
        end = _past(answer, match.end())
    return found, answer[end:]


def _past(answer: str, start: int) -> int:
    match = _JOINT.match(answer, start)
    return match.end() if match else start


@lru_cache(maxsize=4096)
def _pattern(options: tuple[str, ...]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """An option at a place of a text, each a group, and the label of each group. Words go before bare labels, and
    longer ones before shorter ones that they begin with."""
    labels = tuple(compiled(options).words)
    if len(labels) < len(options):  # labels that repeat tell nothing
        return re.compile(r"(?!)"), ()
    words = (_words(label, option) for label, option in zip(labels, options, strict=True))
    spelled = sorted(
        ((label, said) for label, said in zip(labels, words, strict=True) if said), key=lambda one: -len(one[1])
    )
    forms = [(label, rf"(?:\(?{re.escape(label)}[).:]*\s*)?{said}") for label, said in spelled]
    forms += [(label, re.escape(label)) for label in labels]
    pattern = "|".join(rf"({form})(?!\w)" for _, form in forms)
    return re.compile(pattern, re.IGNORECASE), tuple(label for label, _ in forms)


def _words(label: str, option: str) -> str:
    """A pattern of the option's words without its label."""
    bare = re.sub(rf"^\s*\(?{re.escape(label)}\s*[).:-]+\s", "", option, flags=re.IGNORECASE).strip(" .;,:")
    return r"\s+".join(map(re.escape, bare.split()))
