"""Code from a real git server: which commit it is, who may have it, and what is refused before a file is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer import git
from smalt_trainer.contract import GitCode
from smalt_trainer.failures import RunFailed
from support.fetch_pod import FetchPod, contract_of
from support.git_server import GitServer, Repository
from support.run_pod import wait_until
from support.tracking import free_port

SECRET = "s3cr3t-w0rd"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer(tmp_path_factory.mktemp("git")) as started:
        yield started


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return server.repository(f"{uuid.uuid4().hex[:8]}.git")


@pytest.fixture
def pod(tmp_path: Path) -> FetchPod:
    return FetchPod(tmp_path)


def fetched(pod: FetchPod, git: dict[str, str], secret: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    return pod.fetch({"git": git}, secret, **changes)


def url(server: GitServer, repository: Repository) -> str:
    return f"{server.url}/{repository.folder.name}"


@dataclass(frozen=True)
class History:
    """Commits by what leads to them."""

    url: str
    commits: dict[str, str]


@pytest.fixture(scope="module")
def history(server: GitServer) -> History:
    made = server.repository("history.git")
    first = made.commit({"train.py": "print(1)", "churn/train.py": "print('churn')"})
    made.git("tag", "v1")
    made.git("tag", "--annotate", "v1-annotated", "--message", "one")
    second = made.commit({"train.py": "print(2)"})
    made.git("branch", "release/1.x", first)
    made.git("branch", "both", first)
    made.git("tag", "both", second)
    third = made.commit({"train.py": "print(3)"})
    return History(url(server, made), {"1": first, "2": second, "3": third})


@pytest.mark.parametrize(
    ("revision", "number"),
    [(None, "3"), ("main", "3"), ("release/1.x", "1"), ("v1", "1"), ("v1-annotated", "1"), ("both", "2")],
)
def test_a_branch_a_tag_or_nothing_leads_to_its_commit(
    history: History, pod: FetchPod, revision: str | None, number: str
) -> None:
    message = fetched(pod, {"url": history.url} | ({"revision": revision} if revision else {}))
    assert message["code"] == {"commit": history.commits[number]}
    assert pod.files == {"train.py": f"print({number})", "churn/train.py": "print('churn')"}
    facts = json.loads((pod.folder / "fetched/facts.json").read_text())
    assert facts["code"] == message["code"]
    assert {path.name for path in (pod.folder / "fetched").iterdir()} == {"code", "facts.json"}


@pytest.mark.parametrize("digits", [40, 12, 7])
def test_a_commit_is_fetched_in_full_and_abbreviated(history: History, pod: FetchPod, digits: int) -> None:
    message = fetched(pod, {"url": history.url, "revision": history.commits["2"][:digits]})
    assert message["code"] == {"commit": history.commits["2"]}
    assert pod.files["train.py"] == "print(2)"


def test_a_further_attempt_runs_the_same_commit_though_the_branch_has_moved_on(
    server: GitServer, repository: Repository, tmp_path: Path
) -> None:
    before = repository.commit({"train.py": "print('before')"})
    source = {"url": url(server, repository), "revision": "main"}
    assert fetched(FetchPod(tmp_path / "1"), source)["code"] == {"commit": before}
    repository.commit({"train.py": "print('after')"})
    second = FetchPod(tmp_path / "2")
    assert fetched(second, source | {"commit": before})["code"] == {"commit": before}
    assert second.files == {"train.py": "print('before')"}


def test_a_server_that_gives_out_no_single_commits_is_asked_for_everything(
    server: GitServer, repository: Repository, pod: FetchPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.commit({"train.py": "1"})
    repository.commit({"train.py": "2"})
    # The first version of the protocol gives out what branches and tags name, and nothing else.
    repository.git("config", "protocol.version", "0")
    monkeypatch.setattr(server, "protocol", "version=0")
    message = fetched(pod, {"url": url(server, repository), "revision": first})
    assert message["code"] == {"commit": first}
    assert pod.files == {"train.py": "1"}


def test_a_folder_of_the_repository_is_the_code(history: History, pod: FetchPod) -> None:
    fetched(pod, {"url": history.url, "path": "churn"})
    assert pod.files == {"train.py": "print('churn')"}


def test_a_second_start_begins_anew(history: History, pod: FetchPod) -> None:
    (pod.folder / "fetched/code").mkdir(parents=True)
    (pod.folder / "fetched/code/left.py").write_text("of a start that was broken off")
    (pod.folder / "fetched/unfinished").mkdir()
    fetched(pod, {"url": history.url})
    assert "left.py" not in pod.files


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        ({"revision": "v9"}, "CodeInvalid", ["'v9'", "no branch, tag or commit", "main", "v1"]),
        ({"revision": "0123456789"}, "CodeInvalid", ["'0123456789'", "no branch, tag or commit"]),
        ({"revision": "0" * 40}, "CodeInvalid", ["has no commit", "0" * 40]),
        ({"path": "chrun"}, "CodeInvalid", ["code.git.path 'chrun'", "no folder"]),
        ({"path": "train.py"}, "CodeInvalid", ["code.git.path 'train.py'", "no folder"]),
    ],
)
def test_what_is_not_in_the_repository_is_named(
    history: History, pod: FetchPod, source: dict[str, str], reason: str, words: list[str]
) -> None:
    message = fetched(pod, {"url": history.url} | source)
    assert message["reason"] == reason
    for each in [*words, history.url, "under another name"]:
        assert each in message["message"]
    assert not (pod.folder / "fetched/code").exists()


def test_an_empty_repository_is_named(server: GitServer, repository: Repository, pod: FetchPod) -> None:
    message = fetched(pod, {"url": url(server, repository)})
    assert message["reason"] == "CodeInvalid"
    assert "no default branch" in message["message"]


@pytest.mark.parametrize(
    ("secret", "login"),
    [
        ({"username": "ada", "password": SECRET}, ("ada", SECRET)),
        ({"username": "ada", "password": SECRET + "\n"}, ("ada", SECRET)),
        ({"token": SECRET}, ("x-access-token", SECRET)),
        ({"username": "oauth2", "token": SECRET}, ("oauth2", SECRET)),
    ],
)
def test_a_private_repository_is_fetched_with_its_secret_which_nothing_shows(
    server: GitServer, pod: FetchPod, secret: dict[str, str], login: tuple[str, str]
) -> None:
    private = server.repository(f"{uuid.uuid4().hex[:8]}.git", login)
    commit = private.commit({"train.py": "print('private')"})
    message = fetched(pod, {"url": url(server, private), "credentialsSecret": "git"}, secret)
    assert message["code"] == {"commit": commit}, pod.log
    assert SECRET not in pod.log
    left = [path for path in pod.folder.rglob("*") if path.is_file() and "credentials" not in path.parts]
    assert [path for path in left if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("secret", "name", "words"),
    [
        (None, None, ["is private", "code.git.credentialsSecret"]),
        ({"username": "ada", "password": "wr0ng-w0rd"}, "git", ["refuses", "Secret 'git'", "correct the Secret"]),
        (
            {"ssh-privatekey": "k"},
            "git",
            ["Secret 'git'", "ssh-privatekey", "username and password, or token", "https"],
        ),
        ({}, "git", ["Secret 'git'", "has nothing"]),
        ({"token": "two\nlines"}, "git", ["Secret 'git'", "line break"]),
    ],
)
def test_without_the_right_secret_it_is_said_what_is_wanted(
    server: GitServer, pod: FetchPod, secret: dict[str, str] | None, name: str | None, words: list[str]
) -> None:
    private = server.repository(f"{uuid.uuid4().hex[:8]}.git", ("ada", SECRET))
    private.commit({"train.py": ""})
    source = {"url": url(server, private)} | ({"credentialsSecret": name} if name else {})
    message = fetched(pod, source, secret)
    assert message["reason"] == "CodeUnavailable"
    for each in words:
        assert each in message["message"]
    for each in (secret or {}).values():
        assert len(each) < 3 or (each not in message["message"] and each not in pod.log)


def test_the_password_is_for_its_own_host_and_for_no_other(server: GitServer, tmp_path: Path, pod: FetchPod) -> None:
    with GitServer(tmp_path / "elsewhere", private={"taken.git": ("ada", SECRET)}) as other:
        other.root.mkdir()
        server.redirects["moved.git"] = f"{other.url}/taken.git"
        message = fetched(
            pod, {"url": f"{server.url}/moved.git", "credentialsSecret": "git"}, {"username": "ada", "password": SECRET}
        )
        assert message["reason"] == "CodeUnavailable"
        assert other.requests
        assert {authorization for _, authorization in other.requests} == {None}


def test_a_server_that_is_away_for_a_moment_is_asked_again(
    server: GitServer, repository: Repository, pod: FetchPod
) -> None:
    commit = repository.commit({"train.py": ""})
    server.failures = 2
    assert fetched(pod, {"url": url(server, repository)})["code"] == {"commit": commit}
    assert "503" in pod.log and "trying again" in pod.log


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("{server}/nowhere.git", ["is no repository", "nowhere.git"]),
        ("file:///etc", ["code.git.url uses file", "https://"]),
        ("ext::sh -c id", ["code.git.url uses", "https://"]),
        ("ssh://git@example.org/a.git", ["has a user in it"]),
        ("http://git.example.org/a.git", ["uses http", "Service of the cluster"]),
        ("--upload-pack=id", ["uses no scheme"]),
    ],
)
def test_an_address_that_leads_nowhere_or_is_not_to_be_used_is_named(
    server: GitServer, pod: FetchPod, address: str, words: list[str]
) -> None:
    message = fetched(pod, {"url": address.format(server=server.url)})
    assert message["reason"] == "CodeUnavailable"
    for each in words:
        assert each in message["message"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("120000", "data", "/etc/passwd")], ["'data'", "link to '/etc/passwd'", "outside of the code"]),
        ([("120000", "up", "../../..")], ["'up'", "outside of the code"]),
        ([("120000", "a", "b/.."), ("120000", "b", "..")], ["outside of the code"]),
        ([("160000", "library", "1" * 40)], ["'library' is a submodule", "not fetched"]),
        ([("100644", "..data", "x")], ["'..data'", "two dots"]),
        ([("100644", "a\\b", "x")], ["a\\\\b", "rename it"]),
    ],
)
def test_a_commit_with_something_that_leads_elsewhere_is_refused_by_name(
    server: GitServer, repository: Repository, pod: FetchPod, entries: list[tuple[str, str, str]], words: list[str]
) -> None:
    repository.commit_entries(("100644", "train.py", "print(1)"), *entries)
    message = fetched(pod, {"url": url(server, repository), "revision": "odd"})
    assert message["reason"] == "CodeInvalid"
    for each in words:
        assert each in message["message"]


def test_a_submodule_beside_the_folder_that_is_the_code_is_no_matter(
    server: GitServer, repository: Repository, pod: FetchPod
) -> None:
    inner = repository.git(
        "mktree", stdin=f"100644 blob {repository.git('hash-object', '-w', '--stdin', stdin='x')}\ttrain.py"
    )
    repository.commit_entries(("160000", "library", "1" * 40), ("40000", "churn", inner))
    fetched(pod, {"url": url(server, repository), "revision": "odd", "path": "churn"})
    assert pod.files == {"train.py": "x"}


def test_links_within_the_code_are_kept_and_programs_stay_programs(
    server: GitServer, repository: Repository, pod: FetchPod
) -> None:
    repository.commit_entries(("100755", "run.sh", "echo hi"), ("120000", "again.sh", "run.sh"))
    fetched(pod, {"url": url(server, repository), "revision": "odd"})
    assert pod.files == {"run.sh": "echo hi", "again.sh": "echo hi"}
    assert os.access(pod.folder / "fetched/code/run.sh", os.X_OK)


def test_nothing_that_a_repository_asks_for_is_run(server: GitServer, repository: Repository, pod: FetchPod) -> None:
    """Filters, hooks and Git LFS; what LFS keeps elsewhere is told, since a script would take the pointer for its data."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
    filters = '[filter "lfs"]\n\tsmudge = touch ran\n\trequired = true\n'
    files = {".gitattributes": "*.bin filter=lfs\n", ".gitconfig": filters, ".githooks/post-checkout": "touch ran\n"}
    repository.git("config", "filter.lfs.clean", "cat")
    repository.commit(files | {"weights.bin": pointer, "train.py": ""})
    fetched(pod, {"url": url(server, repository)})
    assert pod.files["weights.bin"] == pointer
    assert "Git LFS" in pod.log and "weights.bin" in pod.log
    assert [path.name for path in pod.folder.rglob("ran")] == []


