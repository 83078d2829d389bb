"""One pass over a table: blocks come by, every column takes what it needs of them, and nothing else is kept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pyarrow as pa

from smalt_profile.associations import (
    Association,
    Correlations,
    SampleColumn,
    associations,
    correlations,
    sample_column,
    target_is_classes,
)
from smalt_profile.columns import Column, row_marks
from smalt_profile.distinct import Distinct
from smalt_profile.findings import Finding, findings
from smalt_profile.hashing import mix
from smalt_profile.limits import DISTINCT_ROWS, SAMPLE_BYTES, Limits
from smalt_profile.problems import ProfileProblem
from smalt_profile.reading import open_table
from smalt_profile.sampling import RowSample
from smalt_profile.sources import Table, column_key
from smalt_profile.table_sample import table_sample
from smalt_profile.variables import Variable, finish

MOST_CLASSES_SHOWN = 20


@dataclass(frozen=True)
class Target:
    """The column that is to be predicted."""

    variable: Variable
    is_classes: bool
    classes: tuple[tuple[str, int], ...]
    """The most frequent ones with their rows; empty for a number."""
    associations: tuple[Association, ...]


@dataclass(frozen=True)
class Profile:
    """Everything that is known of a table."""

    name: str
    bytes: int
    details: dict[str, object]
    rows: int
    all_columns: int
    variables: tuple[Variable, ...]
    duplicate_rows: int
    duplicate_rows_error: float
    """One standard error as a share of the rows; 0 when the number is exact."""
    sample_rows: int
    """Rows that correlations and associations are computed on."""
    stopped: str
    """Why not all rows were read; empty when they were."""
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    target: Optional[Target]
    correlations: Optional[Correlations]
    sample: str = ""
    """Some of its rows as JSON, when they are wanted."""
    seconds: float = field(default=0.0, compare=False)

    @property
    def missing(self) -> int:
        """Cells without a value."""
        return sum(each.missing for each in self.variables)

    @property
    def is_exact(self) -> bool:
        """Whether nothing of it is approximated."""
        return (
            all(each.is_exact for each in self.variables)
            and self.sample_rows == self.rows
            and not self.duplicate_rows_error
            and not self.stopped
        )


def profile(path: Path, target: Optional[str] = None, limits: Optional[Limits] = None) -> Profile:
    """The profile of a file. ProfileProblem, with a sentence, when it holds no table."""
    limits = limits or Limits()
    started = time.monotonic()
    pa.set_cpu_count(limits.threads)
    with ExitStack() as stack:
        table = open_table(path, limits, target, stack)
        if target is not None and table.names and target not in table.names:
            table.notes.append(_unknown_target(target, table.names))
        reading = _Reading(table, limits, target, started)
        with ThreadPoolExecutor(limits.threads, "columns") as pool:
            reading.run(pool)
    if not reading.rows:
        raise ProfileProblem(f"'{path.name}' has a header and no rows" if table.names else f"'{path.name}' has no rows")
    return reading.result(path, time.monotonic() - started)


def _unknown_target(target: str, names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:10]) + (", …" if len(names) > 10 else "")
    return f"The target '{target}' is none of the columns, so nothing is told about it: {shown}."


class _Reading:
    """The pass itself."""

    def __init__(self, table: Table, limits: Limits, target: Optional[str], started: float) -> None:
        self._table, self._limits, self._target = table, limits, target
        self._started = started
        self._columns: list[Column] = []
        self._distinct_rows = Distinct(DISTINCT_ROWS)
        self._width = max(len(table.names), 1)
        self._sample = RowSample(limits.sample_rows(self._width), SAMPLE_BYTES)
        self.rows = 0
        self._stopped = ""

    def run(self, pool: ThreadPoolExecutor) -> None:
        for block in self._table.blocks:
            room = None if self._limits.rows is None else self._limits.rows - self.rows
            if room is not None and block.num_rows > room:
                block = block.slice(0, room)
                self._stopped = f"the limit of {self._limits.rows} rows"
            self._add(block, pool)
            if self._limits.seconds is not None and time.monotonic() - self._started > self._limits.seconds:
                self._stopped = self._stopped or f"the limit of {self._limits.seconds:g} s"
            self._stopped = self._stopped or self._limits.is_over()
            if self._stopped:
                break

    def _add(self, block: pa.RecordBatch, pool: ThreadPoolExecutor) -> None:
        if not block.num_rows:
            return
        for name in self._table.names[len(self._columns) :]:
            exact, distinct = self._limits.exact_values(self._width), self._limits.distinct_values(self._width)
            self._columns.append(Column(name, self.rows, exact, distinct))
        marks = row_marks(self.rows, block.num_rows)
        whole = np.zeros(block.num_rows, dtype=np.uint64)
        is_text = self._table.is_text
        tasks = [
            pool.submit(column.update, block.column(position), is_text, marks)
            for position, column in enumerate(self._columns[: block.num_columns])
        ]
        for position, task in enumerate(tasks):
            whole += mix(task.result() + np.uint64(position * 2 + 1))
        for column in self._columns[block.num_columns :]:
            column.skip(block.num_rows, marks)
        self._distinct_rows.update(whole)
        self._sample.update(block)
        self.rows += block.num_rows

    def result(self, path: Path, seconds: float) -> Profile:
        variables = tuple(finish(column) for column in self._columns)
        sampled = self._sampled(variables)
        target = self._of_target(sampled)
        distinct = self._distinct_rows
        duplicates = max(0, self.rows - distinct.count)
        found = findings(
            variables,
            [column.fingerprint for column in self._columns],
            self.rows,
            (duplicates, distinct.relative_error),
            target.variable if target else None,
            target.classes if target else (),
            target.associations if target else (),
        )
        notes = list(self._table.notes)
        if self._table.all_columns > len(variables):
            notes.append(f"{len(variables)} of {self._table.all_columns} columns are profiled.")
        return Profile(
            name=path.name,
            bytes=path.stat().st_size,
            details=self._table.details,
            rows=self.rows,
            all_columns=max(self._table.all_columns, len(variables)),
            variables=variables,
            duplicate_rows=duplicates,
            duplicate_rows_error=distinct.relative_error,
            sample_rows=len(sampled[0].numbers if sampled[0].numbers is not None else sampled[0].classes),
            stopped=self._stopped,
            notes=tuple(notes),
            findings=tuple(found),
            target=target,
            correlations=correlations(sampled),
            sample=self._rows_kept(sampled) if self._limits.keeps_rows else "",
            seconds=seconds,
        )

    def _sampled(self, variables: tuple[Variable, ...]) -> list[SampleColumn]:
        rows = self._sample.rows()
        made = []
        for position, variable in enumerate(variables):
            cells: Any = rows.column(column_key(position))
            cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
            made.append(sample_column(variable, cells, self._table.is_text))
        return made

    def _rows_kept(self, sampled: list[SampleColumn]) -> str:
        rows = self._sample.rows().select([column_key(position) for position in range(len(sampled))])
        return table_sample(rows, sampled, self._table.is_text, self.rows, self._target)

    def _of_target(self, sampled: list[SampleColumn]) -> Optional[Target]:
        column = next((each for each in sampled if each.variable.name == self._target), None)
        if column is None:
            return None
        variable = column.variable
        is_classes = target_is_classes(variable)
        classes: tuple[tuple[str, int], ...] = ()
        if is_classes:
            of_column = next(each for each in self._columns if each.name == self._target)
            classes = _classes(of_column)
        return Target(variable, is_classes, classes, tuple(associations(sampled, column)))


def _classes(column: Column) -> tuple[tuple[str, int], ...]:
    """Every class with its rows, the most frequent first."""
    counted = [each.frequent for each in column.numbers.values() if each.frequent is not None]
    if column.texts:
        counted.append(column.texts.frequent)
    pairs = [pair for each in counted for pair in each.top(len(each))]
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
