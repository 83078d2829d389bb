"""The card of any JSON at all is a page that runs and loads nothing, and Markdown in which names are only names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalt_card.facts import facts_of
from smalt_card.markdown import markdown, plain
from smalt_card.page import page

SOURCES = Path(__file__).resolve().parents[3] / "trainer_image/src"
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "](javascript:x)",
            "| a |",
            "\n# head",
            "`x`",
            "\u202egnp",
            "\ud800",
            "&lt;",
            "--",
            "1.",
            "$x$",
        ]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
COLUMN = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("name", "type", "top", "quantiles", "min", "max", "mean"), VALUES),
        "count": st.one_of(VALUES, st.integers(0, 100)),
        "missing": st.one_of(VALUES, st.integers(0, 100)),
        "distinct": st.one_of(VALUES, st.integers(0, 100)),
        "histogram": st.one_of(
            VALUES,
            st.fixed_dictionaries(
                {"edges": st.lists(st.floats(), max_size=4), "counts": st.lists(st.integers(), max_size=3)}
            ),
        ),
    },
)
KNOWN = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ("model", "artifact", "metrics", "parameters", "lineage", "run", "source", "inspection", "schema"), VALUES
        ),
        **dict.fromkeys(("onnx", "signature", "registered", "files", "types", "packages"), VALUES),
        "profiles": st.one_of(
            VALUES,
            st.dictionaries(
                TEXTS, st.fixed_dictionaries({"variables": st.one_of(VALUES, st.lists(COLUMN, max_size=3))}), max_size=2
            ),
        ),
    },
)


class Elements(HTMLParser):
    """Which elements and attributes there are."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("href", "src", "action", "srcset"):
                self.addresses.append(value or "")


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(KNOWN)
def test_whatever_is_known_makes_a_card(known: dict[str, Any]) -> None:
    facts = facts_of(known)
    elements = Elements()
    elements.feed(page(facts))
    assert not elements.names & {"script", "img", "iframe", "object", "embed", "link", "form", "base"}
    assert all(each.startswith("#") for each in elements.addresses)
    for line in markdown(facts).splitlines():
        assert not re.search(r"(?<!\\)[<`\[\]]", line), line
        assert line.startswith(("# ", "## ", "| ")) or not re.match(r"[#>|]", line), line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("a\nb\u2028c", "a b c"),
        ("<b>", r"\<b\>"),
        ("[x](y)", r"\[x\]\(y\)"),
        ("1. x", r"1\. x"),
        ("ä ö", "ä ö"),
    ],
)
def test_a_name_in_markdown_is_only_a_name(text: str, expected: str) -> None:
    assert plain(text) == expected


def profile(columns: int) -> dict[str, Any]:
    quantiles = {"0.01": 0.0, "0.05": 0.1, "0.25": 0.3, "0.5": 0.5, "0.75": 0.8, "0.95": 0.9, "0.99": 1.0}
    column = {
        "type": "number",
        "count": 9,
        "missing": 1,
        "distinct": 9,
        "min": 0.0,
        "max": 1.0,
        "mean": 0.5,
        "quantiles": quantiles,
    }
    histogram = {"edges": [0.0, 0.5, 1.0], "counts": [4, 5]}
    return {
        "rows": 10,
        "variables": [{"name": f"c{each}", **column, "histogram": histogram} for each in range(columns)],
    }


def test_columns_are_drawn_and_what_is_too_much_is_counted() -> None:
    made = page(facts_of({"profiles": {"train": profile(250)}}))
    assert made.count('class="strip"') == 100
    assert made.count('class="histogram"') == 12
    assert "150 more columns are in the profile" in made


def test_an_import_shows_its_address_and_the_digest_that_it_was_proven_by() -> None:
    source = {"uri": "s3://models/churn", "digest": "sha256:" + "1" * 64}
    facts = facts_of({"lineage": {"source": source}, "source": source["uri"]})
    [lineage] = [each for each in facts.tables if each.title == "Lineage"]
    assert dict(lineage.rows) == {"source uri": source["uri"], "source digest": source["digest"]}


def test_the_program_writes_both_files(tmp_path: Path) -> None:
    known = {"model": {"name": "churn", "version": 3}, "metrics": {"auc": 0.9}, "profiles": {"train": profile(2)}}
    command = [sys.executable, "-s", "-m", "smalt_card", "--into", str(tmp_path / "out")]
    subprocess.run(command, input=json.dumps(known).encode(), env={"PYTHONPATH": str(SOURCES)}, check=True)
    assert "churn 3" in (tmp_path / "out/card.html").read_text()
    assert "# churn 3" in (tmp_path / "out/card.md").read_text()
