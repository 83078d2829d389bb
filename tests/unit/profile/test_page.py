"""The report loads nothing, runs nothing, and shows names and values as they are, whatever they are."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalt_profile.markup import tag
from smalt_profile.page import page
from smalt_profile.profiling import profile
from support.tables import HOSTILE, planted, wide, write_csv

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Elements with their attributes and texts; asserts that they are closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(profile(write_csv(planted(), tmp_path_factory.mktemp("page") / "<b>planted.csv"), "churned"))


@pytest.fixture(scope="module")
def parsed(source: str) -> Page:
    return Page(source)


def test_nothing_is_loaded_or_run(source: str, parsed: Page) -> None:
    names = {name for name, _ in parsed.elements}
    assert not names & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
        "use",
        "foreignobject",
    }
    for name, attributes in parsed.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset", "action")], (
            name
        )
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in source and "@import" not in source and "http://" not in source and "https://" not in source


def test_a_policy_forbids_all_but_the_own_style_sheet(source: str, parsed: Page) -> None:
    policy = next(each["content"] for each in parsed.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    style = re.search("<style>(.*)</style>", source, re.S)
    assert style and policy
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert source.index("Content-Security-Policy") < source.index("<style>")


def test_hostile_names_and_values_are_text(source: str, parsed: Page) -> None:
    assert "<script" not in source and "<b>" not in source
    assert HOSTILE in parsed.texts
    assert "<b>planted.csv" in parsed.texts


def test_it_can_be_read_without_seeing_it(parsed: Page) -> None:
    assert parsed.all("html")[0]["lang"] == "en"
    for svg in parsed.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label"))
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    assert all(each.get("scope") in ("col", "row") for each in parsed.all("th"))
    titles = [int(name[1]) for name, _ in parsed.elements if re.fullmatch("h[1-6]", name)]
    assert titles[0] == 1 and titles.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(titles))
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    links = {(each["href"] or "")[1:] for each in parsed.all("a")}
    assert links <= set(identifiers)


@pytest.mark.parametrize(
    "section", ["overview", "warnings", "target", "columns", "missing", "correlations", "details", "method"]
)
def test_every_section_is_there_and_in_the_navigation(parsed: Page, section: str) -> None:
    assert [each for each in parsed.all("section") if each.get("id") == section]
    assert [each for each in parsed.all("a") if each.get("href") == f"#{section}"]


@pytest.mark.slow
def test_a_page_of_many_columns_is_folded_and_bounded(tmp_path: Path) -> None:
    source = page(profile(write_csv(wide(500, 60), tmp_path / "wide.csv")))
    details = Page(source).all("details")
    assert len(details) == 500 and not [each for each in details if "open" in each]
    assert len(source) < 500 * 16_000


def test_a_page_of_few_columns_is_open(parsed: Page) -> None:
    assert all("open" in each for each in parsed.all("details"))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=50), st.text(max_size=50))
def test_any_text_comes_out_as_text(content: str, attribute: str) -> None:
    parsed = Page(tag("p", content, title=attribute))
    assert [name for name, _ in parsed.elements] == ["p"]
    shown = "".join(parsed.texts)
    assert len(shown.replace("\r", "")) == len(content.replace("\r", "")) or "\r" in content
    assert not re.search("[\x00-\x08\ud800-\udfff]", shown)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"a": [1]}),
        pd.DataFrame({"a": [None, None], "b": ["x", None]}),
        pd.DataFrame({"a": [float("inf"), float("-inf")], "b": [1e308, -1e308]}),
        pd.DataFrame({"a": ["0001-01-01", "9999-12-31"], "b": [5e-324, 0.0]}),
    ],
)
def test_odd_tables_have_a_page_too(tmp_path: Path, table: pd.DataFrame) -> None:
    for target in (None, *table.columns):
        Page(page(profile(write_csv(table, tmp_path / "odd.csv"), target)))
