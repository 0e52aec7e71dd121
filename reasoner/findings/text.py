"""Text into sections, sentences and tokens, always as offsets into the text that was given; linear, never failing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

#: Sections by the headers that open them. What lies before any header is taken for findings.
HEADERS: dict[str, str] = {
    "indication": "clinical indication|clinical information|clinical history|reason for exam(?:ination)?"
    "|reason for study|indications?|history|patient history|clinical data|clinical statement|reason",
    "comparison": "comparisons?|prior studies|comparison studies",
    "technique": "techniques?|procedure|exam(?:ination)?|study|views?|type of exam|examination type"
    "|recommendations?|notification",
    "findings": "findings?|report|findings and impression|findings/impression|body|chest"
    "|frontal and lateral views of the chest",
    "impression": "impressions?|conclusions?|summary|opinion|assessment|interpretation|diagnosis",
}
#: A header starts a line, or is in capitals anywhere, and ends in a colon.
_LINE_HEADER = "|".join(f"(?P<{name}>{words})" for name, words in HEADERS.items())
_HEADER = re.compile(rf"^[ \t>*#]*(?:{_LINE_HEADER})[ \t*]*:", re.IGNORECASE | re.MULTILINE)
_INLINE = re.compile(r"\b(INDICATION|HISTORY|COMPARISON|TECHNIQUE|FINDINGS|IMPRESSION|CONCLUSION)S?:")
_INLINE_NAMES = {"HISTORY": "indication", "CONCLUSION": "impression"}
FINDING_SECTIONS = ("findings", "impression")

#: How a line begins that does not go on with the one before: it is empty, opens with a mark, a number or a capital, or
#: parts a subject from what is said of it.
_LINE = (
    r"\n|[^\w\s(,.;)%/&]|_|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)]\s|[A-Z][a-z]"
    r"|[^\n]{1,45}?(?:\s[-–—=/]\s|[=-]>|→|\||:(?!\d)|\t|\?\s|\s\()|[\w ]{1,40},[\w ]{1,30}(?:\n|$)"
)
#: What takes back the words before it within their sentence.
_CORRECTS = (
    r"(?i:wait(?=,)|(?:strike|scratch|cross) (?:that|this)|no,? wait|wait,? no|sorry(?=,)|correction|i mean(?=,)"
    r"|or rather|make that|no,? (?:on the |it is |rather )?(?:left|right|small|moderate|large|mild|severe)\b)"
)
#: A full stop ends a sentence unless a digit follows (1.5 cm) or an abbreviation precedes; so does a blank line, a new
#: list item, table row or line that opens like a sentence, the end of a heading, a semicolon, a comma before the next
#: "subject: value". A number that opens a list item begins one. One set of characters in front lets `re` skip.
_BREAK = re.compile(
    r"[.!?;,|\n0-9•<—–-](?:(?<=[.!?])(?<!\A\?)(?<![\n(]\?)[.!?]*(?=[\s)\"'<*|_]|$)|(?<=\.)(?=[A-Z][a-z])|(?<=;)"
    rf"|(?<=\n)(?:(?<=[:*_]\n)|(?=[ \t]*(?:{_LINE})))"
    r"|(?<=,)(?=\s*[{\[]?\s*(?:\"[^\"\n]{1,60}\"|[A-Za-z][A-Za-z ]{1,40}):\s)|(?<=\s\d)(?=\d?[.)] +[A-Z])"
    r"|(?<=\|)(?=[ ]*[A-Za-z][\w ]{1,40}:\s)|(?<=•)|(?<=<)(?=/?(?:br|li|tr|p|div)\b)"
    rf"|(?<=[,—–-])(?=\s*(?:{_CORRECTS})\b))"
)
_CORRECTING = re.compile(rf"\s*{_CORRECTS}")
_ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|vs|e\.g|i\.e|approx|fig|st|q)|(?:^|\s)\d{1,2}|(?<!option )(?<!answer )(?<!choice )\b[ap])$",
    re.IGNORECASE,
)
#: These only before a small letter: "Neg. for effusion".
_SHORT = re.compile(r"\b(?:neg|pos|poss|prob|susp|bilat|mod|approx|incl)\Z", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|[,;:/&()?]|[^\W\d_]+")
#: "isn't" is two words, whatever its apostrophe. A dash that parts, and what stands for yes and no, are tokens.
_SPLIT = re.compile(
    rf"(?:\A|(?<=:[ ]))(?:[+][+]?|[−–-])(?=[ ]*(?:[,;.|\n]|$))|"
    rf"[A-Za-z]+?(?=n['’]t\b)|n['’]t\b|\[[ xX✓✔]?\]|\([+−–-]\)|[+−–-]ve\b|[☐-☒✓-✘✅❌—|]|(?<=\s)[–-]+(?=\s)"
    rf"|{_TOKEN.pattern}",
    re.IGNORECASE,
)
_YES, _NO, _DASH = "☑", "☐", "-"
_WHOLE = {
    "n't": "not", "n’t": "not", "ca": "can", "wo": "will", "—": _DASH, "–": _DASH, "--": _DASH, "|": ":",
    **dict.fromkeys(("[x]", "[✓]", "[✔]", "✓", "✔", "✅", "(+)", "+ve", "☒"), _YES),
    **dict.fromkeys(("[ ]", "[]", "✕", "✖", "✗", "✘", "❌", "(-)", "(−)", "(–)", "-ve", "−ve", "–ve"), _NO),
}  # fmt: skip
#: "Effusion: -"
_SIGNS = {"+": _YES, "++": _YES, "-": _NO, "−": _NO}
#: "It's" is "it is"; "patient's" is not.
_PRONOUNS = frozenset(("it", "that", "there", "what", "here", "this", "he", "she", "nothing", "everything"))
#: What only the wider pattern splits.
_WIDER = re.compile(r"['’][ts]|[\[|]|\([+−-]\)|[+−-]ve\b|(?:\A|:[ ])[+−-]|\s[–-]|[^\x00-\u2013]", re.IGNORECASE)
_CLOSING = re.compile(r"</[^<>\n]{1,60}>")
#: A sentence without any break is cut here, so that everything after stays linear.
MAX_SENTENCE = 1200


class Section(NamedTuple):
    """`text[start:end]` is the section's body, without its header."""

    name: str
    start: int
    end: int


