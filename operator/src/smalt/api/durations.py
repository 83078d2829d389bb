"""Durations as users write them, in seconds."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")


def seconds(text: str) -> float:
    """`1h30m` -> 5400.0, `30d` -> 2592000.0. ValueError, naming the text, for what is no duration."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"'{text}' is no duration: write a number with its unit, such as 500ms, 30s, 10m, 2h or 30d")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)
