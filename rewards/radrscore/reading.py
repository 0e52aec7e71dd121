"""The sentences of a reasoning text: which assert something, and what each claims.

A chain of thought is not a report. It announces what it will look for, explains what that would look like, and lists
options before it finds anything; none of that is a claim. And it answers in the next sentence: "We look for scarring.
None is seen." denies scarring. Both are settled here, before any matching.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from reasoner.findings.layout import spans
from reasoner.findings.lexicon import load
from reasoner.findings.replies import REACH, answer, body_of, correct, fragment, read_line
from reasoner.findings.text import tokenize
from reasoner.schema import Status
from rewards.radrscore.claims import Claim, Fact, read_claims

_LOOK = (
    r"(?:evaluat|assess|examin|check|look|inspect|scan|consider|analy[sz]|review|begin|start|focus|search|investigat"
    r"|identify"
    r"|compar|determin|observ|verify|explor|interpret|address|scrutini|rul(?:e|ing) out|differentiat)"
)
#: What a sentence sets out to do: "First, we need to check for ...", "Examine the hila for ...", "To assess X, we ...".
_PLAN = re.compile(
    rf"^\W*(?:(?:first|second|third|next|then|last|final|also|addition|subsequent|further|now|moving|start|begin)\w*"
    rf"(?: of all| forward| on| with)?[\s,:]+)*"
    rf"(?:(?:specifically|carefully|closely)[\s,]+)?"
    rf"(?:to {_LOOK}|(?:we|i|one|let(?:'|’)?s|let us)\b[\w\s,'’]{{0,40}}?\b{_LOOK}|{_LOOK}\w*\b|for (?:signs|detecting)"
    rf"|(?:it is|it's) (?:important|essential|necessary))"
    rf"|\b(?:is|are|was|were|be) (?:\w+ )?(?:evaluated|assessed|examined|considered|checked|inspected|analy[sz]ed)\b"
    rf"|\b(?:involves|requires|need to|should|will|must|tasks?)\b.{{0,60}}\b{_LOOK}"
    r"|\b(?:we|i) (?:\w+ ){0,3}?(?:evaluat|assess|examin|check|look|inspect|consider|investigat|search|focus"
    r"|seek|explor)|\b(?:options?|possibilities|choices) (?:\w+ ){0,3}?(?:include|are\b)|\bpossibilities:",
    re.IGNORECASE,
)
#: What a sentence announces before it speaks: "Regarding pneumonia, ...", "In assessing for X, ...".
_TOPIC = re.compile(
    r"^\W*(?:(?:(?:first|second|third|next|then|finally|lastly|also)\w*,? )?(?:for|regarding|concerning|as for"
    r"|considering|in regards? to|in terms of|with (?:regard|respect) to|(?:in|when|while|upon|on) \w+ing)\b"
    r"[^,:;]*[,:])(?= .{8})",
    re.IGNORECASE | re.DOTALL,
)
#: What is so in general: "would appear as", "typically presents with", "can indicate".
_GENERAL = re.compile(
    r"\b(?:(?:would|could|can|may|might|should|will|must) (?:\w+ )?(?:appear|present|show|be (?:seen|visible"
    r"|associated|"
    r"caused|indicated|identified|recognized|found)|manifest|look|indicate|suggest|result|have|include|cause"
    r"|signal|occur|imply|involve|lead|demonstrate|exhibit|represent as)"
    r"|one would expect|option (?:[a-h] )?(?:mentions|describes|notes|focuses|lists|suggests|includes|refers)"
    r"|(?:indicators|signs|features|findings) (?:\w+ ){0,3}(?:include|may|would|can|could)\b"
    r"|(?:typically|usually|often|commonly|normally|generally|frequently) \w+|appears? as|presents? as|presents? with"
    r"|refers? to|(?:is|are) (?:\w+ )?(?:defined|characteri[sz]ed|formed|located|expected|caused)|occurs? when"
    r"|occurs? due"
    r"|seen in (?:conditions|patients)|be associated with|is a (?:condition|sign|type|form)|are (?:areas|signs"
    r"|densities)"
    r"|indicates? (?:conditions|a condition))\b",
    re.IGNORECASE,
)
#: What speaks of this image rather than of images: "can be seen here".
_HERE = re.compile(
    r"\b(?:here|(?:on|in|from) (?:this|the (?:present|current|given)) (?:\w+ )?(?:image|film|radiograph|x-?ray|study"
    r"|view|examination|exam|case|patient|picture|scan))\b",
    re.IGNORECASE,
)
#: What was found. A sentence that plans or explains counts only if it also says this.
_FOUND = re.compile(
    r"^\W*(?:no|not)\b|\b(?:it is there|found one|there(?:['’]s| is| are| does| do| was| were| has| appears?| seems?)"
    r"|reveal|show(?:s|ed)?\b|display|demonstrat|"
    r"(?:is|are|was|were) (?:\w+ )?(?:seen|noted|observed|present|absent|identified|visible|visuali[sz]ed"
    r"|evident|detected|"
    r"confirmed|found|normal|clear|intact|apparent|ruled|excluded|enlarged|within|unremarkable|unlikely|supported|"
    r"sharp|stable|unchanged)|"
    r"(?:appears?|seems?|remains?) (?!as\b)\w+|no (?:evidence|signs?|such|indication|visible|obvious"
    r"|significant|abnormal)|"
    r"without|absence|none|gone|resolved|cleared|disappeared|neither|nowhere|nothing|cannot|can['’]t|"
    r"not (?:seen|present|observed|visible|apparent|support|show|indicate|suggest|evident)|"
    r"ruling|rules|confirm(?:s|ing)|exclud(?:es|ing)|does(?:n['’]t| not)|do(?:n['’]t| not)|(?:is|are)(?:n['’]t| not))",
    re.IGNORECASE,
)
#: Clauses that only say what would be: "..., which would suggest pneumonia", "usually shows as opacities".
_MODAL_CLAUSE = re.compile(
    r"\b(?:(?:that|which|as it|as this|as these|and)\s+)?"
    r"(?:would|could|can|may|might|should|must|typically|usually|often|commonly|generally)\b(?:(?!\b(?:but|however|though|although|not|no|none|neither|nor|cannot|nothing)\b)[^,.;:])*",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"\b(?:none|nothing found"
    r"|no (?:\w+ )?(?:evidence|signs?|trace|indication|hint) of (?:it|this|that|them|these|either|any)"
    r"|no such|not (?:present|seen|observed|noted|evident|visible|supported|identified|found|applicable|apparent|there)"
    r"|(?:rul\w+|dismiss\w+|exclud\w+|eliminat\w+) (?:out )?(?:this|it|that|these|the)"
    r"|(?:is|are|was|were) (?:ruled out|excluded|absent|unlikely|unsupported)"
    r"|(?:no|not|none|neither|without|lack\w*|absen\w+|free)\b[^.;]{0,40}?\b(?:any|of) (?:such|these|this|those)"
    r"|not (?:show|support|reveal|indicate|suggest|demonstrate|exhibit|display) (?:any )?(?:such|these|this|it|that)"
    r"|incorrect|unlikely|less likely)\b",
    re.IGNORECASE,
)
_SOME = re.compile(
    r"\b(?:i (?:can )?see (?:it|them|both|this|one)|both (?:are|is) (?:present|seen|visible|there|evident)"
    r"|confirm\w* (?:this|the presence|its presence|it)|(?:this|these|it|which) (?:\w+ ){0,2}(?:is|are) (?:present|"
    r"confirmed|supported|seen|observed|evident|visible|noted|correct))\b",
    re.IGNORECASE,
)
_BACK = re.compile(
    r"\b(?:both|them|one|nothing|this|that|these|those|it|such|none|they|the (?:condition|finding|option|presence))\b",
    re.I,
)


_STATUS: dict[str, Status] = {"yes": "present", "no": "absent", "maybe": "uncertain"}


@dataclass(slots=True)  # not frozen: many are made, and that takes three times as long
class Sentence:
    """`words`, `text[start:end]` of a reasoning text, with its claims (their offsets are in `words`); without any it is
    a plan, general knowledge, or a heading."""

    start: int
    end: int
    claims: tuple[Claim, ...]
    words: str


def read_reasoning(text: str) -> list[Sentence]:
    """The sentences and headings of a reasoning text with what each asserts; offsets are in `text`."""
    found = spans(text)
    words = [text[span.start : span.end] for span in found]
    said: list[tuple[Claim, ...]] = []
    for n, span in enumerate(found):
        claims = () if span.topic else _stated(words[n], span.head)
        if claims is None:
            announced = n > 0 and not said[n - 1]
            claims = _reply(words[n], words[max(n - REACH, 0) : n], announced)
        said.append(claims)
    correct(words, [span.head for span in found], said, lambda claim: claim.concepts, _turned)
    return [
        Sentence(span.start, span.end, *both) for span, both in zip(found, zip(said, words, strict=True), strict=True)
    ]


@lru_cache(maxsize=1 << 15)
def _stated(sentence: str, head: str) -> tuple[Claim, ...] | None:
    """The claims of a sentence under a heading; None if it asserts something that depends on what was said before."""
    if not asserts(sentence) or (head and fragment(sentence) and not asserts(head)):
        return ()
    claims = _claims(sentence, head)
    opening = _TOPIC.match(sentence)
    if opening:
        claims = tuple(claim for claim in claims if claim.start >= opening.end() or claim.status != "present")
    return claims or _told(sentence, opening.end() if opening else len(sentence) - len(body_of(sentence))) or None


def _told(sentence: str, cut: int) -> tuple[Claim, ...]:
    """What a sentence says of the topic that it opens with: "As for edema, it is present", "Search for edema: none"."""
    said = _answer(sentence[cut:]) or _STATUS.get(answer(sentence[cut:]) or "") if cut else None
    return tuple(Claim.of([Fact(name, said)], sentence, 0) for name in named(sentence[:cut])) if said else ()


@lru_cache(maxsize=1 << 15)
def claims_of(sentence: str) -> tuple[Claim, ...]:
    """What a sentence by itself claims; offsets are within it."""
    return _claims(sentence, "")


def _claims(sentence: str, head: str) -> tuple[Claim, ...]:
    found = read_line(sentence, head)
    doubtful = {finding.evidence for finding in found if finding.status == "uncertain"}
    # Of "atelectasis versus pneumonia" either may be so: one claim, as doubtful as its parts.
    settled = [replace(f, status="uncertain") if f.status == "present" and f.evidence in doubtful else f for f in found]
    return read_claims(sentence, settled)


def _turned(claims: Sequence[Claim], words: str) -> tuple[Claim, ...]:
    """What is so if none of the claims is; that a normal statement does not hold says nothing of each finding."""
    facts = [
        Fact(fact.concept, "present" if claim.status == "absent" else "absent", fact.laterality)
        for claim in claims
        if not claim.general
        for fact in claim.facts
    ]
    return tuple(Claim.of([fact], words, 0) for fact in facts)


def _reply(sentence: str, before: Sequence[str], announced: bool) -> tuple[Claim, ...]:
    """ "None is seen": a claim about what one of the sentences or headings just before it announced; "Yes", about what
    the last one announced and did not claim itself."""
    status = _answer(sentence)
    names = next(filter(None, map(named, reversed(before))), ()) if status else ()
    if status is None and announced:
        status, names = _STATUS.get(answer(sentence) or ""), named(before[-1])
    if status is None:
        return ()
    return tuple(Claim.of([Fact(name, status)], sentence, 0) for name in names)


@lru_cache(maxsize=1 << 14)
def asserts(sentence: str) -> bool:
    """Whether the sentence states what is (or is not) on the image, rather than a plan or general knowledge."""
    if sentence.endswith("?"):
        return False
    sentence = body_of(sentence)
    plan, general = _PLAN.search(sentence), _GENERAL.search(sentence)
    if not plan and (not general or _HERE.search(sentence)):
        return True
    return bool(_FOUND.search(_MODAL_CLAUSE.sub("", sentence)))


@lru_cache(maxsize=1 << 15)
def named(words: str) -> tuple[str, ...]:
    """The concepts that the words name, asserted or not."""
    return tuple(dict.fromkeys(i.roles["concept"] for i in load().match(tokenize(words)) if "concept" in i.roles))


def _answer(sentence: str) -> Status | None:
    """What a sentence without a finding of its own says on the one announced before it."""
    if not _BACK.search(sentence):
        return None
    if _NONE.search(sentence):
        return "absent"
    return "present" if _SOME.search(sentence) else None
