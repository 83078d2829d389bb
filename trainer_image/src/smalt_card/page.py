"""The card as one HTML file that loads nothing and runs nothing: the look and the plots are the data profile's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple

import smalt_profile
from smalt_card.facts import Facts, Table, items, number, shown
from smalt_profile.markup import Child, Html, name, tag
from smalt_profile.plots import histogram, share_bar, strip
from smalt_profile.shell import document
from smalt_profile.variables import SHARES, Variable

_MOST_COLUMNS = 100
_OPEN_PLOTS = 12
Section = Tuple[str, str, Html]


def page(facts: Facts) -> str:
    """The whole file."""
    style = (Path(smalt_profile.__file__).parent / "report.css").read_text(encoding="utf-8") + _OWN_STYLE
    sections = _sections(facts)
    header = tag("header", tag("h1", name(facts.title)), tag("p", name(facts.lead), class_="lead"))
    return document(f"Model {facts.title}", style, _navigation(sections), header, [each for _, _, each in sections])


_OWN_STYLE = """
.metrics .share { min-width: 120px; }
.packages { columns: 16rem; margin: 0; padding: 0; list-style: none; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 1.2rem 2rem; margin-top: 1.2rem; }
.card td, .card tbody th { overflow-wrap: anywhere; }
"""


def _sections(facts: Facts) -> list[Section]:
    """Identifier, title and content, in order."""
    about, others = facts.tables[:1], facts.tables[1:]
    made: list[Tuple[str, Html]] = [(each.title, _table(each)) for each in about]
    if facts.metrics:
        made.append(("Metrics", _metrics(facts.metrics)))
    made += [(each.title, _table(each)) for each in others]
    made += [(f"Data: {label}", _profile(each)) for label, each in facts.profiles.items()]
    if facts.packages:
        made.append(("Environment", tag("ul", [tag("li", name(each)) for each in facts.packages], class_="packages")))
    return [
        (
            f"section-{position}",
            title,
            tag(
                "section",
                tag("h2", name(title), id=f"section-{position}-title"),
                tag("div", content, class_="card"),
                id=f"section-{position}",
                aria_labelledby=f"section-{position}-title",
            ),
        )
        for position, (title, content) in enumerate(made, 1)
    ]


def _navigation(sections: Sequence[Section]) -> Html:
    entries = [tag("li", tag("a", name(title), href=f"#{place}")) for place, title, _ in sections]
    return tag("nav", tag("p", "Smalt model card", class_="product"), tag("ul", entries), aria_label="Sections")


def _metrics(metrics: Sequence[Tuple[str, float]]) -> Html:
    """A bar where a share is meant, which is most that is measured; the number everywhere."""
    rows = [
        tag(
            "tr",
            tag("th", name(label), scope="row"),
            tag("td", share_bar(value) if 0 <= value <= 1 else None, class_="share-cell"),
            tag("td", f"{value:.6g}", class_="number"),
        )
        for label, value in metrics
    ]
    return tag("table", tag("caption", "As the run has logged them"), tag("tbody", rows), class_="metrics")


def _table(table: Table) -> Html:
    heads = (
        tag("thead", tag("tr", [tag("th", each, scope="col") for each in table.heads])) if any(table.heads) else None
    )
    rows = [
        tag("tr", tag("th", name(row[0]), scope="row"), [tag("td", name(each)) for each in row[1:]])
        for row in table.rows
    ]
    note = tag("p", table.note, class_="hint") if table.note else None
    return Html(tag("div", tag("table", heads, tag("tbody", rows)), class_="scroll") + (note or ""))


def _profile(profile: Mapping[str, Any]) -> Html:
    found = [each for each in items(profile.get("variables")) if isinstance(each, dict)]
    variables = [each for each in map(variable, found[:_MOST_COLUMNS]) if each is not None]
    facts = ("rows", "columns", "missing")
    words = ", ".join(f"{shown(profile[each])} {each}" for each in facts if number(profile.get(each)) is not None)
    more = len(found) - len(variables)
    rows = [
        tag(
            "tr",
            tag("th", name(each.name), scope="row"),
            tag("td", each.kind),
            tag("td", f"{100 * each.missing_share:.1f}%", class_="number"),
            tag("td", str(each.distinct), class_="number"),
            tag("td", strip(each)),
        )
        for each in variables
    ]
    heads = ("Column", "Type", "Missing", "Distinct", "Distribution")
    plots: Sequence[Child] = [
        tag("figure", tag("figcaption", name(each.name)), histogram(each))
        for each in variables
        if each.counts and each.quantiles and each.lowest is not None
    ][:_OPEN_PLOTS]
    return Html(
        tag("p", f"{words}." if words else "", class_="lead")
        + tag("table", tag("thead", tag("tr", [tag("th", each, scope="col") for each in heads])), tag("tbody", rows))
        + (tag("p", f"{more} more columns are in the profile.", class_="hint") if more else "")
        + (tag("div", plots, class_="plots") if plots else "")
    )


def variable(found: Mapping[str, Any]) -> Optional[Variable]:
    """A column of a stored profile, as the plots take it; None for what is no column."""
    label, kind = found.get("name"), found.get("type")
    counted = [found.get(key) for key in ("count", "missing", "distinct")]
    if not isinstance(label, str) or not isinstance(kind, str) or any(number(each) is None for each in counted):
        return None
    count, missing, distinct = (int(each) for each in counted)  # type: ignore[arg-type]
    edges, counts = _histogram(found.get("histogram"))
    return Variable(
        name=label[:200],
        kind=kind[:30],
        rows=count + missing,
        missing=missing,
        distinct=distinct,
        distinct_error=0.0,
        lowest=number(found.get("min")),
        highest=number(found.get("max")),
        mean=number(found.get("mean")),
        quantiles=_quantiles(found.get("quantiles")) if edges else {},
        edges=edges,
        counts=counts,
        top=tuple(
            (str(each.get("value"))[:100], int(each["count"]))
            for each in items(found.get("top"))
            if isinstance(each, dict) and number(each.get("count")) is not None
        )[:30],
    )


def _histogram(found: Any) -> Tuple[Tuple[float, ...], Tuple[int, ...]]:
    """Edges and counts that belong together; of points in time only the counts, since their edges are written out."""
    if not isinstance(found, dict) or not isinstance(found.get("counts"), list):
        return (), ()
    counts = [number(each) for each in found["counts"][:200]]
    if any(each is None or each < 0 for each in counts):
        return (), ()
    whole = tuple(int(each) for each in counts if each is not None)
    edges = found.get("edges")
    numbers = [number(each) for each in edges] if isinstance(edges, list) else []
    if len(numbers) != len(whole) + 1 or any(each is None for each in numbers):
        return (), whole
    rising = tuple(each for each in numbers if each is not None)
    return (rising, whole) if list(rising) == sorted(rising) and rising[0] < rising[-1] else ((), whole)


def _quantiles(found: Any) -> dict[float, float]:
    """All that the plots ask for, or none."""
    known = found if isinstance(found, dict) else {}
    made = {share: number(known.get(f"{share:g}")) for share in SHARES}
    whole = {share: value for share, value in made.items() if value is not None}
    return whole if len(whole) == len(SHARES) else {}
