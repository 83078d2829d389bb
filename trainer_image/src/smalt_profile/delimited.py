"""Reads CSV and its kin in blocks: the delimiter, the quote and the header are found out from the beginning.

Cells stay bytes. A reader that guesses types from the first block gives up at the first cell that is otherwise; here a
column of numbers with one word in it is a finding, not an error.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Optional

import pyarrow as pa
import pyarrow.csv as arrow_csv

from smalt_profile.limits import Limits
from smalt_profile.opening import HEAD, Look, Utf8, decompressed, require_text
from smalt_profile.problems import ProfileProblem
from smalt_profile.sources import Table, column_key, kept_columns, unlike_names

# What pandas reads as missing.
MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)
_DELIMITERS = (",", "\t", ";", "|")
_ROWS_LOOKED_AT = 100
_ROWS_IN_A_BLOCK = 32_768
_SMALLEST_BLOCK, _LARGEST_BLOCK = 1 << 20, 16 << 20
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
# A file of which so much has another number of fields than its header is no table.
_MOST_RAGGED = 0.5


@dataclass(frozen=True)
class Dialect:
    """How a file writes its rows down."""

    delimiter: str
    quote: str
    rows: tuple[tuple[str, ...], ...]
    """The first rows, as this dialect reads them."""


def open_delimited(path: Path, look: Look, limits: Limits, target: Optional[str], stack: ExitStack) -> Table:
    """A table in text, one row a line."""
    require_text(path, look)
    text = look.text.replace("\0", "")
    _require_lines(path, look, text)
    dialect = _dialect(text, look.is_whole, path.name)
    if not dialect.rows:
        raise ProfileProblem(f"'{path.name}' holds nothing but empty lines")
    has_header = not _is_data(dialect.rows[0])
    if has_header and look.is_whole and len(dialect.rows) == 1:
        raise ProfileProblem(f"'{path.name}' has a header and no rows")
    first = dialect.rows[0]
    names = unlike_names([cell if has_header else "" for cell in first])
    kept = kept_columns(names, limits.columns, target)
    details: dict[str, object] = {
        "format": "TSV" if dialect.delimiter == "\t" else "CSV",
        "compression": look.compression or None,
        "encoding": {"utf-8-sig": "utf-8", "cp1252": "windows-1252"}.get(look.encoding, look.encoding),
        "delimiter": dialect.delimiter,
    }
    table = Table([names[each] for each in kept], iter(()), True, details, all_columns=len(names))
    if not has_header:
        table.notes.append("The first row holds numbers, so it is taken as data and columns are named by position.")
    if look.encoding == "cp1252":
        table.notes.append("The file is not UTF-8: its letters are read as Windows-1252 (Latin-1). Save it as UTF-8.")
    stream = Utf8(stack.enter_context(decompressed(path, look.compression)), look.encoding)
    table.blocks = _blocks(path, stream, dialect, len(names), kept, has_header, table)
    return table


def _require_lines(path: Path, look: Look, text: str) -> None:
    if look.is_whole or "\n" in text or "\r" in text:
        return
    raise ProfileProblem(
        f"'{path.name}' has no line break in its first {HEAD >> 20} MiB, so it is no table of rows; "
        "write one row a line"
    )


def _dialect(text: str, is_whole: bool, name: str) -> Dialect:
    """The delimiter and quote by which the first rows agree best about their number of fields."""
    suffixes = name.lower().split(".")
    delimiters = ("\t", *_DELIMITERS) if {"tsv", "tab"} & set(suffixes) else _DELIMITERS
    best, best_score = Dialect(",", '"', ()), (-1.0, 0, False)
    for delimiter in dict.fromkeys(delimiters):
        for quote in ('"', "'"):
            if quote == "'" and not re.search(rf"(^|{re.escape(delimiter)})'", text[:65536], re.M):
                continue
            rows = _first_rows(text, delimiter, quote, is_whole)
            if not rows:
                continue
            width, agreeing = Counter(len(row) for row in rows).most_common(1)[0]
            share = agreeing / len(rows)
            score = (share if width > 1 else 0.0, min(width, 50), quote == '"')
            if score > best_score:
                best, best_score = Dialect(delimiter, quote, rows), score
    return best


def _first_rows(text: str, delimiter: str, quote: str, is_whole: bool) -> tuple[tuple[str, ...], ...]:
    csv.field_size_limit(1 << 30)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote)
    rows = []
    try:
        for row in reader:
            if row:
                rows.append(tuple(row))
            if len(rows) > _ROWS_LOOKED_AT:
                break
        else:
            # The last line of a part may be cut off.
            if not is_whole and len(rows) > 1:
                rows.pop()
    except csv.Error:
        return ()
    return tuple(rows[:_ROWS_LOOKED_AT])


def _is_data(row: tuple[str, ...]) -> bool:
    """A first row of numbers is no header."""
    filled = [cell.strip() for cell in row if cell.strip()]
    return bool(filled) and all(_NUMBER.match(cell) for cell in filled)


def _blocks(
    path: Path, stream: Utf8, dialect: Dialect, width: int, kept: list[int], has_header: bool, table: Table
) -> Iterator[pa.RecordBatch]:
    ragged: Counter[int] = Counter()

    def leave_out(row: Any) -> str:
        ragged[row.actual_columns] += 1
        return "skip"

    keys = [column_key(position) for position in range(width)]
    chosen = [keys[position] for position in kept]
    options = {
        "read_options": arrow_csv.ReadOptions(
            block_size=_block_size(dialect), column_names=keys, skip_rows_after_names=1 if has_header else 0
        ),
        "parse_options": arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            newlines_in_values=True,
            invalid_row_handler=leave_out,
        ),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(chosen, pa.binary()),
            include_columns=chosen,
            null_values=list(MISSING),
            strings_can_be_null=True,
        ),
    }
    rows = 0
    try:
        for block in arrow_csv.open_csv(pa.PythonFile(io.BufferedReader(stream, 1 << 20), mode="r"), **options):
            rows += block.num_rows
            yield block.rename_columns([column_key(number) for number in range(len(kept))])
    except pa.ArrowInvalid as error:
        raise ProfileProblem(_words(path, error, dialect)) from error
    _tell(path, table, ragged, rows, width, stream.zeros)


def _tell(path: Path, table: Table, ragged: Counter[int], rows: int, width: int, zeros: int) -> None:
    left_out = sum(ragged.values())
    if left_out:
        fields = ", ".join(str(each) for each, _ in sorted(ragged.most_common(3)))
        said = f"{left_out} of {rows + left_out} rows do not have the header's {width} fields but {fields}"
        if left_out > _MOST_RAGGED * (rows + left_out):
            raise ProfileProblem(f"'{path.name}' is no table: {said}; check its delimiter and quotes")
        table.notes.append(f"{said}; they are left out. Check quotes and delimiters in them.")
    if zeros:
        table.notes.append(f"{zeros} zero bytes are left out; text has none, so whatever wrote the file is at fault.")


def _block_size(dialect: Dialect) -> int:
    weight = sum(len(cell) + 1 for row in dialect.rows for cell in row) / len(dialect.rows)
    return int(max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, weight * _ROWS_IN_A_BLOCK)))


def _words(path: Path, error: pa.ArrowInvalid, dialect: Dialect) -> str:
    if "straddling" in str(error) or "block size" in str(error):
        return (
            f"'{path.name}' has a row of more than {_block_size(dialect) >> 20} MiB: a quote that never ends, "
            "or no line breaks; write one row a line"
        )
    return f"'{path.name}' cannot be read as CSV: {str(error).splitlines()[0][:200]}"
