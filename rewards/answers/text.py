"""Answers as words: markup taken off, tokens, and items, which are names or change what is said of names."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, NamedTuple, TypeVar

from reasoner.findings.answers import ARTICLES, END, Entry, Trie, is_attribute, singular, vocabulary

_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")
_FENCE = re.compile(r"```[a-z]*")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")
_TAG = re.compile(r"</?[a-z][^<>\n]{0,40}>|<\|[^<>\n]{0,40}\|>")
_LATEX = re.compile(r"\\n(?![a-z])|\\(?:neg|lnot)\b|\\[A-Za-z]{1,20}|\\[^\w\s]")
_TICKED, _UNTICKED = re.compile(r"\[[xX]\]|[✓✔✅☑]"), re.compile(r"\[ \]|[✗✘❌✖☐¬]")
_MARK = re.compile(r"([✓✔✅☑✗✘❌✖☐])\ufe0f?")
_BULLET = re.compile(r"(?m)^[ \t>]*(?:[-*•·‣◦–+]|\(?\d{1,2}[.)])(?=[ \t])")
_NUMBER = re.compile(
    r"(?:(?<=\s)|(?<=[,;:]))\(?[1-9]\d?[.)]\s+(?=[^\W\d])|(?<=\s)\(\d{1,2}\)\s*(?=[^\W\d])|^\(\d{1,2}\)\s*"
)
_DECORATION = re.compile(r"[*_`#\"“”„«»{}$]|(?<=\w)-(?=\w)|''")
_SIGN = re.compile(r"\(([+-])\)|(?<=[\w:=])\s?([+-])(?=\s*(?:[,;\n|]|$))")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z*]{1,20}\}")
_SHORTHAND = re.compile(r"\b[a-z]/[a-z]\b", re.IGNORECASE)
_ABBREVIATION = re.compile(r"\b(?:i\. ?e|e\. ?g)\b\.?,?")
_VERSUS = re.compile(r"\b(vs)\.", re.IGNORECASE)
_ARROW = re.compile(r"[-=]{1,2}>|[→⇒]")
_LEADERS = re.compile(r"[ .]*\.{4,}\s*(?=(?:yes|no|present|absent|positive|negative)\b)", re.IGNORECASE)
_SPACED_DASH = re.compile(r"\s[-–—]+\s|[–—]")
_TOKEN = re.compile(r"\d+[.,]\d+|[^\W_]+(?:['’][^\W_]+)*|\.{2,}|[^\w\s]|\n")
_FOLLOWING = re.compile(r" ([^\W\d_]+)")
_WHOLE = re.compile(r"(\d+)[.,]0+")
_STOPS = frozenset(".!?;\n•")
_MARKS = frozenset(",:=|–()/")
_SPLIT = {"cannot": ("can", "not"), "can't": ("can", "not"), "won't": ("will", "not")}


#: In names of more words nothing is skipped.
_LONGEST_NAME = 8
#: Readings of longer texts are not kept.
_MOST_KEPT = 2000
Read = TypeVar("Read", bound=Callable[..., object])


def remembered(read: Read) -> Read:
    """A reader of texts (its first argument) that keeps what it read last: answers are short and recur."""
    kept = lru_cache(maxsize=4096)(read)

    @wraps(read)
    def reader(text: str, *context: Any) -> object:
        return kept(text, *context) if len(text) <= _MOST_KEPT else read(text, *context)

    return reader  # type: ignore[return-value]


class Token(NamedTuple):
    """A word as tries hold it, or a punctuation mark, as it was written, and where; `article` stands before it."""

    word: str
    raw: str
    start: int
    end: int
    article: bool = False


class Item(NamedTuple):
    """Tokens `[first, last)` and what they stand for."""

    kind: str
    value: str
    first: int
    last: int


Namer = Callable[[Sequence[Token], int], "tuple[Entry, int] | None"]


def plain(text: str) -> str:
    """The text without the markup of Markdown, LaTeX, HTML and JSON; marks and signs become yes and no, bullets `•`."""
    text = _INVISIBLE.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if "```" in text:
        text = _FENCE.sub(" ", text)
    if "~~" in text:
        text = _STRUCK.sub(" ", text)
    if "<" in text or "&" in text:
        text = html.unescape(_TAG.sub(" ", text))
    if "...." in text:
        text = _LEADERS.sub(": ", text)
    if ">" in text or "→" in text or "⇒" in text:
        text = _ARROW.sub(" : ", text)
    if "\\" in text:
        text = _ENVIRONMENT.sub(" ", text).replace("\\item", "\n• ")
        text = _LATEX.sub(lambda m: "\n" if m[0] == r"\n" else " not " if m[0] in (r"\neg", r"\lnot") else " ", text)
    text = _VERSUS.sub(r"\1", _ABBREVIATION.sub(",", text))
    if "/" in text:
        text = _SHORTHAND.sub(lambda m: vocabulary().shorthand.get(m[0].lower(), m[0]), text)
    if not text.isascii():
        text = "\n".join(map(_with_values, text.split("\n")))
    text = _UNTICKED.sub(" no ", _TICKED.sub(" yes ", text))
    if "+" in text or "-" in text:
        text = _SIGN.sub(lambda m: " yes " if "+" in m[0] else " no ", text)
    text = _CAMEL.sub(" ", text)
    text = _NUMBER.sub("\n• ", _BULLET.sub("•", text))
    return _DECORATION.sub(" ", _SPACED_DASH.sub(" – ", text)).replace("[", " ").replace("]", " ").strip()


def _with_values(line: str) -> str:
    """A line whose marks stand after what they are about: `A ✓ B ✗`, with a colon before each."""
    mark = _MARK.search(line)
    if mark is None or "|" in line or not any(map(str.isalpha, line[: mark.start()])):
        return line
    return _MARK.sub(r": \1, ", line)


def tokens_of(text: str) -> list[Token]:
    """The words of a plain text, contractions written out and articles attached to what follows, and its marks."""
    tokens: list[Token] = []
    article = False
    for match in _TOKEN.finditer(text):
        raw = match[0].replace("’", "'")
        low = raw.lower()
        if low in ARTICLES and (len(raw) > 1 or raw == "a"):
            following = _FOLLOWING.match(text, match.end())
            if raw != "a" or (following and following[1].lower() not in vocabulary().no_nouns):
                article = True
                continue
        parts = _SPLIT.get(low) or (
            tuple(filter(None, (low[:-3], "not"))) if low.endswith("n't") else (low.partition("'")[0] or low,)
        )
        if whole := _WHOLE.fullmatch(raw):  # "1.0"
            parts = (whole[1],)
        for part in parts:
            tokens.append(Token(singular(part), raw, match.start(), match.end(), article))
            article = False
    return tokens


def longest(
    trie: Trie, tokens: Sequence[Token], i: int, skipped: Callable[[str], bool] | None = None
) -> tuple[Entry, int] | None:
    """The longest phrase of the trie that starts at token i, and the token after it; words that are `skipped` may stand
    in it."""
    node, found = trie, None
    for j in range(i, len(tokens)):
        following = node.get(tokens[j].word)
        if following is None:
            if skipped and i < j < i + _LONGEST_NAME and skipped(tokens[j].word):
                continue
            break
        node = following
        if END in node:
            found = node[END], j + 1
    return found


def parse(tokens: Sequence[Token], *namers: Namer) -> list[Item]:
    """Items in order. At each token the longest phrase wins, the first namer's among equals, cues last."""
    cues = vocabulary().cues
    items: list[Item] = []
    i = 0
    while i < len(tokens):
        best = None
        for namer in namers:
            found = namer(tokens, i)
            if found and (best is None or found[1] > best[1]):
                best = found
        if tokens[i].word[0].isalnum() or tokens[i].word in "&/+<>":
            found = longest(cues, tokens, i)
            if found and found[1] == i + 1 and tokens[i].article and is_attribute(tokens[i].word):
                found = None  # "on the right"
            if found and (best is None or found[1] > best[1]):
                best = found
        if best is None:
            word = tokens[i].word
            kind = "stop" if word[0] in _STOPS else word if word in _MARKS else "word" if word[0].isalnum() else "mark"
            items.append(Item(kind, word, i, i + 1))
            i += 1
        else:
            (kind, value), end = best
            items.append(Item(kind, value, i, end))
            i = end
    return items
