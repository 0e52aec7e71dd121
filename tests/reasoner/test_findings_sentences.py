"""The hand-written suite: status, side, severity, change and location of the findings of single sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasoner.findings import extract_text
from reasoner.schema import Finding

DATA = Path(__file__).parent / "data" / "sentences.txt"
#: The suite may hold a few sentences that are beyond the extractor: it is to grow by what goes wrong.
RIGHT = 0.97


def load() -> list[tuple[str, list[dict[str, str]]]]:
    cases = []
    for line in DATA.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        text, _, wanted = line.rpartition(" => ")
        expected = []
        for part in wanted.split("; ") if wanted != "nothing" else []:
            concept, status, *rest = part.split(" ", 2)
            attributes = {"concept": concept, "status": status}
            pieces = (rest[0] if rest else "").replace("side=", "|laterality=").replace("severity=", "|severity=")
            for piece in pieces.replace("change=", "|change=").replace("location=", "|location=").split("|"):
                name, _, value = piece.strip().partition("=")
                if name:
                    attributes[name] = value
            expected.append(attributes)
        cases.append((text, expected))
    return cases


def faults(text: str, expected: list[dict[str, str]]) -> list[str]:
    found = extract_text(text)
    missing = [want for want in expected if not any(matches(finding, want) for finding in found)]
    listed = {(want["concept"], want["status"]) for want in expected}
    extra = [f for f in found if f.status != "absent" and (f.concept, f.status) not in listed]
    return [f"missing {want}" for want in missing] + [f"unexpected {f.status} {f.concept}" for f in extra]


def matches(finding: Finding, want: dict[str, str]) -> bool:
    return all(getattr(finding, name) == value for name, value in want.items())


def test_the_suite_is_large_enough() -> None:
    assert len(load()) >= 150


def test_sentences_are_read_right() -> None:
    wrong = [f"{text}: {problems}" for text, expected in load() if (problems := faults(text, expected))]
    share = 1 - len(wrong) / len(load())
    assert share >= RIGHT, f"{share:.3f}\n" + "\n".join(wrong)


@pytest.mark.parametrize("text, expected", [case for case in load() if "cannot be excluded" in case[0]])
def test_a_hedge_is_never_an_assertion(text: str, expected: list[dict[str, str]]) -> None:
    assert not faults(text, expected)
