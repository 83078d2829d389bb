"""The report: one HTML file that loads nothing and runs nothing, for a colleague to open anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence

import numpy as np

from smalt_profile import __version__, findings
from smalt_profile.associations import Association, Correlations
from smalt_profile.markup import Child, Html, name, tag
from smalt_profile.plots import heat_map, histogram, share_bar, strip
from smalt_profile.profiling import MOST_CLASSES_SHOWN, Profile, Target
from smalt_profile.shell import document
from smalt_profile.variables import DATE, EMPTY, Variable, short_number, value_label

_OPEN_COLUMNS = 30
"""Up to so many columns all details are open."""
_MAPPED = 30
_PAIRS = 15
_MISSING_SHOWN = 40
_ASSOCIATIONS_SHOWN = 40
_TITLES = {"target leakage": "bad", "imbalanced classes": "bad", "infinite values": "bad", "mixed types": "bad"}


def page(profile: Profile) -> str:
    """The whole file."""
    sections = _sections(profile)
    contents = [content for _, _, content in sections]
    return document(f"Profile of {profile.name}", _style(), _navigation(profile, sections), _header(profile), contents)


def _style() -> str:
    """The style sheet, with the heat map's shades made from two colours."""
    own = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    shades = [
        f".heat .{letter}{tenths} {{ fill: color-mix(in srgb, var(--{colour}) {tenths * 10}%, var(--surface)); }}"
        for letter, colour in (("p", "positive"), ("n", "negative"))
        for tenths in range(11)
    ]
    return own + "\n".join(shades) + "\n"


Section = tuple[str, str, Html]


def _sections(profile: Profile) -> list[Section]:
    """Identifier, title and content, in order."""
    made: list[Section] = [("overview", "Overview", _overview(profile)), ("warnings", "Warnings", _warnings(profile))]
    if profile.target:
        made.append(("target", "Target", _target(profile.target)))
    made += [("columns", "Columns", _columns(profile)), ("missing", "Missing values", _missing(profile))]
    if profile.correlations:
        made.append(("correlations", "Correlations", _correlations(profile.correlations)))
    made += [("details", "Column details", _details(profile)), ("method", "How it was computed", _method(profile))]
    return made


def _navigation(profile: Profile, sections: Sequence[Section]) -> Html:
    counts = {"warnings": len(profile.findings), "columns": len(profile.variables)}
    entries = [
        tag(
            "li",
            tag(
                "a",
                tag("span", title),
                tag("span", str(counts[place]), class_="count") if place in counts else None,
                href=f"#{place}",
            ),
        )
        for place, title, _ in sections
    ]
    columns = [
        tag("li", tag("a", name(each.name), href=f"#column-{number}"))
        for number, each in enumerate(profile.variables, 1)
    ]
    return tag(
        "nav",
        tag("p", "Smalt data profile", class_="product"),
        tag("ul", entries),
        tag("ul", columns, class_="columns", aria_label="Columns"),
        aria_label="Sections",
    )


def _header(profile: Profile) -> Html:
    facts = [str(profile.details.get("format", "")), _size(profile.bytes)]
    for key in ("compression", "encoding"):
        if profile.details.get(key):
            facts.append(str(profile.details[key]))
    return tag(
        "header", tag("h1", name(profile.name)), tag("p", " · ".join(each for each in facts if each), class_="lead")
    )


def _section(place: str, title: str, *content: Child) -> Html:
    return tag("section", tag("h2", title, id=f"{place}-title"), content, id=place, aria_labelledby=f"{place}-title")


def _overview(profile: Profile) -> Html:
    cells = profile.rows * len(profile.variables)
    kinds: dict[str, int] = {}
    for each in profile.variables:
        kinds[each.kind] = kinds.get(each.kind, 0) + 1
    about = "about " if profile.duplicate_rows_error and profile.duplicate_rows else ""
    tiles = [
        _tile("Rows", short_number(profile.rows), "read before a limit" if profile.stopped else ""),
        _tile("Columns", short_number(profile.all_columns)),
        _tile(
            "Missing values",
            _percent(profile.missing / cells if cells else 0),
            f"{short_number(profile.missing)} cells",
        ),
        _tile(
            "Duplicate rows",
            _percent(profile.duplicate_rows / profile.rows),
            f"{about}{short_number(profile.duplicate_rows)} rows",
        ),
        _tile("Warnings", str(len(profile.findings))),
    ]
    notes = list(profile.notes)
    if profile.stopped:
        notes.insert(0, f"Only the first {short_number(profile.rows)} rows were read: {profile.stopped} was reached.")
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda each: -each[1]))
    return _section(
        "overview",
        "Overview",
        tag("dl", tiles, class_="tiles"),
        [tag("p", each, class_="note") for each in notes],
        tag("p", f"Types of columns: {said}.", class_="lead"),
    )


