"""Code that somebody stored in the workspace by `smalt push`: a folder's files, or one file that is an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from smalt_trainer.artifacts import Altered, ArtifactStore
from smalt_trainer.code_archive import settle, unfold
from smalt_trainer.contract import ArchiveCode
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.links import MOST_BYTES, MOST_FILES, too_large, too_many
from smalt_trainer.progress import Progress
from smalt_trainer.transfer import FetchFailed


def fetch_pushed(
    wanted: ArchiveCode, store: ArtifactStore, into: Path, scratch: Path, say: Callable[[str], None]
) -> str:
    """Lay the files out in `into`; the digest of what was pushed, which its address holds."""
    artifact = wanted.artifact
    assert artifact is not None
    if wanted.digest and wanted.digest != artifact.digest:
        raise RunFailed(
            "DigestMismatch",
            f"code.digest: {wanted.url} has digest {artifact.digest}, declared is {wanted.digest}: correct one of them, "
            f"{ANOTHER_NAME}",
        )
    folder, progress = scratch / "pushed", Progress("code", say)
    try:
        entries = store.fetch(artifact.place, artifact.digest, folder, progress)
    except FetchFailed as error:
        raise RunFailed(
            "CodeUnavailable",
            f"code.url: {wanted.url} could not be fetched: {error}; push it to this Workspace, {ANOTHER_NAME}",
        ) from error
    except Altered as error:
        raise RunFailed(
            "DigestMismatch",
            f"code.url: {wanted.url} is not what was pushed: {error}. Find out who changed the workspace's store, push it "
            f"anew, {ANOTHER_NAME}",
        ) from error
    size = sum(entry.size for entry in entries)
    progress.done(len(entries), size)
    if len(entries) > MOST_FILES:
        raise too_many(wanted.url)
    if size > MOST_BYTES:
        raise too_large(wanted.url, MOST_BYTES)
    # A folder of one file has another name than its file; a file that was pushed by itself has its own.
    if [entry.path for entry in entries] == [artifact.place.rpartition("/")[2]]:
        unfold(wanted, folder / entries[0].path, scratch / "code")
        folder = scratch / "code"
    settle(wanted, folder, into, say)
    say(f"code is {wanted.url}")
    return artifact.digest
