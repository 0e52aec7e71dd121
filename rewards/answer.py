"""The answer reward: what stands in the answer block against the reference, by task.

abnormality_list    Jaccard (or F1) of the named CheXpert classes, each with its weight (NV-Reason-CXR, 2510.23968)
single, anomaly     one option: its letter, its words, or both
binary              yes or no
temporal            new, worsening, stable, improving, resolved
multiple            several letters, else open names: F1 of the sets
detection           boxes [x1, y1, x2, y2]: intersection over union of the best pairs
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from reasoner.errors import UserError
from reasoner.findings import concept_class
from reasoner.findings.lexicon import load
from reasoner.findings.text import tokenize
from reasoner.prompts import parse_completion
from reasoner.schema import CLASSES, NO_FINDING, present_classes, verified_labels
from rewards.registry import Score, reward

LIST_TASK = "abnormality_list"
#: Roles of words that may qualify a name in a list without changing what is named.
_QUALIFIERS = {"side", "severity", "location"}
_SEPARATORS = re.compile(r"[,;\n|/&•]|\band\b", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*]|\(?\d{1,2}[.)])\s*")
_EDGES = " \t.:!?\"'`*_()[]"
_NO_FINDING_WORDS = {
    "no finding",
    "no findings",
    "no abnormality",
    "no abnormalities",
    "no acute finding",
    "no acute findings",
    "no acute abnormality",
    "no acute abnormalities",
    "no acute cardiopulmonary abnormality",
    "none",
    "normal",
}
_LETTERED = re.compile(r"^\s*\(?([A-Za-z])\s*(?:[).:]|-\s|$)\s*(.*)$", re.DOTALL)
_OPTION_IN_QUESTION = re.compile(r"(?:^|[\s(])([A-H])[).:]\s*(.+?)(?=\s*(?:[\s(][A-H][).:]\s|\n|$))", re.DOTALL)
#: A letter that stands for an option. "A" may be the article, "I" the pronoun: they count only where nothing follows
#: that a sentence would say.
_LETTERS = re.compile(r"(?<![A-Za-z'])([A-H])(?=\s*(?:[).:,;&/]|$|and\b|or\b))|\b(?:answer|option) (?:is )?([A-H])\b")
_TEMPORAL = {
    "new": r"new(?:ly)?",
    "worsening": r"worse(?:n(?:s|ed|ing)?)?|increas(?:ed|ing)|progress(?:ed|ing|ion)",
    "stable": r"stable|unchanged|no (?:significant )?change|similar",
    "improving": r"improv(?:ed|ing|ement)|better|decreas(?:ed|ing)",
    "resolved": r"resol(?:ved|ution)|cleared|disappeared|gone",
}
_TEMPORAL_WORDS = {name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for name, words in _TEMPORAL.items()}
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class ClassList(NamedTuple):
    """The classes that a list names, in `CLASSES` order, and its items that name none, each once."""

    classes: tuple[str, ...]
    unknown: tuple[str, ...]


@lru_cache(maxsize=8192)
def parse_class_list(text: str) -> ClassList:
    """Reads a list of classes, tolerant of case, order, plurals, synonyms of the lexicon, bullets and `and`.

    An item must be a name as a whole ("small left pleural effusion" is, "no pneumothorax" and prose are not).
    """
    named: set[str] = set()
    unknown: dict[str, None] = {}
    for raw in _SEPARATORS.split(text):
        item = _BULLET.sub("", raw).strip(_EDGES)
        if not item:
            continue
        name = _class_of(item)
        if name is None:
            unknown[item.lower()] = None
        else:
            named.add(name)
    return ClassList(tuple(name for name in CLASSES if name in named), tuple(unknown))


class GoldList(NamedTuple):
    """What a list is graded by.

    `classes` are to be named, in `CLASSES` order; those of `free` may be named or not; `text` is what the evidence
    shows.
    """

    classes: tuple[str, ...]
    free: frozenset[str]
    text: str

    def counted(self, named: Collection[str]) -> set[str]:
        """The named classes that count. Whoever names free ones alone, where nothing is to be named, is as right as
        with `No Finding`."""
        counted = set(named) - self.free
        return {NO_FINDING} if named and not counted and self.classes == (NO_FINDING,) else counted


def gold_list(answer: str | None, labels: Mapping[str, str | None] | None, label_source: str | None) -> GoldList | None:
    """The gold list of a row: class by class the verified label, else the reference answer, else (without one) the
    mined labels; None where they do not tell.

    A class that is verified uncertain is free, and so is one that was not verified in a row without reference answer.

    Raises:
        UserError: an unknown `label_source`.
    """
    verified = verified_labels(labels, label_source)
    answer = (answer or "").strip()
    if not verified:
        if not answer and any((labels or {}).values()):
            answer = ", ".join(present_classes(labels or {}))
        return GoldList(parse_class_list(answer).classes, frozenset(), answer) if answer else None
    said = parse_class_list(answer).classes
    rest = {name: "present" if name in said else "absent" if said else None for name in CLASSES}
    status = {name: verified.get(name, rest[name]) for name in CLASSES if name != NO_FINDING}
    classes = present_classes(status)
    free = frozenset(name for name in status if status[name] in ("uncertain", None))
    vague = not said or verified.get(NO_FINDING) == "absent"  # something may be there, or is, and nobody says what
    if vague and classes == (NO_FINDING,) and not verified.keys() >= status.keys():
        return None
    return GoldList(classes, free, ", ".join(classes))


@cache
def _official() -> dict[str, str]:
    """Lower-cased class names, singular and plural -> class."""
    return {form: name for name in CLASSES for form in (name.lower(), f"{name.lower()}s", name.lower().rstrip("s"))}


def _class_of(item: str) -> str | None:
    words = " ".join(item.lower().replace("_", " ").replace("-", " ").split())
    if words in _NO_FINDING_WORDS:
        return NO_FINDING
    return _official().get(words) or _class_of_term(words)


def _class_of_term(words: str) -> str | None:
    """The class of the one concept that the words name, if nothing else stands beside it but its attributes."""
    tokens = tokenize(words)
    items = load().match(tokens)
    if sum(item.last - item.first for item in items) != len(tokens):
        return None
    concepts = [item.roles["concept"] for item in items if "concept" in item.roles]
    others = [item for item in items if "concept" not in item.roles]
    if len(concepts) != 1 or any(not _QUALIFIERS & item.roles.keys() for item in others):
        return None
    return concept_class(concepts[0])


@reward("answer", settings=("metric", "class_weights"))
def answer_reward(
    completion: str,
    *,
    answer: str | None,
    task: str | None = None,
    question: str | None = None,
    options: Sequence[str] | None = None,
    labels: Mapping[str, str | None] | None = None,
    label_source: str | None = None,
    metric: str = "jaccard",
    class_weights: Mapping[str, float] | None = None,
) -> Score:
    """1 for the right answer, a share for a list that is partly right, 0 for a wrong or unreadable one.

    Abstains (None) without reference and on tasks whose answer is prose. `task` None: told from the question and the
    reference. A list is graded by `gold_list`.
    """
    options = tuple(options or ()) or _options_of(question or "")
    kind = task or _kind(answer, options)
    wanted = gold_list(answer, labels, label_source) if kind == LIST_TASK else None
    gold = wanted.text if wanted else (answer or "").strip() if kind != LIST_TASK else ""
    if not gold:
        return _abstain("the row has no reference answer")
    given = parse_completion(completion).answer
    if kind not in _GRADERS and kind != LIST_TASK:
        return _abstain(f"no rule grades the answers of task {kind!r}")
    if given is None:
        return _score(0.0, "", gold, "unreadable", why="not exactly one answer block")
    if wanted:
        return _grade_list(given, wanted, metric, class_weights or {})
    return _GRADERS[kind](given, gold, options)


def _abstain(why: str) -> Score:
    return Score(None, ({"verdict": "abstained", "why": why},))


def _score(value: float, given: str, gold: str, verdict: str | None = None, **more: Any) -> Score:
    verdict = verdict or ("right" if value == 1.0 else "partial" if value else "wrong")
    return Score(value, ({"verdict": verdict, "given": given, "gold": gold, **more},))


def _kind(answer: str | None, options: Sequence[str]) -> str | None:
    """The task of a row that does not name it."""
    reference = (answer or "").strip()
    if re.fullmatch(r"[A-H]\b.{0,80}", reference) and (options or len(reference) == 1):
        return "single"
    if re.fullmatch(r"(yes|no)\.?", reference, re.IGNORECASE):
        return "binary"
    if options and re.fullmatch(r"[A-H](\s*[,;&]\s*[A-H])+", reference):
        return "multiple"
    if reference and not parse_class_list(reference).unknown:
        return "abnormality_list"
    return None


def _options_of(question: str) -> tuple[str, ...]:
    found = [f"{m[1]}) {m[2].strip()}" for m in _OPTION_IN_QUESTION.finditer(question)]
    letters = [option[0] for option in found]
    return tuple(found) if len(found) > 1 and letters == list("ABCDEFGH"[: len(found)]) else ()


def _grade_list(given: str, gold: GoldList, metric: str, weights: Mapping[str, float]) -> Score:
    if metric not in ("jaccard", "f1"):
        raise UserError(
            f"option `metric` of reward 'answer' is 'jaccard' or 'f1', found {metric!r}; mend `grpo.reward_options`"
        )
    named, unknown = parse_class_list(given)

    def weight(names: set[str]) -> float:
        return sum(weights.get(name, 1.0) for name in names)

    if NO_FINDING in named and (len(named) > 1 or unknown):  # it says that there is nothing, and something
        return _score(0.0, given, gold.text, why=f"{NO_FINDING!r} stands beside another name")
    counted, wanted = gold.counted(named), set(gold.classes)
    hits, extra, missed = counted & wanted, counted - wanted, wanted - counted
    wrong = weight(extra) + weight(missed) + len(unknown)
    right = weight(hits) * (2.0 if metric == "f1" else 1.0)
    return _score(
        right / (right + wrong) if right else 0.0,
        given,
        gold.text,
        hits=sorted(hits),
        extra=[*sorted(extra), *unknown],
        missed=sorted(missed),
    )


def _option_words(options: Sequence[str]) -> dict[str, str]:
    """Letter -> normal form of the option's words; an option without a letter gets the one of its position."""
    words = {}
    for position, option in enumerate(options):
        match = _LETTERED.match(option)
        letter, text = (match[1].upper(), match[2]) if match and match[2] else ("ABCDEFGH"[position % 8], option)
        words[letter] = _plain(text)
    return words


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _letters(text: str, options: Sequence[str]) -> set[str]:
    """The options that an answer chooses, by letter or by their words."""
    text = text.strip().strip("*_`\"'.!( ").rstrip(")")
    words = _option_words(options)
    lettered = _LETTERED.match(text)
    if lettered and (not words or lettered[1].upper() in words):
        letter, rest = lettered[1].upper(), lettered[2]
        return {letter} | _mentioned(rest, words, letter)
    whole = {letter for letter, option in words.items() if option == _plain(text)}
    return whole or _mentioned(text, words, None)


