"""Constructions of the language, one class after another: what they assert, deny, leave open, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasoner.findings import extract_text

DATA = Path(__file__).parent / "data" / "constructions.txt"
_SIGNS = {"present": "+", "uncertain": "?", "absent": "-"}


def cases() -> list[tuple[str, set[str]]]:
    lines = [line for line in DATA.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [(text, set(wanted.split())) for text, _, wanted in (line.rpartition(" =>") for line in lines)]


@pytest.mark.parametrize("text, wanted", cases())
def test_a_construction_is_read_as_meant(text: str, wanted: set[str]) -> None:
    found = {_SIGNS[finding.status] + finding.concept for finding in extract_text(text)}
    assert {sign for sign in found if sign[0] != "-"} == {sign for sign in wanted if sign[0] in "+?"}
    denied = {sign for sign in wanted if sign[0] == "-"}
    assert denied <= found
    if not denied and "~" not in wanted:
        assert not [sign for sign in found if sign[0] == "-"]
