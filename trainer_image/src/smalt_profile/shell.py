"""What pages of one look have around their content: one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib

from smalt_profile.markup import Child, Html, tag, trusted


def document(title: str, style: str, navigation: Html, *main: Child) -> str:
    """The whole file; its policy lets in this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", trusted(style)),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", class_="skip", href="#content"),
        tag("div", navigation, tag("main", *main, id="content"), class_="layout"),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"
