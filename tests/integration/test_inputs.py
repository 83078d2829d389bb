"""Inputs from everywhere, from the container that brings them to the script that reads them, with the real servers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalt.builders.command import Names, rendered
from smalt_trainer.digests import manifest, manifest_digest
from support.breaking_proxy import BreakingProxy
from support.file_server import FileServer
from support.run_pod import RunPod, mlflow_variables
from support.s3_server import S3Server
from support.tracking import TrackingServer, free_port

Json = dict[str, Any]
ROWS = b"a,b\n1,2\n3,4\n"
# Every file that a placeholder leads to, by its path below it, and what is in it.
SHOWS = """
import json, os, pathlib
found = {}
for name, value in os.environ.items():
    if name.startswith("SMALT_INPUTS_"):
        path = pathlib.Path(value)
        files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
        below = path if path.is_dir() else path.parent
        found[name[13:]] = {str(each.relative_to(below)): each.read_bytes().decode("latin-1") for each in files}
print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def tracking() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture
def mlflow(tracking: TrackingServer) -> dict[str, str]:
    return mlflow_variables(tracking.url, "runs", tracking.passwords["runs"])


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server("data") as started:
        yield started


def found(pod: RunPod) -> Json:
    [line] = [each for each in pod.out.splitlines() if each.startswith("FOUND")]
    shown: Json = json.loads(line.removeprefix("FOUND "))
    return shown


def web(url: str, kind: str = "uriFile", **more: Any) -> Json:
    return {"type": kind, "path": url, "source": {"url": url}, **more}


def in_s3(key: str, kind: str = "uriFile", **more: Any) -> Json:
    url = f"s3://data/{key}"
    return web(url, kind, credentials={"folder": "input-0", "secret": "s3-login"}, **more)


def artifact(message: Json, output: str, kind: str = "uriFolder", **more: Any) -> Json:
    """What the operator gives to a run that reads another one's output."""
    made = message["outputs"][output]
    place = made["uri"].removeprefix("mlflow-artifacts:/").lstrip("/")
    return {
        "type": kind,
        "path": f"run://prep/{output}",
        "source": {"artifact": place, "digest": made["digest"]},
        **more,
    }


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def test_one_file_has_one_digest_wherever_it_comes_from(
    tracking: TrackingServer, mlflow: dict[str, str], s3: S3Server, tmp_path: Path
) -> None:
    prep = (
        f"import os, pathlib, shutil; pathlib.Path(os.environ['SMALT_OUTPUTS_clean'], 'rows.csv').write_bytes({ROWS!r})"
    )
    made = RunPod(tmp_path / "prep", mlflow, prep, outputs={"clean": {"type": "uriFolder"}}).run()
    s3.put("data", "deep/rows.csv", ROWS)
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted/rows.csv").write_bytes(ROWS)
    with FileServer({"/d/rows.csv": ROWS, "/d/rows.csv?x=1": ROWS}) as files:
        inputs = {
            "mounted": {
                "type": "uriFile",
                "path": "configmap://rows/rows.csv",
                "source": {"mount": str(tmp_path / "mounted/rows.csv")},
            },
            "web": web(f"{files.url}/d/rows.csv?x=1"),
            "bucket": in_s3("deep/rows.csv"),
            "run": artifact(made, "clean", "uriFile"),
            "folder": in_s3("deep", "uriFolder"),
            "web_folder": web(f"{files.url}/d/rows.csv", "uriFolder"),
            "run_folder": artifact(made, "clean"),
            "packed": web(f"{files.url}/rows.tar.gz", "uriFolder", unpack=True),
        }
        files.files["/rows.tar.gz"] = archive(**{"rows.csv": ROWS})
        pod = RunPod(tmp_path / "run", mlflow, SHOWS, inputs=inputs)
        fetched = pod.fetch(input_0=s3.credentials)
    assert fetched["outcome"] == "succeeded", fetched
    message = pod.run()
    assert message["outcome"] == "succeeded", message
    assert message["digests"]["data"] == dict.fromkeys(inputs, manifest_digest(manifest(tmp_path / "mounted")))
    assert message["inputs"] == {key: {"bytes": len(ROWS), "files": 1} for key in inputs}
    assert found(pod) == {key: {"rows.csv": ROWS.decode()} for key in inputs}


