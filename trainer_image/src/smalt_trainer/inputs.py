"""Makes every input a path the script can open, and proves it is the data that was declared before anything starts.

What is mounted is looked at where it lies. Everything else the container `fetch` has brought and proved already
(fetched_inputs.py); its facts say where it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from smalt_trainer.contract import Input
from smalt_trainer.digests import Entry, manifest, manifest_digest
from smalt_trainer.failures import ANOTHER_NAME, RunFailed


@dataclass(frozen=True)
class Ready:
    """An input that is there: what its placeholder is, what it is by content, and how large."""

    path: str
    digest: str
    bytes: int
    files: int

    def as_json(self) -> dict[str, Any]:
        """As the facts of what was fetched hold it."""
        return asdict(self)

    @property
    def size(self) -> dict[str, int]:
        """As the operator is told of it; the digest it is told besides."""
        return {"bytes": self.bytes, "files": self.files}


def prepare_inputs(inputs: Mapping[str, Input], fetched: Mapping[str, Mapping[str, Any]]) -> dict[str, Ready]:
    """Every input by name; `fetched` are the facts of those that were brought."""
    return {
        name: Ready(**fetched[name]) if wanted.is_fetched else _mounted(wanted, Path(wanted.mount or ""))
        for name, wanted in inputs.items()
    }


def _mounted(wanted: Input, path: Path) -> Ready:
    check_kind(wanted, path, "in what is mounted")
    return ready(wanted, path, entries_of_path(wanted, path))


def check_kind(wanted: Input, path: Path, where: str) -> None:
    """The path exists, and is a file or a folder as it was declared."""
    is_folder = wanted.kind == "uriFolder" and not wanted.unpack
    if not path.exists():
        raise RunFailed(
            "InputFailed",
            f"inputs.{wanted.name}: {path.name!r} does not exist {where}; correct its path, {ANOTHER_NAME}",
        )
    if path.is_dir() != is_folder:
        declared = "an archive to unpack" if wanted.unpack else f"type {wanted.kind}"
        expected = "a folder" if is_folder else "a file"
        raise RunFailed(
            "InputFailed",
            f"inputs.{wanted.name}: {declared} wants {expected}, and {path.name!r} is not one; "
            f"correct type or path, {ANOTHER_NAME}",
        )


def entries_of_path(wanted: Input, path: Path) -> list[Entry]:
    """What lies there, file by file."""
    try:
        return manifest(path)
    except OSError as error:
        raise RunFailed(
            "InputFailed", f"inputs.{wanted.name}: {error}; make it readable to user 10001, {ANOTHER_NAME}"
        ) from error


def ready(wanted: Input, path: Path, entries: Sequence[Entry], digest: Optional[str] = None, *others: str) -> Ready:
    """The input, when its digest or one of `others` that stand for the same content is the declared one.

    A declared digest may be that of the manifest or, for a single file, of its plain content, as `sha256sum` shows it.
    """
    found = digest or manifest_digest(entries)
    content = f"sha256:{entries[0].sha256}" if path.is_file() else found
    if wanted.digest and wanted.digest not in (found, content, *others):
        raise RunFailed(
            "DigestMismatch",
            f"inputs.{wanted.name}: digest is {content}, declared is {wanted.digest}; the data has changed or the "
            f"digest is of other data: correct one of them, {ANOTHER_NAME}",
        )
    if wanted.pinned and wanted.pinned != found:
        raise RunFailed(
            "DigestMismatch",
            f"inputs.{wanted.name}: an earlier attempt of this run has read {wanted.pinned}, and now {wanted.path.partition('?')[0]} "
            f"is {found}: the data has changed meanwhile. Put it where it stays, {ANOTHER_NAME}",
        )
    return Ready(str(path), found, sum(entry.size for entry in entries), len(entries))
