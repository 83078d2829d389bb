"""What the script leaves behind under a declared name: a place to write it, and its manifest afterwards."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Tuple

from smalt_trainer.contract import Contract
from smalt_trainer.digests import Entry, files_below, manifest, manifest_digest
from smalt_trainer.failures import RunFailed
from smalt_trainer.links import is_below


@dataclass(frozen=True)
class Output:
    """One declared output that exists."""

    name: str
    path: Path
    entries: Tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """The digest of the output's manifest."""
        return manifest_digest(self.entries)

    def file(self, entry: Entry) -> Path:
        """Where a file of the manifest lies."""
        return self.path / entry.path if self.path.is_dir() else self.path

    def status(self, uri: str) -> dict[str, object]:
        """The output as the operator is told of it."""
        size = sum(entry.size for entry in self.entries)
        return {"uri": uri, "digest": self.digest, "bytes": size, "files": len(self.entries)}


def prepare_outputs(declared: Mapping[str, str], into: Path) -> dict[str, Path]:
    """The path of every output: an empty folder, or for uriFile a file yet to be written."""
    into.mkdir(parents=True, exist_ok=True)
    paths = {name: into / name for name in declared}
    for name, kind in declared.items():
        if kind != "uriFile":
            paths[name].mkdir(parents=True, exist_ok=True)
    return paths


def bring_in(folder: Path, root: Path, say: Callable[[str], None]) -> None:
    """Put a copy in place of every link that leads out of `root`: who stores the folder sees no other.

    What cannot be copied stays a link, which is then named as unreadable.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            if path.is_symlink() and path.exists() and not is_below(path, root.resolve()):
                _replace_by_copy(path)
            if path.is_dir() and not path.is_symlink():
                waiting.extend(path.iterdir())
        except (OSError, RecursionError) as error:
            say(f"{path} cannot be brought in: {error}")


def _replace_by_copy(link: Path) -> None:
    """The content that a link leads to, in its place and under its name."""
    draft = link.with_name(f".{link.name}.copied")
    try:
        if link.is_dir():
            for name, file in files_below(link):
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, draft / name)
        else:
            shutil.copyfile(link, draft)
        link.unlink()
        draft.rename(link)
    except OSError:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
        raise


def collect_outputs(paths: Mapping[str, Path], root: Path) -> Tuple[dict[str, Output], dict[str, str]]:
    """The outputs that hold at least one file, and in words what is wrong with those that cannot be read."""
    found: dict[str, Output] = {}
    unreadable: dict[str, str] = {}
    for name, path in paths.items():
        try:
            entries = tuple(manifest(path, root)) if path.exists() else ()
        except OSError as error:
            unreadable[name] = f"outputs.{name}: {unreadable_text(error, path)}"
            continue
        if entries:
            found[name] = Output(name, path, entries)
    return found, unreadable


def unreadable_text(error: OSError, folder: Path, known_as: str = "") -> str:
    """Which file or folder of the script's cannot be read, and what to do about it."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(folder)
    below = os.path.relpath(name, folder)
    shown = (known_as or folder.name) if below == "." else f"{known_as}/{below}".lstrip("/")
    return f"{shown!r} cannot be read ({error.strerror or error}): have the script leave it readable, or remove it"


def require_outputs(
    contract: Contract, found: Mapping[str, Output], paths: Mapping[str, Path], unreadable: Mapping[str, str]
) -> None:
    """A declared output must exist, unless it does and cannot be read, and be a single file when declared as one."""
    for name, kind in contract.outputs.items():
        if name in unreadable:
            continue
        if name not in found:
            wanted = "the file" if kind == "uriFile" else "a file into the folder"
            raise RunFailed(
                "OutputMissing",
                f"outputs.{name} was declared, but the script wrote nothing there; have it write {wanted} "
                f"${{{{outputs.{name}}}}}; {contract.log_hint}",
            )
        if kind == "uriFile" and paths[name].is_dir():
            raise RunFailed(
                "OutputMissing",
                f"outputs.{name} is of type uriFile, but the script made it a folder; write a single file, or declare "
                f"type uriFolder; {contract.log_hint}",
            )
