"""Environments made for real: by uv, from a package index on loopback, on top of what the image has."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer.lock import Entry, Lock
from support.certificates import Certificates
from support.package_index import PackageIndex, Wheel
from support.run_pod import SOURCE

TINY = Wheel("tiny-thing", "1.2.0", "ANSWER = 42\n")
NOWHERE = "http://127.0.0.1:9/simple"
Json = dict[str, Any]


class Pod:
    """The container that makes an environment, as a process in a folder of its own."""

    def __init__(self, folder: Path, index: PackageIndex | None = None, **variables: str) -> None:
        self.folder = folder
        self.variables = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "SMALT_ROOT": str(folder),
            "UV_DEFAULT_INDEX": f"smalt={index.url if index else NOWHERE}",
            "UV_HTTP_RETRIES": "0",
            **variables,
        }
        self.printed = ""

    @property
    def into(self) -> Path:
        return self.folder / "environment"

    def make(
        self, environment: Json | None, *arguments: str, code: Json | None = None, owner: str = "deployment"
    ) -> int:
        contract = {
            "version": 1,
            owner: {"name": "a"},
            "environment": environment,
            "code": code,
            "image": "team/image:1",
        }
        (self.folder / "contract.json").write_text(json.dumps(contract))
        command = [sys.executable, "-s", str(SOURCE), "environment", "--from", str(self.folder / "contract.json")]
        command += ["--into", str(self.into), *arguments]
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=60)
        self.printed = done.stdout + done.stderr
        return done.returncode

    @property
    def left(self) -> Json:
        """The last words."""
        message = json.loads((self.folder / "termination-log").read_text())
        assert isinstance(message, dict)
        return message

    def record(self, name: str) -> str:
        return (self.into / "smalt" / name).read_text()

    @property
    def facts(self) -> Json:
        return dict(json.loads(self.record("facts.json")))

    def python(self, script: str) -> str:
        """What a script prints in the environment."""
        command = [str(self.into / "bin/python"), "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    @property
    def installed(self) -> list[str]:
        return sorted(path.name for path in self.into.glob("lib/python*/site-packages/*.dist-info"))


def everything_below(folder: Path) -> str:
    """All that was written, file by file, as far as it is text."""
    return "\n".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


# --- what is made -----------------------------------------------------------------------------------------------------


def test_a_missing_package_is_installed_on_top_of_the_image_and_the_image_stays_importable(tmp_path: Path) -> None:
    with PackageIndex((TINY,)) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"pip": ["tiny-thing>=1"]}) == 0, pod.printed
    printed = pod.python("import tiny_thing, sklearn; print(tiny_thing.ANSWER, tiny_thing.__file__)")
    assert printed.startswith(f"42 {tmp_path}/environment/lib/")
    assert not (tmp_path / "environment/.smalt").exists()


def test_an_environment_that_the_image_has_needs_no_index_and_installs_nothing(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    assert pod.make({"conda": "dependencies:\n- python>=3.9\n- scikit-learn\n- pip: [pytest>=1]\n"}) == 0
    assert not (pod.into / "bin").exists()
    assert "scikit-learn==" in pod.record("requirements.lock")
    assert "numpy==" in pod.record("installed.txt")


def test_no_environment_at_all_makes_nothing(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    assert pod.make(None) == 0
    assert not (pod.into / "bin").exists()


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("way", ["condaFile", "requirementsFile"])
def test_a_file_is_found_in_the_code_inline_or_mounted(tmp_path: Path, inline: bool, way: str) -> None:
    text = "dependencies:\n- tiny-thing\n" if way == "condaFile" else "# what it takes\ntiny-thing >= 1  # any\n"
    (tmp_path / "code/files").mkdir(parents=True)
    (tmp_path / "code/files/wanted").write_text(text)
    code = {"inline": {"files/wanted": text}} if inline else {"folder": str(tmp_path / "code")}
    with PackageIndex((TINY,)) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({way: "files/wanted"}, code=code) == 0, pod.printed
    assert pod.installed == ["tiny_thing-1.2.0.dist-info"]


def test_code_that_was_fetched_is_found_where_it_was_put(tmp_path: Path) -> None:
    (tmp_path / "fetched/code").mkdir(parents=True)
    (tmp_path / "fetched/code/requirements.txt").write_text("pytest\n")
    assert Pod(tmp_path).make({"requirementsFile": "requirements.txt"}, code={"git": {"url": "x"}}) == 0


def test_an_index_has_the_public_version_of_what_the_image_has_built_itself(tmp_path: Path) -> None:
    """The image's torch==2.5.1+cu121 stays when the index offers 2.5.1 and 2.6.0 and something needs torch."""
    of_the_image(tmp_path / "site", "heavy-thing", "2.5.1+cu121")
    wheels = (Wheel("heavy-thing", "2.5.1"), Wheel("heavy-thing", "2.6.0"), TINY)
    with PackageIndex(wheels) as index:
        pod = Pod(tmp_path, index, PYTHONPATH=str(tmp_path / "site"))
        assert pod.make({"pip": ["tiny-thing", "heavy-thing[all]>=2"]}) == 0, pod.printed
    assert pod.installed == ["tiny_thing-1.2.0.dist-info"]
    assert "heavy-thing==2.5.1+cu121\n" in pod.record("installed.txt")