def test_a_prefix_of_s3_becomes_a_folder_and_progress_is_told(
    mlflow: dict[str, str], s3: S3Server, tmp_path: Path
) -> None:
    contents = {f"part-{number:02}/{number}.bin": os.urandom(number * 1000) for number in range(1, 21)}
    for name, content in contents.items():
        s3.put("data", f"all/{name}", content)
    pod = RunPod(tmp_path, mlflow, SHOWS, inputs={"all": in_s3("all/", "uriFolder")})
    with BreakingProxy(s3.port, [50_000, 70_000]) as proxy:
        message = pod.fetch(input_0=s3.credentials | {"endpointUrl": proxy.url})
        assert proxy.cuts == []
    assert message["outcome"] == "succeeded", message
    assert "[smalt] fetching inputs.all from s3://data/all/" in pod.err
    assert "[smalt] inputs.all: 20 files, 205 KiB in " in pod.err
    pod.run()
    assert found(pod)["all"] == {name: content.decode("latin-1") for name, content in contents.items()}


def test_a_run_reads_what_another_one_left_whatever_its_files_are_called(
    mlflow: dict[str, str], tmp_path: Path
) -> None:
    names = ["a.csv", "sub/ä $(touch MARK) `x`.csv", "sub/'single' \"double\".csv", "-rf", "empty"]
    script = f"import os, pathlib\nroot = pathlib.Path(os.environ['SMALT_OUTPUTS_clean'])\nfor name in {names!r}:\n"
    script += "    (root / name).parent.mkdir(exist_ok=True); (root / name).write_text(name if name != 'empty' else '')"
    made = RunPod(tmp_path / "prep", mlflow, script, outputs={"clean": {"type": "uriFolder"}}).run()
    assert made["outcome"] == "succeeded", made
    pod = RunPod(tmp_path / "run", mlflow, SHOWS, inputs={"train": artifact(made, "clean")})
    assert pod.fetch()["outcome"] == "succeeded"
    message = pod.run()
    assert found(pod) == {"train": {name: "" if name == "empty" else name.encode().decode("latin-1") for name in names}}
    assert message["digests"]["data"]["train"] == made["outputs"]["clean"]["digest"]


def test_an_output_that_is_one_file_is_read_as_that_file(mlflow: dict[str, str], tmp_path: Path) -> None:
    script = "import os; open(os.environ['SMALT_OUTPUTS_report'], 'w').write('fine')"
    made = RunPod(tmp_path / "prep", mlflow, script, outputs={"report": {"type": "uriFile"}}).run()
    inputs = {"one": artifact(made, "report", "uriFile"), "folder": artifact(made, "report")}
    pod = RunPod(tmp_path / "run", mlflow, SHOWS, inputs=inputs)
    assert pod.fetch()["outcome"] == "succeeded"
    message = pod.run()
    assert found(pod) == {key: {"report": "fine"} for key in inputs}
    assert set(message["digests"]["data"].values()) == {made["outputs"]["report"]["digest"]}


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("place", ["web", "bucket", "mounted", "run"])
def test_an_archive_is_unpacked_wherever_it_comes_from(
    mlflow: dict[str, str], s3: S3Server, tmp_path: Path, kind: str, place: str
) -> None:
    content = archive(a=b"A", sub__b=b"B")
    if kind == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as made:
            made.writestr("a", "A")
            made.writestr("sub/b", "B")
        content = packed.getvalue()
    (tmp_path / "mounted").write_bytes(content)
    s3.put("data", "packed", content)
    declared = {"unpack": True, "digest": "sha256:" + hashlib.sha256(content).hexdigest()}
    with FileServer({"/packed": content}) as files:
        if place == "web":
            given = web(f"{files.url}/packed", "uriFolder", **declared)
        elif place == "bucket":
            given = in_s3("packed", "uriFolder", **declared)
        elif place == "mounted":
            source = {"mount": str(tmp_path / "mounted")}
            given = {"type": "uriFolder", "path": "pvc://data/packed", "source": source, **declared}
        else:
            script = f"import os; open(os.environ['SMALT_OUTPUTS_packed'], 'wb').write({content!r})"
            prep = RunPod(tmp_path / "prep", mlflow, script, outputs={"packed": {"type": "uriFile"}}).run()
            given = artifact(prep, "packed", **declared)
        pod = RunPod(tmp_path / "run", mlflow, SHOWS, inputs={"all": given})
        message = pod.fetch(input_0=s3.credentials)
    assert message["outcome"] == "succeeded", message
    message = pod.run()
    assert found(pod) == {"all": {"a": "A", "sub/b": "B"}}
    assert message["inputs"] == {"all": {"bytes": 2, "files": 2}}
    # Nothing of the archive itself is left beside its files.
    fetched = tmp_path / "run/fetched"
    assert {path.name for path in fetched.iterdir()} == {"inputs", "facts.json"}
    assert message["digests"]["data"]["all"] == manifest_digest(manifest(fetched / "inputs/all"))


