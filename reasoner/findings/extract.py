"""Findings from sentences: which concept, which status, on which side, how severe, changed how, and by which words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from reasoner.findings.lexicon import Item, Lexicon, load
from reasoner.findings.scope import ADJECTIVE_REACH, MAX_WALK, Scopes
from reasoner.findings.text import FINDING_SECTIONS, Token, split_sections, split_sentences, tokenize
from reasoner.schema import Evidence, Finding, Status

_ATTRIBUTES = ("side", "location", "severity", "change")
_IN = {"in", "at", "within", "on", "over", "overlying", "of", "involving", "near", "along", "throughout", "to"}


def extract_report(text: str) -> list[Finding]:
    """The findings of a report, in its order, with evidence in `text`; only findings and impression are read."""
    findings: list[Finding] = []
    for section in split_sections(text):
        if section.name in FINDING_SECTIONS:
            findings += _extract(text, section.start, section.end, section.name)
    return findings


def extract_text(text: str) -> list[Finding]:
    """The findings of free text such as a model's reasoning, in its order; evidence is in `text`."""
    return list(_extract(text, 0, len(text), "text"))


def _extract(text: str, start: int, end: int, section: str) -> Iterator[Finding]:
    for first, last in split_sentences(text, start, end):
        for finding in read_sentence(text[first:last]):
            span = finding.evidence
            assert span is not None
            yield replace(finding, evidence=Evidence(section, first + span.start, first + span.end))


@lru_cache(maxsize=1 << 15)
def read_sentence(sentence: str) -> tuple[Finding, ...]:
    """The findings of one sentence; evidence offsets are within it. A question asserts nothing."""
    if sentence.endswith("?") and len(sentence) > 1:
        return ()
    tokens = tokenize(sentence)
    lexicon = load()
    items = lexicon.match(tokens)
    if not items:
        return ()
    reader = _Sentence(tokens, items, lexicon)
    found = list(reader.mentions()) + list(reader.framed())
    found.sort(key=lambda f: f.evidence.start if f.evidence else 0)
    return tuple(dict.fromkeys(found))