def _mentioned(text: str, words: Mapping[str, str], chosen: str | None) -> set[str]:
    """The options named in running text: their letters, and their words where no option's longer words hold them."""
    found = {match[1] or match[2] for match in _LETTERS.finditer(text)}
    found = {letter for letter in found if not words or letter in words}
    rest = f" {_plain(text)} "
    for letter, option in sorted(words.items(), key=lambda pair: (-len(pair[1]), pair[0] != chosen)):
        if option and f" {option} " in rest:
            found.add(letter)
            rest = rest.replace(f" {option} ", " ")
    return found


def _grade_letter(given: str, gold: str, options: Sequence[str]) -> Score:
    wanted, chosen = _letters(gold, options), _letters(given, options)
    why = {} if len(chosen) == 1 else {"why": f"{len(chosen) or 'no'} options chosen"}
    return _score(float(len(chosen) == 1 and chosen == wanted), given, gold, **why)


def _grade_binary(given: str, gold: str, options: Sequence[str]) -> Score:
    if options and not _YES_NO.fullmatch(gold.strip(" .")):
        return _grade_letter(given, gold, options)
    wanted, said = ({word.lower() for word in _YES_NO.findall(text)} for text in (gold, given))
    opening = re.match(r"\W*(yes|no)\b", given, re.IGNORECASE)
    return _score(float(opening is not None and len(said) == 1 and said == wanted), given, gold)