def test_what_only_the_image_has_need_not_be_on_the_index(tmp_path: Path) -> None:
    of_the_image(tmp_path / "site", "house-thing", "3.0")
    with PackageIndex((Wheel("tiny-thing", "1.2.0", requires=("house-thing>=2",)),)) as index:
        pod = Pod(tmp_path, index, PYTHONPATH=str(tmp_path / "site"))
        assert pod.make({"pip": ["tiny-thing", "house-thing"]}) == 0, pod.printed
    assert pod.installed == ["tiny_thing-1.2.0.dist-info"]
    assert "# house-thing==3.0 (the image's own)" in pod.record("requirements.lock")


def test_a_package_of_the_image_that_a_new_one_takes_the_ground_from_is_named(tmp_path: Path) -> None:
    of_the_image(tmp_path / "site", "house-thing", "3.0", requires="tiny-thing<1")
    of_the_image(tmp_path / "site", "tiny-thing", "0.9")
    with PackageIndex((TINY,)) as index:
        pod = Pod(tmp_path, index, PYTHONPATH=str(tmp_path / "site"))
        assert pod.make({"pip": ["tiny-thing>=1"]}) == 0, pod.printed
    assert (
        "the image's house-thing 3.0 is made for tiny-thing<1, and the environment brings tiny-thing 1.2.0"
        in pod.printed
    )
    assert "made for tiny-thing<1" in pod.record("build.log")


def of_the_image(site: Path, name: str, version: str, requires: str = "") -> None:
    about = site / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_the_lock_names_every_package_with_its_hashes_and_no_index(tmp_path: Path) -> None:
    deep = Wheel("deep-thing", "0.3")
    with PackageIndex((Wheel("tiny-thing", "1.2.0", requires=("deep-thing",)), deep)) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"pip": ["tiny-thing"]}) == 0, pod.printed
        lock = pod.record("requirements.lock")
    assert f"deep-thing==0.3 \\\n    --hash=sha256:{deep.sha256}\n" in lock
    assert "tiny-thing==1.2.0 \\\n    --hash=sha256:" in lock
    assert "127.0.0.1" not in lock and "http" not in lock


def test_the_lock_given_back_in_the_code_is_the_same_environment_whatever_the_index_has_by_then(tmp_path: Path) -> None:
    with PackageIndex((TINY,)) as index:
        first = Pod(made(tmp_path / "first"), index)
        assert first.make({"pip": ["tiny-thing"]}) == 0, first.printed
    code = {"inline": {"requirements.lock": first.record("requirements.lock")}}
    newer = Wheel("tiny-thing", "2.0.0")
    with PackageIndex((newer, TINY)) as index:
        later = Pod(made(tmp_path / "later"), index)
        assert later.make({"requirementsFile": "requirements.lock"}, code=code) == 0, later.printed
        unpinned = Pod(made(tmp_path / "unpinned"), index)
        assert unpinned.make({"pip": ["tiny-thing"]}) == 0, unpinned.printed
    assert later.installed == ["tiny_thing-1.2.0.dist-info"]
    assert later.facts["digest"] == first.facts["digest"]
    assert unpinned.facts["digest"] != first.facts["digest"], "another lock is another environment"


