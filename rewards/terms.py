"""What a sentence speaks of: the radiological terms in it, whatever it says about them.

Completeness asks how much of the reference came up at all, and concepts alone are too coarse for that: "a calcified
granuloma in the right hilum" is more than a granuloma. A term is a concept of the lexicon, an anatomy, an attribute, or
the stem of a word that the lexicon lacks. Neighbouring terms make a pair, recalled where one sentence holds both. The
words of argument ("upon examination", "which suggests") are no terms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from functools import lru_cache
from itertools import combinations, pairwise
from typing import NamedTuple

from reasoner.findings.lexicon import load
from reasoner.findings.text import tokenize
from rewards.steps import REACH, Sentence, asserts, claims_of

#: Kinds of attribute that are terms. A change is not: "increased density" and "denser" are the same observation.
_ATTRIBUTES = ("side", "location", "severity")
#: Of longer sentences only so many terms are paired with each other, which keeps them linear.
MOST = 24
#: Concepts and organs that name no finding: "no abnormality", "the chest".
_VAGUE = {"concept:cardiopulmonary_abnormality", "concept:lung_disease", "anatomy:study"}
_SUFFIXES = (
    "ically", "ations", "ation", "ings", "ing", "ities", "ity", "ical", "ies", "ed", "es", "al", "ly", "ic", "s", "y",
)  # fmt: skip
#: Words of grammar and argument.
_COMMON = re.findall(
    r"\w+",
    """
    a an the and or of in on at to for with without by from as is are was were be been being there this that
    these those it its which who we i you they he she not no nor any some such can could may might would should
    will shall must do does did has have had having upon also however therefore thus hence further furthermore
    additionally moreover finally first second third next then last lastly overall both either neither each all
    only than more most less into within between during after before while where when if so but because since
    due given based our let us their them here now one non very quite evidence sign signs indicate indication
    indicative suggest suggestion suggestive reveal show shown demonstrate display observe observation
    observable note noted notable notably see seen visible visual visibility visualize present presence absent
    absence identify identification identifiable detect detection find finding findings found confirm support
    rule exclude exclusion out appear appearance consistent conclusion conclude conclusive examine examination
    evaluate evaluation assess assessment analysis analyze review look consider consideration image imaging ray
    rays x chest radiograph film scan view option options answer choice correct incorrect question diagnosis
    diagnose diagnostic condition abnormality abnormal normal normalcy significant noticeable apparent clear
    unremarkable typical characteristic characterize pattern feature area region specific specifically like
    potential possible possibility likely unlikely likelihood probable plausible other type case change align
    final check form lead eliminate require begin make localize correspond provide pathology pathological well
    unusual mention inspect inspection previous prior distinct distinctive regard particular indicator past
    evident include define often match manifest expect problem alter alteration affect thereby result process
    accurate issue describe description relate relation relevant negate negative common investigate
    investigation start lack determine focus dismiss current select selection thorough point key locate location
    systematic imply implication compare comparison indeed ensure initial mean interpret interpretation verify
    primary cause task aspect careful exhibit criteria remain against best logic logical direct limit limited
    maintain close search effective effect among similar correlate correlation important concern crucial report
    field appropriate context usual various necessary detail associate list factor nature reflect essential
    status need course reason reasoning affirm especially ask step applicable cannot available proper
    comprehensive explicit combine side general allow respective part continue highlight represent account time
    unsupported valid invalid improbable zone state stated precise inform information recognize pertinent
    immediate existence explain explanation noteworthy notice half meet scenario main explore conduct compatible
    favor regarding together
    """,
)


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)]
    return word


_STEMS = frozenset({*_COMMON, *map(_stem, _COMMON), *(_stem(word) + "e" for word in _COMMON)})


class Terms(NamedTuple):
    """The terms of one sentence: single ones, pairs of neighbours, and pairs of any two."""

    single: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    together: frozenset[tuple[str, str]]


class Spoken(NamedTuple):
    """The terms of a whole text, and which of the wanted pairs stand in one of its sentences."""

    single: set[str]
    pairs: set[tuple[str, str]]


@lru_cache(maxsize=1 << 15)
def terms(sentence: str) -> Terms:
    """The terms of a sentence or heading. What it claims by an organ and an adjective ("the heart is enlarged") is the
    concept it claims; a normal statement, which implies many, is left to the claim."""
    tokens = tokenize(sentence)
    claims = claims_of(sentence) if asserts(sentence) else ()
    found: list[tuple[int, str]] = []
    covered: set[int] = set()
    for item in load().match(tokens):
        term = _term(item.roles)
        inside = any(claim.start <= tokens[item.first].start < claim.end for claim in claims)
        if term or inside or any(kind.endswith("ward") or kind == "terminator" for kind in item.roles):
            covered.update(range(item.first, item.last))
        if term and not (inside and term.startswith("anatomy:")):
            found.append((item.first, term))
    found += [(0, f"concept:{name}") for claim in claims if not claim.general for name in claim.concepts]
    words = [(i, t.text) for i, t in enumerate(tokens) if i not in covered and len(t.text) > 2 and t.text[0].isalpha()]
    found += [(i, stem) for i, word in words if (stem := _stem(word)) not in _STEMS and word not in _STEMS]
    order = [term for _, term in sorted(found) if term not in _VAGUE]
    single = frozenset(order)
    pairs = frozenset((min(a, b), max(a, b)) for a, b in pairwise(order) if a != b)
    together = pairs.union(combinations(sorted(single)[:MOST], 2))
    return Terms(single, pairs, together)


def _term(roles: dict[str, str]) -> str | None:
    for kind in ("concept", "anatomy", *_ATTRIBUTES):
        if kind in roles:
            return f"{kind}:{roles[kind]}"
    return None


def spoken(sentences: Sequence[Sentence], wanted: Set[tuple[str, str]]) -> Spoken:
    """All that a text speaks of to some end: plans, definitions and headings count if a claim follows within REACH."""
    found: list[Terms] = []
    wait = REACH  # how many sentences ahead the next claim is
    for sentence in reversed(sentences):
        wait = 0 if sentence.claims else wait + 1
        if wait <= REACH or asserts(sentence.words):
            found.append(terms(sentence.words))
    return Spoken(set().union(*[f.single for f in found]), set().union(*[f.together & wanted for f in found]))
