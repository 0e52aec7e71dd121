"""Readers of other people's files: whatever the bytes, no exception, and a broken row spoils only itself."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zipfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reasoner.errors import UserError
from reasoner.sources.io import json_rows
from reasoner.sources.io.csv_rows import csv_header, csv_parts, read_csv
from reasoner.sources.io.files import decode, find_file, read_text, regular, require
from reasoner.sources.io.json_rows import json_parts, read_json

pytestmark = pytest.mark.anywhere(to="system")

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from('"\n,;'), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@FAST
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=8))
def test_csv_is_read_as_python_reads_it(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("one", "two"), *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().encode())
    expected = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text.getvalue(), newline=""))][1:]
    found = [[*row.value.values()] for row in read_csv(path) if row.value]
    assert found == [row for row in expected if any(row)]


@FAST
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=9), size=st.integers(1, 4), broken=st.booleans())
def test_parts_of_a_csv_are_the_whole(tmp_path: Path, rows: list[tuple[str, str]], size: int, broken: bool) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("one", "two"), *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().encode() + b'lost,"quote\n1,2\n' * broken)
    whole = list(read_csv(path))
    parts = list(csv_parts(path, size))
    assert [row for at, line, n in parts for row in islice(read_csv(path, offset=at, line=line), n)] == whole
    assert all(n <= size for _, _, n in parts)


@FAST
@given(noise=st.binary(max_size=300))
def test_no_bytes_make_a_reader_raise(tmp_path: Path, noise: bytes) -> None:
    for name in ("a.csv", "a.json", "a.csv.gz", "a.json.zip"):
        path = tmp_path / name
        path.write_bytes(b"one,two\n" * (name == "a.csv") + noise)
        rows = list(read_csv(path) if "csv" in name else read_json(path))
        assert all(row.reason or row.value is not None or "json" in name for row in rows)
    read_text(path)
    decode(noise)


@pytest.mark.parametrize("broken", ['b,"never closed', 'b,"closed" too early', "b", "b,c,d", 'b,"x"y"z"'])
def test_a_broken_csv_row_spoils_only_itself(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'one,two\n1,first\n{broken}\n2,"second, quoted"\n3,"of\ntwo lines"\n', encoding="utf-8")
    rows = list(read_csv(path))
    assert [row.value["one"] for row in rows if row.value] == ["1", "2", "3"]
    assert [(row.where, row.reason) for row in rows if row.reason] == [(f"{path}:3", "bad row")]
    assert rows[-1].where == f"{path}:5"


def test_encodings_of_csv_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfone;two\n1;caf\xc3\xa9\n2;a film at 37\xb0, two views\n3;\xff\xfe\x81\n4;fine\n")
    rows = list(read_csv(path))
    assert [row.value and row.value["two"] for row in rows] == ["café", "a film at 37°, two views", None, "fine"]
    assert rows[2].reason == "undecodable"


@FAST
@given(values=st.lists(st.dictionaries(st.text(min_size=1, max_size=4), JSON, min_size=1, max_size=3), max_size=6),
       indent=st.sampled_from([None, 0, 2]), chunk=st.integers(1, 40), ascii=st.booleans())  # fmt: skip
def test_json_lists_and_lines(tmp_path: Path, values: list, indent: int | None, chunk: int, ascii: bool) -> None:
    path = tmp_path / "a.json"
    whole, json_rows._CHUNK = json_rows._CHUNK, chunk
    try:
        path.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii), "utf-8")
        assert [row.value for row in read_json(path)] == values
        parts = list(json_parts(path, 10))
        pieces = [row for a, b, n in parts for row in read_json(path, start=a, stop=b, number=n)]
        assert [row.value for row in pieces] == values
        assert [row.where for row in pieces] == [f"{path}:{n}" for n in range(1, len(values) + 1)]
        path.write_text("\n".join(json.dumps(value, ensure_ascii=ascii) for value in values), "utf-8")
        if len(values) != 1:
            assert [row.value for row in read_json(path)] == values
    finally:
        json_rows._CHUNK = whole


@pytest.mark.parametrize("broken", ["{broken", '{"n": 1', '{"n": "never closed}', "nothing", "}", "]", "[1", "\\"])
def test_a_broken_line_of_json_lines_spoils_only_itself(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "rows.jsonl"
    good = [{"n": number, "deep": {"own": [{"brace": "}{"}]}} for number in range(4)]
    lines = [json.dumps(row) for row in good]
    path.write_text("\n".join([*lines[:2], broken, *lines[2:]]) + "\n", encoding="utf-8")
    rows = list(read_json(path))
    assert [row.value for row in rows if not row.reason] == good
    assert [row.reason for row in rows if row.reason] == ["not JSON"]


def test_a_broken_json_element_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, {"a": }, {"a": 3}, {"a": "open\n', encoding="utf-8")
    rows = list(read_json(path))
    assert [row.value["a"] for row in rows if row.value] == [1, 3]
    assert [row.reason for row in rows] == ["", "not JSON", "", "not JSON"]


def test_packed_files_and_damaged_archives(tmp_path: Path) -> None:
    data = b"one,two\n" + b"1,first\n" * 5000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("inner/a.csv", data)
    for name in ("a.csv.gz", "a.csv.zip"):
        assert csv_header(tmp_path / name) == ["one", "two"]
        assert sum(1 for row in read_csv(tmp_path / name) if row.value) == 5000
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(data)[:-20])
    assert list(read_csv(tmp_path / "b.csv.gz"))[-1].reason == "undecodable"
    (tmp_path / "c.csv.gz").write_bytes(b"not packed")
    with pytest.raises(UserError, match="cannot be read"):
        csv_header(tmp_path / "c.csv.gz")


def test_memory_stays_flat_over_a_large_list(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": "word " * 200, "n": n} for n in range(6000)]), encoding="utf-8")
    whole, json_rows._CHUNK = json_rows._CHUNK, 2**16
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_json(path)) == 6000
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 2
    finally:
        tracemalloc.stop()
        json_rows._CHUNK = whole


def test_require_names_the_nearest_column() -> None:
    require(Path("a.csv"), ["Study ID", "x"], ["study_id"])
    with pytest.raises(UserError, match=r"a\.csv: column 'findings' is missing; the nearest is 'Find_ngs'"):
        require(Path("a.csv"), ["x", "Find_ngs"], ["findings"])
    with pytest.raises(UserError, match="column 'uid' is missing; found report, text"):
        require(Path("a.csv"), ["report", "text"], ["uid"])


def test_what_is_no_regular_file_is_never_found(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "table.csv")  # opening it would wait for a writer for ever
    (tmp_path / "rows.csv").symlink_to("rows.csv")
    assert regular(tmp_path.iterdir()) == [] and find_file([tmp_path], "*.csv") is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_line_ends_and_utf16_of_whole_files(tmp_path: Path, encoding: str, end: str, packed: bool) -> None:
    opened = gzip.open if packed else open
    records = [{"one": str(n), "two": "ö\u2028, é"} for n in range(9)]
    table, lines = tmp_path / f"a.csv{'.gz' * packed}", tmp_path / f"a.jsonl{'.gz' * packed}"
    rows = [f'{record["one"]},"{record["two"]}"' for record in records]
    for path, texts in ((table, ["One,Two", *rows]), (lines, [json.dumps(r, ensure_ascii=False) for r in records])):
        with opened(path, "wb") as file:
            file.write("".join(text + end for text in texts).encode(encoding))
    assert csv_header(table) == ["One", "Two"]
    parts = [part for at, line, n in csv_parts(table, 4) for part in islice(read_csv(table, offset=at, line=line), n)]
    assert [(row.where, row.value) for row in parts] == [(f"{table}:{n}", r) for n, r in enumerate(records, 2)]
    cuts = json_parts(lines, 100)
    found = [row for a, b, n in cuts for row in read_json(lines, start=a, stop=b, number=n)]
    assert [row.value for row in found] == records


def test_damaged_utf16_spoils_only_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffone,two\n1,\ud800\n2,b\n".encode("utf-16-le", "surrogatepass") + b"\x00")
    assert [(row.reason, row.value) for row in read_csv(path)] == [
        ("undecodable", None),
        ("", {"one": "2", "two": "b"}),
    ]


def test_two_columns_of_one_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("uid,Findings,, ,find_ings\n1,a,,,b\n", encoding="utf-8")
    with pytest.raises(UserError, match="2 columns are called 'findings'; rename or remove"):
        csv_header(path)