def _tile(title: str, value: str, more: str = "") -> Html:
    return tag(
        "div",
        tag("dt", title),
        tag("dd", value, tag("span", more, class_="more") if more else None),
        class_="tile",
    )


def _warnings(profile: Profile) -> Html:
    if not profile.findings:
        return _section(
            "warnings", "Warnings", tag("div", tag("p", "Nothing stands out.", class_="fine"), class_="card")
        )
    numbers = {each.name: number for number, each in enumerate(profile.variables, 1)}
    entries = [
        tag(
            "li",
            tag("div", _badge(each.kind)),
            tag(
                "p",
                name(each.message),
                [
                    (" ", tag("a", "look", href=f"#column-{numbers[column]}", aria_label=f"Look at {column}"))
                    for column in each.columns[:1]
                    if column in numbers
                ],
            ),
        )
        for each in profile.findings
    ]
    return _section("warnings", "Warnings", tag("div", tag("ul", entries, class_="warnings"), class_="card"))


def _badge(kind: str) -> Html:
    return tag("span", kind, class_=f"badge {_TITLES.get(kind, '')}".strip())


def _target(target: Target) -> Html:
    parts: list[Child] = []
    if target.is_classes:
        parts.append(tag("div", tag("h3", "Class balance"), _class_table(target), class_="narrow"))
    elif target.variable.counts:
        parts.append(tag("div", tag("h3", "Distribution"), histogram(target.variable), class_="narrow"))
    shown = target.associations[:_ASSOCIATIONS_SHOWN]
    if shown:
        parts.append(tag("div", tag("h3", "What each column tells about it"), _association_table(shown)))
    more = len(target.associations) - len(shown)
    return _section(
        "target",
        "Target",
        tag(
            "div",
            tag("p", "The target is ", tag("strong", name(target.variable.name)), _target_words(target), class_="lead"),
            parts,
            tag("p", f"{more} weaker ones are in the JSON profile.", class_="hint") if more > 0 else None,
            class_="card",
        ),
    )


def _target_words(target: Target) -> str:
    if target.is_classes:
        return f", {len(target.classes)} classes."
    return ", a number." if target.variable.kind != DATE else ", a point in time."


def _class_table(target: Target) -> Html:
    total = sum(count for _, count in target.classes) or 1
    return _table(
        "Rows of each class",
        (("Class", ""), ("", "share-cell"), ("Share", "number"), ("Rows", "number")),
        [
            (name(value), share_bar(count / total), _percent(count / total), short_number(count))
            for value, count in target.classes[:MOST_CLASSES_SHOWN]
        ],
    )


def _association_table(shown: Sequence[Association]) -> Html:
    measures = (
        ("Correlation", "pearson"),
        ("Rank corr.", "spearman"),
        ("Corr. ratio", "correlation_ratio"),
        ("AUC", "area_under_curve"),
        ("Cramér's V", "cramers_v"),
        ("Mutual inf. (bit)", "mutual_information"),
    )
    used = [each for each in measures if any(getattr(one, each[1]) is not None for one in shown)]
    rows = []
    for each in shown:
        kind = "bar warm" if each.strength >= findings.LEAKAGE else "bar"
        values = [_decimals(getattr(each, measure)) for _, measure in used]
        rows.append((name(each.name), share_bar(each.strength, kind), _decimals(each.strength), *values))
    heads = [("Column", ""), ("", "share-cell"), ("Strength", "number")]
    return _table(
        "The strongest first; strength is the largest measure",
        [*heads, *((t, "number optional") for t, _ in used)],
        rows,
    )


def _columns(profile: Profile) -> Html:
    rows = []
    for number, each in enumerate(profile.variables, 1):
        middle = value_label(each, each.quantiles.get(0.5)) if each.quantiles else (each.top[0][0] if each.top else "–")
        rows.append(
            (
                tag("a", name(each.name), href=f"#column-{number}"),
                each.kind,
                _percent(each.missing_share),
                _about(each.distinct, each.distinct_error),
                name(middle if len(middle) <= 24 else middle[:23] + "…"),
                strip(each),
            )
        )
    heads = (
        ("Column", ""),
        ("Type", "optional"),
        ("Missing", "number"),
        ("Distinct", "number optional"),
        ("Median or commonest", "optional"),
        ("Distribution", ""),
    )
    return _section("columns", "Columns", tag("div", _table("Every column at a glance", heads, rows), class_="card"))


