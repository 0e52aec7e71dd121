"""Rules that hold for every file of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("reasoner", "rewards", "recipes", "eval", "scripts", "benchmarks", "examples", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def calls_without_encoding(source: str) -> Iterator[ast.Call]:
    """Text that is read or written in whatever encoding the machine's locale has."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or any(word.arg == "encoding" for word in call.keywords):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        method = isinstance(call.func, ast.Attribute)
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        bare = (
            (name == "read_text" and not call.args)
            or (name == "write_text" and len(call.args) < 2)
            or (name == "open" and owner not in ("Image", "os") and opens_text(call, 0 if method else 1))
            or any(word.arg == "text" and getattr(word.value, "value", None) is True for word in call.keywords)
        )
        if bare:
            yield call


def opens_text(call: ast.Call, position: int) -> bool:
    """Whether a call of `open` is one of a text file; its mode is the argument at `position`."""
    modes = [*call.args[position : position + 1], *(word.value for word in call.keywords if word.arg == "mode")]
    if not modes:
        return True
    mode = getattr(modes[0], "value", None)
    return isinstance(mode, str) and set(mode) <= set("rwax+t") and len(call.args) <= position + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_text_file_is_opened_as_utf_8(path):
    lines = [call.lineno for call in calls_without_encoding(path.read_text(encoding="utf-8"))]
    assert not lines, f'give encoding="utf-8" in lines {lines}: the locale of another machine may be ASCII'


@pytest.mark.parametrize(
    ("line", "bare"),
    [
        ("path.read_text()", True),
        ("path.write_text(words)", True),
        ("open(path)", True),
        ("path.open('w')", True),
        ("subprocess.run(command, text=True)", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(words, 'utf-8')", False),
        ("open(path, 'rb')", False),
        ("path.open('rb')", False),
        ("Image.open(path)", False),
        ("shards.open(fingerprint)", False),
    ],
)
def test_the_rule_sees_what_it_must(line, bare):
    assert bool(list(calls_without_encoding(line))) is bare
