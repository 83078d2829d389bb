"""Quantities are compared as Kubernetes means them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from smalt.api.quantities import amount


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("10Gi", 10 * 2**30),
        ("1.5Ki", 1536),
        ("2M", 2_000_000),
        ("500m", Decimal("0.5")),
        ("100n", Decimal("1e-7")),
        ("1e3", 1000),
        ("12E", 12 * 10**18),
        (7, 7),
        ("0", 0),
        ("-1Gi", -(2**30)),
    ],
)
def test_a_quantity_is_a_number(quantity: str | int, expected: Decimal | int) -> None:
    assert amount(quantity) == expected


@pytest.mark.parametrize("text", ["", "Gi", "1GiB", "1.2.3", "ten", "1 Gi", "1mi", "."])
def test_what_is_no_quantity_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity: write a number"):
        amount(text)