def _missing(profile: Profile) -> Html:
    lacking = sorted((each for each in profile.variables if each.missing), key=lambda each: -each.missing)
    if not lacking:
        return _section(
            "missing", "Missing values", tag("div", tag("p", "No value is missing.", class_="fine"), class_="card")
        )
    rows = [
        (
            name(each.name),
            share_bar(each.missing_share, "bar warm" if each.missing_share >= findings.MOSTLY_MISSING else "bar"),
            _percent(each.missing_share),
            short_number(each.missing),
        )
        for each in lacking[:_MISSING_SHOWN]
    ]
    heads = (("Column", ""), ("", "share-cell"), ("Missing", "number"), ("Rows", "number"))
    full = len(profile.variables) - len(lacking)
    hidden = len(lacking) - len(rows)
    words = f"{full} columns are complete." + (f" {hidden} with fewer missing values are not shown." if hidden else "")
    return _section(
        "missing",
        "Missing values",
        tag(
            "div", _table("Rows without a value, by column", heads, rows), tag("p", words, class_="hint"), class_="card"
        ),
    )


def _correlations(found: Correlations) -> Html:
    names, matrix = list(found.names), found.matrix
    hint = ""
    if len(names) > _MAPPED:
        off = np.abs(np.where(np.eye(len(names), dtype=bool), 0.0, np.nan_to_num(matrix)))
        chosen = np.sort(np.argsort(-off.max(axis=0), kind="stable")[:_MAPPED])
        hint = f"The {_MAPPED} of {len(names)} columns that are correlated most."
        names, matrix = [names[each] for each in chosen], matrix[np.ix_(chosen, chosen)]
    pairs = [(name(first), name(second), f"{value:.3f}") for first, second, value in found.strongest(_PAIRS)]
    heads = (("Column", ""), ("Column", ""), ("Pearson", "number"))
    return _section(
        "correlations",
        "Correlations",
        tag(
            "div",
            tag(
                "div",
                tag("div", heat_map(names, matrix), class_="scroll", tabindex="0", role="group", aria_label="Heat map"),
                tag("div", _table("The strongest pairs", heads, pairs), class_="pairs"),
                class_="correlated",
            ),
            tag("p", hint, class_="hint") if hint else None,
            class_="card",
        ),
    )


def _details(profile: Profile) -> Html:
    by_column: dict[str, list[str]] = {}
    for finding in profile.findings:
        for column in finding.columns:
            by_column.setdefault(column, []).append(finding.kind)
    associations = {each.name: each for each in profile.target.associations} if profile.target else {}
    is_open = len(profile.variables) <= _OPEN_COLUMNS
    cards = [
        _column(each, number, by_column.get(each.name, []), associations.get(each.name), is_open)
        for number, each in enumerate(profile.variables, 1)
    ]
    return _section("details", "Column details", cards)


def _column(
    variable: Variable, number: int, warnings: Sequence[str], association: Optional[Association], is_open: bool
) -> Html:
    facts = (
        f"{_percent(variable.missing_share)} missing · {_about(variable.distinct, variable.distinct_error)} distinct"
    )
    summary = tag(
        "summary",
        tag("span", name(variable.name), class_="title"),
        tag("span", variable.kind, class_="badge kind"),
        [_badge(each) for each in dict.fromkeys(warnings)],
        tag("span", facts, class_="facts"),
    )
    plots: list[Child] = []
    if variable.counts:
        plots.append(histogram(variable))
        plots.append(
            tag("p", "Below the bars: the middle half (box), the median (line), the mean (dot).", class_="hint")
        )
    if variable.top and not (variable.counts and len(variable.counts) >= variable.distinct):
        plots.append(_top_table(variable))
    if variable.kind == EMPTY:
        plots.append(tag("p", "No row has a value."))
    # The identifier is inside, so that a browser that is led here opens the details.
    inside = tag(
        "div",
        tag("div", plots),
        tag("div", _statistics_table(variable, association)),
        class_="inside",
        id=f"column-{number}",
    )
    return tag("details", summary, inside, class_="column", open=is_open)


def _top_table(variable: Variable) -> Html:
    rows = [
        (
            name(value),
            share_bar(count / max(variable.count, 1)),
            _percent(count / max(variable.count, 1)),
            short_number(count),
        )
        for value, count in variable.top
    ]
    error = f"; counts may be up to {short_number(variable.top_error)} too low" if variable.top_error else ""
    heads = (("Value", ""), ("", "share-cell"), ("Share", "number"), ("Rows", "number"))
    return _table(f"Most frequent values{error}", heads, rows)