def test_a_deployment_has_the_packages_of_its_models_run_file_by_file(tmp_path: Path) -> None:
    """Also where the run's image had a part of them without hashes, and this image has none of that."""
    other = Wheel("other-thing", "3.0.0", "ANSWER = 7\n")
    newer = (TINY, other, Wheel("tiny-thing", "1.3.0", "ANSWER = 43\n"))
    with PackageIndex(newer) as index:
        pod = Pod(tmp_path, index)
        lock = Lock.of([Entry("tiny-thing==1.2.0", (f"sha256:{TINY.sha256}",)), Entry("other-thing==3.0.0")])
        (tmp_path / "requirements.lock").write_text(lock.text)
        assert pod.make({"lockFile": str(tmp_path / "requirements.lock")}) == 0, pod.printed
    assert pod.python("import tiny_thing, other_thing; print(tiny_thing.ANSWER, other_thing.ANSWER)") == "42 7"
    kept = Lock.read(pod.record("requirements.lock"))
    assert {each.requirement: each.hashes for each in kept.entries} == {
        "tiny-thing==1.2.0": (f"sha256:{TINY.sha256}",),
        "other-thing==3.0.0": (f"sha256:{other.sha256}",),
    }


def test_another_file_than_that_of_the_models_run_is_refused(tmp_path: Path) -> None:
    with PackageIndex((TINY,)) as index:
        pod = Pod(tmp_path, index)
        lock = Lock.of([Entry("tiny-thing==1.2.0", ("sha256:" + "0" * 64,))])
        (tmp_path / "requirements.lock").write_text(lock.text)
        assert pod.make({"lockFile": str(tmp_path / "requirements.lock")}) == 1
    assert pod.left["reason"] == "EnvironmentFailed" and "apply the Deployment again" in pod.left["message"]


def test_a_file_that_is_not_the_locks_is_refused(tmp_path: Path) -> None:
    lock = f"tiny-thing==1.2.0 --hash=sha256:{TINY.sha256}\n"
    with PackageIndex((Wheel("tiny-thing", "1.2.0", "ANSWER = 'of somebody else'\n"),)) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"requirementsFile": "r.txt"}, code={"inline": {"r.txt": lock}}) == 1
    assert pod.left["reason"] == "EnvironmentFailed"
    assert "has another file for tiny-thing==1.2.0 than the lock" in pod.left["message"]


def test_an_index_without_hashes_is_no_obstacle(tmp_path: Path) -> None:
    with PackageIndex((TINY,), with_hashes=False) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"pip": ["tiny-thing"]}) == 0, pod.printed
    assert TINY.sha256 in pod.record("requirements.lock")


def test_constraints_of_a_requirements_file_bind_what_others_bring(tmp_path: Path) -> None:
    wheels = (
        Wheel("tiny-thing", "1.2.0", requires=("deep-thing",)),
        Wheel("deep-thing", "1.0"),
        Wheel("deep-thing", "2.0"),
    )
    code = {
        "inline": {
            "r.txt": "-r more/tiny.txt\n-c bounds.txt\n",
            "more/tiny.txt": "tiny-thing",
            "bounds.txt": "deep-thing<2",
        }
    }
    with PackageIndex(wheels) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"requirementsFile": "r.txt"}, code=code) == 0, pod.printed
    assert "deep_thing-1.0.dist-info" in pod.installed


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_second_run_with_the_cache_downloads_nothing_and_needs_no_index(tmp_path: Path) -> None:
    cache = made(tmp_path / "cache")
    with PackageIndex((TINY,)) as index:
        first = Pod(made(tmp_path / "first"), index)
        assert first.make({"pip": ["tiny-thing"]}, "--cache", str(cache)) == 0, first.printed
        assert index.downloads
        url = index.url
    second = Pod(made(tmp_path / "second"), UV_DEFAULT_INDEX=f"smalt={url}")
    assert second.make({"pip": ["tiny-thing"]}, "--cache", str(cache)) == 0, second.printed
    assert second.python("import tiny_thing; print(tiny_thing.ANSWER)") == "42"
    assert second.facts == first.facts


def test_runs_that_start_together_have_one_lock_and_one_cache(tmp_path: Path) -> None:
    cache = made(tmp_path / "cache")
    contract = tmp_path / "contract.json"
    contract.write_text(json.dumps({"run": {}, "environment": {"pip": ["tiny-thing"]}}))
    with PackageIndex((TINY,)) as index:
        pods = [Pod(made(tmp_path / str(number)), index) for number in range(6)]
        started = []
        for pod in pods:
            command = [
                sys.executable,
                "-s",
                str(SOURCE),
                "environment",
                "--from",
                str(contract),
                "--into",
                str(pod.into),
            ]
            command += ["--cache", str(cache)]
            started.append(subprocess.Popen(command, env=pod.variables, stderr=subprocess.PIPE, text=True))
        ends = [each.communicate(timeout=60)[1] for each in started]
    assert [each.returncode for each in started] == [0] * 6, ends
    assert len({pod.facts["digest"] for pod in pods}) == 1
    assert all(pod.installed == ["tiny_thing-1.2.0.dist-info"] for pod in pods)
    assert sum("resolved before, less than a day ago" in end for end in ends) == 5, (
        "one asks, the others wait for its answer"
    )


