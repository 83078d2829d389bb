"""The card as Markdown: tables whose cells are plain text, whatever somebody has named something."""

from __future__ import annotations

import re
from typing import Sequence

from smalt_card.facts import Facts, Table, items, shown

# Whatever would begin markup, HTML, a link or another cell.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$:@^=\"'])")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def markdown(facts: Facts) -> str:
    """The whole file."""
    parts = [f"# {plain(facts.title)}", plain(facts.lead)]
    if facts.metrics:
        parts.append(_section(Table("Metrics", ("Metric", "Value"), tuple((n, f"{v:.6g}") for n, v in facts.metrics))))
    parts += [_section(table) for table in facts.tables]
    parts += [_profile(name, each) for name, each in facts.profiles.items()]
    if facts.packages:
        parts.append(_section(Table("Environment", ("Package",), tuple((each,) for each in facts.packages))))
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Text that says what it says: a backslash before whatever is markup, and all on one line."""
    return _MARKUP.sub(r"\\\1", _SPACE.sub(" ", text).strip()).encode("utf-8", "replace").decode("utf-8")


def _section(table: Table) -> str:
    heads = [plain(each) or " " for each in table.heads]
    lines = [f"## {plain(table.title)}", "", _line(heads), _line(["---"] * len(heads))]
    lines += [_line([plain(each) for each in row]) for row in table.rows]
    return "\n".join(lines + (["", plain(table.note)] if table.note else []))


def _profile(name: str, profile: object) -> str:
    found = profile if isinstance(profile, dict) else {}
    variables = [each for each in items(found.get("variables")) if isinstance(each, dict)]
    keys = ("name", "type", "missing", "distinct", "min", "max", "mean")
    rows = tuple(
        tuple(shown(each[key]) if each.get(key) is not None else "" for key in keys) for each in variables[:200]
    )
    heads = ("Column", "Type", "Missing", "Distinct", "Min", "Max", "Mean")
    return _section(Table(f"Data: {name} ({found.get('rows', '?')} rows)", heads, rows)) if rows else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
