"""Which options an answer chooses, by letter or by words, and which change it tells."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache

from reasoner.findings import extract_text
from reasoner.findings.answers import END, NAME, Entry, Trie, vocabulary, words_of
from reasoner.schema import NO_FINDING, Finding
from rewards.answers.lists import name_at, parse_class_list
from rewards.answers.reading import read
from rewards.answers.spelling import corrected
from rewards.answers.stances import Named, Reading, gather, ranked
from rewards.answers.text import Item, Namer, Token, longest, parse, plain, remembered, tokens_of
from rewards.answers.yes_no import yes_or_no

LETTERS = "ABCDEFGH"
_LETTERED = re.compile(r"^\s*\(?([A-Za-z]|\d{1,2})\s*(?:[).:](?!\d)|-\s)\s*(.+)$", re.DOTALL)
_IN_QUESTION = re.compile(r"(?:^|[\s(])([A-H])[).:]\s*(.+?)(?=\s*(?:[\s(][A-H][).:]\s|\n|$))", re.DOTALL)
_RANGE = re.compile(r"\b([A-H])\s?(?:-|–|to|through|thru)\s?([A-H])\b")
_NUMBERED = re.compile(r"\(?\b(\d{1,2})[.)](?=\s|$)")
_GLUED = re.compile(r"[A-H]{2,8}")
#: An answer of nothing but numbers.
_NUMBERS = re.compile(r"[\s(\[]*[1-8](?:[\s,;&/()\].]+(?:and\s+)?[1-8])*[\s)\].]*")
#: Between two counts of options, or a noun and its count.
_MOST_COUNTED = 12
_COUNTING = frozenset((",", "and", "or", "&", "/", "(", ":", "is", "="))
#: Between a letter and the words of its option, or the other way round.
_BETWEEN = frozenset(".):-–,( =")
#: The options of a question without any.
_UNKNOWN = dict.fromkeys(LETTERS, "")
#: Cues that an article may stand before (`A possible ...`): after them `A` is an option only at the end of a phrase.
#: What denies, or leaves open.
_DECIDED = frozenset(("not", "bad", "none", "or", "either", "doubt", "except", "allbut", "if", "than", "less"))
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
                NO_FINDING if parse_class_list(words) == ((NO_FINDING,), ()) else None,
            ):
                if name:
                    found[name] = label if found.get(name, label) == label else None
        return {name: label for name, label in found.items() if label}

    @cached_property
    def sets(self) -> dict[tuple[str, ...], str]:
        """The words of options that list several things -> label. Commas part names, so no reader finds these whole."""
        return {tuple(words_of(words)): label for label, words in self.words.items() if "," in words}

    def repeated(self, text: str) -> str | None:
        """The set that a text repeats, with its letter or without, and nothing else."""
        label = self.sets.get(tuple(words_of(text)))
        match = None if label else _LETTERED.match(text)
        own = self.sets.get(tuple(words_of(match[2]))) if match else None
        return own if match and own == match[1].upper() else label

    def gathered(self, names: Sequence[Named]) -> Reading:
        return gather(names, self.words, normal=self.meanings.get(NO_FINDING) if self.known else None)

    @cached_property
    def findings(self) -> dict[str, tuple[Finding, ...]]:
        """Label -> what the option reports."""
        return {label: tuple(extract_text(words)) for label, words in self.words.items()}

    def reported(self, text: str) -> str | None:
        """The one option whose findings a text reports, be there others; those that are there go before those that are
        not."""
        said = extract_text(text)
        labels = [
            label
            for label, wanted in self.findings.items()
            if wanted and all(any(_fits(w, f) for f in said) for w in wanted)
        ]
        there = [label for label in labels if any(f.status != "absent" for f in self.findings[label])]
        labels = there or labels
        return labels[0] if len(labels) == 1 else None

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
            return self._counted(tokens, i)
        j = i + 1
        while j < len(tokens) and j < i + 4 and tokens[j].word in _BETWEEN:
            j += 1
        own = longest(self.trie, tokens, j)  # "B) Edema"
        if own and own[0][1] == label:
            return own
        enclosed = i > 0 and tokens[i - 1].word == "("
        return (NAME, label), i + 2 if not enclosed and i + 1 < len(tokens) and tokens[i + 1].word == ")" else i + 1

    def _counted(self, tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
        """The option that token i counts: `option 2`, `the second one`, `the first and the third`."""
        words, labels = vocabulary(), list(self.words)
        word = tokens[i].word
        if not self.known or self.numbered:
            return None
        number = words.cardinals.get(word)
        if number:
            j = _past(tokens, i - 1, -1, words.cardinals)
            named = tokens[j].word in words.counted_nouns and (word.isdecimal() or j == i - 1)
            counts = j >= 0 and named and [t.word for t in tokens[i + 1 : i + 2]] != ["%"]
        else:
            number = len(labels) if word in words.last else words.ordinals.get(word, 0)
            j = _past(tokens, i + 1, 1, words.ordinals) if number else i
            counts = j < len(tokens) and tokens[j].word in words.option_nouns
            after = tokens[i + 1].word if i + 1 < len(tokens) else "."
            counts = counts or (
                tokens[i].article and bool(not after[0].isalnum() or longest(words.cues, tokens, i + 1))
            )
        if not number or not counts or number > len(labels):
            return None
        followed = i + 1 < len(tokens) and tokens[i + 1].word in words.option_nouns
        return (NAME, labels[number - 1]), i + 2 if followed else i + 1

    def _letter(self, tokens: Sequence[Token], i: int) -> str | None:
        """The label that token i is, where it is not a word: the article, a vitamin."""
        token = tokens[i]
        label = token.raw.upper()
        if label not in self.words or len(token.raw) > 2:
            return None
        before, after = tokens[i - 1] if i else None, tokens[i + 1] if i + 1 < len(tokens) else None
        if before and before.word in vocabulary().letters:
            return None
        if token.raw.islower() and _abbreviates(tokens, i, self.words):
            return None
        if label.isdigit():
            return label
        if after is None or not after.word.isalnum():
            return label
        if token.raw.isupper() and label != "A":
            return label
        if after.word.isdecimal() and [t.word for t in tokens[i + 2 : i + 3]] == ["%"]:  # "A 80%"
            return label if not tokens[i + 3 : i + 4] or not tokens[i + 3].word.isalnum() else None
        if len(after.raw) == 1 and after.raw.upper() in self.words and after.raw.isupper():
            return label
        own = longest(self.trie, tokens, i + 1)
        if own and own[0][1] == label:
            return label
        cue = longest(vocabulary().cues, tokens, i + 1)
        if token.raw.isupper() and after.word in vocabulary().no_nouns:  # "A for sure"
            return label
        if cue and cue[0][1] in vocabulary().yes_no:  # "A yes, B no"
            return label
        ends = cue and (cue[1] >= len(tokens) or not tokens[cue[1]].word.isalnum())
        return label if cue and (ends or cue[0][0] not in _ADJECTIVAL) else None

    def meant(self, tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
        """The option that the words at token i mean without being its own."""
        named, cue = name_at(tokens, i), longest(vocabulary().cues, tokens, i)
        if cue and cue[0][0] == "none" and " " in cue[0][1]:  # of the options
            return None
        if named and named[0][0] != NAME:  # "otherwise normal"
            return named if named[0][0] == "otherwise" else None
        found = [f for f in (named, _change_at(tokens, i)) if f and f[0][1] in self.meanings]
        best = max(found, key=lambda f: f[1], default=None)
        return ((NAME, self.meanings[best[0][1]]), best[1]) if best else None


@lru_cache(maxsize=4096)
def compiled(options: tuple[str, ...]) -> Options:
    return Options(options)


@remembered
def chosen(text: str, options: tuple[str, ...], question: str = "", one: bool = False) -> Reading:
    """The labels that an answer asserts, excludes and leaves open; `one`: of several, the likeliest is chosen.

    By letter and by the options' words; an answer without letters by what it means, too. What excludes all but one
    option asserts that one.
    """
    known = compiled(options)
    if known.numbered:
        text = _NUMBERED.sub(r" \1 ", text)
    elif known.known and _NUMBERS.fullmatch(text):
        text = re.sub(r"\d", lambda m: LETTERS[int(m[0]) - 1], text)
    text = plain(_RANGE.sub(_run, text))
    if known.sets and (label := known.repeated(text)):
        return _only(label)
    if known.known and _GLUED.fullmatch(text) and set(text) <= known.words.keys():
        text = ", ".join(text)
    tokens = corrected(tokens_of(text))
    items = parse(tokens, known.at)
    names = ranked(read(items, tokens, options=True), one)
    reading = known.gathered(names)
    if not known.known:
        return reading
    written = [(tokens[item.first].raw.upper(), item.value) for item in items if item.kind == NAME]
    if not any(raw == label or raw.isdecimal() for raw, label in written):
        reading = _by_meaning(text, tokens, known, question, one, reading.asserted)
    left = known.words.keys() - reading.excluded
    if reading.asserted or reading.open:
        return reading
    if len(left) == 1 and len(known.words) > 1:
        return reading._replace(asserted=frozenset(left))
    return _by_meaning(text, tokens, known, question, one, reading.asserted) if reading.excluded else reading


def _by_meaning(
    text: str, tokens: Sequence[Token], known: Options, question: str, one: bool, named: frozenset[str]
) -> Reading:
    """The reading of an answer that names the options `named` by their words, and others by what these mean."""
    means = known.meanings
    if {"yes", "no"} <= means.keys():
        return _only(means.get(yes_or_no(text, question) or ""))
    told = change(text) if len(means.keys() & _NEXT_CHANGE.keys()) > 1 else None
    if told and (label := means.get(told) or means.get(_NEXT_CHANGE[told])):
        return _only(label)
    items = parse(tokens, known.at, known.meant)
    names = read(items, tokens, options=True)
    reading = known.gathered(ranked(names, one))
    normal = means.get(NO_FINDING, "")
    if normal in reading.asserted - named and NO_FINDING not in parse_class_list(text).classes:  # "heart: normal"
        reading = reading._replace(asserted=reading.asserted - {normal})
    if reading.asserted or reading.open:
        return reading
    chosen_none = any(item.kind == "none" and " " in item.value for item in items)
    nothing = NO_FINDING in means and not chosen_none and parse_class_list(text).classes == (NO_FINDING,)
    label = means[NO_FINDING] if nothing else known.reported(text) or _by_words(items, tokens, known)
    spoken_of = {item.value for item in items if item.kind == NAME}  # it was read what is said of these
    return _only(label) if label and label not in spoken_of else reading


def _by_words(items: Sequence[Item], tokens: Sequence[Token], known: Options) -> str | None:
    """The one option whose words all stand in an answer that denies nothing and leaves nothing open, in any order."""
    if not _DECIDED.isdisjoint(item.kind for item in items):
        return None
    said = {token.word for token in tokens}
    labels = [label for label, words in known.words.items() if len(words_of(words)) > 1 and said >= {*words_of(words)}]
    return labels[0] if len(labels) == 1 else None


def _only(label: str | None) -> Reading:
    return Reading(frozenset({label} if label else ()), frozenset(), frozenset())


def _fits(wanted: Finding, found: Finding) -> bool:
    """Whether a finding is what an option says of it."""
    return (
        (wanted.concept, wanted.status) == (found.concept, found.status)
        and wanted.laterality in (None, found.laterality)
        and wanted.severity in (None, found.severity)
    )


def _abbreviates(tokens: Sequence[Token], i: int, labels: Collection[str]) -> bool:
    """Whether the letter at token i is half of `b/l`, `c/w`, `w/o`."""
    first = i if i + 2 < len(tokens) and tokens[i + 1].word == "/" else i - 2
    if first < 0 or first + 2 >= len(tokens) or tokens[first + 1].word != "/":
        return False
    tight = tokens[first].end == tokens[first + 1].start and tokens[first + 1].end == tokens[first + 2].start
    return tight and not all(token.raw.upper() in labels for token in (tokens[first], tokens[first + 2]))


def _past(tokens: Sequence[Token], j: int, step: int, counts: Mapping[str, int]) -> int:
    """The first token from j on, not far away, that is no count and stands between none."""
    end = j + step * _MOST_COUNTED
    while 0 <= j < len(tokens) and j != end and (tokens[j].word in _COUNTING or tokens[j].word in counts):
        j += step
    return j


def _run(match: re.Match[str]) -> str:
    first, last = LETTERS.index(match[1]), LETTERS.index(match[2])
    return f"{', '.join(LETTERS[first:last])} and {match[2]}" if first < last else match[0]


def _whole(tokens: Sequence[Token], namer: Namer) -> str | None:
    """The name that all the tokens are."""
    found = namer(tokens, 0) if tokens else None
    return found[0][1] if found and found[1] == len(tokens) and found[0][0] == NAME else None


# Changes

#: What a change is called where it is not among the options.
_NEXT_CHANGE = {"new": "worsening", "worsening": "new", "resolved": "improving", "improving": "resolved", "stable": ""}


def _change_at(tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
    return longest(vocabulary().changes, tokens, i, ":".__eq__)


@remembered
def change(text: str) -> str | None:
    """The one change that an answer tells; None where it tells none, several, or leaves it open.

    What neither worsens nor improves is stable; what remains is stable unless more is said of it.
    """
    fillers = vocabulary().fillers
    tokens = tokens_of(plain(text))
    ended = {n for n in range(len(tokens) - 1) if longest(vocabulary().changes, tokens, n)}
    tokens = [token for n, token in enumerate(tokens) if token.word not in fillers or n in ended]
    tokens = [t for n, t in enumerate(tokens) if t.word != "," or [u.word for u in tokens[n + 1 : n + 2]] != ["now"]]
    items = parse(tokens, _change_at)
    items = [item for n, item in enumerate(items) if n == 0 or items[n - 1].kind != "beyond"]  # "not just improved"
    reading = gather(ranked(read(items, tokens), True))
    if reading.vague:
        return None
    said = set(reading.clear)
    if len(said) > 1:
        said -= {"remaining", "ended"}
    if not said and {"worsening", "improving"} <= reading.excluded:
        said = {"stable"}
    if not said and reading.excluded and reading.excluded <= {"ended", "remaining"}:  # "no effusion any more"
        said = {"resolved"}
    if len(said) != 1:
        return None
    found = said.pop()
    return "stable" if found == "remaining" else found
