"""Which addresses are fetched, and what a broken transfer costs; loopback only."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt_trainer.addresses import address_problem, file_name, shown
from smalt_trainer.download import download, login
from smalt_trainer.transfer import FetchFailed
from support.file_server import FileServer


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("https://example.org/a.csv", True),
        ("http://127.0.0.1:8080/a", True),
        ("http://localhost/a", True),
        ("http://example.org/a.csv", False),
        ("http://127.0.0.1.example.org/", False),
        ("ftp://example.org/a", False),
        ("file:///etc/passwd", False),
        ("https:///a", False),
    ],
)
def test_only_https_is_fetched_except_from_this_machine(url: str, accepted: bool) -> None:
    assert (address_problem(url) is None) is accepted


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/d/churn.csv?sig=a/b", "churn.csv"),
        ("https://h/a%20b.csv", "a b.csv"),
        ("https://h/%2e%2e", "data"),
        ("https://h/", "data"),
        ("https://h/x%2Fy", "y"),
    ],
)
def test_a_file_is_kept_under_its_own_name(url: str, name: str) -> None:
    assert file_name(url) == name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h:8443/d/churn.csv?sv=2&sig=SECRET#SECRET", "https://h:8443/d/churn.csv"),
        ("https://user:SECRET@h/a", "https://h/a"),
        ("https://[::1]/a?SECRET", "https://[::1]/a"),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_secret(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_a_transfer_that_breaks_off_is_told_without_its_signature(tmp_path: Path) -> None:
    said: list[str] = []
    with FileServer({"/a?sig=SECRET": b"0123456789"}, {"/a?sig=SECRET": [3]}) as files:
        download(f"{files.url}/a?sig=SECRET", tmp_path / "a", said.append, pause=0.001)
    assert (tmp_path / "a").read_bytes() == b"0123456789"
    assert len(said) == 1 and "after 3 bytes" in said[0] and "SECRET" not in said[0]


def test_a_name_beyond_ascii_is_asked_for_encoded(tmp_path: Path) -> None:
    with FileServer({"/%C3%A4.csv": b"x"}) as files:
        download(f"{files.url}/ä.csv", tmp_path / "a", print)
    assert (tmp_path / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://example.org/a?sig=SECRET", r"redirects to http://example\.org/a, which"),
        ("file:///etc/passwd?SECRET", "a redirect that cannot be followed"),
        ("https://[SECRET/", "no address"),
    ],
)
def test_a_redirect_that_is_not_followed_is_told_without_its_signature(
    tmp_path: Path, location: str, told: str
) -> None:
    with FileServer({}) as files:
        files.redirects["/a"] = location
        with pytest.raises(FetchFailed, match=told) as failed:
            download(f"{files.url}/a", tmp_path / "a", print)
    assert "SECRET" not in str(failed.value)


def test_a_redirect_to_plain_http_elsewhere_is_not_followed(tmp_path: Path) -> None:
    with FileServer({}) as files:
        files.redirects["/a"] = "http://example.org/a"
        with pytest.raises(FetchFailed, match=r"redirects to http://example\.org/a"):
            download(f"{files.url}/a", tmp_path / "a", print)


def test_a_file_that_does_not_exist_is_asked_for_once(tmp_path: Path) -> None:
    with FileServer({}) as files:
        with pytest.raises(FetchFailed, match="404"):
            download(f"{files.url}/a", tmp_path / "a", print)
        assert files.ranges == [None]
    assert list(tmp_path.iterdir()) == []


def test_transfers_that_bring_nothing_new_are_given_up_and_others_are_not(tmp_path: Path) -> None:
    content = b"0123456789" * 1000
    with FileServer({"/a": content}, {"/a": [1000] * 9}) as files:
        download(f"{files.url}/a", tmp_path / "a", print, tries=3, pause=0.001)
        assert (tmp_path / "a").read_bytes() == content
        files.breaks["/a"] = [0] * 5
        with pytest.raises(FetchFailed, match="3 times in a row"):
            download(f"{files.url}/a", tmp_path / "b", print, tries=3, pause=0.001)


def test_a_login_is_given_to_the_server_itself_and_to_no_other(tmp_path: Path) -> None:
    with FileServer({"/b": b"x"}) as first, FileServer({"/c": b"y"}) as second:
        first.redirects |= {"/a": f"{first.url}/b", "/away": f"{second.url}/c"}
        headers = login({"username": "ann", "password": "geheim"})
        download(f"{first.url}/a", tmp_path / "a", print, headers=headers)
        download(f"{first.url}/away", tmp_path / "c", print, headers=headers)
        assert first.logins == ["Basic YW5uOmdlaGVpbQ=="] * 3
        assert second.logins == [None]
    assert login({"token": "t"}) == {"Authorization": "Bearer t"}
    assert login({}) == {}
