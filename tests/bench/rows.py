"""What a measurement comes to: rows with a goal, as a table for people and as JSON for whoever compares later."""

from __future__ import annotations

import json
import operator as compare
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_COMPARISONS = {"<=": compare.le, ">=": compare.ge}


class CannotMeasure(RuntimeError):
    """The only way a benchmark fails: a missed goal is a result, a missing number is not."""


@dataclass(frozen=True)
class Row:
    """One quantity; all rounds are kept, so that the table can show how far they lie apart."""

    name: str
    unit: str
    goal: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    # The goal is for our own figure, beside which the peer's is for comparison.
    is_absolute: bool = False

    @property
    def ratio(self) -> float | None:
        """Of the medians: with three rounds one disturbed round must not decide."""
        if not self.peer:
            return None
        return median(self.ours) / median(self.peer)

    @property
    def is_reached(self) -> bool:
        sign, bound = self.goal.split()
        measured = median(self.ours) if self.ratio is None or self.is_absolute else self.ratio
        return bool(_COMPARISONS[sign](measured, float(bound)))

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": _rounded(median(self.ours)),
            "peer": _rounded(median(self.peer)) if self.peer else None,
            "ratio": _rounded(self.ratio) if self.ratio is not None else None,
            "goal": self.goal,
        }


def table(rows: Sequence[Row]) -> str:
    """Aligned columns; the spread in brackets is the lowest and the highest round."""
    lines = [("", "unit", "ours", "peer", "ratio", "goal", "")]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = "reached" if row.is_reached else "MISSED"
        lines.append((row.name, row.unit, _spread(row.ours), _spread(row.peer), ratio, row.goal, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def write(rows: Sequence[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")


def _spread(rounds: Sequence[float]) -> str:
    if not rounds:
        return ""
    middle = f"{_rounded(median(rounds)):g}"
    return f"{middle} ({_rounded(min(rounds)):g}-{_rounded(max(rounds)):g})" if len(rounds) > 1 else middle


def _rounded(number: float) -> float:
    """Three digits that count; more would claim what a shared machine cannot tell."""
    return float(f"{number:.3g}") if abs(number) < 1000 else float(round(number))
