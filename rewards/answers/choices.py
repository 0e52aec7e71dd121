"""Which options an answer chooses, by letter or by words, and which change it tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache

from reasoner.findings import extract_text
from reasoner.findings.answers import END, NAME, Entry, Trie, vocabulary, words_of
from reasoner.schema import NO_FINDING
from rewards.answers.lists import name_at, parse_class_list
from rewards.answers.reading import Reading, gather, read
from rewards.answers.spelling import corrected
from rewards.answers.text import Namer, Token, longest, parse, plain, remembered, tokens_of
from rewards.answers.yes_no import yes_or_no

LETTERS = "ABCDEFGH"
_LETTERED = re.compile(r"^\s*\(?([A-Za-z]|\d{1,2})\s*(?:[).:](?!\d)|-\s)\s*(.+)$", re.DOTALL)
_IN_QUESTION = re.compile(r"(?:^|[\s(])([A-H])[).:]\s*(.+?)(?=\s*(?:[\s(][A-H][).:]\s|\n|$))", re.DOTALL)
_RANGE = re.compile(r"\b([A-H])\s?(?:-|–|to|through|thru)\s?([A-H])\b")
_NUMBERED = re.compile(r"\(?\b(\d{1,2})[.)](?=\s|$)")
_GLUED = re.compile(r"[A-H]{2,8}")
#: Between a letter and the words of its option, or the other way round.
_BETWEEN = frozenset(".):-–,( =")
#: The options of a question without any.
_UNKNOWN = dict.fromkeys(LETTERS, "")
#: Cues that an article may stand before (`A possible ...`): after them `A` is an option only at the end of a phrase.
_ADJECTIVAL = frozenset(("good", "bad", "answer", "final", "exists", "aside", "others"))


def options_of(question: str) -> tuple[str, ...]:
    """The lettered options that stand in the question itself, `A) ... B) ...`."""
    found = [f"{m[1]}) {m[2].strip()}" for m in _IN_QUESTION.finditer(question)]
    letters = [option[0] for option in found]
    return tuple(found) if len(found) > 1 and letters == list(LETTERS[: len(found)]) else ()


class Options:
    """The options of a question: label -> words. An option without a label gets the letter of its position."""

    def __init__(self, options: Sequence[str]) -> None:
        self.words: dict[str, str] = {}
        for position, option in enumerate(options):
            match = _LETTERED.match(option)
            label, words = (match[1].upper(), match[2]) if match else (LETTERS[position % 8], option)
            self.words[label] = plain(words)
        self.known = bool(self.words)
        self.numbered = any(label.isdigit() for label in self.words)
        self.trie: Trie = {}
        for label, words in self.words.items():
            node = self.trie
            for word in words_of(words):
                node = node.setdefault(word, {})
            if node is not self.trie:
                node.setdefault(END, (NAME, label))
        if not self.known:
            self.words = _UNKNOWN

    @cached_property
    def meanings(self) -> dict[str, str]:
        """What the options mean, where one word of the vocabulary says it all: class, change, yes or no -> label."""
        found: dict[str, str | None] = {}
        for label, words in self.words.items():
            tokens = tokens_of(words)
            for name in (
                _whole(tokens, name_at),
                _whole(tokens, _change_at),
                vocabulary().yes_no.get(words.lower().strip(" .")),
            ):
                if name:
                    found[name] = label if found.get(name, label) == label else None
        return {name: label for name, label in found.items() if label}

    @cached_property
    def findings(self) -> dict[frozenset, str]:
        """What the options report, where no two report the same -> label."""
        found: dict[frozenset, str] = {}
        for label, words in self.words.items():
            reported = _findings(words)
            found[reported] = "" if reported in found else label
        return {reported: label for reported, label in found.items() if reported and label}

    def at(self, tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
        """The option named at token i by its words, its letter, or both, as a reader's `Namer`."""
        spelled = longest(self.trie, tokens, i)
        if spelled:
            (_, label), end = spelled
            for j in range(end, min(end + 2, len(tokens))):  # "Edema (B)"
                if tokens[j].word not in _BETWEEN:
                    closed = tokens[j].raw == label and j > end and tokens[j + 1 : j + 2] and tokens[j + 1].word == ")"
                    return spelled[0], j + 2 if closed else end
            return spelled
        label = self._letter(tokens, i)
        if label is None:
            return None
        j = i + 1
        while j < len(tokens) and j < i + 4 and tokens[j].word in _BETWEEN:
            j += 1
        own = longest(self.trie, tokens, j)  # "B) Edema"
        if own and own[0][1] == label:
            return own
        enclosed = i > 0 and tokens[i - 1].word == "("
        return (NAME, label), i + 2 if not enclosed and i + 1 < len(tokens) and tokens[i + 1].word == ")" else i + 1

    def _letter(self, tokens: Sequence[Token], i: int) -> str | None:
        """The label that token i is, where it is not a word: the article, a vitamin."""
        token = tokens[i]
        label = token.raw.upper()
        if label not in self.words or len(token.raw) > 2:
            return None
        before, after = tokens[i - 1] if i else None, tokens[i + 1] if i + 1 < len(tokens) else None
        if before and before.word in vocabulary().letters:
            return None
        if label.isdigit():
            return label
        if after is None or not after.word.isalnum():
            return label
        if token.raw.isupper() and label != "A":
            return label
        if len(after.raw) == 1 and after.raw.upper() in self.words and after.raw.isupper():
            return label
        own = longest(self.trie, tokens, i + 1)
        if own and own[0][1] == label:
            return label
        cue = longest(vocabulary().cues, tokens, i + 1)
        ends = cue and (cue[1] >= len(tokens) or not tokens[cue[1]].word.isalnum())
        return label if cue and (ends or cue[0][0] not in _ADJECTIVAL) else None

    def meant(self, tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
        """The option that the words at token i mean without being its own."""
        found = [f for f in (name_at(tokens, i), _change_at(tokens, i)) if f and f[0][1] in self.meanings]
        best = max(found, key=lambda f: f[1], default=None)
        return ((NAME, self.meanings[best[0][1]]), best[1]) if best else None


@lru_cache(maxsize=4096)
def compiled(options: tuple[str, ...]) -> Options:
    return Options(options)


@remembered
def chosen(text: str, options: tuple[str, ...], question: str = "") -> Reading:
    """The labels that an answer asserts, excludes and leaves open.

    By letter and by the options' words; an answer without letters by what it means, too. What excludes all but one
    option asserts that one.
    """
    known = compiled(options)
    if known.numbered:
        text = _NUMBERED.sub(r" \1 ", text)
    text = plain(_RANGE.sub(_run, text))
    if known.known and _GLUED.fullmatch(text) and set(text) <= known.words.keys():
        text = ", ".join(text)
    tokens = corrected(tokens_of(text))
    items = parse(tokens, known.at)
    reading = gather(read(items, tokens, options=True), known.words)
    if not known.known:
        return reading
    if not any(item.kind == NAME and tokens[item.first].raw.upper() == item.value for item in items):
        meant = _by_meaning(text, tokens, known, question)
        reading = reading if meant is None or meant.asserted & reading.excluded else meant
    left = known.words.keys() - reading.excluded
    if not (reading.asserted or reading.open) and len(left) == 1 and len(known.words) > 1:
        return reading._replace(asserted=frozenset(left))
    return reading


def _by_meaning(text: str, tokens: Sequence[Token], known: Options, question: str) -> Reading | None:
    means = known.meanings
    if {"yes", "no"} <= means.keys():
        said = yes_or_no(text, question)
        return Reading(frozenset({means[said]} if said else ()), frozenset(), frozenset())
    reading = gather(read(parse(tokens, known.at, known.meant), tokens, options=True), known.words)
    if reading.asserted or reading.open:
        return reading
    nothing = NO_FINDING in means and parse_class_list(text).classes == (NO_FINDING,)
    label = means[NO_FINDING] if nothing else known.findings.get(_findings(text))
    return Reading(frozenset({label}), frozenset(), frozenset()) if label else None


def _findings(text: str) -> frozenset:
    """What a text reports: concepts with status, side and severity."""
    return frozenset((f.concept, f.status, f.laterality, f.severity) for f in extract_text(text))


def _run(match: re.Match[str]) -> str:
    first, last = LETTERS.index(match[1]), LETTERS.index(match[2])
    return ", ".join(LETTERS[first : last + 1]) if first < last else match[0]


def _whole(tokens: Sequence[Token], namer: Namer) -> str | None:
    """The name that all the tokens are."""
    found = namer(tokens, 0) if tokens else None
    return found[0][1] if found and found[1] == len(tokens) and found[0][0] == NAME else None


# Changes


def _change_at(tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
    return longest(vocabulary().changes, tokens, i)


@remembered
def change(text: str) -> str | None:
    """The one change that an answer tells; None where it tells none, several, or leaves it open.

    What neither worsens nor improves is stable; what remains is stable unless more is said of it.
    """
    fillers = vocabulary().fillers
    tokens = [token for token in tokens_of(plain(text)) if token.word not in fillers]
    items = parse(tokens, _change_at)
    items = [item for n, item in enumerate(items) if n == 0 or items[n - 1].kind != "beyond"]  # "not just improved"
    reading = gather(read(items, tokens))
    if reading.vague:
        return None
    said = set(reading.clear)
    if len(said) > 1:
        said -= {"remaining"}
    if not said and {"worsening", "improving"} <= reading.excluded:
        said = {"stable"}
    if len(said) != 1:
        return None
    found = said.pop()
    return "stable" if found == "remaining" else found