def test_the_cache_does_not_answer_for_another_file_than_the_locks(tmp_path: Path) -> None:
    cache = made(tmp_path / "cache")
    with PackageIndex((TINY,)) as index:
        first = Pod(made(tmp_path / "first"), index)
        assert first.make({"pip": ["tiny-thing"]}, "--cache", str(cache)) == 0
        lock = f"tiny-thing==1.2.0 --hash=sha256:{'0' * 64}\n"
        second = Pod(made(tmp_path / "second"), index)
        code = {"inline": {"r.txt": lock}}
        assert second.make({"requirementsFile": "r.txt"}, "--cache", str(cache), code=code) == 1
    assert "than the lock" in second.left["message"]


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "locks").write_text("a file where a folder should be")
    with PackageIndex((TINY,)) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"pip": ["tiny-thing"]}, "--cache", str(cache)) == 0
    assert "the cache of packages cannot be used" in pod.printed


# --- a private index --------------------------------------------------------------------------------------------------

LOGIN = ('jo#hn@"team', "p w'$(id)%40:/ß")


def credentials(username: str, password: str) -> dict[str, str]:
    return {"UV_INDEX_SMALT_USERNAME": username, "UV_INDEX_SMALT_PASSWORD": password}


def test_a_private_index_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    known = Certificates.made(tmp_path / "pki")
    with PackageIndex((TINY,), LOGIN, (known.certificate, known.key)) as index:
        pod = Pod(made(tmp_path / "pod"), index, SMALT_TRUST_BUNDLE=str(known.authority), **credentials(*LOGIN))
        assert pod.make({"pip": ["tiny-thing"]}) == 0, pod.printed
        assert index.downloads and not index.refused
        written = everything_below(tmp_path / "pod") + pod.printed
    assert pod.python("import tiny_thing; print(tiny_thing.ANSWER)") == "42"
    assert LOGIN[1] not in written
    assert index.host not in pod.record("requirements.lock")
    assert index.host not in json.dumps(pod.facts)


def test_the_same_lock_from_the_private_and_the_open_index_has_one_digest(tmp_path: Path) -> None:
    digests = set()
    for login in (None, LOGIN):
        with PackageIndex((TINY,), login) as index:
            pod = Pod(made(tmp_path / str(login is None)), index, **(credentials(*login) if login else {}))
            assert pod.make({"pip": ["tiny-thing"]}) == 0, pod.printed
            digests.add(pod.facts["digest"])
    assert len(digests) == 1


def test_an_index_whose_certificate_nobody_vouches_for_is_told(tmp_path: Path) -> None:
    known = Certificates.made(tmp_path / "pki")
    with PackageIndex((TINY,), certificate=(known.certificate, known.key)) as index:
        pod = Pod(made(tmp_path / "pod"), index)
        assert pod.make({"pip": ["tiny-thing"]}) == 1
    assert "spec.trustBundle" in pod.left["message"]


@pytest.mark.parametrize("given", [{}, credentials("john", "wrong")])
def test_refused_credentials_are_told_apart_from_a_package_that_is_absent(
    tmp_path: Path, given: dict[str, str]
) -> None:
    with PackageIndex((TINY,), ("john", "secret")) as index:
        pod = Pod(tmp_path, index, **given)
        assert pod.make({"pip": ["tiny-thing"]}) == 1
    assert pod.left["reason"] == "EnvironmentFailed"
    assert "spec.packages.credentialsSecret" in pod.left["message"]
    assert "wrong" not in pod.printed


def test_a_trust_bundle_without_certificates_is_told_with_its_key(tmp_path: Path) -> None:
    pod = Pod(tmp_path, SMALT_TRUST_BUNDLE=str(tmp_path / "ca.crt"))
    assert pod.make(None) == 1
    assert pod.left["reason"] == "TrustBundleInvalid"
    assert "spec.trustBundle.configMap has no key 'ca.crt'" in pod.left["message"]
    assert "goes on by itself" in pod.left["message"]


