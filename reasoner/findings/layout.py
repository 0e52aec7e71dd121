"""The lines of a text: which are headings and say nothing themselves, and what each of the others stands under.

Headings are those of Markdown (`## Lungs`, `**Lungs**`), lines that end in a colon, lines with items set in below them,
questions before an answer, cells of a table's first row, and keys such as `"finding"` that name what is spoken of.
A subject on the same line ("Lungs: clear") stays with its words: the sentence is read as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reasoner.findings.headings import kind_of_heading
from reasoner.findings.lexicon import load
from reasoner.findings.replies import answer, governs, names, speaks, subject, title_of
from reasoner.findings.text import split_sentences

#: Without any of these a text is plain prose.
_STRUCTURE = re.compile(r"[\n|?#{:]|\*\*|__")
_RULE = re.compile(r"[\s|:\-=+*_#~>{}\[\],]+")
_UNDERLINE = re.compile(r"={3,}|-{3,}|~{3,}")
_BULLET = re.compile(r"[-*•+>–—☐-☒✓-✘✅❌\[]|$")
_HASH = re.compile(r"#{1,6}|={2,6}(?=[^=])")
_BOLD = re.compile(r"(?:[-*•+]\s+)?(\*\*|__)(?!\s)(?P<words>[^*\n]{1,160}?)\1\s*:?")
#: "B) Pneumothorax", "**Option B: pneumothorax**: ..." name a choice; what follows may speak of it.
_OPTION = re.compile(
    r"[\s\-*•#>_]*(?:[Oo]ption\s+[A-H]\b(?!\s+(?:is|was|are|has|does|do|can|cannot|could|may|might|must|should|will|would"
    r"|[a-z]+s)\s)[:).]?|[A-H][):](?=\s))[^.:\n]{0,160}(?:[:.*_\s]*$|[*_]*:[*_]*(?=\s))"
)
_KEY = re.compile(r"[\s{\[,]*[\"']?(?P<key>[A-Za-z][A-Za-z _]{1,30}?)[\"']?\s*:\s*(?P<value>.*)", re.DOTALL)
#: What goes on with the history that a label begins.
_TOLD = re.compile(
    r"\b(?:concern|suspicion|suspect\w*|question of|quer(?:y|ies)|patient|s?he|history|rule out|exclude|evaluate)\b",
    re.IGNORECASE,
)
_CELL = re.compile(r"[^|\n]+")
#: The most words that stand above a line; a heading that is longer is a sentence.
MAX_HEAD = 160
#: The longest line without any mark that is a heading.
MAX_NAME = 50


class Span(NamedTuple):
    """`text[start:end]` is a sentence that stands under the words `head`, or a `topic`: a heading, which says nothing
    itself."""

    start: int
    end: int
    head: str = ""
    topic: bool = False


class _Line(NamedTuple):
    """A sentence as it stands on the page. `indent` is twice its inset, and one more for a list item; None where it
    goes on with a line. `apart`: a blank line before it; `ends`: the line ends with it."""

    start: int
    end: int
    words: str
    indent: int | None
    apart: bool
    ends: bool


class _Head:
    def __init__(self, indent: int, words: str) -> None:
        self.indent, self.words, self.used = indent, words, False


def spans(text: str) -> list[Span]:
    """The sentences and headings of a text, in order; offsets are in it. Linear in its length."""
    found = split_sentences(text)
    if not _STRUCTURE.search(text):
        return [Span(start, end) for start, end in found]
    return list(_Page(list(_lines(text, found))).read())


def _lines(text: str, found: Sequence[tuple[int, int]]) -> Iterator[_Line]:
    before = 0
    for n, (start, end) in enumerate(found):
        gap = text[before:start]
        following = found[n + 1][0] if n + 1 < len(found) else len(text)
        ends = n + 1 == len(found) or "\n" in text[end:following]
        indent = None
        if n == 0 or "\n" in gap:
            lead = gap[gap.rfind("\n") + 1 :]
            inset = len(lead) - len(lead.lstrip(" \t"))
            indent = 2 * inset + bool(lead.strip() or _BULLET.match(text[start : start + 1]))
            if text.startswith("**", start):
                indent = 2 * inset
        yield _Line(start, end, text[start:end], indent, gap.count("\n") > 1, ends)
        before = end


class _Page:
    """Walks the lines with the headings that are open, outermost first."""

    def __init__(self, lines: Sequence[_Line]) -> None:
        self.lines = lines
        self.heads: list[_Head] = []
        self.keyed = False  # whether that is such a value
        self.label = ""  # stands over what a semicolon joins to its own words: "History: cough; fever"
        self.told = ""  # the label before a line of sentences: "Reason for exam: cough. Concern for pneumonia."
        self.once = ""  # stands over the next sentence alone: a question, or the value of "finding"
        self.columns: list[str] = []

    def read(self) -> Iterator[Span]:
        for n, line in enumerate(self.lines):
            if line.words[0] == "|" and line.words.count("|") > 1:
                yield from self._row(n, line)
                continue
            self.columns = []
            if _RULE.fullmatch(line.words):
                continue
            option = None if self.once else _OPTION.match(line.words)
            if option:
                yield Span(line.start, line.start + len(option.group().rstrip()), "", True)
                rest = line.words[option.end() :]
                if not rest.strip(" *_"):
                    continue
                start = line.end - len(rest.lstrip(" *_"))
                line = line._replace(start=start, words=line.words[start - line.end :], indent=None)
            yield self._sentence(n, line)

    def _sentence(self, n: int, line: _Line) -> Span:
        words = line.words
        heading = line.indent is not None and self._heads(n, line)
        if line.indent is not None:
            hashes = _HASH.match(words)
            indent = len(hashes.group()) - 10 if hashes else line.indent
            self._close(indent, line, heading)
            if heading:
                head = self._over()
                self.heads.append(_Head(indent, subject(words)))
                return Span(line.start, line.end, head, True)
        title, value = self._title(n)
        if title is None and self.keyed:
            self.once, self.keyed = "", False
        label = title_of(words)
        told = line.indent is None and kind_of_heading(self.told) == "withhold" and _TOLD.search(words)
        head = self._over(*([self.told] if told else ()))
        self.label = self.told = label if kind_of_heading(label) else self.label
        if not told and not label:
            self.told = ""
        if not words.endswith(";"):
            self.label = ""
        if title == "subject":
            self.once, self.keyed = value, True
        elif title is None:
            self.once = subject(words) if words.endswith("?") else ""
        asked = title == "subject" or words.endswith("?")
        return Span(line.start, line.end, head, asked)

    def _title(self, n: int) -> tuple[str | None, str]:
        """Whether the key of line n names a subject or a value ("finding", "status"), and the words after it."""
        words = self.lines[n].words
        match = _KEY.match(words)
        title = load().titles.get(match["key"].lower().replace("_", " ")) if match else None
        if match is None or title is None:
            return None, ""
        quoted = words.lstrip(" {[,")[:1] in "\"'"
        paired = title == "value" and self.keyed
        if title == "subject" and not quoted and n + 1 < len(self.lines):
            following = _KEY.match(self.lines[n + 1].words)
            paired = following is not None and load().titles.get(following["key"].lower()) == "value"
        return (title, match["value"].strip(" \t\"',.{}[]")) if quoted or paired else (None, "")

    def _heads(self, n: int, line: _Line) -> bool:
        """Whether a line is a heading."""
        words, bare = line.words, line.words.rstrip("*_ ")[-1:] not in ".!?"
        if not line.ends or not bare or len(words) > MAX_HEAD:
            return False
        if _HASH.match(words) or words.rstrip("*_ ").endswith(":"):
            return True
        after = self.lines[n + 1] if n + 1 < len(self.lines) else None
        if after is None or after.indent is None or line.indent is None:
            return False
        if after.indent // 2 > line.indent // 2 or _UNDERLINE.fullmatch(after.words):
            return True
        if after.indent > line.indent and kind_of_heading(words) is not None:  # "Pertinent negatives" over a list
            return True
        bold = _BOLD.fullmatch(words)
        if bold:
            known = kind_of_heading(bold["words"]) is not None
            return not _BOLD.fullmatch(after.words) and (known or not governs(bold["words"]))
        # "Lungs" on a line of its own, and what is said of them on the next
        level = line.indent // 2 == after.indent // 2 and not line.indent % 2
        return level and len(words) < MAX_NAME and (names(words) or answer(after.words) is not None)

    def _close(self, indent: int, line: _Line, heading: bool) -> None:
        """Closes the headings that do not stand over a line so far in, or that a blank line ends."""
        while self.heads:
            top = self.heads[-1]
            item = bool(indent % 2)
            under = indent > top.indent or (indent == top.indent and not heading and not item)
            if under and not (line.apart and top.used and top.indent >= 0 and not item):
                return
            self.heads.pop()

    def _over(self, *more: str) -> str:
        """The words that what comes next stands under."""
        for head in self.heads:
            head.used = True
        words = [*(head.words for head in self.heads), self.label, self.once, *more]
        inner = next((n for n in range(len(words) - 1, -1, -1) if speaks(words[n])), len(words))
        above = (w for n, w in enumerate(words) if n >= inner or kind_of_heading(w) or (governs(w) and not speaks(w)))
        return ": ".join(filter(None, above))[-MAX_HEAD:]

    def _row(self, n: int, line: _Line) -> Iterator[Span]:
        cells = list(_cells(line))
        if not self.columns and cells:
            self.columns = [words for _, _, words in cells]
            below = self.lines[n + 1].words if n + 1 < len(self.lines) else ""
            if _RULE.fullmatch(below or " ") and below:
                yield Span(line.start, line.end, "", True)
                return
            self.columns = [""] * len(cells)
        if not cells or _RULE.fullmatch(line.words):
            return
        over = [words if speaks(words) or answer(words) else "" for words in self.columns]
        if not any(over):
            yield Span(line.start, line.end, self._over())
            return
        first = "" if over[0] else cells[0][2]
        for (start, end, words), column in zip(cells, over, strict=False):
            if words and not (first and start == cells[0][0]):
                yield Span(start, end, self._over(" ".join(filter(None, (first, column)))))


def _cells(line: _Line) -> Iterator[tuple[int, int, str]]:
    """The cells of a row, with their offsets in the text."""
    for match in _CELL.finditer(line.words):
        words = match.group().strip()
        start = line.start + match.start() + match.group().find(words) if words else line.start + match.start()
        yield start, start + len(words), words.strip("*_ ")