def test_the_digest_of_what_was_unpacked_may_be_declared_too(mlflow: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/a").write_bytes(b"A")
    digest = manifest_digest(manifest(tmp_path / "plain"))
    with FileServer({"/p.tar.gz": archive(a=b"A")}) as files:
        given = web(f"{files.url}/p.tar.gz", "uriFolder", unpack=True, digest=digest)
        assert RunPod(tmp_path / "run", mlflow, SHOWS, inputs={"all": given}).fetch()["outcome"] == "succeeded"


OTHER = "sha256:" + "0" * 64


@pytest.mark.parametrize("unpack", [False, True])
@pytest.mark.parametrize("place", ["web", "bucket"])
def test_other_data_than_was_declared_ends_the_run_before_its_script(
    mlflow: dict[str, str], s3: S3Server, tmp_path: Path, place: str, unpack: bool
) -> None:
    content = archive(a=b"A")
    s3.put("data", "other", content)
    more = {"unpack": True, "digest": OTHER} if unpack else {"digest": OTHER}
    kind = "uriFolder" if unpack else "uriFile"
    with FileServer({"/other": content}) as files:
        given = web(f"{files.url}/other", kind, **more) if place == "web" else in_s3("other", kind, **more)
        message = RunPod(tmp_path, mlflow, SHOWS, inputs={"train": given}).fetch(input_0=s3.credentials)
    assert message["reason"] == "DigestMismatch"
    for words in ("inputs.train", OTHER, "under another name"):
        assert words in message["message"]
    assert not (tmp_path / "fetched/facts.json").exists()


def test_an_output_that_was_altered_in_the_store_ends_the_run_before_its_script(
    tracking: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = "import os; open(os.environ['SMALT_OUTPUTS_report'], 'w').write('fine')"
    made = RunPod(tmp_path / "prep", mlflow, script, outputs={"report": {"type": "uriFile"}}).run()
    given = artifact(made, "report", "uriFile")
    (tracking.data / "artifacts" / given["source"]["artifact"] / "report").write_text("FINE")
    message = RunPod(tmp_path / "run", mlflow, SHOWS, inputs={"train": given}).fetch()
    assert message["reason"] == "DigestMismatch"
    assert "run://prep/report" in message["message"] and "'report'" in message["message"]


def test_a_manifest_that_leads_out_of_its_folder_is_refused(
    tracking: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    """A run could write one itself, into its own experiment: its digest is as the run claims it."""
    text = json.dumps([{"bytes": 4, "path": "../../../evil", "sha256": hashlib.sha256(b"evil").hexdigest()}])
    folder = tracking.data / "artifacts/1/forged/artifacts/outputs"
    folder.mkdir(parents=True)
    (folder / "evil.manifest.json").write_text(text)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    source = {"artifact": "1/forged/artifacts/outputs/evil", "digest": digest}
    given = {"type": "uriFolder", "path": "run://prep/evil", "source": source}
    message = RunPod(tmp_path / "run", mlflow, SHOWS, inputs={"train": given}).fetch()
    assert message["reason"] == "DigestMismatch" and "'../../../evil'" in message["message"]
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("given", "secret", "words"),
    [
        (in_s3("nothing.csv"), {}, ["inputs.train", "s3://data/nothing.csv", "no such object"]),
        (in_s3("nothing", "uriFolder"), {}, ["s3://data/nothing", "no such object"]),
        (in_s3("rows.csv"), {"secretAccessKey": "wrong-SECRET"}, ["refuses access", "credentialsSecret"]),
        (in_s3("rows.csv"), {"accessKeyId": ""}, ["no key accessKeyId"]),
        (in_s3("many", "uriFolder", unpack=True), {}, ["s3://data/many", "no such object"]),
        (in_s3("rows.csv", "uriFolder", unpack=True), {}, ["could not be unpacked", "no archive"]),
    ],
)
def test_what_cannot_be_had_is_said_with_the_input_and_without_a_secret(
    mlflow: dict[str, str], s3: S3Server, tmp_path: Path, given: Json, secret: dict[str, str], words: list[str]
) -> None:
    s3.put("data", "rows.csv", ROWS)
    s3.put("data", "many/a", ROWS)
    pod = RunPod(tmp_path, mlflow, SHOWS, inputs={"train": given})
    message = pod.fetch(input_0=s3.credentials | secret)
    assert message["reason"] == "InputFailed"
    for word in [*words, "under another name"]:
        assert word in message["message"]
    told = message["message"] + pod.err
    assert not [each for each in (s3.secret_key, s3.access_key, "SECRET") if each in told]


def test_a_folder_of_several_files_is_no_single_file(mlflow: dict[str, str], tmp_path: Path) -> None:
    script = "import os\nfor name in 'ab': open(os.path.join(os.environ['SMALT_OUTPUTS_clean'], name), 'w').write(name)"
    made = RunPod(tmp_path / "prep", mlflow, script, outputs={"clean": {"type": "uriFolder"}}).run()
    message = RunPod(tmp_path / "run", mlflow, SHOWS, inputs={"train": artifact(made, "clean", "uriFile")}).fetch()
    assert message["reason"] == "InputFailed"
    assert "there are 2" in message["message"] and "type: uriFolder" in message["message"]


def test_an_archive_that_leads_out_of_its_folder_is_refused(mlflow: dict[str, str], tmp_path: Path) -> None:
    with FileServer({"/evil.tar.gz": archive(**{"../../evil": b"x"})}) as files:
        given = web(f"{files.url}/evil.tar.gz", "uriFolder", unpack=True)
        message = RunPod(tmp_path / "run", mlflow, SHOWS, inputs={"train": given}).fetch()
    assert message["reason"] == "InputFailed" and "'../../evil'" in message["message"]
    assert not list(tmp_path.rglob("evil"))


def test_https_with_a_login_gets_what_it_asks_for(mlflow: dict[str, str], tmp_path: Path) -> None:
    with FileServer({"/rows.csv": ROWS}) as files:
        given = web(f"{files.url}/rows.csv", credentials={"folder": "input-0", "secret": "web-login"})
        pod = RunPod(tmp_path, mlflow, SHOWS, inputs={"train": given})
        assert pod.fetch(input_0={"username": "ann", "password": "s3cr3t"})["outcome"] == "succeeded"
        assert files.logins == ["Basic YW5uOnMzY3IzdA=="]
    assert "s3cr3t" not in pod.err + (tmp_path / "fetched/facts.json").read_text()


def test_how_far_it_is_can_be_asked_while_it_goes_on(mlflow: dict[str, str], tmp_path: Path) -> None:
    port, told = free_port(), list[dict[str, Any]]()

    class Asking(FileServer):
        def answer(self, request: BaseHTTPRequestHandler, body: bool = True) -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=5) as response:
                told.append(json.load(response))
            super().answer(request, body)

    with Asking({"/rows.csv": ROWS}) as files:
        pod = RunPod(tmp_path, mlflow, SHOWS, inputs={"train": web(f"{files.url}/rows.csv")})
        assert pod.fetch(announce=port)["outcome"] == "succeeded"
    assert told[0]["phase"] == "Preparing"
    assert told[0]["message"].startswith("what the run needs is being fetched: fetching inputs.train from ")


HOSTILE = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=40
).filter(lambda name: not name.startswith("..") and bool(name.strip(". ")))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=HOSTILE)
def test_whatever_an_object_is_called_its_name_is_no_code_to_the_shell(
    mlflow: dict[str, str], s3: S3Server, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    s3.put("data", f"hostile/{name}", ROWS)
    command = "printf '%s\\n' ${{inputs.one}} \"${{inputs.one}}\" '${{inputs.one}}'"
    command = rendered(command, Names(inputs=["one"]))
    pod = RunPod(folder, mlflow, "", inputs={"one": in_s3(f"hostile/{name}")}, command=command)
    assert pod.fetch(input_0=s3.credentials)["outcome"] == "succeeded", pod.err
    assert pod.run()["outcome"] == "succeeded", pod.err
    [file] = (folder / "fetched/inputs/one").iterdir()
    assert file.read_bytes() == ROWS
    assert pod.out == f"{file}\n" * 3
