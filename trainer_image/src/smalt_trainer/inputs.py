"""Makes every input a path the script can open, and proves it is the data that was declared before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Mapping, Tuple

from smalt_trainer.contract import Input
from smalt_trainer.digests import manifest, manifest_digest
from smalt_trainer.download import download, file_name, shown
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.transfer import FetchFailed


def prepare_inputs(
    inputs: Mapping[str, Input], into: Path, say: Callable[[str], None]
) -> Tuple[dict[str, Path], dict[str, str]]:
    """The path and the digest of every input, by name."""
    paths: dict[str, Path] = {}
    digests: dict[str, str] = {}
    for name, wanted in inputs.items():
        path = _mounted(wanted) if wanted.mount is not None else _fetched(wanted, into / name, say)
        digests[name] = _checked(wanted, path)
        paths[name] = path
    return paths, digests


def _mounted(wanted: Input) -> Path:
    path = Path(wanted.mount or "")
    expected = "a folder" if wanted.kind == "uriFolder" else "a file"
    if not path.exists():
        raise RunFailed(
            "InputFailed",
            f"inputs.{wanted.name}: {path.name!r} does not exist in what is mounted; correct its path, {ANOTHER_NAME}",
        )
    if path.is_dir() != (wanted.kind == "uriFolder"):
        raise RunFailed(
            "InputFailed",
            f"inputs.{wanted.name}: type {wanted.kind} wants {expected}, and {path.name!r} is not one; "
            f"correct type or path, {ANOTHER_NAME}",
        )
    return path


def _fetched(wanted: Input, folder: Path, say: Callable[[str], None]) -> Path:
    url = wanted.url or ""
    target = folder / file_name(url)
    say(f"fetching inputs.{wanted.name} from {shown(url)}")
    try:
        download(url, target, say)
    except FetchFailed as error:
        raise RunFailed(
            "InputFailed",
            f"inputs.{wanted.name}: {shown(url)} could not be fetched: {error}; check that the address answers from within "
            f"the cluster, {ANOTHER_NAME}",
        ) from error
    # An address is always one file; as a folder it is the folder that holds this file.
    return folder if wanted.kind == "uriFolder" else target


def _checked(wanted: Input, path: Path) -> str:
    """The input's digest; a declared one may be that of the manifest or, for a single file, of its plain content."""
    try:
        entries = manifest(path)
    except OSError as error:
        raise RunFailed(
            "InputFailed", f"inputs.{wanted.name}: {error}; make it readable to user 10001, {ANOTHER_NAME}"
        ) from error
    digest = manifest_digest(entries)
    content = f"sha256:{entries[0].sha256}" if path.is_file() else digest
    if wanted.digest and wanted.digest not in (digest, content):
        raise RunFailed(
            "DigestMismatch",
            f"inputs.{wanted.name}: digest is {content}, declared is {wanted.digest}; the data has changed or the "
            f"digest is of other data: correct one of them, {ANOTHER_NAME}",
        )
    return digest
