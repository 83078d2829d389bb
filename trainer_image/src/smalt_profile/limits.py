"""How much of a table is looked at, and how much is remembered of it, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Optional


@dataclass(frozen=True)
class Limits:
    """Bounds of one profile. What is over them is left out, and the profile says so."""

    rows: Optional[int] = None
    """Rows that are read; all of them when absent."""
    seconds: Optional[float] = None
    """How long reading may take; as long as it takes when absent."""
    columns: int = 1000
    """Columns that are profiled, the first ones and the target."""
    threads: int = 2
    """Threads that compute; more need more memory."""
    keeps_rows: bool = False
    """Whether some rows are kept as they are, beside what is told of all."""
    is_over: Callable[[], str] = field(default=lambda: "", compare=False)
    """Asked between two blocks: why no more is to be read, or nothing."""

    def exact_values(self, columns: int) -> int:
        """Numbers of a column that are kept before quantiles are approximated."""
        return max(2_000, min(100_000, 4_000_000 // max(columns, 1)))

    def distinct_values(self, columns: int) -> int:
        """Values of a column that are told apart exactly before their number is estimated."""
        return 16_384 if columns <= 200 else 4_096

    def sample_rows(self, columns: int) -> int:
        """Rows of the sample that correlations and associations are computed on."""
        return max(4_000, min(100_000, 2_000_000 // max(columns, 1)))


SAMPLE_BYTES = 64 << 20
"""What the sample of rows may weigh; long texts make it shorter."""
DISTINCT_ROWS = 262_144
"""Rows that are told apart exactly before the number of duplicates is estimated."""
FREQUENT_VALUES = 1_000
"""Values of a column that are counted one by one; beyond, the rarest give way and counts get an error."""
