from __future__ import annotations

import time

import pytest

from reasoner.errors import UserError
from recipes.plain_yaml import MAX_SIGNS, parse_yaml

LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, r"line 2: aliases \(\*a\) are not read; write the value out"),
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is there twice; keep one"),
        ("a: {b: 1, b: 1}", "line 1: 'b' is there twice"),
        ("1: x", "the key 1 is no text; quote it"),
        ("on: x", "the key True is no text; quote it"),
        ("? [a]\n: x", "is no text; quote it"),
        ("a: !!python/object/apply:os.system [ls]", "tags .* are not read"),
        ("a: !!bool x", "tags .* are not read"),
        ('a: "\\0"', "NUL byte"),
        ("a: \0", "special characters are not allowed"),
        ("a:\n\t- b", "cannot start any token"),
        ("a: 1\n---\na: 2", "expected a single document"),
        ("[" * 100_000, "nested deeper than 20"),
        ("- " * 5000, "nested deeper than 20"),
        ("9" * 5000, "Exceeds the limit"),
        ("0b_", "invalid literal"),
        ("x" * (MAX_SIGNS + 1), "longer than 1,000,000 characters"),
    ],
)
def test_more_than_plain_data_is_refused_in_one_line_and_at_once(text, message):
    start = time.monotonic()
    with pytest.raises(UserError, match=message) as raised:
        parse_yaml(text, "here")
    assert str(raised.value).startswith("here: ") and "\n" not in str(raised.value)
    assert time.monotonic() - start < 2


def test_only_decimals_and_0x_are_numbers():
    numbers = {"90": 90, "1_000": 1000, "0x10": 16, "1.5": 1.5, "1e-4": 1e-4, "1:30": "1:30", "1:30.5": "1:30.5"}
    for text, number in numbers.items():
        assert parse_yaml(f"a: {text}", "here") == {"a": number}


def test_dates_and_merge_keys_are_text():
    assert parse_yaml("a: 2020-01-01\n<<: {b: 1}\nc: =", "here") == {"a": "2020-01-01", "<<": {"b": 1}, "c": "="}
