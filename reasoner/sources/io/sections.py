"""Report texts of the large collections into the five sections of `Study`, and sections into one report text."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: The order in which a report is put together.
ORDER = ("indication", "comparison", "technique", "findings", "impression")
#: Section -> headings, as MIMIC-CXR and CheXpert Plus use them (after the list of MIMIC's own section parser); `other`
#: is text that is not part of the read.
_TABLE = {
    "indication": """indication; indications; clinical indication; clinical history; clinical information; clinical
        data; history; reason; patient history; reason for exam; reason for examination; reason for the exam; reason
        for study; reason for the study; reason for this examination; clinical statement; medical condition; clinical
        presentation; underlying medical condition; clinical diagnosis; presentation; referral history; relevant
        history""",
    "comparison": """comparison; comparisons; comparison study; comparison studies; comparison exam; comparison exams;
        prior studies; compared to; compared with; prior; priors; previous studies; comparison film;
        comparison films""",
    "technique": """technique; techniques; exam; exams; examination; exam type; type of exam; type of examination;
        study; procedure; views; procedure comments; technical factors; exam date; date of exam; contrast""",
    "findings": """findings; finding; report; body; observations; interpretation; findings and impression;
        findings/impression; impression and findings; description""",
    "impression": """impression; impressions; conclusion; conclusions; opinion; assessment; summary; diagnosis; final
        diagnosis; impression/recommendation; impression and recommendation; conclusion/recommendation; final
        impression""",
    "addendum": "addendum; final addendum; addendum to impression",
    "wet read": "wet read; wet read version; preliminary report",
    "preamble": "final report",
    "other": """narrative; recommendation; recommendations; recommendation(s); notification; notifications; accession
        number; end of impression; end of addendum; dictated by; signed by; attending; resident; attestation; by;
        date; time; critical results; communication""",
}
_HEADINGS = {" ".join(heading.split()): name for name, words in _TABLE.items() for heading in words.split(";")}
_HEADING = re.compile(
    r"^[ \t]*(?:(?P<known>" + "|".join(re.escape(h) for h in sorted(_HEADINGS, key=len, reverse=True)) + r")"
    r"|(?P<capitals>(?-i:[A-Z][A-Z0-9 ,/&()'\"._-]{2,70})))[ \t]*(?::|$)",
    re.IGNORECASE | re.MULTILINE,
)
#: "CHEST, TWO VIEWS:" heads the findings of many MIMIC reports.
_EXAMINATION = re.compile(r"\b(?:CHEST|VIEWS?|RADIOGRAPHS?|PORTABLE|CXR|AP|PA|LATERAL)\b")
_BLANK = re.compile(r"\n[ \t]*\n")


def split_headings(text: str) -> dict[str, str]:
    """The sections of a report with headings, in `ORDER`.

    An addendum goes to the end of the impression; a wet read counts only when nothing final was written; without
    findings and impression, the last paragraph is taken for the findings, as in MIMIC-CXR's own section parser.
    """
    parts: dict[str, list[str]] = {}
    for name, body in _bodies(text.replace("\r\n", "\n").replace("\r", "\n")):
        if body:
            parts.setdefault(name, []).append(body)
    addenda, wet = parts.pop("addendum", []), parts.pop("wet read", [])
    preamble = parts.pop("preamble", [])
    if not parts.keys() & {"findings", "impression"} and (last := _last_paragraph(parts, preamble)):
        parts["findings"] = [last]
    if addenda:
        parts.setdefault("impression", []).extend(addenda)
    if wet and not parts.keys() & {"findings", "impression"}:
        parts["findings"] = wet
    return {name: "\n".join(parts[name]) for name in ORDER if parts.get(name)}


def _bodies(text: str) -> list[tuple[str, str]]:
    """(section, body) in order; what precedes any heading, or follows "FINAL REPORT", is the `preamble`."""
    marks: list[tuple[int, int, str]] = [(0, 0, "preamble")]
    for match in _HEADING.finditer(text):
        colon = match.group().rstrip().endswith(":")
        known, capitals = match.group("known"), match.group("capitals")
        if known is not None:
            word = known.lower()
            # Without a colon only a line in capitals of its own is a heading.
            if not colon and not (known.isupper() and len(known) > 4):
                continue
            section = _HEADINGS[word]
        elif colon:
            section = "findings" if _EXAMINATION.search(capitals) else "other"
        else:
            continue
        marks.append((match.start(), match.end(), section))
    ends = [start for start, _, _ in marks[1:]] + [len(text)]
    return [(name, _tidy(text[begin:end])) for (_, begin, name), end in zip(marks, ends, strict=True)]


def _last_paragraph(parts: Mapping[str, list[str]], preamble: list[str]) -> str:
    """The text of a report that has no heading for it: after the comparison or technique, else before any heading."""
    for name in ("comparison", "technique", "indication"):
        body = "\n\n".join(parts.get(name, []))
        paragraphs = _BLANK.split(body)
        if len(paragraphs) > 1:
            parts[name][:] = paragraphs[:1]
            return "\n\n".join(paragraphs[1:]).strip()
    return "\n\n".join(preamble).strip()


def _tidy(text: str) -> str:
    """Without indentation and rulers; paragraphs stay."""
    lines = (line.strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if not line or line.strip("_-=* ")).strip()


def compose(sections: Mapping[str, str | None]) -> tuple[dict[str, str], str]:
    """The sections that hold text, in `ORDER`, and the report made of them."""
    kept = {name: text for name in ORDER if (text := (sections.get(name) or "").strip())}
    return kept, "\n\n".join(f"{name.upper()}: {text}" for name, text in kept.items())