class _Sentence:
    def __init__(self, tokens: list[Token], items: list[Item], lexicon: Lexicon) -> None:
        self.tokens, self.items, self.lexicon = tokens, items, lexicon
        self.scopes = Scopes(tokens, items)
        self.at = [k for k, item in enumerate(items) if "concept" in item.roles]

    # Concepts that are named

    def mentions(self) -> Iterator[Finding]:
        previous: Finding | None = None
        for n, k in enumerate(self.at):
            item = self.items[k]
            concept = self.lexicon.concepts[item.roles["concept"]]
            status, cue = self.scopes.status(k)
            if status is None:
                previous = None
                continue
            window = self._window(n)
            values, used = self._attributes(window, k)
            if "change" not in values and (shared := self._shared_change(n)):
                values["change"] = shared
            if status != "absent":
                used = [*used, *([cue] if cue else [])]
            elif cue:
                used = [cue]
            if values.get("change") == "resolved":
                status = "absent"
            if status == "absent" and values.get("change") != "resolved":
                values.pop("change", None)
            if status == "absent":
                values.pop("severity", None)
            if not concept.sided:
                values.pop("side", None)
            elif previous and previous.laterality and "side" not in values and self._linked(n):
                values["side"] = previous.laterality
            finding = Finding(
                concept=concept.refine.get(values.get("location", ""), concept.name),
                status=status,
                laterality=values.get("side"),  # type: ignore[arg-type]
                location=values.get("location"),
                severity=values.get("severity"),
                change=values.get("change"),  # type: ignore[arg-type]
                evidence=self._span([item, *used]),
            )
            previous = finding
            if status == "absent" and concept.denies:
                for name in concept.denies:
                    yield replace(finding, concept=name)
            yield finding

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
            if self.scopes.punctuation(items[k - 1].last, items[k].first, ","):
                return k
        if a + 1 < b:
            between = {self.tokens[i].text for i in range(items[a].last, items[a + 1].first)}
            if between & _IN or any("verb" in items[k].roles for k in range(a + 1, b)):
                return b
        return a + 1

    def _attribute(self, k: int, kind: str = "") -> bool:
        roles = self.items[k].roles
        return kind in roles if kind else any(name in roles for name in _ATTRIBUTES)

    def _attributes(self, window: range, k: int) -> tuple[dict[str, str], list[Item]]:
        values: dict[str, str] = {}
        used: list[Item] = []
        for j in sorted(window, key=lambda j: (abs(j - k), j)):
            roles = self.items[j].roles
            for kind in _ATTRIBUTES:
                value = roles.get(kind)
                if value is None:
                    continue
                if kind not in values:
                    values[kind] = value
                    used.append(self.items[j])
                elif kind == "side" and {values[kind], value} == {"left", "right"}:
                    values[kind] = "bilateral"
                    used.append(self.items[j])
        return values, used

    def _shared_change(self, n: int) -> str | None:
        """The change that follows a list: "effusion and atelectasis are unchanged"."""
        for m in range(n + 1, min(n + 6, len(self.at))):
            between = self.items[self.at[m - 1] + 1 : self.at[m]]
            if not any("conjunction" in item.roles for item in between) or any(
                "verb" in item.roles for item in between
            ):
                return None
            verb = False
            for k in range(self.at[m] + 1, len(self.items) if m + 1 == len(self.at) else self.at[m + 1]):
                verb = verb or "verb" in self.items[k].roles
                if verb and "change" in self.items[k].roles:
                    return self.items[k].roles["change"]
        return None

    def _linked(self, n: int) -> bool:
        """Whether the n-th mention shares the side of the one before: coordinated with it, or said to explain it."""
        between = self.items[self.at[n - 1] + 1 : self.at[n]]
        if any("verb" in item.roles and "explains" not in item.roles for item in between):
            return any("explains" in item.roles or "hedge_forward" in item.roles for item in between)
        if any("explains" in item.roles or "hedge_forward" in item.roles for item in between):
            return True
        comma = self.scopes.punctuation(self.items[self.at[n - 1]].last, self.items[self.at[n]].first)
        return not comma and any("conjunction" in item.roles for item in between)

    # Concepts that an anatomy and a quality make together

    def framed(self) -> Iterator[Finding]:
        for k, item in enumerate(self.items):
            quality = item.roles.get("quality")
            if quality is None or self._belongs_to_concept(k):
                continue
            for j in self._anatomies(k):
                claims = self.lexicon.frames.get(self.items[j].roles["anatomy"], {}).get(quality, ())
                for name, status in claims:
                    finding = self._claim(name, status, k, j)
                    if finding is not None:
                        yield finding

    def _claim(self, name: str, status: Status, k: int, j: int) -> Finding | None:
        cue = self._near_cue(k, j)
        if cue and cue[0] == "hypothetical":
            return None
        if cue and cue[0] == "negation":
            if status == "absent":
                return None
            status = "absent"
        elif cue and cue[0] == "hedge" and status == "present":
            status = "uncertain"
        concept = self.lexicon.concepts[name]
        low, high = min(j, k), max(j, k)
        values, _ = self._attributes(range(max(low - 2, 0), min(high + 3, len(self.items))), k)
        span = [self.items[low], self.items[high], *([cue[1]] if cue else [])]
        present = status != "absent"
        return Finding(
            concept=name,
            status=status,
            laterality=values.get("side") if concept.sided else None,  # type: ignore[arg-type]
            severity=values.get("severity") if present else None,
            change=values.get("change") if present and values.get("change") != "resolved" else None,  # type: ignore[arg-type]
            evidence=self._span(span),
        )

    def _near_cue(self, k: int, j: int) -> tuple[str, Item] | None:
        """A cue that acts on the quality: directly before it, or before the whole phrase it opens."""
        cue = self.scopes.forward[k]
        if cue is None:
            return None
        if cue[0] == "hypothetical":
            return cue
        first = self.items[k].first
        if first - cue[1].last > ADJECTIVE_REACH or self.scopes.punctuation(cue[1].last, first):
            return None
        return cue

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
            if "anatomy" in item.roles or not any(name in item.roles for name in _ATTRIBUTES):
                return False
            end = item.last
        return False

    def _anatomies(self, k: int) -> list[int]:
        """Items of the organs that the quality at item k describes: those right after it, else those before it."""
        terse = k > 0 and "anatomy" in self.items[k - 1].roles and self.items[k - 1].last == self.items[k].first
        ahead = [] if terse else self._ahead(k)  # terse: "heart size normal lungs clear"
        if ahead:
            return ahead
        found: list[int] = []
        for j in range(k - 1, max(k - MAX_WALK, -1), -1):
            roles = self.items[j].roles
            if "anatomy" in roles:
                found.append(j)
            elif "concept" in roles or ("quality" in roles and found):
                break
            if self.scopes.punctuation(self.items[j].last, self.items[j + 1].first, ":") and found:
                break
        return found

    def _ahead(self, k: int) -> list[int]:
        found: list[int] = []
        end = self.items[k].last
        for j in range(k + 1, min(k + 1 + MAX_WALK, len(self.items))):
            item, roles = self.items[j], self.items[j].roles
            gap = item.first - end
            comma = self.scopes.punctuation(end, item.first)
            if gap > 3 or (comma and not found):
                break
            if "anatomy" in roles:
                if found and j + 1 < len(self.items) and self._predicate_follows(j):
                    break
                found.append(j)
            elif not any(name in roles for name in (*_ATTRIBUTES, "conjunction")) or (
                not found and "conjunction" in roles
            ):
                break
            end = item.last
        return found

    def _predicate_follows(self, j: int) -> bool:
        return any("quality" in item.roles for item in self.items[j + 1 : j + 3])

    def _span(self, items: list[Item]) -> Evidence:
        first = min(item.first for item in items)
        last = max(item.last for item in items)
        return Evidence("text", self.tokens[first].start, self.tokens[last - 1].end)
