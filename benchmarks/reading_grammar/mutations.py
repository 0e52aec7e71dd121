"""Real sentences with a known change of meaning: what they say afterwards follows from what they said before."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import cache, partial

from benchmarks import DATA
from benchmarks.reading_grammar.cases import Case, table
from benchmarks.reading_grammar.words import shuffled
from rewards.radrscore.claims import Fact
from rewards.radrscore.reading import read_reasoning

REPORTS = DATA / "iu" / "indiana_reports.csv"
#: Sentences per mutation.
TIMES = 24
_CLAUSE = re.compile(r"^(?:The|There|Both|Heart|Lungs|This|These)\b.* (?:is|are|appears?|has|have|remains?)\b")
#: What would change its meaning in a construction of its own: lists, other times, hedges, other sentences, questions.
_TRICKY = re.compile(
    r"[,;:?()\"'/\d.]|\b(?:but|however|although|while|which|if|prior|previous|previously|again|history|unchanged|stable"
    r"|interval|longer|may|might|could|possib\w+|likely|suggest\w*|consistent|question\w*|versus|or|new|change\w*|seen"
    r"|increas\w+|decreas\w+|remain\w*|worse\w*|without|otherwise|except|other|this|these|that|represent\w*"
    r"|suspect\w*|doubt\w*|status|post|not)\b",
    re.IGNORECASE,
)
_PAST = {"is": "was", "are": "were", "has": "had", "have": "had", "appear": "appeared", "appears": "appeared"}
#: Blanks, and sentences without the stop between them.
_TORN = re.compile(r"XXXX|\s[A-Z][a-z]")
_COPULA = r"^((?:The|Both|Heart|Lungs)\b[\w\s]* (?:is|are)) "
#: Two statements run together, of which an edit would change one.
_TWO = re.compile(r"\band\b|\bno\b.*\bno\b|\b(?:clear|normal)\b.*\b(?:clear|normal|unremarkable)\b", re.IGNORECASE)
_SIDE = {"left": "right", "right": "left"}


@cache
def facts_of(text: str) -> frozenset[Fact]:
    return frozenset(fact for sentence in read_reasoning(text) for claim in sentence.claims for fact in claim.facts)


@cache
def real_sentences() -> tuple[str, ...]:
    """Plain sentences of the reports, without their stop, of which all claims are present or all absent."""
    with REPORTS.open(encoding="utf-8", newline="") as file:
        texts = [f"{row['findings']} {row['impression']}" for row in csv.DictReader(file)]
    sentences = {part.strip(" .") for text in texts for part in re.split(r"\.\s+|\.$", text)}
    plain = [one for one in sorted(sentences) if 2 <= len(one.split()) <= 12 and not _TORN.search(one)]
    return tuple(one for one in plain if not _TRICKY.search(one) and _simple(one))


def _simple(sentence: str) -> bool:
    statuses = {fact.status for fact in facts_of(sentence)}
    return statuses in ({"present"}, {"absent"}) and sentence[0].isupper() and not sentence[:2].isupper()


def mutation_cases() -> Iterator[Case]:
    """Nothing where the reports are not at hand."""
    if not REPORTS.exists():
        return
    clauses = tuple(one for one in real_sentences() if _CLAUSE.match(one))
    for name, shape, effect, form in table("mutations.txt", 4):
        pool = _pick(clauses if shape == "clause" else real_sentences(), name, 2 * TIMES)
        for one, other in zip(pool[:TIMES], pool[TIMES:], strict=False):
            slots = {"S": one, "s": _small(one), "p": _past(_small(one)), "T": other, "t": _small(other)}
            text = form.format(**slots)
            yield Case("mutation", name, text, partial(_misread, text, effect, one, other))
    yield from _edits()


def _pick(sentences: tuple[str, ...], key: str, n: int) -> list[str]:
    """`n` sentences drawn by `key`, as many of each status as there are."""
    order = shuffled(sentences, key)
    there = [one for one in order if next(iter(facts_of(one))).status == "present"]
    absent = [one for one in order if one not in set(there)]
    return [one for pair in zip(there, absent, strict=False) for one in pair][:n]


def _small(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _past(words: str) -> str:
    return re.sub(r"\b(?:is|are|has|have|appears?)\b", lambda match: _PAST[match[0]], words)


def _misread(text: str, effect: str, one: str, other: str) -> str | None:
    found, first, second = facts_of(text), facts_of(one + "."), facts_of(other + ".")
    if effect == "withdrawn":
        kept = {(fact.concept, fact.status) for fact in found} & {(fact.concept, fact.status) for fact in first}
        return f"still says {sorted(kept)}" if kept else None
    wanted = {"same": first, "silent": frozenset(), "both": first | second, "second": second}[effect]
    return None if found == wanted else f"{_brief(found)}, not {_brief(wanted)}"


def _brief(facts: frozenset[Fact]) -> str:
    return " & ".join(sorted(" ".join(filter(None, fact)) for fact in facts)) or "nothing"


def _edits() -> Iterator[Case]:
    """Changes of single words."""
    for name, pattern, new in (
        ("edit/there_is", r"^(There (?:is|are)) no (?:evidence of |definite )?(?:focal |acute )?", r"\1 "),
        ("edit/drop_no", r"^No (?:evidence of )?(?:focal |acute )?", ""),
        ("edit/add_no", r"^(There (?:is|are)) an? (?=\w)", r"\1 no "),
        ("edit/insert_not", _COPULA + r"(?!\w+ly\b|no\b)", r"\1 not "),
        ("edit/no_longer", _COPULA + r"(?!\w+ly\b|no\b)", r"\1 no longer "),
        ("edit/far_from", _COPULA + r"(?=normal|clear|intact|sharp)", r"\1 far from "),
    ):  # fmt: skip
        fit = [one for one in real_sentences() if re.match(pattern, one) and not _TWO.search(one)]
        for one in shuffled(fit, name)[:TIMES]:
            changed = re.sub(pattern, new, one)
            text = changed[0].upper() + changed[1:] + "."
            yield Case("mutation", name, text, partial(_misread, text, "withdrawn", one, one))
    for name, change in (("edit/upper", str.upper), ("edit/lower", str.lower), ("edit/wrapped", _wrap)):
        for one in _pick(real_sentences(), name, TIMES):
            text = change(one + ".")
            yield Case("mutation", name, text, partial(_misread, text, "same", one, one))
    sided = [one for one in real_sentences() if len(re.findall(r"\b(?:left|right)\b", one)) == 1 and _on_a_side(one)]
    for one in shuffled(sided, "edit/side")[:TIMES]:
        text = re.sub(r"\b(left|right)\b", lambda match: _SIDE[match[0]], one) + "."
        yield Case("mutation", "edit/side", text, partial(_not_mirrored, text, one))


def _wrap(text: str) -> str:
    """Broken into short lines, as a narrow window does."""
    words = text.split()
    return "\n".join(" ".join(words[i : i + 3]) for i in range(0, len(words), 3))


def _on_a_side(sentence: str) -> bool:
    return all(fact.laterality in _SIDE for fact in facts_of(sentence))


def _not_mirrored(text: str, one: str) -> str | None:
    wanted = frozenset(fact._replace(laterality=_SIDE[str(fact.laterality)]) for fact in facts_of(one + "."))
    found = facts_of(text)
    return None if found == wanted else f"{_brief(found)}, not {_brief(wanted)}"
