"""Reads Parquet in blocks; its columns have types already."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterator, Optional

import pyarrow as pa

from smalt_profile.limits import Limits
from smalt_profile.problems import ProfileProblem
from smalt_profile.sources import Table, column_key, kept_columns, unlike_names

_CELLS_IN_A_BLOCK = 1_000_000


def open_parquet(path: Path, limits: Limits, target: Optional[str], stack: ExitStack) -> Table:
    """A Parquet file, whatever it is compressed with inside."""
    # Only here: importing it takes a while.
    import pyarrow.parquet as arrow_parquet

    try:
        file = stack.enter_context(arrow_parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20))
    except (pa.ArrowInvalid, OSError) as error:
        raise ProfileProblem(
            f"'{path.name}' begins like Parquet but cannot be read: it is cut off or damaged; write it again"
        ) from error
    schema = file.schema_arrow
    names = unlike_names(list(schema.names))
    kept = kept_columns(names, limits.columns, target)
    table = Table([names[each] for each in kept], iter(()), False, {"format": "Parquet"}, all_columns=len(names))
    table.blocks = _blocks(path, file, schema, kept)
    return table


def _blocks(path: Path, file: Any, schema: Any, kept: list[int]) -> Iterator[pa.RecordBatch]:
    rows = max(1024, min(65_536, _CELLS_IN_A_BLOCK // max(len(kept), 1)))
    # By name Parquet would take what lies below a nested column too; whole columns are chosen from each block instead,
    # and only when all of them are not wanted are names worth anything.
    whole = len(kept) == len(schema.names)
    columns = None if whole else [schema.names[each] for each in kept]
    try:
        for block in file.iter_batches(batch_size=rows, columns=columns, use_threads=False):
            if not whole and block.num_columns != len(kept):
                block = pa.RecordBatch.from_arrays([block.column(name) for name in columns or ()], columns)
            yield block.rename_columns([column_key(number) for number in range(block.num_columns)])
    except (pa.ArrowInvalid, OSError) as error:
        raise ProfileProblem(f"'{path.name}' is damaged: {str(error).splitlines()[0][:200]}; write it again") from error
