"""The profile as JSON, version 1: for programs that compare data sets, and kept with the run and its model.

Its size is bounded by the columns that are profiled: at most some 4 KiB for each.
"""

from __future__ import annotations

import json
import math
from typing import Any, Optional

from smalt_profile import __version__
from smalt_profile.associations import Association, Correlations
from smalt_profile.profiling import Profile, Target
from smalt_profile.variables import DATE, Variable, date_label

VERSION = 1
_WHOLE_MATRIX = 100
"""Columns up to which all correlations are written down; of more, the strongest pairs."""
_STRONGEST = 200
_MOST_CLASSES = 100


def document(profile: Profile) -> dict[str, Any]:
    """The whole profile; numbers that JSON has no word for are null."""
    return {
        "version": VERSION,
        "generator": f"smalt {__version__}",
        "source": {"name": profile.name, "bytes": profile.bytes, **profile.details},
        "rows": profile.rows,
        "columns": profile.all_columns,
        "missing": profile.missing,
        "duplicateRows": {"count": profile.duplicate_rows, "error": _number(profile.duplicate_rows_error)},
        "isExact": profile.is_exact,
        "stoppedBy": profile.stopped or None,
        "sampleRows": profile.sample_rows,
        "notes": list(profile.notes),
        "warnings": [
            {"kind": each.kind, "columns": list(each.columns), "message": each.message} for each in profile.findings
        ],
        "target": _target(profile.target) if profile.target else None,
        "variables": [_variable(each) for each in profile.variables],
        "correlations": _correlations(profile.correlations) if profile.correlations else None,
    }


def encoded(profile: Profile) -> bytes:
    """The document as it is stored."""
    text = json.dumps(document(profile), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _variable(variable: Variable) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": variable.name,
        "type": variable.kind,
        "count": variable.count,
        "missing": variable.missing,
        "distinct": variable.distinct,
        "distinctError": _number(variable.distinct_error),
        "otherTypes": variable.other_kinds,
        "top": [{"value": value, "count": count} for value, count in variable.top],
        "topError": variable.top_error,
    }
    if variable.lengths:
        made["length"] = dict(zip(("min", "mean", "max"), map(_number, variable.lengths)))
    if variable.edges:
        made |= {
            "min": _point(variable, variable.lowest),
            "max": _point(variable, variable.highest),
            "mean": _point(variable, variable.mean),
            "standardDeviation": _number(variable.standard_deviation),
            "variance": _number(variable.variance),
            "skewness": _number(variable.skewness),
            "kurtosis": _number(variable.kurtosis),
            "zeros": variable.zeros,
            "negative": variable.negative,
            "infinite": variable.infinite,
            "quantiles": {f"{share:g}": _point(variable, value) for share, value in variable.quantiles.items()},
            "rankError": _number(variable.rank_error),
            "histogram": {
                "edges": [_point(variable, each) for each in variable.edges],
                "counts": list(variable.counts),
            },
        }
    return made


def _point(variable: Variable, value: Optional[float]) -> Any:
    if value is None or not math.isfinite(value):
        return None
    return date_label(value) if variable.kind == DATE else value


def _number(value: Optional[float]) -> Optional[float]:
    return value if value is not None and math.isfinite(value) else None


def _target(target: Target) -> dict[str, Any]:
    return {
        "name": target.variable.name,
        "isClasses": target.is_classes,
        "classes": [{"value": value[:100], "count": count} for value, count in target.classes[:_MOST_CLASSES]],
        "associations": [_association(each) for each in target.associations],
    }


def _association(association: Association) -> dict[str, Any]:
    measures = {
        "pearson": association.pearson,
        "spearman": association.spearman,
        "correlationRatio": association.correlation_ratio,
        "areaUnderCurve": association.area_under_curve,
        "cramersV": association.cramers_v,
        "mutualInformation": association.mutual_information,
        "informationShare": association.information_share,
    }
    known = {name: round(value, 6) for name, value in measures.items() if value is not None and math.isfinite(value)}
    return {"name": association.name, "strength": round(association.strength, 6), **known}


def _correlations(found: Correlations) -> dict[str, Any]:
    pairs = [
        {"columns": [first, second], "pearson": round(value, 6)} for first, second, value in found.strongest(_STRONGEST)
    ]
    made: dict[str, Any] = {"columns": list(found.names), "strongest": pairs}
    if len(found.names) <= _WHOLE_MATRIX:
        made["pearson"] = [
            [None if math.isnan(each) else round(each, 4) for each in row] for row in found.matrix.tolist()
        ]
    return made
