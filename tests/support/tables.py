"""Tables for tests of data profiles: one in which every warning is planted, and the well-known clean ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets

HOSTILE = "<script>alert('x')</script>\u202e\"&"
# The column that each warning is planted in; the target has the class that is too rare.
PLANTED = {
    "target leakage": "closed_on",
    "imbalanced classes": "churned",
    "duplicate rows": "",
    "duplicate columns": "amount_again",
    "mostly missing": "fax",
    "constant": "country",
    "infinite values": "ratio",
    "skewed": "payout",
    "mixed types": "age",
    "id-like": "customer",
    "high cardinality": "street",
}


def planted(rows: int = 4000) -> pd.DataFrame:
    """Customers, with one column for each warning and some that are as they should be."""
    random = np.random.default_rng(7)
    churned = random.random(rows) < 0.03
    amount = random.lognormal(3, 0.8, rows).round(2)
    table = pd.DataFrame(
        {
            "customer": [f"C{number:08x}" for number in random.permutation(rows)],
            "age": random.integers(18, 90, rows).astype(object),
            "city": random.choice(["Berlin", "Paris", "Rome", "Oslo", HOSTILE], rows, p=[0.4, 0.3, 0.15, 0.1, 0.05]),
            "street": [f"Street {number}" for number in random.integers(0, rows, rows)],
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 1500, rows), unit="D"),
            "amount": amount,
            "amount_again": amount,
            "balance": (amount * 3 + random.normal(0, 40, rows)).round(2),
            "ratio": np.where(random.random(rows) < 0.01, np.inf, random.normal(1, 0.2, rows).round(4)),
            "payout": np.exp(random.normal(0, 3, rows)).round(6),
            "visits": random.poisson(4, rows),
            "score": random.normal(0, 1, rows).round(5),
            "newsletter": random.choice(["true", "false"], rows),
            "fax": pd.Series(random.integers(1000, 1200, rows)).mask(random.random(rows) < 0.8).astype("Int64"),
            "country": "DE",
            HOSTILE: random.choice(["a", "b"], rows),
            "closed_on": pd.Series("2024-05-01", index=range(rows)).where(churned),
            "churned": np.where(churned, "yes", "no"),
        }
    )
    table.loc[random.random(rows) < 0.07, "score"] = np.nan
    table.loc[[5, rows // 5, rows // 2], "age"] = "unknown"
    return pd.concat([table, table.iloc[rows // 40 : rows * 3 // 40]], ignore_index=True)


def clean() -> dict[str, pd.DataFrame]:
    """Tables of real measurements, with the column `target`: correlated and skewed as those are, and nothing wrong."""
    makers = {
        "iris": datasets.load_iris,
        "diabetes": datasets.load_diabetes,
        "breast_cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
    }
    return {name: make(as_frame=True).frame for name, make in makers.items()}


def wide(columns: int, rows: int) -> pd.DataFrame:
    """Many columns of numbers."""
    values = np.random.default_rng(3).normal(size=(rows, columns)).round(4)
    return pd.DataFrame(values, columns=[f"gene_{number}" for number in range(columns)])


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path
