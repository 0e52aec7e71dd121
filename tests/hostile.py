"""Lines that somebody's JSON-lines file may hold, most of them wrong in some way."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: How many hostile inputs the thorough form of a fuzz test tries.
MANY = int(os.environ.get("CXR_REASONER_FUZZ", "1500"))
#: JSON, or what some program takes for it.
FRAGMENTS = (
    *("null", "true", "false", "0", "-1", "1.5", "1e999", "-1e999", "NaN", "Infinity", "9" * 30, "9" * 5000, "-0.0"),
    *('""', '" "', '"a"', '"x\\ud800y"', '"\\udfff\\ud800"', '"\\u0000"', '"\\n\\r"', '"\u2028"', '"é心🫁"', '"nan"'),
    *("[]", "{}", "[1, 2]", '["a", null]', '["A) yes", "\\ud800"]', '[["a"]]', '{"a": {"b": [1]}}', '["\\u0000.png"]'),
    *('{"Edema": ["present"]}', '{"Edema": 1}', '{"Edema": "maybe"}', '{"\\ud800": "present"}', '{"Edema": NaN}'),
    *('[{"label": "x", "x0": "a"}]', '[{"label": "x", "x0": 0, "y0": 0, "x1": 1, "y1": NaN}]', '[{"label": ["x"]}]'),
    *("[" * 100_000 + "]" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "[" * 900 + "]" * 900, "[" * 300, "", "{", '"'),
    *('"<think>a</think><answer>"', '"' + "<think>" * 99 + '"', '"' + "effusion " * 999 + '"', '"../x.png"', '"[1]"'),
)


def lines(rng: random.Random, good: Sequence[Mapping[str, Any]], count: int) -> Iterator[bytes]:
    """`count` lines without their ends: `good` rows with wrong values, missing keys, broken JSON or broken bytes."""
    for _ in range(count):
        row = {name: json.dumps(value) for name, value in rng.choice(good).items()}
        for _ in range(rng.choice((0, 1, 1, 1, 2, 5))):
            row[rng.choice([*row, "other"])] = rng.choice(FRAGMENTS)
        if rng.random() < 0.1:
            row.pop(rng.choice([*row]), None)
        line = "{" + ", ".join(f'"{name}": {value}' for name, value in row.items()) + "}"
        yield _spoilt(rng, line) if rng.random() < 0.25 else line.encode()


def _spoilt(rng: random.Random, line: str) -> bytes:
    data, at = line.encode(), rng.randrange(len(line))
    match rng.randrange(12):
        case 0:
            return data[:at]
        case 1:
            return data[at:]
        case 2:
            return data[:at] + rng.randbytes(3) + data[at:]
        case 3:
            return b"\xef\xbb\xbf" + data
        case 4:
            return line.encode("utf-16")
        case 5:
            return line.replace("a", "é").encode("cp1252", "replace")
        case 6:
            return b"[" + data + b"]"
        case 7:
            return data + data
        case 8:
            return rng.randbytes(rng.randrange(40))
        case 9:
            return rng.choice(FRAGMENTS).encode()
        case 10:
            return data.replace(b"e", b"\xed\xa0\x80", 1)
        case _:
            return data + b"\r"


def files(rng: random.Random, good: Sequence[Mapping[str, Any]], count: int) -> Iterator[bytes]:
    """Contents of files with `count` hostile lines together: nine tenths in large files, the rest in small ones."""
    large, small = count * 9 // 10, count // 10
    while large > 0:
        yield rng.choice((b"\n", b"\r\n", b"\n\n")).join(lines(rng, good, min(large, 500))) + b"\n"
        large -= 500
    while small > 0:
        many = rng.randrange(4)
        yield (
            rng.choice((b"", b"\xef\xbb\xbf", b"\n", b"\x1f\x8b"))
            + b"\n".join(lines(rng, good, many))
            + rng.choice((b"", b"\n"))
        )
        small -= max(many, 1)
