"""What a data scientist should look at before training: each warning names its columns and says why it matters.

The thresholds are such that the well-known clean tables (iris, diabetes, breast cancer) give none: real measurements are
correlated, skewed and repeat now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional, Sequence

from smalt_profile.associations import Association, target_is_classes
from smalt_profile.variables import BOOLEAN, CATEGORY, DATE, EMPTY, INTEGER, REAL, WORDS, Variable, short_number

MOSTLY_MISSING = 0.5
"""The share of rows without a value."""
SKEWED = 10.0
"""The skewness, either way: an exponential distribution has 2, a lognormal one 6."""
HIGH_CARDINALITY = 100
"""Different texts, when they are more than half of the rows or ten times as many as this."""
ID_LIKE_ROWS = 50
"""Rows from which on values that never repeat are taken for identifiers."""
LONGEST_ID = 64
"""Characters; longer texts that never repeat are texts."""
MIXED_TEXTS = 0.05
"""The share of numbers or dates among texts; among numbers and dates one text is enough."""
LEAKAGE = 0.98
"""The strength of an association with the target, 0 to 1."""
IMBALANCED = 0.2
"""The rarest class's share, as a part of what it would have if all were equal: under 10% for two classes."""
DUPLICATE_ROWS = 0.01
"""The share of rows that are there already."""


@dataclass(frozen=True)
class Finding:
    """One warning."""

    kind: str
    columns: tuple[str, ...]
    message: str


def findings(
    variables: Sequence[Variable],
    fingerprints: Sequence[int],
    rows: int,
    duplicate_rows: tuple[int, float],
    target: Optional[Variable],
    classes: Sequence[tuple[str, int]],
    associations: Sequence[Association],
) -> list[Finding]:
    """All warnings: first of the target, then of the table, then of each column."""
    found = [*_of_target(target, classes, associations), *_of_rows(rows, duplicate_rows)]
    found += _duplicates(variables, fingerprints)
    for variable in variables:
        is_target = target is not None and variable.name == target.name
        found += _of_column(variable, is_target, duplicate_rows[0])
    return found


def _of_target(
    target: Optional[Variable], classes: Sequence[tuple[str, int]], associations: Sequence[Association]
) -> Iterator[Finding]:
    if target is None:
        return
    for each in associations:
        if each.strength >= LEAKAGE:
            yield Finding(
                "target leakage",
                (each.name,),
                f"'{each.name}' all but gives the target '{target.name}' away (strength {each.strength:.3f} of 1): "
                "make sure it is known before the target is, or leave it out",
            )
    if target_is_classes(target) and len(classes) > 1:
        total = sum(count for _, count in classes)
        name, fewest = min(classes, key=lambda pair: (pair[1], pair[0]))
        if fewest / total * len(classes) < IMBALANCED:
            yield Finding(
                "imbalanced classes",
                (target.name,),
                f"Class '{name}' of the target '{target.name}' has {_percent(fewest / total)} of the rows: "
                "stratify the split, weight classes, and judge by another measure than accuracy",
            )


def _of_rows(rows: int, duplicate_rows: tuple[int, float]) -> Iterator[Finding]:
    count, error = duplicate_rows
    # What may be the estimate's error is no finding.
    if rows and count - 3 * error * rows >= DUPLICATE_ROWS * rows:
        about = "About " if error else ""
        yield Finding(
            "duplicate rows",
            (),
            f"{about}{short_number(count)} rows ({_percent(count / rows)}) repeat another row in every column: "
            "copies in both training and test data make a model look better than it is",
        )


def _duplicates(variables: Sequence[Variable], fingerprints: Sequence[int]) -> Iterator[Finding]:
    groups: dict[int, list[str]] = {}
    for variable, fingerprint in zip(variables, fingerprints):
        if variable.kind != EMPTY and variable.distinct > 1:
            groups.setdefault(fingerprint, []).append(variable.name)
    for names in groups.values():
        if len(names) > 1:
            shown = ", ".join(f"'{name}'" for name in names)
            yield Finding("duplicate columns", tuple(names), f"{shown} are the same in every row: keep one of them")


def _of_column(variable: Variable, is_target: bool, duplicate_rows: int) -> Iterator[Finding]:
    name = variable.name
    if variable.missing_share >= MOSTLY_MISSING:
        yield Finding(
            "mostly missing",
            (name,),
            f"'{name}' has no value in {_percent(variable.missing_share)} of the rows: leave it out, "
            "or find out what a missing value means",
        )
    if variable.count and variable.distinct == 1:
        where = (
            "wherever it has one: only whether it is missing tells something" if variable.missing else "in every row"
        )
        yield Finding("constant", (name,), f"'{name}' has the same value {where}; leave it out")
        return
    if variable.infinite:
        yield Finding(
            "infinite values",
            (name,),
            f"'{name}' has {short_number(variable.infinite)} infinite values, which most estimators refuse; "
            "its other statistics are of the finite ones",
        )
    if variable.skewness is not None and abs(variable.skewness) >= SKEWED and not is_target:
        yield Finding(
            "skewed",
            (name,),
            f"'{name}' is skewed ({variable.skewness:.1f}): a few extreme values decide its mean; "
            "look at them, or take its logarithm",
        )
    if _is_mixed(variable):
        kinds = ", ".join(f"{short_number(size)} {kind}s" for kind, size in sorted(variable.other_kinds.items()))
        yield Finding(
            "mixed types",
            (name,),
            f"'{name}' holds {kinds} among its {short_number(_of_main_kind(variable))} {_plural(variable)}: "
            "pandas reads all of it as text",
        )
    if is_target:
        return
    if is_id_like(variable, duplicate_rows):
        yield Finding(
            "id-like", (name,), f"'{name}' is different in every row, as an identifier is: leave it out of training"
        )
    elif variable.kind == WORDS and _has_high_cardinality(variable):
        yield Finding(
            "high cardinality",
            (name,),
            f"'{name}' has {short_number(variable.distinct)} different texts in {short_number(variable.count)} rows: "
            "too many for one-hot encoding",
        )


def _of_main_kind(variable: Variable) -> int:
    return variable.count - sum(variable.other_kinds.values())


def _plural(variable: Variable) -> str:
    return {INTEGER: "numbers", REAL: "numbers", DATE: "dates"}.get(variable.kind, "texts")


def _is_mixed(variable: Variable) -> bool:
    others = sum(variable.other_kinds.values())
    if variable.kind in (WORDS, CATEGORY, BOOLEAN):
        return others >= MIXED_TEXTS * variable.count and others > 0
    return others > 0


def is_id_like(variable: Variable, duplicate_rows: int) -> bool:
    """Whether no value repeats but in rows that repeat as a whole, in a column of whole numbers or short texts."""
    unlike = variable.distinct * (1 + 3 * variable.distinct_error)
    if variable.count < ID_LIKE_ROWS or unlike < variable.count - duplicate_rows:
        return False
    if variable.kind == INTEGER:
        return True
    return variable.kind == WORDS and variable.lengths is not None and variable.lengths[2] <= LONGEST_ID


def _has_high_cardinality(variable: Variable) -> bool:
    return variable.distinct >= HIGH_CARDINALITY and (
        variable.distinct >= 10 * HIGH_CARDINALITY or variable.distinct > variable.count / 2
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0.001 <= share <= 0.999 or share in (0.0, 1.0) else f"{share:.3%}"
