"""What headings do to the lines below them: "Indication" withholds, "Differential" leaves open, "Absent" denies."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from reasoner.findings.discourse_data import data, headings
from reasoner.findings.text import tokenize

Heading = Literal["withhold", "agenda", "doubt", "deny", "say"]


@lru_cache(maxsize=1 << 12)
def kind_of_heading(words: str) -> Heading | None:
    """The kind of a heading, or of the innermost of several ("Findings: Lungs"); None for one of no known kind."""
    for part in reversed(words.split(":")):
        said = [token.text for token in tokenize(part) if token.text.isalnum()]
        while said and (said[0] in data()["articles"] or said[0].isdigit()):
            said.pop(0)
        tail = next((words for words in map(str.split, data()["tails"]) if said[-len(words) :] == words), [])
        said = said[: len(said) - len(tail)]
        found = headings().match([(word,) for word in said], 0, len(said)) if said else None
        if found and found[0] == len(said):
            return found[1]  # type: ignore[return-value]
    return None
