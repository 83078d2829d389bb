"""Fetches one commit of a git repository: the files of that commit and nothing else of what git can do.

No configuration but ours, no hooks, no filters, no submodules, no protocol but http(s), no prompt. What is fetched is
listed and judged before the first file is written.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Callable, List, Mapping, Optional, Tuple

from smalt_trainer.addresses import LOOPBACK
from smalt_trainer.code import file_name_problem
from smalt_trainer.contract import GitCode
from smalt_trainer.credentials import Login, login, scrubbed
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.links import MOST_BYTES, MOST_FILES, refuse_links_that_leave, too_large, too_many

# One pack, as it comes over the line.
MOST_PACK_BYTES = 2 << 30
# All of it, tries included; the Job's deadline allows an hour for everything before the script.
MOST_SECONDS = 1800.0
_TRIES = 5
_WANTED = "refs/smalt/wanted"
_EVERYTHING = ("+refs/heads/*:refs/smalt/heads/*", "+refs/tags/*:refs/smalt/tags/*")
_FULL = re.compile(r"^([0-9a-f]{40}|[0-9a-f]{64})$")
_ABBREVIATED = re.compile(r"^[0-9a-f]{7,64}$")
_IN_CLUSTER = re.compile(r"\.svc(\.cluster\.local)?$")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_LFS = b"version https://git-lfs.github.com/spec/v1\n"

_NO_ACCESS = re.compile(
    r"Authentication failed|could not read (Username|Password)|returned error: 40[13]|Access denied", re.IGNORECASE
)
_NOT_THERE = re.compile(r"repository '.*' not found|returned error: (404|410)|does not appear to be a git repo", re.I)
_UNTRUSTED = re.compile(r"certificate|SSL|TLS")
_PASSES_BY = re.compile(
    r"Could not resolve|Failed to connect|Connection (timed out|refused|reset)|timed out|early EOF|unexpected disconnect"
    r"|RPC failed|remote end hung up|Empty reply|Operation too slow|returned error: (429|5\d\d)|Recv failure|transfer closed",
    re.IGNORECASE,
)
# As git tells what the limit on the size of its files has done to a program of its own.
_PAST_LIMIT = re.compile(rf"File too large|signal {int(signal.SIGXFSZ)}\b")
_NOT_OFFERED = re.compile(r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref", re.IGNORECASE)


class _GitFailed(Exception):
    """git ended with an error; the message is what it printed."""


@dataclass(frozen=True)
class _Entry:
    """One entry of the commit's tree."""

    mode: str
    size: int
    name: str


def address_problem(url: str) -> Optional[str]:
    """Why an address is refused, or None: https anywhere, http only where the line is the cluster's own or this machine's."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if "@" in parts.netloc:
        return "has a user in it; name a Secret in code.git.credentialsSecret instead"
    if parts.scheme == "https" or (parts.scheme == "http" and (host in LOOPBACK or _IN_CLUSTER.search(host))):
        return None if host else "names no host"
    return f"uses {parts.scheme or 'no scheme'}; write https://, or http:// for a Service of the cluster"


def fetch_git(
    wanted: GitCode,
    into: Path,
    scratch: Path,
    credentials: Path,
    variables: Mapping[str, str],
    say: Callable[[str], None],
) -> str:
    """Lay the commit's files out in `into`; the commit."""
    problem = address_problem(wanted.url)
    if problem:
        raise _unavailable(f"code.git.url {problem}")
    found = login(credentials, "code.git.credentialsSecret", wanted.credentials_secret)
    git = _Git(wanted, scratch, credentials, found, variables, say)
    git.local("init", "--quiet", "--bare", str(git.folder))
    commit = _fetched_commit(git, wanted)
    tree = _tree(git, wanted, commit)
    _judge(git, tree)
    into.mkdir(parents=True, exist_ok=True)
    git.local("read-tree", tree)
    git.local("checkout-index", "--all", "--force", GIT_WORK_TREE=str(into))
    refuse_links_that_leave(into)
    _tell_of_large_files(into, say)
    say(f"code is commit {commit} of {wanted.url}")
    return commit


