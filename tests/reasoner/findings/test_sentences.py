"""The hand-written suite: status, side, severity, change and more of the findings of single sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reasoner.findings import extract_report, extract_text
from reasoner.schema import Finding

DATA = Path(__file__).parent / "data"
#: The suite may hold a few sentences that are beyond the extractor: it is to grow by what goes wrong.
RIGHT = 0.97
_ATTRIBUTE = re.compile(r" (side|severity|change|location|size|acuity|tip)=")


def load() -> list[tuple[str, list[dict[str, str]]]]:
    cases = []
    for path in sorted(DATA.glob("sentences*.txt")):
        for line in path.read_text("utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            text, _, wanted = line.rpartition(" => ")
            cases.append((text, [expectation(part) for part in wanted.split("; ") if part != "nothing"]))
    return cases


def expectation(words: str) -> dict[str, str]:
    """`pleural_effusion present side=left` as the fields of a Finding."""
    named, *pairs = _ATTRIBUTE.split(words)
    concept, status = named.split(" ")
    wanted = {"concept": concept, "status": status, **dict(zip(pairs[::2], pairs[1::2], strict=True))}
    if "side" in wanted:
        wanted["laterality"] = wanted.pop("side")
    return wanted


def read(text: str) -> list[Finding]:
    if text.startswith("REPORT "):
        return extract_report(text.removeprefix("REPORT ").replace("\\n", "\n"))
    return extract_text(text)


def faults(text: str, expected: list[dict[str, str]]) -> list[str]:
    found = read(text)
    missing = [want for want in expected if not any(matches(finding, want) for finding in found)]
    listed = {(want["concept"], want["status"]) for want in expected}
    extra = [f for f in found if f.status != "absent" and (f.concept, f.status) not in listed]
    return [f"missing {want}" for want in missing] + [f"unexpected {f.status} {f.concept}" for f in extra]


def matches(finding: Finding, want: dict[str, str]) -> bool:
    return all(getattr(finding, name) == value for name, value in want.items())


def test_the_suite_is_large_enough() -> None:
    assert len({text for text, _ in load()}) >= 420


def test_sentences_are_read_right() -> None:
    wrong = [f"{text}: {problems}" for text, expected in load() if (problems := faults(text, expected))]
    share = 1 - len(wrong) / len(load())
    assert share >= RIGHT, f"{share:.3f}\n" + "\n".join(wrong)


@pytest.mark.parametrize("text, expected", [case for case in load() if "cannot be excluded" in case[0]])
def test_a_hedge_is_never_an_assertion(text: str, expected: list[dict[str, str]]) -> None:
    assert not faults(text, expected)
