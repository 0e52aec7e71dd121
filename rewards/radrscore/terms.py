"""What a sentence speaks of, whatever it says about it: its words of substance and the concepts that they name.

Completeness asks how much of the reference came up at all, and concepts alone are too coarse for that: "a calcified
granuloma in the right hilum" is more than a granuloma. A term is the stem of a word; where the lexicon reads the word
as part of a concept, the concept stands for it too. Neighbouring terms make a pair, recalled where one sentence holds
both. The words of argument ("upon examination", "which suggests") are no terms.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from reasoner.findings import kin
from reasoner.findings.lexicon import matched
from rewards.radrscore.claims import claims_of
from rewards.radrscore.reading import Sentence, asserts

#: What is said of a finding, rather than its name.
_ATTRIBUTES = {"side", "location", "severity"}
#: Concepts that name no finding: "no abnormality".
_VAGUE = {"concept:cardiopulmonary_abnormality", "concept:lung_disease"}
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


@lru_cache(maxsize=1 << 13)
def _term(word: str) -> str:
    """The stem of a word of substance; empty for others."""
    if len(word) < 3 or not word[0].isalpha() or word in _STEMS:
        return ""
    stem = sys.intern(_stem(word))
    return "" if stem in _STEMS else stem


class Terms(NamedTuple):
    """The terms of one sentence: its stems, each with the concept that it helps to name, if any; those concepts, each
    with its kin; stems and concepts; pairs of neighbouring stems. Concepts are written `concept:NAME`."""

    stems: dict[str, str | None]
    concepts: Mapping[str, frozenset[str]]
    single: frozenset[str]
    pairs: frozenset[tuple[str, str]]

    def about(self, claimed: Set[str]) -> frozenset[str]:
        """Stems and concepts, without the names of findings that have nothing to do with what is claimed; none if the
        sentence names only such."""
        hollow = {name for name, kin in self.concepts.items() if claimed.isdisjoint(kin)}
        if not hollow:
            return self.single
        if len(hollow) == len(self.concepts):
            return frozenset()
        return frozenset(term for term in self.single if self.stems.get(term, term) not in hollow)


class Spoken(NamedTuple):
    """The stems and concepts of a whole text, and those of each of its sentences that differ."""

    single: set[str]
    by_sentence: set[frozenset[str]]

    def together(self, a: str, b: str) -> bool:
        """Whether one sentence speaks of both."""
        return a in self.single and b in self.single and any(map({a, b}.issubset, self.by_sentence))


@lru_cache(maxsize=1 << 15)
def terms(sentence: str) -> Terms:
    """The terms of a sentence or heading. The organ and the adjective of a claim ("the heart is enlarged") name the
    concept it claims; those of a normal statement, which implies many, name none."""
    tokens, found = matched(sentence)
    claims = [claim for claim in claims_of(sentence, "") if not claim.general] if asserts(sentence) else []
    concepts = {f"concept:{name}" for claim in claims for name in claim.concepts}
    names: dict[int, str] = {}
    cues: set[int] = set()
    spelled: dict[int, str] = {}
    for item in found:
        span, at = range(item.first, item.last), tokens[item.first].start
        name: str | None = None
        if "concept" in item.roles:
            name = f"concept:{item.roles['concept']}"
            concepts.add(name)
        elif any(kind.endswith("ward") or kind == "terminator" for kind in item.roles):
            cues.update(span)
        elif _ATTRIBUTES & item.roles.keys():
            if len(tokens[item.first].text) < 3:  # "R" is "right"
                spelled[item.first] = item.roles.get("side") or item.roles.get("severity") or ""
        else:
            inside = [claim.facts[0].concept for claim in claims if claim.start <= at < claim.end]
            name = f"concept:{inside[0]}" if inside else None
        if name and name not in _VAGUE:
            names.update(dict.fromkeys(span, name))
    order: list[str] = []
    stems: dict[str, str | None] = {}
    for i, token in enumerate(tokens):
        word = spelled.get(i) or token.text
        if i not in cues and (stem := _term(word)):
            order.append(stem)
            stems[stem] = stems.get(stem) or names.get(i)
    pairs = frozenset((min(a, b), max(a, b)) for a, b in pairwise(order) if a != b)
    named = concepts - _VAGUE
    kins = {name: kin(name.removeprefix("concept:")) for name in named}
    return Terms(stems, kins, frozenset(named.union(stems)), pairs)


def spoken(sentences: Sequence[Sentence]) -> Spoken:
    """All that a text speaks of. A question speaks of nothing by itself, but "Yes" under it speaks of what it asks; a
    plan, definition or heading without claims only of findings that have to do with what is claimed."""
    claimed: set[str] = set().union(*[claim.concepts for sentence in sentences for claim in sentence.claims])
    found = set()
    for sentence in sentences:
        if sentence.claims or not sentence.words.endswith("?"):
            said = terms(sentence.words)
            states = sentence.claims or not said.concepts or asserts(sentence.words)
            single = said.single if states else said.about(claimed)
            found.add(single | terms(sentence.head).single if sentence.head and sentence.claims else single)
    return Spoken(set().union(*found), found)
