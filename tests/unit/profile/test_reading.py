"""Tables are read however they are written down, and what is no table is told in a sentence."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from smalt_profile.limits import Limits
from smalt_profile.problems import ProfileProblem
from smalt_profile.profiling import Profile, profile
from support.tables import wide, write_csv

TABLE = pd.DataFrame(
    {
        "number": [1.5, None, 3.25, -4.0],
        "whole": [1, 2, 3, 4],
        "city": ["Oslo", "Bern, CH", 'the "old"\ntown', None],
        "day": ["2024-01-01", "2024-01-02", None, "2024-03-01"],
        "flag": ["true", "false", "true", "true"],
    }
)


def write(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def check_table(found: Profile) -> None:
    by_name = {each.name: each for each in found.variables}
    assert (found.rows, list(by_name)) == (4, list(TABLE.columns))
    kinds = {name: each.kind for name, each in by_name.items()}
    assert kinds == {"number": "number", "whole": "integer", "city": "category", "day": "date", "flag": "boolean"}
    assert {name: each.missing for name, each in by_name.items()} == TABLE.isna().sum().to_dict()
    assert by_name["number"].mean == pytest.approx(0.25)
    assert dict(by_name["city"].top) == {"Oslo": 1, "Bern, CH": 1, 'the "old"\ntown': 1}


TEXT = TABLE.to_csv(index=False).encode()
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_csv_is_read_whatever_compresses_it(tmp_path: Path, suffix: str) -> None:
    # By its content: a mounted key or an address need not end like that.
    for name in (f"table.csv{suffix}", "data"):
        check_table(profile(write(tmp_path, name, COMPRESSED[suffix](TEXT))))


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_json_lines_are_read_whatever_compresses_them(tmp_path: Path, suffix: str) -> None:
    lines = TABLE.to_json(orient="records", lines=True).encode()
    check_table(profile(write(tmp_path, f"table.jsonl{suffix}", COMPRESSED[suffix](lines))))


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip"])
def test_parquet_is_read(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "table.parquet"
    typed = TABLE.assign(day=pd.to_datetime(TABLE["day"]), flag=TABLE["flag"] == "true")
    typed.to_parquet(path, compression=compression, index=False)
    check_table(profile(path))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_and_quotes_are_found_out(tmp_path: Path, delimiter: str, quote: str, end: str) -> None:
    into = io.StringIO(newline="")
    writer = csv.writer(into, delimiter=delimiter, quotechar=quote, lineterminator=end)
    writer.writerows([["name", "words", "n"], *([f"n{i}", f"a{delimiter}b{quote}c", i] for i in range(30))])
    found = profile(write(tmp_path, "table.txt", into.getvalue()))
    assert [(each.name, each.kind) for each in found.variables] == [
        ("name", "category"),
        ("words", "category"),
        ("n", "integer"),
    ]
    assert found.variables[1].top == ((f"a{delimiter}b{quote}c", 30),)
    assert found.details["delimiter"] == delimiter


@pytest.mark.parametrize(
    ("encoding", "mark", "said"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", codecs.BOM_UTF8, "utf-8"),
        ("latin-1", b"", "windows-1252"),
        ("cp1252", b"", "windows-1252"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "utf-16"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "utf-16"),
        ("utf-16-le", b"", "utf-16-le"),
        ("utf-16-be", b"", "utf-16-be"),
        ("utf-32-le", codecs.BOM_UTF32_LE, "utf-32"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_encodings_are_found_out(tmp_path: Path, encoding: str, mark: bytes, said: str, form: str) -> None:
    text = "größe,stadt\n" + "1,Köln\n" * 50
    if form == "jsonl":
        text = '{"größe": 1, "stadt": "Köln"}\n' * 50
    found = profile(write(tmp_path, f"table.{form}", mark + text.encode(encoding)))
    assert [each.name for each in found.variables] == ["größe", "stadt"]
    assert found.variables[1].top == (("Köln", 50),)
    if form == "csv":
        assert found.details["encoding"] == said
        assert any("not UTF-8" in note for note in found.notes) == (said == "windows-1252")


def test_bytes_that_are_no_utf_8_late_in_the_file_stop_nothing(tmp_path: Path) -> None:
    content = b"n,word\n" + b"1,fine\n" * 800_000 + b"2,K\xf6ln\n3,K\xf6ln\n"
    found = profile(write(tmp_path, "late.csv", content))
    assert found.rows == 800_002
    assert found.variables[1].top == (("fine", 800_000), ("K\ufffdln", 2))


def test_rows_with_another_number_of_fields_are_left_out_and_told(tmp_path: Path) -> None:
    found = profile(write(tmp_path, "ragged.csv", "a,b\n" + "1,2\n" * 20 + "1,2,3\n4\n" + "5,6\n"))
    assert found.rows == 21
    assert found.notes == (
        "2 of 23 rows do not have the header's 2 fields but 1, 3; they are left out. Check quotes and delimiters in them.",
    )


def test_zero_bytes_are_left_out_and_told(tmp_path: Path) -> None:
    found = profile(write(tmp_path, "zeros.csv", b"a,b\n" + b"1,x\n" * 100 + b"2,\0y\0\n"))
    assert dict(found.variables[1].top) == {"x": 100, "y": 1}
    assert [note for note in found.notes if "2 zero bytes" in note]


def test_numbers_in_the_first_row_are_no_header(tmp_path: Path) -> None:
    found = profile(write(tmp_path, "bare.csv", "1,2.5\n3,4.5\n"))
    assert (found.rows, [each.name for each in found.variables]) == (2, ["column 1", "column 2"])
    assert any("first row holds numbers" in note for note in found.notes)


def test_names_that_repeat_or_are_empty_are_told_apart(tmp_path: Path) -> None:
    found = profile(write(tmp_path, "names.csv", "a,a,,a (2)," + "n" * 500 + "\n1,2,3,4,5\n"))
    names = [each.name for each in found.variables]
    assert names[:4] == ["a", "a (2)", "column 3", "a (2) (2)"]
    assert len(names[4]) == 200


def test_fields_of_json_that_come_late_are_missing_before(tmp_path: Path) -> None:
    lines = ['{"a": 1}'] * 3 + ['{"a": 2, "b": {"c": [1, 2]}, "d": true}', "", '{"d": false}']
    found = profile(write(tmp_path, "late.jsonl", "\n".join(lines)))
    assert [(each.name, each.count, each.missing) for each in found.variables] == [
        ("a", 4, 1),
        ("b", 1, 4),
        ("d", 2, 3),
    ]
    assert found.variables[1].top == (('{"c": [1, 2]}', 1),)
    assert found.variables[2].kind == "boolean"


def test_lines_that_are_no_json_are_left_out_and_told(tmp_path: Path) -> None:
    found = profile(write(tmp_path, "some.jsonl", '{"a": 1}\n{"a": \n[1]\n{"a": 2}\n{"a": 3}\n'))
    assert found.rows == 3
    assert found.notes == ("2 of 5 lines are no JSON object; they are left out.",)


def test_every_type_of_parquet_is_read(tmp_path: Path) -> None:
    columns = {
        "int8": pa.array([1, None, 3], pa.int8()),
        "uint64": pa.array([1, 2, 2**64 - 1], pa.uint64()),
        "half": pa.array(np.array([1, 2, 3], np.float16)),
        "decimal": pa.array(["1.10", "2.20", None]).cast(pa.decimal128(10, 2)),
        "nan": pa.array([1.0, float("nan"), float("inf")]),
        "date": pa.array([0, 1, None], pa.date32()),
        "zoned": pa.array([0, 1, 2], pa.timestamp("ns", "Europe/Berlin")),
        "time": pa.array([0, 1, 2], pa.time32("s")),
        "span": pa.array([0, 1, 2], pa.duration("s")),
        "words": pa.array(["a", "b", None]).dictionary_encode(),
        "large": pa.array(["a", "b", None], pa.large_string()),
        "raw": pa.array([b"\xff", b"\0", None]),
        "list": pa.array([[1], [], None]),
        "record": pa.array([{"a": 1}, {"a": None}, None]),
        "nothing": pa.nulls(3),
        "flag": pa.array([True, False, None]),
    }
    path = tmp_path / "types.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    found = {each.name: (each.kind, each.missing) for each in profile(path).variables}
    assert found == {
        "int8": ("integer", 1),
        "uint64": ("integer", 0),
        "half": ("integer", 0),
        "decimal": ("number", 1),
        "nan": ("number", 1),
        "date": ("date", 1),
        "zoned": ("date", 0),
        "time": ("category", 0),
        "span": ("category", 0),
        "words": ("category", 1),
        "large": ("category", 1),
        "raw": ("category", 1),
        "list": ("category", 1),
        "record": ("category", 1),
        "nothing": ("empty", 3),
        "flag": ("boolean", 1),
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_of_20_000_columns_the_first_and_the_target_are_profiled_and_told(tmp_path: Path, form: str) -> None:
    table = wide(20_000, 12)
    path = tmp_path / f"wide.{form}"
    if form == "csv":
        write_csv(table, path)
    elif form == "parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)
    found = profile(path, "gene_19999")
    assert (found.rows, found.all_columns, len(found.variables)) == (12, 20_000, 1000)
    assert "1000 of 20000 columns are profiled." in found.notes
    assert found.variables[-1].name == "gene_19999"
    assert found.variables[-1].mean == pytest.approx(table["gene_19999"].mean())
    assert found.target and found.target.variable.name == "gene_19999"


def test_a_target_that_is_no_column_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    found = profile(write(tmp_path, "table.csv", TEXT), "chruned")
    assert found.target is None and found.rows == 4
    assert any("'chruned' is none of the columns" in note and "'city'" in note for note in found.notes)


BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", "'a.csv' is empty"),
    "empty once unpacked": ("a.csv.gz", gzip.compress(b""), "'a.csv.gz' is empty once decompressed"),
    "blank lines": ("a.csv", b"\n\n\n", "nothing but empty lines"),
    "header only": ("a.csv", b"a,b,c\n", "'a.csv' has a header and no rows"),
    "header only, no line break": ("a.csv", b"a,b,c", "a header and no rows"),
    "binary": ("a.csv", os.urandom(5000), "'a.csv' is binary, not a table in text"),
    "an archive": ("a.csv", b"PK\x03\x04" + b"\0" * 100, "is a ZIP archive or Excel workbook"),
    "a picture": ("a.csv", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is a picture"),
    "ragged": ("a.csv", b"a,b\n" + b"1,2,3\n4\n" * 50 + b"5,6\n", "is no table: 100 of 101 rows do not have"),
    "one endless line": ("a.csv", b"x" * (5 << 20), "has no line break in its first 4 MiB"),
    "an endless quote": ("a.csv", b'a,b\n1,"' + b"x\n" * (20 << 20), "a quote that never ends"),
    "a line that never ends": ("a.csv", b"a,b\n1,2\n" + b"x" * (20 << 20), "has a row of more than"),
    "no lines of JSON": ("a.jsonl", b"{\n}\n[1]\n3\n", "4 of 4 lines are no JSON object"),
    "a line of JSON that never ends": ("a.jsonl", b'{"a": "' + b"x" * (17 << 20), "a line of more than 16 MiB"),
    "cut off gzip": ("a.csv.gz", gzip.compress(TEXT * 1000)[:-200], "is cut off or damaged: its gzip compression"),
    "cut off bzip2": ("a.csv.bz2", bz2.compress(TEXT * 1000)[:-20], "is cut off or damaged: its bzip2 compression"),
    "cut off xz": ("a.csv.xz", lzma.compress(TEXT * 1000)[:-50], "is cut off or damaged: its xz compression"),
    "cut off zstd": ("a.csv.zst", zstd(TEXT * 1000)[:-20], "is cut off or damaged: its zstd compression"),
    "cut off Parquet": ("a.parquet", b"PAR1" + b"\0" * 500, "begins like Parquet but cannot be read"),
    "no Parquet": ("a.parquet", b"a,b\n1,2\n", "is no Parquet file, whatever its name says"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_table_is_told_in_a_sentence(tmp_path: Path, case: str) -> None:
    name, content, words = BAD[case]
    with pytest.raises(ProfileProblem) as problem:
        profile(write(tmp_path, name, content))
    assert words in str(problem.value)
    assert f"'{name}'" in str(problem.value)
    assert len(str(problem.value)) < 400 and "\n" not in str(problem.value)


def test_a_parquet_damaged_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"a": [f"row {number}" for number in range(200_000)]}).to_parquet(
        path, row_group_size=20_000, compression="zstd"
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40_000] = b"\xff" * 40_000
    path.write_bytes(content)
    with pytest.raises(ProfileProblem, match=r"'table\.parquet' is damaged"):
        profile(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProfileProblem, match=r"'gone\.csv' cannot be read \(No such file"):
        profile(tmp_path / "gone.csv")


def test_rows_over_a_limit_are_not_read_and_that_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "long.csv", "a\n" + "".join(f"{i}\n" for i in range(5000)))
    found = profile(path, limits=Limits(rows=100))
    assert (found.rows, found.stopped) == (100, "the limit of 100 rows")
    assert found.variables[0].highest == 99


def test_reading_ends_at_its_time_and_that_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "long.csv", "a\n" + "123456789\n" * 1_000_000)
    found = profile(path, limits=Limits(seconds=0.0))
    assert 0 < found.rows < 1_000_000
    assert found.stopped == "the limit of 0 s"
