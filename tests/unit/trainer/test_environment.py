"""When the image already has what is asked for, and what a mismatch says; no installer, no network."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from smalt_trainer import packages
from smalt_trainer.environment import Wanted, Workshop, check_python, ensure, read_environment
from smalt_trainer.environment_record import WRITTEN_WITH, EnvironmentRecord, found_beside, versions
from smalt_trainer.failures import RunFailed
from smalt_trainer.lock import Entry, Lock, read_entries
from smalt_trainer.locking import Question, preferences
from smalt_trainer.requirements import RequirementError, requirement, satisfied
from smalt_trainer.uv import absent_package, failure

INSTALLED = {"scikit-learn": "1.9.1", "numpy": "2.4.6", "odd": "1.0.post1", "pyyaml": "6.0", "torch": "2.5.1+cu121"}


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("scikit-learn", True),
        ("Scikit_Learn==1.9.1", True),
        ("scikit-learn == 1.9.1", True),
        ("scikit-learn==1.9", False),
        ("scikit-learn==1.9.*", True),
        ("scikit-learn!=1.9.*", False),
        ("scikit-learn~=1.8", True),
        ("scikit-learn~=1.8.0", False),
        ("PyYAML==6.0.0", True),
        ("PyYAML==6", True),
        ("numpy>=2,<3", True),
        ("numpy<2.4.6", False),
        ("numpy>2.4.6", False),
        ("numpy<=2.4.6", True),
        ("absent", False),
        # A builder's mark matters only to those who ask for it.
        ("torch==2.5.1", True),
        ("torch~=2.5", True),
        ("torch>=2.4,<3", True),
        ("torch==2.5.*", True),
        ("torch == 2.5.1+cu121", True),
        ("torch==2.5.1+cpu", False),
        ("torch>2.5.1", False),
        ("torch!=2.5.1", False),
        # Beyond certainty: left to the installer.
        ("numpy[extra]", False),
        ('numpy; python_version > "3"', False),
        ("numpy @ https://example.org/numpy.whl", False),
        ("numpy>=2rc1", False),
        ("odd>=1", False),
        ("odd", True),
    ],
)
def test_only_a_requirement_that_certainly_holds_is_satisfied(requirement: str, expected: bool) -> None:
    assert satisfied(requirement, INSTALLED) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("torch==2.5.1", True),
        ("torch==2.5.1+cu121", True),
        ("torch[opt]==2.5.1", True),
        ("torch==2.5.1+cpu", False),
        ("torch==2.6.0", False),
        ("numpy==2.4.6", True),
        ("absent==1", False),
        ("numpy @ https://example.org/numpy.whl", False),
    ],
)
def test_a_build_of_the_image_stands_for_its_public_version(line: str, expected: bool) -> None:
    assert (not Lock.of([Entry(line)]).lacking(INSTALLED)) is expected
    assert "torch==2.5.1" in preferences(INSTALLED)


def workshop(folder: Path) -> Workshop:
    return Workshop(folder / "environment", "image", "next", print)


def test_an_environment_the_image_has_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "install", lambda *arguments: pytest.fail(f"installed {arguments}"))
    lock = ensure(Wanted("=3", Question(["pytest>=1", "ruff"])), workshop(tmp_path))
    assert [entry.requirement.partition("==")[0] for entry in lock.entries] == ["pytest", "ruff"]
    assert not (tmp_path / "environment").exists()


@pytest.mark.parametrize("wanted", ["=3.11", "==3.11", "=3.11.2", ">=3.9", ">=3.9,<3.12", "=3", "==3.11.*"])
def test_a_python_the_image_has_is_accepted(wanted: str) -> None:
    check_python(wanted, "image", "next", (3, 11, 7))


@pytest.mark.parametrize("wanted", ["=3.10", ">=3.12", "<3.11", "=2.7", "==3.1"])
def test_another_python_names_what_is_wanted_and_what_there_is(wanted: str) -> None:
    with pytest.raises(RunFailed) as failed:
        check_python(wanted, "example/image:1", "apply it again", (3, 11, 7))
    assert failed.value.reason == "PythonMismatch"
    for part in (f"python{wanted}", "example/image:1", "3.11.7", "apply it again"):
        assert part in failed.value.message


def test_a_conda_file_and_the_same_text_inline_are_the_same(tmp_path: Path) -> None:
    text = "dependencies:\n- six\n"
    (tmp_path / "conda.yml").write_text(text)
    inline = read_environment({"conda": text}, tmp_path)
    assert read_environment({"condaFile": "conda.yml"}, tmp_path) == inline
    assert read_environment({}, tmp_path) == Wanted()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"condaFile": "absent.yml"}, "environment.condaFile 'absent.yml': this is not a file of the code"),
        ({"condaFile": "../conda.yml"}, "environment.condaFile '../conda.yml': this is not a file of the code"),
        ({"condaFile": "/etc/hostname"}, "environment.condaFile '/etc/hostname': this is not a file of the code"),
        ({"requirementsFile": "/etc/hostname"}, "environment.requirementsFile '/etc/hostname': "),
        ({"conda": "name: x"}, "environment.conda: there are no dependencies"),
        ({"pip": ["six", "-e ."]}, "environment.pip[1]: '-e .' is not a package requirement"),
        ({"pip": ["six\n-r x"]}, "environment.pip[0]"),
    ],
)
def test_an_environment_that_cannot_be_read_names_its_field(tmp_path: Path, spec: dict[str, object], told: str) -> None:
    with pytest.raises(RunFailed) as failed:
        read_environment(spec, tmp_path)
    assert failed.value.reason == "EnvironmentFailed"
    assert told in failed.value.message
    assert "under another name" in failed.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a @ https://john:secret@packages.example/a.whl", "spec.packages.credentialsSecret"),
        ("a @ https://token@packages.example/a.whl", "spec.packages.credentialsSecret"),
        ("https://john:secret@packages.example/a.whl", "spec.packages.credentialsSecret"),
        ("a @ https://evil.example/${UV_INDEX_SMALT_PASSWORD}", "has a variable in it"),
        ("a @ git+https://github.com/team/a", "name an archive of that commit"),
        ("./libs/a", "is a folder or file"),
        ("a @ file:///smalt/a.whl", "is a folder or file"),
    ],
)
def test_what_a_lock_cannot_hold_or_would_give_away_is_refused(text: str, told: str) -> None:
    with pytest.raises(RequirementError, match="here: ") as refused:
        requirement(text, "here")
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_digest_names_packages_python_and_platform_whatever_their_order() -> None:
    one = Lock.of([Entry("b==1", ("sha256:1", "sha256:2")), Entry("a==1", ("sha256:3",))])
    assert Lock.of(read_entries(one.text)) == one
    assert Lock.of(reversed(one.entries)).digest == one.digest
    assert Lock.of([*one.entries[:1], Entry("b==1", ("sha256:1",))]).digest != one.digest
    assert Lock().digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("printed", "package"),
    [
        ("Because torchx was not found in the package registry and you require torchx==1, we can", "torchx"),
        ("Because there is no version of six==99 and you require six==99, we can conclude", "six==99"),
        ("Because only six<2 is available and b was not found in the package registry, x", "b"),
        ("error: Failed to fetch: `https://example.org/simple/six/`", None),
    ],
)
def test_the_package_that_is_absent_is_found_in_what_the_installer_prints(printed: str, package: str | None) -> None:
    assert absent_package(printed) == package


def test_what_a_clash_says_is_no_absent_package() -> None:
    printed = "error: No solution found\n cause: Because a depends on b<1 and you require b>=2, we can conclude that a is out."
    failed = failure(printed, "next step")
    assert failed.reason == "EnvironmentFailed"
    assert "exclude each other: Because a depends on b<1" in failed.message


def test_a_lock_is_read_as_it_was_written_with_what_only_the_image_had_and_whom_it_is_for() -> None:
    one = Lock(
        (Entry("a==1", ("sha256:1", "sha256:2")), Entry("bare==2"), Entry("own==3", is_images=True)),
        "cpython-310",
        "arm",
    )
    assert Lock.read(one.text) == one and Lock.read(one.text).digest == one.digest
    assert Lock.read(one.text).digest != Lock(one.entries).digest
    with pytest.raises(ValueError, match="for which Python"):
        Lock.read("a==1\n")


def locked_in(folder: Path, lock: Lock) -> dict[str, str]:
    (folder / "requirements.lock").write_text(lock.text)
    return {"lockFile": str(folder / "requirements.lock")}


def test_the_lock_of_the_models_run_is_what_a_deployment_asks_for(tmp_path: Path) -> None:
    lock = Lock.of([Entry("scikit-learn==1.9.1", ("sha256:1",))])
    assert read_environment(locked_in(tmp_path, lock), tmp_path) == Wanted(lock=lock)


def test_a_lock_for_another_python_is_refused_in_words(tmp_path: Path) -> None:
    lock = Lock((), "cpython-310", "x86_64-linux-gnu")
    with pytest.raises(
        RunFailed, match=r"locked for cpython-310, x86_64-linux-gnu, and this image is .*spec.environment"
    ) as refused:
        read_environment(locked_in(tmp_path, lock), tmp_path, "then apply the Deployment again")
    assert refused.value.reason == "PythonMismatch" and "apply the Deployment again" in refused.value.message


def test_what_came_with_the_image_of_the_run_alone_is_named(tmp_path: Path) -> None:
    lock = Lock.of([Entry("no-index-has-it==1", is_images=True)])
    workshop = Workshop(tmp_path, "", "then apply the Deployment again", print)
    with pytest.raises(RunFailed, match=r"no-index-has-it==1 came with the image of the model's run"):
        ensure(Wanted(lock=lock), workshop)


def test_versions_are_found_by_the_names_of_their_metadata(tmp_path: Path) -> None:
    first = ["numpy-2.1.0.dist-info", "numpy_financial-1.0.dist-info"]
    for number, names in enumerate((first, ["numpy-1.0.egg-info", "scikit_learn-1.5.2-py3.11.egg-info"])):
        for name in names:
            (tmp_path / str(number) / name).mkdir(parents=True)
    found = found_beside([str(tmp_path / "absent"), str(tmp_path / "0"), str(tmp_path / "1")])
    assert found == {"numpy": "2.1.0", "scikit-learn": "1.5.2"}
    here = {name: metadata.version(name) for name in WRITTEN_WITH}
    assert found_beside(sys.path) == here and json.loads(versions(here))["packages"] == here


def test_of_an_image_that_nothing_was_added_to_the_versions_are_kept(tmp_path: Path) -> None:
    EnvironmentRecord(tmp_path / "none").copy(tmp_path / "kept")
    assert [each.name for each in (tmp_path / "kept").iterdir()] == ["versions.json"]
    assert set(json.loads((tmp_path / "kept/versions.json").read_text())["packages"]) == set(WRITTEN_WITH)
