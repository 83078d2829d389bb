"""Plots as SVG: bars, strips and a heat map, coloured by the page's style sheet so that they follow light and dark."""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence

from smalt_profile.markup import Html, tag
from smalt_profile.variables import Variable, short_number, value_label


def histogram(variable: Variable) -> Html:
    """How the values are distributed, with the middle half and the mean marked below."""
    width, height, floor = 460.0, 170.0, 128.0
    counts, edges = variable.counts, variable.edges
    most = max(counts) or 1
    step = width / len(counts)
    bars = []
    for position, count in enumerate(counts):
        # A bin that is not empty is seen, however small.
        tall = max(1.5, count / most * (floor - 10)) if count else 0.0
        words = (
            f"{value_label(variable, edges[position])} to {value_label(variable, edges[position + 1])}: "
            f"{short_number(count)} rows"
        )
        bars.append(
            tag(
                "rect",
                tag("title", words),
                class_="bar",
                x=position * step + 0.5,
                y=floor - tall,
                width=max(step - 1, 1.0),
                height=tall,
            )
        )
    words = (
        f"Histogram from {value_label(variable, edges[0])} to {value_label(variable, edges[-1])}; "
        f"the fullest bin has {short_number(most)} rows"
    )
    lowest, highest = value_label(variable, variable.lowest), value_label(variable, variable.highest)
    return tag(
        "svg",
        tag("line", class_="axis", x1=0, x2=width, y1=floor, y2=floor),
        bars,
        _box(variable, width, floor + 12),
        tag("text", lowest, x=0, y=height - 6, class_="tick"),
        tag("text", highest, x=width, y=height - 6, class_="tick end"),
        viewBox=f"0 0 {width:g} {height:g}",
        class_="histogram",
        role="img",
        aria_label=words,
    )


def _box(variable: Variable, width: float, middle: float) -> list[Html]:
    """Under the histogram: 5% to 95% as a line, the middle half as a box, the median and the mean as marks."""
    low, high = variable.edges[0], variable.edges[-1]

    def at(value: float) -> float:
        share = value / (high - low) - low / (high - low) if math.isfinite(high - low) else 0.5
        return min(1.0, max(0.0, share)) * width

    points = {share: at(value) for share, value in variable.quantiles.items()}
    drawn = [
        tag("line", class_="whisker", x1=points[0.05], x2=points[0.95], y1=middle, y2=middle),
        tag(
            "rect",
            tag("title", "The middle half of the values"),
            class_="box",
            x=points[0.25],
            y=middle - 5,
            width=max(points[0.75] - points[0.25], 1.0),
            height=10,
        ),
        tag("line", class_="median", x1=points[0.5], x2=points[0.5], y1=middle - 7, y2=middle + 7),
    ]
    if variable.mean is not None:
        drawn.append(tag("circle", tag("title", "Mean"), class_="mean", cx=at(variable.mean), cy=middle, r=3.5))
    return drawn


def strip(variable: Variable) -> Html:
    """A histogram small enough for a table."""
    counts = variable.counts or tuple(count for _, count in variable.top)
    if not counts:
        return Html("")
    width, height = 90.0, 22.0
    most, step = max(counts) or 1, width / len(counts)
    bars = [
        tag(
            "rect",
            class_="bar",
            x=position * step,
            y=height - max(1.0, count / most * height),
            width=max(step - 0.6, 0.8),
            height=max(1.0, count / most * height),
        )
        for position, count in enumerate(counts)
        if count
    ]
    # The numbers beside it say the same in words.
    return tag("svg", bars, viewBox=f"0 0 {width:g} {height:g}", class_="strip", aria_hidden="true")


def share_bar(share: float, kind: str = "bar") -> Html:
    """A share of 1 as a bar in a table; the number stands beside it."""
    return tag(
        "svg",
        tag("rect", class_="track", width=100, height=10, rx=2),
        tag("rect", class_=kind, width=max(min(share, 1.0) * 100, 0.8 if share > 0 else 0.0), height=10, rx=2),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="share",
        aria_hidden="true",
    )


def heat_map(names: Sequence[str], matrix: Any) -> Html:
    """Correlations as colours, with numbers when there is room for them."""
    count = len(names)
    cell = 46.0 if count <= 10 else 30.0 if count <= 20 else 20.0
    left = min(200.0, 12 + 6.6 * max(min(len(each), 26) for each in names))
    top = left * 0.75 + 8
    size = cell * count
    drawn: list[Html] = []
    for row in range(count):
        middle = top + (row + 0.62) * cell
        drawn.append(tag("text", _cut(names[row]), x=left - 6, y=middle, class_="tick end"))
        x, y = left + (row + 0.6) * cell, top - 6
        drawn.append(tag("text", _cut(names[row]), class_="tick", transform=f"translate({x:.1f} {y:.1f}) rotate(-45)"))
        for column in range(count):
            number = float(matrix[row, column])
            value = None if math.isnan(number) else number
            said = "cannot be told" if value is None else f"{value:.2f}"
            drawn.append(
                tag(
                    "rect",
                    tag("title", f"{names[row]} and {names[column]}: {said}"),
                    class_=f"cell {heat_class(value)}",
                    x=left + column * cell,
                    y=top + row * cell,
                    width=cell - 1,
                    height=cell - 1,
                )
            )
            if value is not None and abs(value) >= 0.05 and count <= 20:
                place = {"x": left + (column + 0.5) * cell - 0.5, "y": top + row * cell + cell * 0.6}
                strong = " strong" if abs(value) >= 0.6 else ""
                written = f"{value:.2f}" if count <= 10 else f"{value:.1f}".replace("0.", ".")
                drawn.append(tag("text", written, class_=f"value{strong}", **place))
    # Slanted labels reach to the right of the last column.
    wide, high = left + size + top * 0.8, top + size
    return tag(
        "svg",
        drawn,
        viewBox=f"0 0 {wide:.0f} {high:.0f}",
        width=f"{wide:.0f}",
        height=f"{high:.0f}",
        class_="heat",
        role="img",
        aria_label=f"Heat map of the correlations between {count} columns; the table beside it names the strongest",
    )


def heat_class(value: Optional[float]) -> str:
    """One of 21 classes of the style sheet, by tenths; `none` where nothing can be told."""
    if value is None:
        return "none"
    tenths = round(value * 10)
    return f"p{tenths}" if tenths >= 0 else f"n{-tenths}"


def _cut(label: str) -> str:
    """SVG has no element to set a name apart; the style sheet does it."""
    return label if len(label) <= 26 else label[:25] + "…"
