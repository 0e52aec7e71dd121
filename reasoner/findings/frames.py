"""What organs and their qualities assert together: "the heart is enlarged", "normal heart", "not clear"."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from reasoner.findings.lexicon import Term, ancestors
from reasoner.findings.scope import ADJECTIVE_REACH, MAX_WALK
from reasoner.schema import Finding, Status

if TYPE_CHECKING:
    from reasoner.findings.sentence import Mentions

#: What a whole film is called, and verbs that say how it looks.
_FILM = frozenset((
    "film", "image", "picture", "everything", "radiographs", "images", "films",
    "cxr", "ray", "structures", "view", "views",
))  # fmt: skip
_LOOKS = frozenset(("is", "are", "looks", "look", "appears", "appear", "seems", "seem"))
#: What is somewhere rather than said of it: "fluid is seen in the pleural space".
_MATTER = frozenset(("fluid", "air"))
ATTRIBUTES = ("side", "location", "severity", "change", "acuity", "size", "kind")


class Frames:
    """The frames of one sentence, beside the mentions that `reader` found."""

    def __init__(self, reader: Mentions) -> None:
        self.reader = reader
        self.tokens, self.items, self.scopes, self.lexicon = reader.tokens, reader.items, reader.scopes, reader.lexicon

    def read(self) -> Iterator[Finding]:
        """What organs and adjectives assert, unless the sentence names the same finding, or a narrower one."""
        named = {self.items[k].roles["concept"] for k in self.reader.at}
        named |= {parent for name in named for parent in ancestors(name)}
        for k, item in enumerate(self.items):
            quality = item.roles.get("quality")
            if quality is None or self._belongs_to_concept(k):
                continue
            anatomies = self._anatomies(k)
            if not anatomies and quality in ("normal", "fine") and self._film(k):
                yield from self._claims(self.lexicon.frames["study"]["normal"], named, k, k)
            for j in anatomies:
                claims = self.lexicon.frames.get(self.items[j].roles["anatomy"], {}).get(quality)
                if claims:
                    yield from self._claims(claims, named, k, j)

    def _film(self, k: int) -> bool:
        """Whether the quality at item k is said of the film: "a normal film", "the film is unremarkable"."""
        first, last = self.items[k].first, self.items[k].last
        after = [token.text for token in self.tokens[last : last + 2]]
        if after[:1] and after[0] in _FILM:
            return after[1:2] != ["quality"]
        if self.tokens[first].text == "negative":  # "concerning fractures, the film is negative"
            return False
        if self.tokens[first].text in ("no", "nothing"):  # "no abnormality is seen"
            return not self.reader.at and all(item.roles.get("anatomy", "study") == "study" for item in self.items)
        before = [token.text for token in self.tokens[max(first - 5, 0) : first]]
        while before and before[-1].endswith("ly"):
            before.pop()
        looks = len(before) > 1 and before[-1] in _LOOKS and before[-2] in _FILM
        return looks or (len(before) == 1 and before[0] in _FILM)  # "CXR normal"

    def _claims(
        self, claims: Sequence[tuple[str, Status]], named: Collection[str], k: int, j: int
    ) -> Iterator[Finding]:
        """What the quality at item k of the organ at item j claims."""
        around = self.scopes.outer[k]
        cue = self._near_cue(k, j)
        kind = cue[0] if cue else None
        if kind == "hypothetical" or around.void:
            return
        denied = (kind == "negation") != len(around.reversals) % 2
        if denied and (opposite := self.lexicon.opposites.get(self.items[k].roles["quality"])):
            claims = self.lexicon.frames[self.items[j].roles.get("anatomy", "study")].get(opposite, ())
            denied = False
        low, high = min(j, k), max(j, k)
        values, _ = self.reader.attributes(range(max(low - 8, 0), self._ends(high)), k)
        evidence = self.reader.span([self.items[low], self.items[high], *([cue[1]] if cue else []), *around.reversals])
        change = values.get("change")
        for name, claimed in claims:
            if claimed == "present" and name in named:
                continue
            status: Status = claimed
            if denied:
                if claimed == "absent":
                    continue
                status = "absent"
            elif (around.doubt or kind == "hedge") and claimed == "absent":  # "the lungs may be clear"
                continue
            elif (kind == "hedge" or around.doubt) and claimed == "present":
                status = "uncertain"
            present = status != "absent"
            yield Finding(
                concept=name,
                status=status,
                laterality=values.get("side") if self.lexicon.concepts[name].sided else None,  # type: ignore[arg-type]
                severity=values.get("severity") if present else None,
                change=change if present and change != "resolved" else None,  # type: ignore[arg-type]
                evidence=evidence,
            )

    def _ends(self, high: int) -> int:
        """The item before which what is said of an organ ends, at most three on: "blunted, the right one is not"."""
        for m in range(high, min(high + 3, len(self.items))):
            before = self.items[m].first - 1
            if m > high and self.tokens[before].text == "the" and self.tokens[before - 1].text in ",;":
                return m
        return min(high + 3, len(self.items))

    def _near_cue(self, k: int, j: int) -> tuple[str, Term] | None:
        """A cue that acts on the quality: directly before it, or before the whole phrase it opens."""
        cue = self.scopes.forward[k]
        if cue is None:
            return None
        if cue[0] == "hypothetical":
            return cue
        first = self.items[k].first
        for m in range(k - 1, max(k - ADJECTIVE_REACH, -1), -1):  # "no effusion bones intact": the cue is spent
            roles = self.items[m].roles
            if "conjunction" in roles or self.items[m].first < cue[1].last:
                break
            if "concept" in roles:
                return None
        if first - cue[1].last > ADJECTIVE_REACH or self.scopes.punctuation(cue[1].last, first):
            return self._shared_cue(k, j)
        return cue

    def _shared_cue(self, k: int, j: int) -> tuple[str, Term] | None:
        """The cue on the quality that "or" joins to the one at item k: "not calcified or tortuous"."""
        linked = (k > 1 and self.tokens[self.items[k].first - 1].text in ("or", "nor")) or (
            k > 1
            and "conjunction" in self.items[k - 1].roles
            and self.tokens[self.items[k - 1].first].text in ("or", "nor")
        )
        before = next(
            (m for m in range(k - 1, max(k - ADJECTIVE_REACH, -1), -1) if "quality" in self.items[m].roles), None
        )
        return self._near_cue(before, j) if linked and before is not None else None

    def _belongs_to_concept(self, k: int) -> bool:
        """ "Large effusion": the adjective describes the finding, not an organ."""
        if "concept" in self.items[k].roles:
            return False
        end = self.items[k].last
        for item in self.items[k + 1 : k + 5]:
            if item.first - end > 2 or self.scopes.punctuation(end, item.first):
                return False
            if "concept" in item.roles:
                return True
            if "anatomy" in item.roles or not any(name in item.roles for name in ATTRIBUTES):
                return False
            end = item.last
        return False

    def _anatomies(self, k: int) -> list[int]:
        """Items of the organs that the quality at item k describes: those right after it, else those before it."""
        terse = k > 0 and "anatomy" in self.items[k - 1].roles and self.items[k - 1].last == self.items[k].first
        if k > 1 and "verb" in self.items[k - 1].roles and "anatomy" in self.items[k - 2].roles:
            # "The heart is normal in size lungs are clear"; but "normal heart size is prominent ventricle" is spent.
            spent = k > 2 and "quality" in self.items[k - 3].roles
            terse = terse or (not spent and self.items[k - 1].last == self.items[k].first)
        ahead = [] if terse else self._ahead(k)  # terse: "heart size normal lungs clear"
        if any(self.items[j].roles["anatomy"] != "study" for j in ahead):
            return ahead
        found: list[int] = []
        for j in range(k - 1, max(k - MAX_WALK, -1), -1):
            roles = self.items[j].roles
            if found and self.scopes.punctuation(self.items[j].last, self.items[j + 1].first, ":"):
                break
            if "anatomy" in roles:
                found.append(j)
            elif "concept" in roles or ("quality" in roles and found):
                break
        return found or ahead  # "not enlarged on this study" is about the heart

    def _ahead(self, k: int) -> list[int]:
        found: list[int] = []
        end = self.items[k].last
        for j in range(k + 1, min(k + 1 + MAX_WALK, len(self.items))):
            item, roles = self.items[j], self.items[j].roles
            gap = item.first - end
            comma = self.scopes.punctuation(end, item.first, ",;:()" if found else ",;()")
            if gap > 3 or (comma and not found):
                break
            if "anatomy" in roles:
                if found and j + 1 < len(self.items) and self._predicate_follows(j):
                    break
                found.append(j)
            elif not found and self._between(k, item):
                pass
            elif not any(name in roles for name in (*ATTRIBUTES, "conjunction")) or (
                not found and "conjunction" in roles
            ):
                break
            end = item.last
        return found

    def _between(self, k: int, item: Term) -> bool:
        """Whether words between the quality at item k and its organ leave them together: "nothing wrong with *this*
        chest", "fluid *is seen in* the pleural space"."""
        if self.items[k].roles["quality"] in _MATTER:
            return "verb" in item.roles or self.tokens[item.last - 1].text in ("in", "within")
        return self.tokens[item.first].text == "this"

    def _predicate_follows(self, j: int) -> bool:
        return any("quality" in item.roles for item in self.items[j + 1 : j + 3])
