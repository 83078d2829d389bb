"""What a push prints can be pasted into a run, whatever the file is called, and names what cannot be stored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from smalt.api.inputs import INPUT_PATH, Input, upload
from smalt.api.schema import KEY_PATTERN
from smalt.cli.digests import entries
from smalt.cli.errors import CommandFailed
from smalt.cli.push import Pushed, as_yaml, key_of

HEX = "ab" * 32
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("churn.csv", "churn"),
        ("my data (1).csv", "my_data_1"),
        ("2026.csv", "data_2026"),
        ("on.csv", "data_on"),
        ("ä.csv", "data"),
        (".hidden", "hidden"),
        ("x" * 200, "x" * 63),
    ],
)
def test_an_input_is_called_after_its_file(name: str, key: str) -> None:
    assert key_of(name) == key


@given(name=NAMES, is_folder=st.booleans())
def test_whatever_the_file_is_called_what_is_printed_is_what_the_api_takes(name: str, is_folder: bool) -> None:
    made = Pushed(name, HEX, is_folder)
    printed = yaml.safe_load(as_yaml(made))
    [(key, given)] = printed["inputs"].items()
    assert re.match(KEY_PATTERN, key)
    read = Input.model_validate(given)
    assert re.match(INPUT_PATH, read.path)
    assert (upload(read.path), read.digest) == ((f"uploads/{HEX}/{name}", f"sha256:{HEX}"), f"sha256:{HEX}")
    assert printed.get("code") == ({"url": made.address} if is_folder else None)


@pytest.mark.parametrize(
    "address",
    [
        "workspace://uploads/abc/x",
        f"workspace://uploads/{HEX}/",
        f"workspace://uploads/{HEX}/a/b",
        f"workspace://{HEX}/x",
    ],
)
def test_an_address_that_nobody_printed_is_none(address: str) -> None:
    assert upload(address) is None and not re.match(INPUT_PATH, address)


def test_what_a_folder_holds_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(CommandFailed, match="link is a link to a folder"):
        entries(tmp_path, lambda _: None)
    (tmp_path / "link").unlink()
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(CommandFailed, match="broken is no file"):
        entries(tmp_path, lambda _: None)
    (tmp_path / "broken").unlink()
    (tmp_path / "..data").write_text("x")
    with pytest.raises(CommandFailed, match="two dots"):
        entries(tmp_path, lambda _: None)
