"""Brings the inputs that are not simply mounted, each into a folder of its own, and proves them before anything starts.

This runs in Smalt's own image, where a user's Secrets and the store's password are; the script's container gets the
files and what is known of them.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Mapping, Optional, Tuple

from smalt_trainer.addresses import file_name, is_file_name, shown
from smalt_trainer.artifacts import Altered, ArtifactStore
from smalt_trainer.contract import Artifact, Input
from smalt_trainer.credentials import mounted
from smalt_trainer.digests import Entry, inside, manifest, manifest_digest
from smalt_trainer.download import download, login
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.inputs import Ready, check_kind, entries_of_path, ready
from smalt_trainer.progress import Progress
from smalt_trainer.s3 import Found, Place, S3Object, connect, list_objects, place_of
from smalt_trainer.transfer import FetchFailed, transfer
from smalt_trainer.unpacking import ArchiveRefused, unpack

MOST_FILES = 1_000_000
MOST_BYTES = 100 << 30
_AT_ONCE = 8
Say = Callable[[str], None]


class Fetcher:
    """Fetches inputs into `into`; `credentials` holds a folder for each Secret, `store` is the workspace's own."""

    def __init__(self, into: Path, scratch: Path, credentials: Path, store: Optional[ArtifactStore], say: Say) -> None:
        self.into, self.scratch, self.credentials, self.store, self.say = into, scratch, credentials, store, say

    def fetch(self, inputs: Mapping[str, Input]) -> dict[str, Ready]:
        """All that are to be fetched, one after another, by name."""
        return {name: self._one(wanted) for name, wanted in inputs.items() if wanted.is_fetched}

    def _one(self, wanted: Input) -> Ready:
        self.say(f"fetching inputs.{wanted.name} from {_shown(wanted)}")
        folder = self.into / wanted.name
        try:
            return self._unpacked(wanted, folder) if wanted.unpack else self._as_it_is(wanted, folder)
        except (FetchFailed, ArchiveRefused) as error:
            verb = "unpacked" if isinstance(error, ArchiveRefused) else "fetched"
            raise RunFailed(
                "InputFailed",
                f"inputs.{wanted.name}: {_shown(wanted)} could not be {verb}: {error}; correct what it names, or the input, "
                f"{ANOTHER_NAME}",
            ) from error
        except Altered as error:
            raise RunFailed(
                "DigestMismatch",
                f"inputs.{wanted.name}: {wanted.path} is not what was stored there: {error}. Find out who changed the "
                f"workspace's store, make the data anew, {ANOTHER_NAME}",
            ) from error

    def _as_it_is(self, wanted: Input, folder: Path) -> Ready:
        entries = self._brought(wanted, folder)
        digest = wanted.artifact.digest if wanted.artifact else None
        return ready(wanted, *_placed(wanted, folder, entries), digest)

    def _unpacked(self, wanted: Input, folder: Path) -> Ready:
        """The archive is proved before it is unpacked, if its own digest is declared."""
        if wanted.mount is not None:
            archive = Path(wanted.mount)
            check_kind(wanted, archive, "in what is mounted")
            entries = entries_of_path(wanted, archive)
        else:
            packed = self.scratch / wanted.name
            entries = self._brought(wanted, packed)
            archive = packed / _only(wanted, entries).path
        files = unpack(archive, folder, MOST_FILES, MOST_BYTES)
        self.say(f"inputs.{wanted.name}: unpacked, {files} files")
        if wanted.mount is None:
            shutil.rmtree(self.scratch / wanted.name)
        own = (f"sha256:{entries[0].sha256}", manifest_digest(entries))
        return ready(wanted, folder, manifest(folder), None, *own)

    def _brought(self, wanted: Input, folder: Path) -> list[Entry]:
        """Every file into the folder, wherever they come from."""
        folder.mkdir(parents=True)
        if wanted.artifact is not None:
            return self._from_store(wanted, wanted.artifact, folder)
        secret = mounted(self.credentials / wanted.credentials) if wanted.credentials else {}
        url = wanted.url or ""
        if url.startswith("s3://"):
            self._from_s3(wanted, place_of(url), secret, folder)
        else:
            progress = Progress(f"inputs.{wanted.name}", self.say)
            download(url, folder / file_name(url), self.say, headers=login(secret), progress=progress)
        entries = manifest(folder)
        if url.startswith("http"):
            progress.done(len(entries), sum(entry.size for entry in entries))
        return entries

    def _from_store(self, wanted: Input, artifact: Artifact, folder: Path) -> list[Entry]:
        assert self.store is not None
        progress = Progress(f"inputs.{wanted.name}", self.say)
        entries = self.store.fetch(artifact.place, artifact.digest, folder, progress)
        progress.done(len(entries), sum(entry.size for entry in entries))
        return entries

    def _from_s3(self, wanted: Input, place: Place, secret: Mapping[str, str], folder: Path) -> None:
        bucket = connect(place.bucket, secret)
        progress = Progress(f"inputs.{wanted.name}", self.say)
        found = list_objects(bucket, place) if wanted.kind == "uriFolder" and not wanted.unpack else []
        if not found:
            # An object of that very name; when there is none either, this says so.
            name = place.key.rpartition("/")[2]
            target = folder / (name if is_file_name(name) else "data")
            transfer(S3Object(bucket, place), target, progress)
            progress.done(1, target.stat().st_size)
            return
        check_names(found)
        total = sum(each.size for each in found)
        progress.of_many(total)
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            for _ in workers.map(
                lambda each: transfer(S3Object(bucket, Place(place.bucket, each.key)), folder / each.name, progress),
                found,
            ):
                pass
        progress.done(len(found), total)


def check_names(found: list[Found]) -> None:
    """FetchFailed for a key that cannot be a file: keys are any text; files stay below their folder,
    and none is another's folder as well."""
    names = {each.name for each in found}
    for each in found:
        try:
            inside(each.name)
        except ValueError as error:
            raise FetchFailed(f"the key {each.key!r} cannot be a file: {error}") from error
        parts = each.name.split("/")
        for length in range(1, len(parts)):
            if "/".join(parts[:length]) in names:
                raise FetchFailed(f"the key {each.key!r} lies below another object, which cannot be a folder as well")


def _placed(wanted: Input, folder: Path, entries: list[Entry]) -> Tuple[Path, list[Entry]]:
    """What the placeholder is. A single file is the file itself, or as a folder the one that holds it."""
    if wanted.kind == "uriFolder":
        return folder, entries
    entry = _only(wanted, entries)
    path = folder / entry.path
    return path, [Entry(path.name, entry.size, entry.sha256)]


def _only(wanted: Input, entries: list[Entry]) -> Entry:
    if len(entries) != 1:
        expected = "an archive to unpack is one file" if wanted.unpack else "type uriFile is one file"
        raise FetchFailed(
            f"{expected}, and there are {len(entries)}: write type: uriFolder"
            + (" without unpack" if wanted.unpack else "")
        )
    return entries[0]


def _shown(wanted: Input) -> str:
    return shown(wanted.path) if wanted.path.startswith("http") else wanted.path