class _Git:
    """git with an environment of its own, for one repository."""

    def __init__(
        self,
        wanted: GitCode,
        scratch: Path,
        credentials: Path,
        found: Optional[Login],
        variables: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self.url, self.secret, self.folder = wanted.url, wanted.credentials_secret, scratch / "repository.git"
        self._login, self._say = found, say
        self._deadline = time.monotonic() + MOST_SECONDS
        self._environment = _environment(self.url, scratch, self.folder, variables)
        self._settings = _settings(self.url, credentials if found else None)

    def local(self, *arguments: str, **variables: str) -> str:
        """A command that needs no network; an error of it is not foreseen, and told in git's words."""
        try:
            return self._run(arguments, variables)
        except _GitFailed as error:
            raise RunFailed(
                "CodeInvalid", f"git {arguments[0]} of {self.url} failed: {error}; {ANOTHER_NAME}"
            ) from error

    def asked(self, *arguments: str) -> Optional[str]:
        """A question whose answer may be no: None."""
        try:
            return self._run(arguments).strip()
        except _GitFailed:
            return None

    def remote(self, *arguments: str) -> str:
        """A command that asks the server, again where that may help. _GitFailed when it does not offer what is wanted."""
        pause = 1.0
        for left in reversed(range(_TRIES)):
            try:
                return self._run(arguments)
            except _GitFailed as error:
                words = str(error)
                if _NOT_OFFERED.search(words):
                    raise
                if not left or not _PASSES_BY.search(words) or time.monotonic() + pause > self._deadline:
                    raise self._explained(words) from error
                self._say(f"{self.url}: {words}; trying again")
                time.sleep(pause)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    def _explained(self, words: str) -> RunFailed:
        if _NO_ACCESS.search(words):
            if self.secret:
                return _unavailable(
                    f"{self.url} refuses the name and password of Secret '{self.secret}' ({words}): correct the Secret, "
                    "which must be allowed to read this repository"
                )
            return _unavailable(
                f"{self.url} does not exist or is private ({words}): correct code.git.url, or name a Secret with username "
                "and password, or token, in code.git.credentialsSecret"
            )
        if _NOT_THERE.search(words):
            hint = (
                "or one its Secret may not read"
                if self.secret
                else "or a private one without code.git.credentialsSecret"
            )
            return _unavailable(f"{self.url} is no repository, {hint} ({words}): correct code.git.url")
        if _UNTRUSTED.search(words):
            return _unavailable(
                f"{self.url} is not trusted ({words}): put its certificate authority into the ConfigMap of the Workspace's "
                "spec.trustBundle"
            )
        return _unavailable(f"{self.url} cannot be fetched ({words}): check that it answers from within the cluster")

    def _run(self, arguments: Tuple[str, ...], variables: Mapping[str, str] = MappingProxyType({})) -> str:
        left = self._deadline - time.monotonic()
        command = ["git", *self._settings, *arguments]
        try:
            process = subprocess.Popen(
                command,
                env={**self._environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_limit_files,
            )
        except FileNotFoundError as error:
            raise RunFailed("InternalError", "the image that fetches code has no git; use Smalt's own") from error
        try:
            out, err = process.communicate(timeout=max(left, 0.001))
        except subprocess.TimeoutExpired as error:
            raise _unavailable(
                f"{self.url} was not fetched within {MOST_SECONDS / 60:.0f} minutes: name a smaller repository"
            ) from error
        finally:
            _end(process)
        if process.returncode == 0:
            return out.decode("utf-8", "surrogateescape")
        words = _brief(scrubbed(err.decode("utf-8", "replace"), self._login))
        if process.returncode == -signal.SIGKILL:
            raise _unavailable(f"git was killed while it fetched {self.url}, for its memory: name a smaller repository")
        if process.returncode == -signal.SIGXFSZ or _PAST_LIMIT.search(words):
            raise too_large(self.url, MOST_PACK_BYTES)
        raise _GitFailed(words or f"exit code {process.returncode}")


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_PACK_BYTES, MOST_PACK_BYTES))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """git and the programs it has started, whichever way it was left."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def _environment(url: str, scratch: Path, folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the surroundings but the way to the network: what else is set there could run a program."""
    proxies = {
        name: value for name, value in variables.items() if name.upper() in _PROXIES and "\n" not in value and value
    }
    if "HTTP_PROXY" in proxies:
        proxies.setdefault(
            "http_proxy", proxies["HTTP_PROXY"]
        )  # the one name that git's client reads in lower case only
    trusted = {"GIT_SSL_CAINFO": variables["SSL_CERT_FILE"]} if variables.get("SSL_CERT_FILE") else {}
    return {
        "PATH": variables.get("PATH", os.defpath),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LC_ALL": "C",
        "GIT_DIR": str(folder),
        "GIT_INDEX_FILE": str(scratch / "index"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        # https stays https, whatever a redirect says.
        "GIT_ALLOW_PROTOCOL": urllib.parse.urlsplit(url).scheme,
        **trusted,
        **proxies,
    }


def _settings(url: str, credentials: Optional[Path]) -> List[str]:
    settings = [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.bare=false",
        "core.autocrlf=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "submodule.recurse=false",
        "pack.threads=1",
        "core.packedGitLimit=128m",
        "http.lowSpeedLimit=1",
        "http.lowSpeedTime=60",
        "credential.helper=",
    ]
    if credentials:
        # For this host alone: one that a redirect leads to is not told the password.
        parts = urllib.parse.urlsplit(url)
        program = [sys.executable, "-s", str(Path(__file__).resolve().parents[1]), "git-credential", str(credentials)]
        helper = " ".join(shlex.quote(word) for word in program)
        settings.append(f"credential.{parts.scheme}://{parts.netloc}.helper=!{helper}")
    return [word for setting in settings for word in ("-c", setting)]


def _fetched_commit(git: _Git, wanted: GitCode) -> str:
    """Fetch what is named, as little of it as the server gives; the commit it is."""
    if wanted.commit or _FULL.match(wanted.revision or ""):
        return _exact(git, str(wanted.commit or wanted.revision))
    name = _reference(git, wanted)
    if name is None:
        return _abbreviated(git, wanted)
    git.remote(*_fetch("--depth=1"), git.url, f"+{name}:{_WANTED}")
    commit = git.asked("rev-parse", "--verify", "--quiet", f"{_WANTED}^{{commit}}")
    if commit is None:
        raise _invalid(f"code.git.revision '{wanted.revision}' of {git.url} is no commit, and there are no files in it")
    return commit


def _fetch(*options: str) -> Tuple[str, ...]:
    return ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", *options, "--")


def _reference(git: _Git, wanted: GitCode) -> Optional[str]:
    """The full name of the tag or branch, or of what the server has for its default; a tag first, as git has it."""
    names = [f"refs/tags/{wanted.revision}", f"refs/heads/{wanted.revision}"] if wanted.revision else ["HEAD"]
    listed = git.remote("ls-remote", "--quiet", "--", git.url, *names)
    offered = {line.partition("\t")[2] for line in listed.splitlines()}
    for name in names:
        if name in offered:
            return name
    if wanted.revision is None:
        raise _invalid(f"{git.url} has no default branch, or no commit at all: name one in code.git.revision")
    return None


def _exact(git: _Git, commit: str) -> str:
    """A commit by its whole name, alone where the server allows that, else with everything."""
    try:
        git.remote(*_fetch("--depth=1"), git.url, f"+{commit}:{_WANTED}")
    except _GitFailed:
        _fetch_everything(git)
    if git.asked("cat-file", "-t", commit) != "commit":
        raise _invalid(
            f"{git.url} has no commit {commit} on any branch or tag: it was never pushed, or has been removed since; "
            "correct code.git.revision"
        )
    return commit


def _abbreviated(git: _Git, wanted: GitCode) -> str:
    """The commit whose name begins so; no server can be asked for that, so everything is fetched."""
    revision = str(wanted.revision)
    if _ABBREVIATED.match(revision):
        _fetch_everything(git)
        found = git.asked("rev-parse", f"--disambiguate={revision}") or ""
        commits = [each for each in found.split() if git.asked("cat-file", "-t", each) == "commit"]
        if len(commits) == 1:
            return commits[0]
        if commits:
            raise _invalid(
                f"code.git.revision '{revision}' is the beginning of {len(commits)} commits: write it in full"
            )
    offered = git.remote("ls-remote", "--quiet", "--heads", "--tags", "--refs", "--", git.url).splitlines()
    names = [line.partition("\t")[2].split("/", 2)[-1] for line in offered]
    has = f"it has {', '.join(names[:10])}{' and more' if len(names) > 10 else ''}" if names else "it has none"
    raise _invalid(f"code.git.revision '{revision}' is no branch, tag or commit of {git.url} ({has}): correct it")


def _fetch_everything(git: _Git) -> None:
    git.remote(*_fetch(), git.url, *_EVERYTHING)


def _tree(git: _Git, wanted: GitCode, commit: str) -> str:
    if not wanted.path:
        return f"{commit}^{{tree}}"
    tree = f"{commit}:{wanted.path}"
    if git.asked("cat-file", "-t", tree) != "tree":
        raise _invalid(f"code.git.path '{wanted.path}' is no folder of {git.url} at commit {commit}: correct it")
    return tree


def _judge(git: _Git, tree: str) -> None:
    """Refuse what is no plain tree of files of a size to work with; nothing has been written yet."""
    entries = [_entry(line) for line in git.local("ls-tree", "-r", "-l", "-z", "--full-tree", tree).split("\0") if line]
    for each in entries:
        if each.mode == "160000":
            raise _invalid(
                f"'{each.name}' is a submodule, and submodules are not fetched: copy its files into the repository, or have "
                "code.git.path name a folder without it"
            )
        problem = file_name_problem(each.name)
        if problem:
            raise _invalid(f"{git.url} has a file {each.name!r}, which {problem}: rename it")
    if not entries:
        raise _invalid(f"{git.url} has no files there: correct code.git.path or code.git.revision")
    if len(entries) > MOST_FILES:
        raise too_many(git.url)
    if sum(each.size for each in entries) > MOST_BYTES:
        raise too_large(git.url, MOST_BYTES)


def _entry(line: str) -> _Entry:
    facts, _, name = line.partition("\t")
    mode, _, _, size = facts.split()
    return _Entry(mode, int(size) if size.isdigit() else 0, name)


def _tell_of_large_files(folder: Path, say: Callable[[str], None]) -> None:
    """Files that Git LFS keeps elsewhere are a few lines here, which a script would take for its data."""
    found = [
        path for path in sorted(folder.rglob("*")) if not path.is_symlink() and path.is_file() and _is_pointer(path)
    ]
    if found:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:3])
        say(
            f"{len(found)} files are kept by Git LFS, of which only the pointers are fetched ({names}"
            f"{', …' if len(found) > 3 else ''}): give large files to the run as inputs"
        )


def _is_pointer(path: Path) -> bool:
    if path.stat().st_size > 1024:
        return False
    with path.open("rb") as stream:
        return stream.read(len(_LFS)) == _LFS


def _unavailable(words: str) -> RunFailed:
    return RunFailed("CodeUnavailable", f"{words}, {ANOTHER_NAME}")


def _invalid(words: str) -> RunFailed:
    return RunFailed("CodeInvalid", f"{words}, {ANOTHER_NAME}")


def _brief(words: str) -> str:
    """git's last words in one line: what it says first is progress, and what `remote:` says may be long."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return "; ".join(lines[-3:])[-400:]
