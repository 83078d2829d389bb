"""Where inputs come from, with the real servers: S3, https with a certificate of one's own, the workspace's store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.pki import Authority
from smalt_trainer.artifacts import Altered, ArtifactStore
from smalt_trainer.digests import manifest, manifest_digest, manifest_text
from smalt_trainer.download import download
from smalt_trainer.progress import Progress
from smalt_trainer.s3 import S3Object, connect, list_objects, place_of
from smalt_trainer.tracking import Tracking
from smalt_trainer.transfer import FetchFailed, transfer
from smalt_trainer.trust import BUNDLE, extend_trust
from support.breaking_proxy import BreakingProxy
from support.file_server import FileServer
from support.s3_server import S3Server
from support.tracking import TrackingServer

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server("data") as started:
        yield started


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.create()
    return made


@pytest.fixture
def certificate(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server", "/CN=server", "IP:127.0.0.1")


@pytest.fixture
def trusting(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the wrapper starts in a workspace with a trust bundle."""
    variables = {BUNDLE: str(authority.certificate)}
    extend_trust(variables, tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def fetched(server: S3Server, key: str, target: Path, **credentials: str) -> list[str]:
    said: list[str] = []
    place = place_of(f"s3://data/{key}")
    store = connect(place.bucket, server.credentials | credentials)
    transfer(S3Object(store, place), target, Progress("inputs.train", said.append), tries=3, pause=0.01)
    return said


@pytest.mark.parametrize("key", ["a.csv", "deep/er/b c.csv", "ä $(touch MARK) 'q\" `x` %41#?.csv"])
def test_an_object_arrives_whole_whatever_its_key(s3: S3Server, tmp_path: Path, key: str) -> None:
    s3.put("data", key, b"a,b\n1,2\n")
    fetched(s3, key, tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == b"a,b\n1,2\n"


@pytest.mark.parametrize("size", [0, 1, 130 * MEBIBYTE])
def test_objects_of_any_size_arrive(s3: S3Server, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    s3.put("data", "sized", content)
    fetched(s3, "sized", tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == content


def test_an_object_is_taken_up_where_the_connection_broke(s3: S3Server, tmp_path: Path) -> None:
    content = os.urandom(20 * MEBIBYTE)
    s3.put("data", "broken", content)
    with BreakingProxy(s3.port, [7 * MEBIBYTE, 6 * MEBIBYTE]) as proxy:
        said = fetched(s3, "broken", tmp_path / "it", endpointUrl=proxy.url)
        assert proxy.cuts == []
        # What came after the last break, and not the whole object again.
        assert proxy.passed < 9 * MEBIBYTE
    assert (tmp_path / "it").read_bytes() == content
    assert [line.rpartition("; ")[2] for line in said] == ["going on from there"] * 2


def test_a_version_that_is_replaced_between_two_tries_is_never_mixed(s3: S3Server, tmp_path: Path) -> None:
    old, new = b"o" * (8 * MEBIBYTE), b"n" * (8 * MEBIBYTE)
    s3.put("data", "changing", old)
    with BreakingProxy(s3.port, [5 * MEBIBYTE]) as proxy:
        place = place_of("s3://data/changing")
        store = connect("data", s3.credentials | {"endpointUrl": proxy.url})
        progress = Progress("x", lambda line: s3.put("data", "changing", new))
        transfer(S3Object(store, place), tmp_path / "it", progress, pause=0.01)
    assert (tmp_path / "it").read_bytes() == new


@pytest.mark.parametrize(
    ("url", "changes", "words"),
    [
        ("s3://data/no.csv", {}, "no such object or bucket"),
        ("s3://nobody/a.csv", {}, "no such object or bucket"),
        ("s3://data/there", {"secretAccessKey": "SECRET"}, "refuses access"),
        ("s3://data/there", {"accessKeyId": "", "secretAccessKey": ""}, "refuses access"),
        ("s3://data/there", {"accessKeyId": ""}, "no key accessKeyId"),
        ("s3://data/there", {"region": "eu-north-1"}, "check region"),
        ("s3://data/there", {"endpointUrl": "s3.example"}, "endpointUrl"),
        ("s3://data/there", {"endpointUrl": "http://127.0.0.1:1"}, "Connection refused.* 2 times"),
        ("s3://data/a/../there", {}, "cannot be asked for"),
    ],
)
def test_what_is_wrong_is_said_without_a_secret(
    s3: S3Server, tmp_path: Path, url: str, changes: dict[str, str], words: str
) -> None:
    s3.put("data", "there", b"x")
    place = place_of(url)
    with pytest.raises(FetchFailed, match=words) as failed:
        store = connect(place.bucket, s3.credentials | changes)
        transfer(S3Object(store, place), tmp_path / "it", Progress("x", print), tries=2, pause=0.01)
    for secret in ("SECRET", s3.secret_key, s3.access_key):
        assert secret not in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_a_prefix_is_listed_by_relative_names_without_the_markers_of_folders(s3: S3Server) -> None:
    for key in ("many/a.csv", "many/sub/b.csv", "many/empty.csv", "manyothers/c.csv"):
        s3.put("data", key, b"" if "empty" in key else b"xy")
    (s3.data / "data/many/marker").mkdir(exist_ok=True)
    store = connect("data", s3.credentials)
    for url in ("s3://data/many", "s3://data/many/"):
        found = list_objects(store, place_of(url))
        assert [(each.name, each.size) for each in found] == [("a.csv", 2), ("empty.csv", 0), ("sub/b.csv", 2)]
    assert list_objects(store, place_of("s3://data/none")) == []


def test_a_list_that_is_refused_is_told_in_words(s3: S3Server) -> None:
    with pytest.raises(FetchFailed, match="refuses access"):
        list_objects(connect("data", s3.credentials | {"secretAccessKey": "x"}), place_of("s3://data/many"))


def test_a_long_list_is_read_to_its_end(s3: S3Server) -> None:
    folder = s3.data / "data/long"
    folder.mkdir()
    for number in range(1234):
        (folder / f"{number:04}").write_bytes(b"x")
    found = list_objects(connect("data", s3.credentials), place_of("s3://data/long"))
    assert [each.name for each in found] == [f"{number:04}" for number in range(1234)]


def test_a_store_with_a_certificate_of_the_trust_bundle_is_trusted(
    trusting: None, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with S3Server("data", certificate=certificate) as server:
        (server.data / "data/a.csv").write_bytes(b"xyz")
        fetched(server, "a.csv", tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == b"xyz"


def test_a_store_with_another_certificate_is_told_with_where_to_add_it(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with (
        S3Server("data", certificate=certificate) as server,
        pytest.raises(FetchFailed, match=r"not trusted.*spec\.trustBundle"),
    ):
        fetched(server, "a.csv", tmp_path / "it")


def test_https_with_a_certificate_of_the_trust_bundle_is_trusted(
    trusting: None, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with FileServer({"/a": b"x" * 100}, {"/a": [40]}, certificate) as files:
        download(f"{files.url}/a", tmp_path / "a", print, pause=0.01)
        assert files.ranges == [None, "bytes=40-"]
    assert (tmp_path / "a").read_bytes() == b"x" * 100


def test_https_with_another_certificate_is_told_at_once_with_where_to_add_it(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with FileServer({"/a": b"x"}, certificate=certificate) as files:
        with pytest.raises(FetchFailed, match=r"certificate is not trusted .* spec\.trustBundle"):
            download(f"{files.url}/a", tmp_path / "a", print)
        assert files.ranges == []


@pytest.fixture(scope="module")
def tracking() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@dataclass
class Stored:
    """An artifact as a run leaves it in the store."""

    place: str
    digest: str
    folder: Path


@pytest.fixture
def stored(tracking: TrackingServer, tmp_path: Path) -> Stored:
    made = tmp_path / "clean"
    (made / "sub").mkdir(parents=True)
    (made / "a.csv").write_bytes(b"a,b\n" * 1000)
    (made / "sub/ä $(x) 'q'.csv").write_bytes(os.urandom(300_000))
    (made / "empty").write_bytes(b"")
    client = Tracking(tracking.url, "runs", tracking.passwords["runs"])
    experiment = client.experiment_id(f"team-a/{tmp_path.name}")
    created = client.call("POST", "runs/create", {"experiment_id": experiment, "run_name": "prep"})
    run = str(created["run"]["info"]["run_id"])
    for entry in manifest(made):
        client.upload(experiment, run, f"outputs/clean/{entry.path}", made / entry.path)
    client.upload(experiment, run, "outputs/clean.manifest.json", manifest_text(manifest(made)).encode())
    return Stored(f"{experiment}/{run}/artifacts/outputs/clean", manifest_digest(manifest(made)), made)


def store_of(tracking: TrackingServer, url: str = "", password: str = "") -> ArtifactStore:
    headers = Tracking(tracking.url, "runs", password or tracking.passwords["runs"]).credentials
    return ArtifactStore(url or tracking.url, headers, tries=3, pause=0.01)


def progress() -> Progress:
    return Progress("inputs.train", print)


def test_an_output_of_a_run_arrives_file_by_file_and_verified(
    tracking: TrackingServer, stored: Stored, tmp_path: Path
) -> None:
    store_of(tracking).fetch(stored.place, stored.digest, tmp_path / "into", progress())
    assert manifest(tmp_path / "into") == manifest(stored.folder)


def test_an_output_arrives_over_a_connection_that_breaks(
    tracking: TrackingServer, stored: Stored, tmp_path: Path
) -> None:
    said: list[str] = []
    with BreakingProxy(tracking.port, [90_000, 90_000]) as proxy:
        there = store_of(tracking, f"http://localhost:{proxy.port}")
        there.fetch(stored.place, stored.digest, tmp_path / "into", Progress("inputs.train", said.append))
        assert proxy.cuts == []
    assert [line.rpartition("; ")[2] for line in said] == ["going on from there"] * 2
    assert manifest(tmp_path / "into") == manifest(stored.folder)


def test_an_output_that_was_altered_since_is_refused(tracking: TrackingServer, stored: Stored, tmp_path: Path) -> None:
    kept = tracking.data / "artifacts" / stored.place
    (kept / "a.csv").write_bytes(b"a,b\n" * 999 + b"A,b\n")
    with pytest.raises(Altered, match=r"file 'a\.csv' is not the one"):
        store_of(tracking).fetch(stored.place, stored.digest, tmp_path / "into", progress())
    kept.with_name("clean.manifest.json").write_text("[]")
    with pytest.raises(Altered, match="manifest has digest sha256:"):
        store_of(tracking).fetch(stored.place, stored.digest, tmp_path / "into", progress())


def test_an_output_that_is_not_there_and_a_password_that_is_wrong_are_told(
    tracking: TrackingServer, stored: Stored, tmp_path: Path
) -> None:
    with pytest.raises(FetchFailed, match="answered 404"):
        store_of(tracking).fetch("1/none/artifacts/outputs/clean", stored.digest, tmp_path / "into", progress())
    with pytest.raises(FetchFailed, match=r"answered 401 .*, 3 times"):
        store_of(tracking, password="wrong-password").fetch(stored.place, stored.digest, tmp_path / "into", progress())