def _statistics_table(variable: Variable, association: Optional[Association]) -> Html:
    rows: list[tuple[str, str]] = [
        ("Count", short_number(variable.count)),
        ("Missing", short_number(variable.missing)),
        ("Distinct", _about(variable.distinct, variable.distinct_error)),
    ]
    if variable.edges:
        rows += [
            ("Minimum", value_label(variable, variable.lowest)),
            *(
                ("Median" if share == 0.5 else f"{share:.0%} quantile", value_label(variable, value))
                for share, value in variable.quantiles.items()
            ),
            ("Maximum", value_label(variable, variable.highest)),
            ("Mean", value_label(variable, variable.mean)),
        ]
        if variable.kind != DATE:
            rows += [
                ("Standard deviation", _optional(variable.standard_deviation)),
                ("Variance", _optional(variable.variance)),
                ("Skewness", _optional(variable.skewness)),
                ("Kurtosis (excess)", _optional(variable.kurtosis)),
                ("Zeros", short_number(variable.zeros)),
                ("Negative", short_number(variable.negative)),
            ]
        if variable.infinite:
            rows.append(("Infinite", short_number(variable.infinite)))
    if variable.lengths:
        shortest, mean, longest = variable.lengths
        rows.append(("Characters", f"{shortest} to {longest}, {mean:.1f} on average"))
    rows += [(f"Cells that are {kind}s", short_number(size)) for kind, size in variable.other_kinds.items()]
    if association and association.strength:
        rows.append(("Strength with the target", _decimals(association.strength)))
    return _table("Statistics", (), [(title, value) for title, value in rows], ("", "number"))


def _method(profile: Profile) -> Html:
    if profile.is_exact:
        exact = "Everything here is exact: all rows were read, and nothing had to be approximated."
    else:
        exact = "Counts, missing values, minimum, maximum, mean, variance, skewness and kurtosis are exact."
    parts = [("Exactness", exact)]
    rank = max((each.rank_error for each in profile.variables), default=0.0)
    if rank:
        parts.append(
            (
                "Quantiles and histograms",
                f"Approximate (KLL sketch): a quantile's rank is off by at most {rank:.2%} in 99 of 100 cases.",
            )
        )
    distinct = max((each.distinct_error for each in profile.variables), default=0.0)
    if distinct:
        parts.append(
            (
                "Distinct values",
                f"Numbers with ≈ are estimates; one standard error is {distinct:.2%} of the number.",
            )
        )
    if profile.duplicate_rows_error:
        parts.append(
            (
                "Duplicate rows",
                f"Estimated; one standard error is {profile.duplicate_rows_error:.2%} of all rows.",
            )
        )
    if profile.sample_rows < profile.rows:
        error = 1 / profile.sample_rows**0.5
        parts.append(
            (
                "Correlations and associations",
                f"Computed on a uniform sample of {short_number(profile.sample_rows)} rows; one standard error of a "
                f"correlation is at most {error:.3f}.",
            )
        )
    parts.append(
        (
            "Definitions",
            "Variance, skewness and kurtosis are corrected for the sample's size, as pandas computes them. Strength is the "
            "largest of the measures from 0 to 1 that suit the two columns. Infinite values are counted apart.",
        )
    )
    listed = [(tag("dt", title), tag("dd", words)) for title, words in parts]
    made = f"Made by Smalt {__version__}."
    return _section(
        "method",
        "How it was computed",
        tag("div", tag("dl", listed, class_="method"), tag("p", made, class_="hint"), class_="card"),
    )


def _table(
    caption: str, heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[Child]], classes: Sequence[str] = ()
) -> Html:
    """A table whose first cells name their rows."""
    kinds = [kind for _, kind in heads] or list(classes)
    head = tag("thead", tag("tr", [tag("th", title, scope="col", class_=kind or None) for title, kind in heads]))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=kinds[0] or None),
            [tag("td", cell, class_=kind or None) for cell, kind in zip(row[1:], kinds[1:])],
        )
        for row in rows
    ]
    whole = tag("table", tag("caption", caption), head if heads else None, tag("tbody", body))
    return tag("div", whole, class_="scroll")


def _about(number: int, error: float) -> str:
    return f"≈ {short_number(float(f'{number:.3g}'))}" if error else short_number(number)


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "< 0.1%"
    if 0.999 < share < 1:
        return "> 99.9%"
    return f"{share:.1%}" if share not in (0, 1) else f"{share:.0%}"


def _decimals(value: Optional[float]) -> str:
    return "–" if value is None else f"{value:.3f}"


def _optional(value: Optional[float]) -> str:
    return "–" if value is None else short_number(value)


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("every size has a unit")