# --- what cannot be had -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "reason", "told"),
    [
        ({"pip": ["absent-thing"]}, "PackageNotFound", "the package index has no absent-thing; correct the name"),
        ({"pip": ["tiny-thing==9"]}, "PackageNotFound", "tiny-thing==9"),
        ({"pip": ["tiny-thing<0.9"]}, "PackageNotFound", "tiny-thing"),
        ({"pip": ["absent-a", "tiny-thing", "absent-b"]}, "PackageNotFound", "absent-a; absent-b"),
        (
            {"conda": "dependencies:\n- python=2.7\n"},
            "PythonMismatch",
            "name an image with that Python, such as python:2.7-slim,",
        ),
        (
            {"conda": "dependencies:\n- libodd\n- cudnn=8\n- r-base\n- tiny-thing\n- odder\n"},
            "PackageNotFound",
            "cudnn (line 3): the index's torch",
        ),
        (
            {"conda": "dependencies:\n- libodd\n- tiny-thing\n- odder\n"},
            "PackageNotFound",
            "libodd (line 2): if pip knows it",
        ),
        (
            {"conda": "dependencies:\n- libodd\n- tiny-thing\n- odder\n"},
            "PackageNotFound",
            "odder (line 4): if pip knows it",
        ),
        (
            {"pip": ["needy-thing", "tiny-thing>=1"]},
            "EnvironmentFailed",
            "the packages exclude each other: Because all versions of needy-thing",
        ),
    ],
)
def test_what_cannot_be_had_is_named_with_what_to_do(tmp_path: Path, environment: Json, reason: str, told: str) -> None:
    with PackageIndex(
        (TINY, Wheel("tiny-thing", "0.9"), Wheel("needy-thing", "1", requires=("tiny-thing<1",)))
    ) as index:
        pod = Pod(tmp_path, index)
        assert pod.make(environment) == 1
    assert pod.left["reason"] == reason, pod.left
    assert told in pod.left["message"]
    assert "apply the Deployment again" in pod.left["message"]


def test_a_package_whose_build_fails_ends_with_the_last_lines_of_the_build(tmp_path: Path) -> None:
    with PackageIndex((), extra=source_that_fails("broken-thing", "1.0", "no compiler on this machine")) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"pip": ["broken-thing"]}) == 1
    assert pod.left["reason"] == "EnvironmentFailed"
    assert "no compiler on this machine" in pod.left["message"]
    assert "no compiler on this machine" in pod.record("build.log")


def source_that_fails(name: str, version: str, words: str) -> dict[str, bytes]:
    """The files of an index with one source distribution, which needs nothing to be built and cannot be."""
    made = io.BytesIO()
    folder = f"{name}-{version}"
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    backend = (
        f"import sys\ndef build_wheel(*a, **k):\n    for n in range(200): print('line', n)\n    sys.exit({words!r})\n"
    )
    files = {
        "pyproject.toml": f'{build}[project]\nname = "{name}"\nversion = "{version}"\n',
        "backend.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for path, text in files.items():
            about = tarfile.TarInfo(f"{folder}/{path}")
            about.size = len(text.encode())
            archive.addfile(about, io.BytesIO(text.encode()))
    file = f"{folder}.tar.gz"
    page = f'<html><body><a href="/files/{file}">{file}</a></body></html>'
    return {f"/simple/{name}/": page.encode(), f"/files/{file}": made.getvalue()}


def test_an_index_that_does_not_answer_is_told_apart_from_a_package_it_lacks(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    assert pod.make({"pip": ["tiny-thing"]}) == 1
    assert pod.left["reason"] == "EnvironmentFailed"
    assert "127.0.0.1:9" in pod.left["message"]


def test_a_runs_failure_is_left_for_its_wrapper(tmp_path: Path) -> None:
    with PackageIndex((TINY,)) as index:
        pod = Pod(tmp_path, index)
        assert pod.make({"pip": ["absent-thing"]}, owner="run") == 0
    assert pod.facts["failed"]["reason"] == "PackageNotFound"
    assert "under another name" in pod.facts["failed"]["message"]
    assert "absent-thing" in pod.record("build.log")


# --- the tools --------------------------------------------------------------------------------------------------------


def test_the_installed_tools_work_in_another_folder_without_anything_else(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    command = [sys.executable, "-s", str(SOURCE), "install", str(tools)]
    subprocess.run(command, env=Pod(tmp_path).variables, check=True)
    assert sorted(path.name for path in tools.iterdir()) == ["__main__.py", "smalt_trainer", "uv"]
    assert os.access(tools / "uv", os.X_OK)
    script = "import smalt_trainer.uv as uv; print(uv.find_uv())"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tools)!r}); {script}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == str(tools / "uv")
    command = [sys.executable, "-s", "-u", str(tools), "--version"]
    elsewhere = {"PYTHONPATH": "/of/the/image"}
    assert subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=True).stdout.strip() == "0.1.0"


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
