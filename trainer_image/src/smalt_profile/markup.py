"""HTML and SVG from Python, in which whatever is no markup is escaped: names and values in data are written by anybody."""

from __future__ import annotations

import html
import re
from typing import Iterable, Union

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_EMPTY = frozenset({"meta", "line", "rect", "circle", "path"})


class Html(str):
    """Text that is markup already; only functions of this module make it."""


Child = Union[str, Html, Iterable["Child"], None]


def text(value: str) -> Html:
    """Escaped text; what no page can show becomes a question mark in a box."""
    return Html(html.escape(_CONTROL.sub("\ufffd", value), quote=True))


def tag(element: str, /, *children: Child, **attributes: object) -> Html:
    """An element. An attribute's underscores are hyphens, one at its end is dropped; None leaves it out, True is bare."""
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        plain = key.rstrip("_").replace("_", "-")
        written.append(f" {plain}" if value is True else f' {plain}="{text(_number(value))}"')
    start = f"<{element}{''.join(written)}>"
    # In SVG and HTML alike, an element without an end tag must be one that never has content.
    if element in _EMPTY and not children:
        return Html(start if element == "meta" else f"{start[:-1]}/>")
    return Html(f"{start}{joined(children)}</{element}>")


def joined(children: Child) -> Html:
    """Children one after another."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return text(children)
    return Html("".join(joined(child) for child in children))


def trusted(source: str) -> Html:
    """Our own style sheet, which is no data."""
    return Html(source)


def name(value: str) -> Html:
    """A name or value out of the data: set apart, so that letters written from the right turn nothing else around."""
    return tag("bdi", value)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
