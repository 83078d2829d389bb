"""Code from an archive on a real server: fetched, proved and unpacked, or refused before anything of it is used."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer import code_archive
from smalt_trainer.code_archive import fetch_archive
from smalt_trainer.contract import ArchiveCode
from smalt_trainer.failures import RunFailed
from support.fetch_pod import FetchPod
from support.file_server import FileServer
from support.s3_server import S3Server

FILES = {"churn-1.2/train.py": b"print(1)", "churn-1.2/src/more.py": b"x = 1"}


def packed(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


TAR = packed(FILES)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/code.tar.gz": TAR}) as started:
        yield started


@pytest.fixture
def pod(tmp_path: Path) -> FetchPod:
    return FetchPod(tmp_path)


def fetched(pod: FetchPod, url: str, **more: Any) -> dict[str, Any]:
    return pod.fetch({"archive": {"url": url} | more})


@pytest.mark.parametrize("content", [TAR, packed(FILES, "w:xz"), zipped(FILES)], ids=["tar.gz", "tar.xz", "zip"])
def test_an_archive_lies_there_as_it_was_packed_and_its_digest_is_told(
    server: FileServer, pod: FetchPod, content: bytes
) -> None:
    server.files["/download?token=s3cr3t"] = content
    message = fetched(pod, f"{server.url}/download?token=s3cr3t", digest=digest(content))
    assert message["code"] == {"archiveDigest": digest(content)}
    assert pod.files == {name: text.decode() for name, text in FILES.items()}
    assert json.loads((pod.folder / "fetched/facts.json").read_text())["code"] == message["code"]
    assert {path.name for path in (pod.folder / "fetched").iterdir()} == {"code", "facts.json"}
    assert "code.path" in pod.log and "'churn-1.2'" in pod.log, "nothing is stripped, and what to do instead is told"
    assert "s3cr3t" not in pod.log


def test_a_folder_of_the_archive_is_the_code(server: FileServer, pod: FetchPod) -> None:
    fetched(pod, f"{server.url}/code.tar.gz", path="churn-1.2")
    assert pod.files == {"train.py": "print(1)", "src/more.py": "x = 1"}


def test_a_connection_that_breaks_off_is_taken_up(server: FileServer, pod: FetchPod) -> None:
    server.breaks["/code.tar.gz"] = [50, 20]
    assert fetched(pod, f"{server.url}/code.tar.gz")["code"] == {"archiveDigest": digest(TAR)}


def test_a_private_archive_is_fetched_with_its_secret_which_nothing_shows(server: FileServer, pod: FetchPod) -> None:
    source = {"url": f"{server.url}/code.tar.gz", "credentialsSecret": "web"}
    message = pod.fetch({"archive": source}, {"username": "ada", "password": "s3cr3t-w0rd"})
    assert message["outcome"] == "succeeded"
    assert server.logins == ["Basic " + base64.b64encode(b"ada:s3cr3t-w0rd").decode()]
    assert "s3cr3t-w0rd" not in pod.log


LINK = tarfile.TarInfo("code/etc")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "../../etc"


@pytest.mark.parametrize(
    ("content", "more", "reason", "words"),
    [
        (TAR, {"digest": "sha256:" + "0" * 64}, "DigestMismatch", ["code.digest", digest(TAR), "0" * 64]),
        (TAR, {"pinned": "sha256:" + "1" * 64}, "DigestMismatch", ["earlier attempt", digest(TAR), "1" * 64]),
        (TAR, {"path": "churn"}, "CodeInvalid", ["code.path 'churn'", "churn-1.2"]),
        (TAR, {"path": "churn-1.2/train.py"}, "CodeInvalid", ["code.path 'churn-1.2/train.py'"]),
        (packed({"../evil": b"x"}), {}, "CodeInvalid", ["'../evil'"]),
        (zipped({"/evil": b"x"}), {}, "CodeInvalid", ["'/evil'"]),
        (b"<html>sign in</html>", {}, "CodeInvalid", ["web page"]),
        (None, {}, "CodeUnavailable", ["404"]),
    ],
    # What a packed file is by content has the time in it, and every process must know a test by the same name.
    ids=[
        "another digest",
        "another than before",
        "no such folder",
        "a file for a folder",
        "a path out",
        "an absolute path",
        "a web page",
        "nothing there",
    ],
)
def test_what_cannot_be_used_is_told(
    server: FileServer, pod: FetchPod, content: bytes | None, more: dict[str, str], reason: str, words: list[str]
) -> None:
    if content is not None:
        server.files["/it?token=s3cr3t"] = content
    message = fetched(pod, f"{server.url}/it?token=s3cr3t", **more)
    assert message["reason"] == reason
    for each in [*words, f"{server.url}/it", "under another name"]:
        assert each in message["message"]
    assert "s3cr3t" not in message["message"]
    assert not (pod.folder / "fetched/code").exists()


def test_a_folder_of_the_archive_has_no_link_to_what_is_beside_it(server: FileServer, pod: FetchPod) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("a/secret", "b/train.py"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("b/beside")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/secret"
        archive.addfile(link)
    server.files["/it"] = made.getvalue()
    message = fetched(pod, f"{server.url}/it", path="b")
    assert message["reason"] == "CodeInvalid"
    assert "'beside' is a link to '../a/secret'" in message["message"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://a.example/code.tar.gz", "only https is accepted"),
        ("ftp://a.example/code.tar.gz", "only https is accepted"),
        ("file:///etc/passwd", "names no host"),
    ],
)
def test_an_address_that_is_not_to_be_used_is_told(pod: FetchPod, address: str, words: str) -> None:
    message = fetched(pod, address)
    assert message["reason"] == "CodeUnavailable"
    assert words in message["message"]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server("builds") as started:
        started.put("builds", "team/code 1.tar.gz", TAR)
        yield started


def test_an_archive_in_a_bucket_is_fetched_with_its_secret(s3: S3Server, pod: FetchPod) -> None:
    source = {"url": "s3://builds/team/code 1.tar.gz", "path": "churn-1.2", "credentialsSecret": "s3"}
    message = pod.fetch({"archive": source}, s3.credentials)
    assert message["code"] == {"archiveDigest": digest(TAR)}, pod.log
    assert pod.files == {"train.py": "print(1)", "src/more.py": "x = 1"}
    assert s3.secret_key not in pod.log


def test_an_archive_that_is_not_in_its_bucket_is_told(s3: S3Server, pod: FetchPod) -> None:
    source = {"url": "s3://builds/team/code 2.tar.gz", "credentialsSecret": "s3"}
    message = pod.fetch({"archive": source}, s3.credentials)
    assert message["reason"] == "CodeUnavailable"
    assert "s3://builds/team/code 2.tar.gz" in message["message"] and "no such object" in message["message"]


def test_a_source_that_sends_more_than_code_may_have_is_left(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_archive, "MOST_PACKED_BYTES", len(TAR) - 1)
    wanted = ArchiveCode(f"{server.url}/code.tar.gz", None, None, None, None)
    with pytest.raises(RunFailed, match="larger than") as failed:
        fetch_archive(wanted, tmp_path / "code", tmp_path, tmp_path, print)
    assert failed.value.reason == "CodeUnavailable"