def _grade_temporal(given: str, gold: str, options: Sequence[str]) -> Score:
    if options:
        return _grade_letter(given, gold, options)
    wanted, said = _temporal_classes(gold), _temporal_classes(given)
    return _score(float(len(said) == 1 and said == wanted), given, gold)


def _temporal_classes(text: str) -> set[str]:
    return {name for name, words in _TEMPORAL_WORDS.items() if words.search(text)}


def _grade_multiple(given: str, gold: str, options: Sequence[str]) -> Score:
    """F1 of the sets of letters where there are options, else of the names: classes by any synonym, others verbatim."""
    if options:
        wanted, named = _letters(gold, options), _letters(given, options)
    else:
        wanted, named = ({name for part in parse_class_list(text) for name in part} for text in (gold, given))
    hits = len(wanted & named)
    value = 2 * hits / (len(wanted) + len(named)) if hits else 0.0
    return _score(
        value,
        given,
        gold,
        hits=sorted(wanted & named),
        extra=sorted(named - wanted),
        missed=sorted(wanted - named),
    )


Box = tuple[float, float, float, float]
_BOX = re.compile(r"[\[(<]\s*" + r"\s*,\s*".join([r"(-?\d{1,6}(?:\.\d{1,6})?)"] * 4) + r"\s*[\])>]")
#: Boxes beyond these are not looked at, though counted: naming many must not take long, and does not pay.
_MOST_BOXES = 50


def _grade_boxes(given: str, gold: str, options: Sequence[str]) -> Score:
    """The intersections over union of the boxes paired best first, over the larger number of boxes."""
    (named, count), (wanted, gold_count) = _boxes(given), _boxes(gold)
    if not wanted:
        return _abstain("the reference answer holds no box [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    pairs = sorted(((iou(a, b), i, j) for i, a in enumerate(named) for j, b in enumerate(wanted)), reverse=True)
    total, used, met = 0.0, set(), set()
    for value, i, j in pairs:
        if i not in used and j not in met:
            total += value
            used.add(i)
            met.add(j)
    return _score(total / max(count, gold_count), given, gold, boxes=count, wanted=gold_count)


def _boxes(text: str) -> tuple[list[Box], int]:
    """The first boxes of a text that have an area, and how many it names at all."""
    found = [tuple(map(float, match.groups())) for match in _BOX.finditer(text)]
    return [(a, b, c, d) for a, b, c, d in found if a < c and b < d][:_MOST_BOXES], len(found)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes with an area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (_area(a) + _area(b) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


_GRADERS = {
    "detection": _grade_boxes,
    "single": _grade_letter,
    "anomaly": _grade_letter,
    "binary": _grade_binary,
    "temporal": _grade_temporal,
    "multiple": _grade_multiple,
}