class Token(NamedTuple):
    text: str
    start: int
    end: int


def split_sections(text: str) -> list[Section]:
    """The sections of a report in order; one `findings` section when it has no header."""
    marks = [(m.start(), m.end(), m.lastgroup or "findings") for m in _HEADER.finditer(text)]
    taken = {start for start, _, _ in marks}
    for m in _INLINE.finditer(text):
        if not any(start in taken for start in range(m.start() - 4, m.start() + 1)):
            word = m.group(1)
            marks.append((m.start(), m.end(), _INLINE_NAMES.get(word, word.lower())))
    marks.sort()
    sections = [Section("findings", 0, marks[0][0] if marks else len(text))]
    for i, (_, end, name) in enumerate(marks):
        sections.append(Section(name, end, marks[i + 1][0] if i + 1 < len(marks) else len(text)))
    return [s for s in sections if text[s.start : s.end].strip()]


def split_sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Spans of the sentences of `text[start:end]`, without the white space around them; semicolons break, too."""
    stop = len(text) if end is None else end
    spans: list[tuple[int, int]] = []
    begin = start
    for match in _BREAK.finditer(text, start, stop):
        at, after = match.span()
        mark = text[at]
        if mark == "." and text[after : after + 2].strip()[:1].islower() and _SHORT.search(text, begin, at):
            continue
        if mark == "." and _abbreviated(text[at - 9 if at - begin > 9 else max(begin - 1, 0) : at]):
            if text[begin:at].strip().isdigit():  # the number of a list item
                begin = after
            continue
        if after - at > 2 and text[after : after + 2].strip()[:1].islower() and not _CORRECTING.match(text, after):
            continue  # dots that lead to a value
        if mark == "," and ":" not in text[begin:at] and not _CORRECTING.match(text, after):
            continue  # no subject with its value before another
        if mark.isdigit() or mark in "•<":
            after = at
        _append(spans, text, begin, after)
        begin = after
    _append(spans, text, begin, stop)
    return spans


@lru_cache(maxsize=1 << 14)
def _abbreviated(end: str) -> bool:
    """Whether a word that a full stop may follow stands at the end of these few characters."""
    return _ABBREVIATION.search(end) is not None


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while end - start > MAX_SENTENCE:
        cut = text.rfind(" ", start + MAX_SENTENCE // 2, start + MAX_SENTENCE)
        cut = cut if cut > 0 else start + MAX_SENTENCE
        _append(spans, text, start, cut)
        start = cut
    body = text[start:end]
    rest = body.lstrip()
    if rest.startswith(("#", "==", "---")) and "\n" in rest:  # a heading or rule ends with its line
        cut = text.index("\n", end - len(rest))
        _append(spans, text, start, cut)
        _append(spans, text, cut, end)
        return
    left, words = end - len(rest), rest.rstrip()
    if words:
        spans.append((left, left + len(words)))


def tokenize(text: str) -> list[Token]:
    """Words lower-cased, contracted negations written out, numbers, and the punctuation that matters to scope.

    A checked box or tick is the token `☑`, an empty one or a cross `☐`, a dash between words `-`,
    the bar between cells `:`.
    """
    if "</" in text:
        text = _CLOSING.sub(lambda match: " " * len(match.group()), text)
    if not _WIDER.search(text):
        return [Token(m.group().lower(), m.start(), m.end()) for m in _TOKEN.finditer(text)]
    found = [(m.group().lower(), m.start(), m.end()) for m in _SPLIT.finditer(text)]
    tokens = [Token(_WHOLE.get(word, word), start, end) for word, start, end in found]
    for n, (word, start, end) in enumerate(tokens):
        if (
            word in _SIGNS
            and (n == 0 or tokens[n - 1].text == ":")
            and text[end : end + 2].strip()[:1] in ("", *",;.|:")
        ):
            tokens[n] = Token(_SIGNS[word], start, end)
        if n and word == "s" and text[start - 1] in "'’" and tokens[n - 1].text in _PRONOUNS:
            tokens[n] = Token("is", start, end)
    return tokens
