"""Quantities as Kubernetes writes them, as numbers to compare."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)}
_UNITS = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")} | _BINARY | _DECIMAL
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eE][+-]?[0-9]+|[numkKMGTPE]?i?)")


@lru_cache(maxsize=4096)  # the nodes of a cluster, and its pods, say the same ones again and again
def amount(quantity: str | int) -> Decimal:
    """`10Gi` -> 10737418240, `500m` -> 0.5. ValueError, naming the text, for what is no quantity."""
    found = _QUANTITY.fullmatch(str(quantity))
    try:
        if found and found[2] in _UNITS:
            return Decimal(found[1]) * _UNITS[found[2]]
        if found:
            return Decimal(found[0])
    except ArithmeticError as error:
        raise ValueError(f"'{quantity}' is no quantity: write a number with its unit, such as 500m or 2Gi") from error
    raise ValueError(f"'{quantity}' is no quantity: write a number with its unit, such as 500m or 2Gi")
