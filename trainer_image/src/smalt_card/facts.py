"""What the card tells, in the order in which it tells it: sections of rows, for the page and for Markdown alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Tuple

_MOST_ROWS = 200
_LONGEST = 300

Row = Tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under heads; `note` says what is not in it."""

    title: str
    heads: Tuple[str, ...]
    rows: Tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """The whole card."""

    title: str
    lead: str
    metrics: Tuple[Tuple[str, float], ...]
    tables: Tuple[Table, ...]
    profiles: Mapping[str, Mapping[str, Any]]
    packages: Tuple[str, ...]


def facts_of(known: Mapping[str, Any]) -> Facts:
    """From what the registration knows; what has not the form that it should have is left out."""
    model = _mapping(known.get("model"))
    metrics = _mapping(known.get("metrics"))
    numbers = tuple((str(name), float(value)) for name, value in sorted(metrics.items()) if _is_number(value))
    artifact = _mapping(known.get("artifact"))
    lead = " · ".join(
        part
        for part in (
            str(model.get("format") or ""),
            amount(artifact.get("bytes")),
            f"registered {known.get('registered')}" if known.get("registered") else "",
        )
        if part
    )
    return Facts(
        title=f"{model.get('name', '')} {model.get('version', '')}".strip() or "A model",
        lead=lead,
        metrics=numbers,
        tables=tuple(each for each in _tables(known, model, artifact) if each.rows),
        profiles={str(name): each for name, each in _mapping(known.get("profiles")).items() if isinstance(each, dict)},
        packages=tuple(str(each)[:_LONGEST] for each in items(known.get("packages"))),
    )


def _tables(known: Mapping[str, Any], model: Mapping[str, Any], artifact: Mapping[str, Any]) -> Sequence[Table]:
    about = {
        "Model": model.get("object"),
        "Namespace": model.get("namespace"),
        "Type": model.get("type"),
        "Format": model.get("format"),
        "Stage at registration": model.get("stage"),
        **{f"Tag {name}": value for name, value in _mapping(model.get("tags")).items()},
        "Digest": artifact.get("digest"),
        "Address": artifact.get("uri"),
        "Key that signed it": _mapping(known.get("signature")).get("keyDigest"),
    }
    return (
        pairs("About", about),
        pairs("Parameters", _mapping(known.get("parameters")), ("Parameter", "Value")),
        pairs("Lineage", _flat(_lineage(known)), ("From", "What")),
        pairs("What the model is", _mapping(known.get("inspection"))),
        pairs("ONNX", _mapping(known.get("onnx"))),
        _columns("Inputs", _mapping(known.get("schema")).get("inputs")),
        _columns("Outputs", _mapping(known.get("schema")).get("outputs")),
        _files(known.get("files")),
        _cut(Table("Classes in the files", ("Class",), tuple((shown(each),) for each in items(known.get("types"))))),
    )


def _lineage(known: Mapping[str, Any]) -> Mapping[str, Any]:
    run = _mapping(known.get("run"))
    # What the lineage itself says of the source, such as an import's digest, is more than its address.
    return {"source": known.get("source"), **_mapping(known.get("lineage")), "mlflow run": run.get("trackingRunId")}


def pairs(title: str, found: Mapping[str, Any], heads: Tuple[str, str] = ("", "")) -> Table:
    """What is known by name; what is not known is left out."""
    rows = tuple((shown(name), shown(value)) for name, value in found.items() if value not in (None, "", [], {}))
    return _cut(Table(title, heads, rows))


def _columns(title: str, found: Any) -> Table:
    rows = [each for each in items(found) if isinstance(each, dict)]
    more = [", ".join(f"{key} {shown(each[key])}" for key in each if key not in ("name", "type")) for each in rows]
    made = [(shown(each.get("name")), shown(each.get("type")), words) for each, words in zip(rows, more)]
    width = 3 if any(more) else 2
    return _cut(Table(title, ("Name", "Type", "More")[:width], tuple(each[:width] for each in made)))


def _files(found: Any) -> Table:
    rows = tuple(
        (shown(each.get("path")), amount(each.get("bytes")), shown(each.get("sha256")))
        for each in items(found)
        if isinstance(each, dict)
    )
    return _cut(Table("Files", ("File", "Size", "SHA-256"), rows))


def _cut(table: Table) -> Table:
    more = len(table.rows) - _MOST_ROWS
    if more <= 0:
        return table
    return Table(table.title, table.heads, table.rows[:_MOST_ROWS], f"{more} more are in the registry.")


def _flat(found: Mapping[str, Any], above: str = "") -> Mapping[str, Any]:
    """Mappings in mappings as names with a space between."""
    made: dict[str, Any] = {}
    for name, value in found.items():
        key = f"{above} {name}".strip()
        made.update(_flat(value, key) if isinstance(value, dict) and len(key) < _LONGEST else {key: value})
    return made


def shown(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return shortened(", ".join(shown(each) for each in value[:50]) + (" …" if len(value) > 50 else ""))
    return shortened(str(value))


def shortened(text: str) -> str:
    """Not more of a text than a table holds."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def amount(size: Any) -> str:
    """A number of bytes as people read it."""
    if not isinstance(size, int):
        return ""
    value, unit = float(size), 0
    while value >= 1024 and unit < 4:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} bytes" if unit == 0 else f"{value:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[unit - 1]}"


def number(value: Any) -> Optional[float]:
    """A finite number, or None."""
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def items(found: Any) -> Sequence[Any]:
    """A list's, and none of anything else."""
    return found if isinstance(found, list) else ()


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