def test_variables_of_the_run_do_not_reach_git(history: History, pod: FetchPod) -> None:
    variables = {"GIT_SSH_COMMAND": "touch ran", "GIT_PROXY_COMMAND": "x", "GIT_CONFIG_COUNT": "1", "NO_PROXY": "*"}
    assert fetched(pod, {"url": history.url}, environmentVariables=variables)["outcome"] == "succeeded"


def test_a_repository_with_more_files_than_code_has_is_refused(
    server: GitServer, repository: Repository, pod: FetchPod
) -> None:
    stored = repository.git("hash-object", "-w", "--stdin", stdin="x")
    many = repository.git("mktree", stdin="".join(f"100644 blob {stored}\tf{number}\n" for number in range(20_001)))
    repository.git("update-ref", "refs/heads/odd", repository.git("commit-tree", many, "-m", "many"))
    message = fetched(pod, {"url": url(server, repository), "revision": "odd"})
    assert message["reason"] == "CodeInvalid"
    assert "more than 20000 files" in message["message"]
    assert not (pod.folder / "fetched/code").exists()


def test_a_repository_that_is_larger_than_code_may_be_is_refused(
    server: GitServer, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({f"{each}.txt": uuid.uuid4().hex * 4000 for each in range(150)})
    wanted = GitCode(url(server, repository), None, None, None, None)
    monkeypatch.setattr(git, "MOST_PACK_BYTES", 100_000)
    with pytest.raises(RunFailed, match="is larger than") as failed:
        git.fetch_git(wanted, tmp_path / "code", tmp_path, tmp_path / "no", os.environ, print)
    assert failed.value.reason == "CodeInvalid"


@pytest.fixture
def hanging(server: GitServer) -> Iterator[GitServer]:
    server.answers.clear()
    yield server
    server.answers.set()


def test_a_server_that_never_answers_is_given_up(
    hanging: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "MOST_SECONDS", 0.5)
    wanted = GitCode(f"{hanging.url}/a.git", None, None, None, None)
    with pytest.raises(RunFailed, match="was not fetched within") as failed:
        git.fetch_git(wanted, tmp_path / "code", tmp_path, tmp_path / "no", os.environ, print)
    assert failed.value.reason == "CodeUnavailable"


def test_a_pod_that_is_to_end_leaves_true_words_and_no_program_of_gits(hanging: GitServer, pod: FetchPod) -> None:
    asked = len(hanging.requests)
    pod.write(contract_of({"git": {"url": f"{hanging.url}/a.git"}}))
    process = pod.start()
    wait_until(lambda: len(hanging.requests) > asked, "git's first question")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert pod.message["reason"] == "Terminated"
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if f"{hanging.url}/a.git" in _read(path)]
    assert left == []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of an authority that nobody knows but who is told."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=git -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", "key", "-out", "crt"], cwd=folder, check=True, capture_output=True)
    return folder / "crt", folder / "key"


def test_https_is_trusted_by_the_bundle_of_the_workspace_and_not_without(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with GitServer(tmp_path / "git", certificate=certificate) as secured:
        repository = secured.repository("a.git", ("ada", SECRET))
        commit = repository.commit({"train.py": "1"})
        source = {"url": url(secured, repository), "credentialsSecret": "git"}
        secret = {"username": "ada", "password": SECRET}
        message = fetched(FetchPod(tmp_path / "1"), source, secret)
        assert message["reason"] == "CodeUnavailable"
        assert "is not trusted" in message["message"] and "spec.trustBundle" in message["message"]
        bundle = {"SMALT_TRUST_BUNDLE": str(certificate[0])}
        assert fetched(FetchPod(tmp_path / "2", variables=bundle), source, secret)["code"] == {"commit": commit}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_the_proxy_that_the_run_names_is_on_the_way(history: History, pod: FetchPod, name: str) -> None:
    port = str(free_port())
    message = fetched(pod, {"url": history.url}, environmentVariables={name: f"http://127.0.0.1:{port}"})
    assert message["reason"] == "CodeUnavailable"
    assert port in message["message"]
