"""The findings of one sentence: what it names, and what its organs and adjectives assert together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from reasoner.findings.clauses import settle, subjects
from reasoner.findings.compose import compose
from reasoner.findings.frames import ATTRIBUTES, Frames
from reasoner.findings.lexicon import Term, ancestors, load, matched
from reasoner.findings.measures import with_numbers
from reasoner.findings.scope import MAX_WALK, Scopes
from reasoner.findings.text import Token
from reasoner.schema import Evidence, Finding

#: Where a side is carried from one mention to another.
CHEST = ("lungs", "pleura")
_KINDS = frozenset((*ATTRIBUTES, "hint"))
#: What stands between two mentions that are no alternatives: "an effusion, or rather a mass".
_PARTS = frozenset(("verb", "terminator", "pseudo"))
#: Roles of what makes a clause say something.
_STATES = frozenset(("concept", "quality", "verb"))
#: "Increased" says how white these are, unless one of the words compares.
_DENSITIES = frozenset(("lung_opacity", "density"))
_COMPARED = frozenset(("since", "than", "compared", "comparison", "relative", "prior", "previous", "interval", "now"))
_OR = frozenset(("or", "versus", "vs"))
_IN = {"in", "at", "within", "on", "over", "overlying", "of", "involving", "near", "along", "throughout", "to"}


@lru_cache(maxsize=1 << 15)
def read_sentence(sentence: str) -> tuple[Finding, ...]:
    """The findings of one sentence; evidence offsets are within it. A question asserts nothing."""
    if sentence.endswith("?") and len(sentence) > 1:
        return ()
    tokens, terms = matched(sentence)
    if not terms:
        return ()
    items, marks = compose(tokens, with_numbers(sentence, tokens, terms))
    items = settle(tokens, items, marks)
    reader = Mentions(tokens, items, marks)
    named, framed = list(reader.mentions()), list(Frames(reader).read())
    found = [*named, *framed]
    if any("exception" in mark.roles for mark in marks):
        found = _excepted(found)
    elif named and framed:  # "the lungs are clear, though there is a nodule"
        found = [*named, *_left(named, framed)]
    if framed:  # "enlarged, not normal": what is said outright outweighs what it leaves open
        sure = {finding.concept for finding in found if finding.status == "present"}
        found = [f for f in found if f.status != "uncertain" or f not in framed or f.concept not in sure]
    found.sort(key=lambda f: f.evidence.start if f.evidence else 0)
    return tuple(dict.fromkeys(found))


def _excepted(findings: Sequence[Finding]) -> list[Finding]:
    """Without denials of what is asserted beside them: "normal apart from X" does not deny X."""
    there = {finding.concept for finding in findings if finding.status != "absent"}
    there.update(*map(ancestors, there))
    return [finding for finding in findings if finding.status != "absent" or finding.concept not in there]


def _left(named: Sequence[Finding], framed: Sequence[Finding]) -> list[Finding]:
    """What organs and adjectives assert, without denials of what is named as present behind them."""
    there: dict[str, int] = {}
    for finding in named:
        if finding.status == "present" and finding.evidence:
            for name in (finding.concept, *ancestors(finding.concept)):
                there[name] = finding.evidence.start
    return [f for f in framed if f.status != "absent" or not f.evidence or there.get(f.concept, -1) < f.evidence.start]


class Mentions:
    def __init__(self, tokens: Sequence[Token], items: list[Term], marks: Sequence[Term]) -> None:
        self.tokens, self.items, self.lexicon = tokens, items, load()
        self.scopes = Scopes(tokens, items, marks)
        self.at = [k for k, item in enumerate(items) if "concept" in item.roles]
        #: Where clauses begin that are about another part; none where no part is named.
        self.starts = subjects(tokens, items) if any("side" in item.roles for item in items) else []

    # Concepts that are named

    def mentions(self) -> Iterator[Finding]:
        side: str | None = None
        found: list[Finding | None] = []
        for n in range(len(self.at)):
            finding, side = self._mention(n, side)
            found.append(finding)
        for n, finding in enumerate(self._joined(found)):
            concept = self.lexicon.concepts[self.items[self.at[n]].roles["concept"]]
            for said in self._answered(n, concept.name, finding):
                for name in concept.denies if said.status == "absent" else concept.implies:
                    yield replace(said, concept=name)
                yield from self._by_side(n, said)

    def _by_side(self, n: int, finding: Finding) -> Iterator[Finding]:
        """A finding on both sides, for each with its degree: "a small right and a moderate left effusion"."""
        if finding.laterality == "bilateral" and finding.status == "present":
            told = [
                item for item in (self.items[k] for k in self._window(n)) if item.roles.keys() & {"side", "severity"}
            ]
            sides = [item for item in told if "side" in item.roles]
            degrees = [item.roles["severity"] for item in told if "severity" in item.roles]
            turns = ["side" in item.roles for item in told]
            apart = sorted(item.roles["side"] for item in sides) == ["left", "right"] and len(degrees) == 2
            if apart and turns[0] == turns[2] != turns[1]:
                for item, degree in zip(sides, degrees, strict=True):
                    span = self.span([item, self.items[self.at[n]]])
                    yield replace(finding, laterality=item.roles["side"], severity=degree, evidence=span)
                return
        yield finding

    def _answered(self, n: int, concept: str, finding: Finding | None) -> Iterator[Finding]:
        """The n-th mention, and what a later clause says of it on one side: "resolved on the left, persists on the
        right"."""
        answer = self.scopes.answers[self.at[n]]
        side = answer.roles["answers on"] if answer else None
        if answer is None or side is None:
            if finding is not None:
                yield finding
            return
        said = answer.roles["answer"]
        span = self.span([self.items[self.at[n]], answer])
        change, degree = ("resolved", None) if said == "absent" else (None, answer.roles["answers in"])
        other = Finding(concept, said, laterality=side, severity=degree, change=change, evidence=span)  # type: ignore[arg-type]
        if finding is not None and (
            finding.laterality not in (None, side) or (finding.status, said) == ("present", "absent")
        ):
            yield finding
        yield other

    def _joined(self, found: list[Finding | None]) -> list[Finding | None]:
        """The mentions, those of which one or the other is so ("a nodule or mass") with the words of all as evidence:
        they make one claim."""
        last = len(found) - 1
        while last > 0:
            first = last
            while first > 0 and self._alternatives(found, first, joined=first < last):
                first -= 1
            if first < last:
                spans = [finding.evidence for finding in found[first : last + 1] if finding and finding.evidence]
                span = Evidence("text", min(s.start for s in spans), max(s.end for s in spans))
                for n in range(first, last + 1):
                    finding = found[n]
                    found[n] = replace(finding, evidence=span) if finding else None
            last = first - 1
        return found

    def _alternatives(self, found: Sequence[Finding | None], n: int, joined: bool) -> bool:
        """Whether mention n is asserted as an alternative to the one before; in a list, a comma goes on with "or"."""
        one, other = found[n - 1], found[n]
        if one is None or other is None or "absent" in (one.status, other.status):
            return False
        a, b = self.at[n - 1], self.at[n]
        if any(not _PARTS.isdisjoint(item.roles) for item in self.items[a + 1 : b]):
            return False
        words = {token.text for token in self.tokens[self.items[a].last : self.items[b].first]}
        if not words.isdisjoint(_OR):
            return True
        cues = any(role.endswith("ward") or role == "explains" for item in self.items[a + 1 : b] for role in item.roles)
        return joined and "," in words and "and" not in words and not cues

    def _mention(self, n: int, before: str | None) -> tuple[Finding | None, str | None]:
        """The n-th mention as a finding, None when it is not asserted, and its side; `before` is the previous side."""
        k = self.at[n]
        item = self.items[k]
        concept = self.lexicon.concepts[item.roles["concept"]]
        status, cues = self.scopes.status(k)
        if status is None:
            return None, None
        values, used = self.attributes(self._window(n), k)
        for kind, value in self._shared(n).items():
            values.setdefault(kind, value)
        if (
            self.scopes.presupposed(k) and values.get("change") == "resolved"
        ):  # "to document resolution of the effusion"
            values.pop("change", None)
        resolved = "resolved" in (values.get("change"), *(cue.roles.get("change") for cue in cues))
        if resolved:
            status = "absent"
            values["change"] = "resolved"
        if status == "absent":
            used = []
            values.pop("severity", None)
            values.pop("hint", None)
            if not resolved:
                values.pop("change", None)
        device, refine = concept.region == "devices", concept.refine
        side = values.get("side")
        if side is None and before and self._linked(n):
            side = before
        finding = Finding(
            concept=refine.get(values.get("kind", "")) or refine.get(values.get("location", ""), concept.name),
            status=status,
            laterality=side or values.get("hint") if concept.sided else None,  # type: ignore[arg-type]
            location=values.get("location"),
            severity=values.get("severity"),
            change=values.get("change"),  # type: ignore[arg-type]
            evidence=self.span([item, *used, *cues]),
            size=None if device else values.get("size"),
            acuity=values.get("acuity"),
            tip=self._tip(n) if device and status != "absent" else None,
        )
        return finding, side or values.get("hint")

    def _window(self, n: int) -> range:
        """Indices of the items whose attributes belong to the n-th mention."""
        k = self.at[n]
        first = 0 if n == 0 else self._cut(self.at[n - 1], k)
        last = len(self.items) if n + 1 == len(self.at) else self._cut(k, self.at[n + 1])
        return range(first, last)

    def _cut(self, a: int, b: int) -> int:
        """The item between mentions a and b where the words of b begin."""
        items = self.items
        for k in range(a + 1, b):
            roles = items[k].roles
            if "conjunction" in roles:
                if (
                    k + 1 < b
                    and k - 1 > a
                    and self._attribute(k - 1)
                    and self._attribute(k + 1)
                    and not self._attribute(k - 1, "change")
                ):
                    continue
                return k
            if roles.keys() & {"terminator", "explains", "negation_forward", "hedge_forward"}:
                return k
            if self.scopes.punctuation(items[k - 1].last, items[k].first, ",") and not self._inside(items[k].first):
                return k
        if a + 1 < b:
            if self._inside(items[b - 1].first) and not self._inside(items[b].first):
                return b  # "thickening (small, left), nodule"
            between = {self.tokens[i].text for i in range(items[a].last, items[a + 1].first)}
            if between & _IN or any("verb" in items[k].roles for k in range(a + 1, b)):
                return b
        return a + 1

    def _inside(self, i: int) -> bool:
        """Whether token i stands in parentheses: "effusion (small, left), nodule"."""
        return next(
            (token.text == "(" for token in self.tokens[max(i - MAX_WALK, 0) : i][::-1] if token.text in "()"), False
        )

    def _attribute(self, k: int, kind: str = "") -> bool:
        roles = self.items[k].roles
        return kind in roles if kind else any(name in roles for name in ATTRIBUTES)

    def attributes(self, window: range, k: int) -> tuple[dict[str, str], list[Term]]:
        """The attributes in a window, nearest to item k first; left and right make bilateral, except for devices."""
        values: dict[str, str] = {}
        used: list[Term] = []
        name = self.items[k].roles.get("concept")
        one_side = name is not None and self.lexicon.concepts[name].region == "devices"
        stop = next((j for j in window if j > k and "comparison" in self.items[j].roles), len(self.items))
        # "Lucent apices and scarring in the left upper lobe": a place that follows goes before one that precedes.
        last = self.items[k].last
        follows = last < len(self.tokens) and self.tokens[last].text in _IN
        for j in sorted(window, key=lambda j: (follows and j < k, abs(j - k), j)):
            if j > stop:
                continue
            roles = self.items[j].roles
            if self._set_apart(j, k) or (self.starts and "side" in roles and self._elsewhere(j, k)):
                continue
            if self.scopes.outer[j].void and not self.scopes.outer[k].void:  # "which was large before"
                continue
            for kind in _KINDS & roles.keys():
                if kind == "change" and self._is_size(j, k):
                    continue
                value = roles[kind]
                both = kind == "side" and not one_side and values.get(kind, value) != value
                if kind not in values or both:
                    values[kind] = "bilateral" if both else value
                    used.append(self.items[j])
        return values, used

    def _set_apart(self, j: int, k: int) -> bool:
        """Whether item j is no attribute of item k: "on the right, not on the left", "unlike the left, ..."."""
        cue = self.scopes.forward[j]
        if cue is None or cue == self.scopes.forward[k]:
            return False
        behind = j > k and cue[1].first >= self.items[k].last
        return "contrast" in cue[1].roles if j < k else behind and (cue[0] == "negation" or "contrast" in cue[1].roles)

    def _is_size(self, j: int, k: int) -> bool:
        """Whether a word of change is a quality, of an organ or of a density that is compared with nothing: "an
        increased cardiothoracic ratio", "increased opacity in the right base"."""
        if self.items[j].roles.get("quality") != "increased":
            return False
        if j == k:
            return True
        after = self.items[j + 1] if j + 1 < len(self.items) else None
        if after is None or after.first != self.items[j].last:
            return False
        dense = "past form" in self.items[j].roles and after.roles.get("concept") in _DENSITIES
        return "anatomy" in after.roles or (dense and _COMPARED.isdisjoint(token.text for token in self.tokens))

    def _elsewhere(self, j: int, k: int) -> bool:
        """Whether item j is of another clause than item k, which says something of its own: "the left lung is clear
        while the right ..."."""
        own, other = (bisect_right(self.starts, self.items[n].first) for n in (k, j))
        if own == other:
            return False
        first, last = [0, *self.starts, len(self.tokens)][other : other + 2]
        return any(first <= item.first < last and not item.roles.keys().isdisjoint(_STATES) for item in self.items)

    def _tip(self, n: int) -> str | None:
        """Where the device of the n-th mention ends: the first such place after it, with its distance."""
        own = ancestors(self.items[self.at[n]].roles["concept"])
        for k in range(self.at[n] + 1, min(self.at[n] + MAX_WALK, len(self.items))):
            roles = self.items[k].roles
            if "concept" in roles and roles["concept"] not in own:  # "a pacemaker with leads in ..." goes on
                return None
            place = roles.get("tip")
            if place is not None:
                size = self.items[k - 1].roles.get("size")
                return f"{size} {place}" if size and place.startswith(("above", "below")) else place
        return None

    def _shared(self, n: int) -> dict[str, str]:
        """What follows a list and holds for all of it: "scar or atelectasis in the left base", "... are unchanged"."""
        values: dict[str, str] = {}
        placed = False
        for m in range(n + 1, min(n + 6, len(self.at))):
            a, b = self.at[m - 1], self.at[m]
            between = [item.roles for item in self.items[a + 1 : b]]
            if not any("conjunction" in roles or "hedge_forward" in roles for roles in between):
                break
            if any("verb" in roles for roles in between):
                break
            placed = placed or any("side" in roles or "location" in roles for roles in between)
            last = len(self.items) if m + 1 == len(self.at) else self._cut(b, self.at[m + 1])
            verb = inside = False
            for k in range(b + 1, last):
                roles = self.items[k].roles
                if "terminator" in roles:
                    break
                verb = verb or "verb" in roles
                inside = inside or any(
                    self.tokens[i].text in _IN for i in range(self.items[k - 1].last, self.items[k].first)
                )
                kinds = (*("change",) * verb, *("side", "location", "hint") * (inside and not placed))
                values = {kind: roles[kind] for kind in kinds if kind in roles} | values
        return values

    def _linked(self, n: int) -> bool:
        """Whether the n-th mention shares the side of the one before: coordinated with it, or said to explain it."""
        a, b = self.items[self.at[n - 1]], self.items[self.at[n]]
        between = [item.roles for item in self.items[self.at[n - 1] + 1 : self.at[n]]]
        if a.last == b.first:  # "biapical fibronodular pleural thickening"
            return True
        if any("explains" in roles or "hedge_forward" in roles for roles in between):
            return True
        if any("verb" in roles or "terminator" in roles for roles in between):
            return False
        if self.scopes.punctuation(a.last, b.first):
            if self.tokens[self.items[self.at[n - 1] + 1].first].text in ("no", "without"):  # "left effusion, no ..."
                return False
            regions = {self.lexicon.concepts[item.roles["concept"]].region for item in (a, b)}
            return regions <= {*CHEST}
        return any("conjunction" in roles for roles in between)

    def span(self, items: list[Term]) -> Evidence:
        first = min(item.first for item in items)
        last = max(item.last for item in items)
        return Evidence("text", self.tokens[first].start, self.tokens[last - 1].end)
