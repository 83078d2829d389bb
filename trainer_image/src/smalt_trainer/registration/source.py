"""The container `source`: brings a model's files, proves their digest and their format, and executes nothing of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Mapping, MutableMapping, Tuple

from smalt_trainer.addresses import file_name, shown
from smalt_trainer.artifacts import Altered, ArtifactStore
from smalt_trainer.credentials import mounted
from smalt_trainer.digests import Entry, manifest, manifest_digest
from smalt_trainer.download import download, login
from smalt_trainer.failures import RunFailed
from smalt_trainer.fetched_inputs import check_names
from smalt_trainer.progress import Progress
from smalt_trainer.refusals import Refused, Unreachable
from smalt_trainer.registration.contract import Contract, Source
from smalt_trainer.registration.described import DESCRIPTION, LOCK, LOCK_FOLDER, MODEL, SAMPLES
from smalt_trainer.registration.formats.checking import MOST_FILES, check
from smalt_trainer.registration.formats.found import MLFLOW
from smalt_trainer.registration.refused import REGISTER_AGAIN, NotRegistered
from smalt_trainer.s3 import Place, S3Object, connect, list_objects, place_of
from smalt_trainer.tracking import Tracking
from smalt_trainer.transfer import FetchFailed, transfer
from smalt_trainer.trust import extend_trust
from smalt_trainer.unpacking import ArchiveRefused, unpack

CREDENTIALS = Path("/smalt/credentials/source")
MOST_BYTES = 100 << 30
_LARGEST_SAMPLE = 4 << 20


def say(text: str) -> None:
    """A line of the container's own log."""
    print(f"[smalt] {text}", file=sys.stderr, flush=True)


def run_source(
    contract: Contract, into: Path, variables: MutableMapping[str, str], credentials: Path = CREDENTIALS
) -> None:
    """`model/` and, at last, source.json; what an earlier try has left is not looked at. NotRegistered says what is wrong."""
    into.mkdir(parents=True, exist_ok=True)
    for each in into.iterdir():
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    _trust(variables, into)
    folder = into / MODEL
    if contract.source.unpack:
        packed = into / "packed"
        digest, entries = _unpacked(contract, packed, _brought(contract, packed, variables, credentials), folder)
    else:
        entries = _brought(contract, folder, variables, credentials)
        digest = proven(contract.source, entries)
    checked = check(folder, contract.model.format, contract.allowed_formats)
    check_type(contract, checked.format)
    say(f"the model is {checked.format}, {len(entries)} files, {digest}")
    if contract.convert:
        _bring_samples(contract, into / SAMPLES, variables)
        _bring_lock(contract, into / LOCK_FOLDER, variables)
    description: dict[str, Any] = {
        "version": 1,
        "digest": digest,
        "bytes": sum(entry.size for entry in entries),
        "entries": len(entries),
        **checked.as_json(),
    }
    (into / DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")


def _unpacked(contract: Contract, packed: Path, archives: list[Entry], folder: Path) -> Tuple[str, list[Entry]]:
    """What is in the archive, and its digest. An archive whose own digest is declared is proven before it is opened."""
    source = contract.source
    if len(archives) != 1:
        raise NotRegistered(
            "ModelRefused",
            f"an archive to unpack is one file, and {shown_uri(source.uri)} has {len(archives)}: write source without unpack, "
            f"{REGISTER_AGAIN}",
        )
    try:
        unpack(packed / archives[0].path, folder, MOST_FILES, MOST_BYTES)
    except ArchiveRefused as error:
        raise NotRegistered(
            "ModelRefused", f"{shown_uri(source.uri)} could not be unpacked: {error}; correct it, {REGISTER_AGAIN}"
        ) from error
    shutil.rmtree(packed)
    entries = manifest(folder)
    own = (f"sha256:{archives[0].sha256}", manifest_digest(archives))
    return (manifest_digest(entries) if source.digest in own else proven(source, entries)), entries


def proven(source: Source, entries: list[Entry]) -> str:
    """The digest of the files, when it is the declared one: of the manifest, or of a single file's plain content."""
    digest = manifest_digest(entries)
    plain = f"sha256:{entries[0].sha256}" if len(entries) == 1 else digest
    if source.digest and source.digest not in (digest, plain):
        raise NotRegistered(
            "DigestMismatch",
            f"the files at {shown_uri(source.uri)} have digest {plain}, and {source.digest} is declared: they have changed, or "
            f"the digest is of others; correct source, {REGISTER_AGAIN}",
        )
    return digest


def check_type(contract: Contract, format_: str) -> None:
    """mlflowModel is a folder of MLflow; of customModel nothing is promised."""
    declared = contract.model.type
    if declared == "mlflowModel" and format_ != MLFLOW:
        raise NotRegistered(
            "FormatMismatch",
            f"type says mlflowModel, and the files are {format_} without an MLmodel: log it with mlflow.<flavor>.log_model, or "
            f"write type: customModel, {REGISTER_AGAIN}",
        )


def shown_uri(uri: str) -> str:
    """Without what proves who asks."""
    return shown(uri) if uri.startswith("http") else uri


def _trust(variables: MutableMapping[str, str], into: Path) -> None:
    scratch = into / "trusted"
    scratch.mkdir()
    try:
        extend_trust(variables, scratch, REGISTER_AGAIN)
    except RunFailed as error:
        raise NotRegistered("TrustBundleInvalid", error.message) from error


def _brought(contract: Contract, folder: Path, variables: Mapping[str, str], credentials: Path) -> list[Entry]:
    source = contract.source
    folder.mkdir()
    progress = Progress("the model", say)
    if source.secret and not mounted(credentials):
        raise NotRegistered(
            "CredentialsMissing",
            f"Secret '{source.secret}', which source.credentialsSecret names, does not exist or is empty: apply it; the files are "
            "imported then",
        )
    try:
        if not source.is_imported:
            _from_store(contract, folder, variables, progress)
        elif source.uri.startswith("s3://"):
            _from_s3(place_of(source.uri), mounted(credentials), folder, progress)
        else:
            download(
                source.uri, folder / file_name(source.uri), say, headers=login(mounted(credentials)), progress=progress
            )
        entries = manifest(folder)
    except (FetchFailed, OSError) as error:
        if source.is_imported:
            words = f"the files at {shown_uri(source.uri)} cannot be had: {error}"
            raise NotRegistered("SourceUnreachable", words) from error
        raise NotRegistered(
            "SourceUnavailable",
            f"the files at {shown_uri(source.uri)} cannot be had: {error}; correct source, {REGISTER_AGAIN}",
        ) from error
    except Altered as error:
        raise NotRegistered(
            "DigestMismatch",
            f"the files at {source.uri} are not what the run stored: {error}. Find out who changed the workspace's store, run it "
            f"anew, {REGISTER_AGAIN}",
        ) from error
    progress.done(len(entries), sum(entry.size for entry in entries))
    return entries


def _from_store(contract: Contract, folder: Path, variables: Mapping[str, str], progress: Progress) -> None:
    """As every reader of the store: the manifest by the digest, every file by the manifest."""
    scheme, _, place = contract.source.uri.partition(":/")
    if scheme != "mlflow-artifacts" or not contract.source.digest:
        raise NotRegistered(
            "SourceUnavailable",
            f"{contract.source.uri} is no artifact of the workspace's store with a digest: name an output of a run in source.run",
        )
    store = ArtifactStore.of(tracking_of(contract, variables))
    store.fetch(place.lstrip("/"), contract.source.digest, folder, progress)


def _bring_samples(contract: Contract, into: Path, variables: Mapping[str, str]) -> None:
    """Rows of the training data, by input, for who converts the model; without them it stays as it is."""
    into.mkdir()
    tracking = tracking_of(contract, variables)
    for number, (name, uri) in enumerate(sorted(contract.profiles.items())):
        place = uri.partition(":/")[2].lstrip("/").rstrip("/")
        try:
            (into / f"{number}.json").write_bytes(_small(tracking, f"{place}/sample.json"))
        except (Unreachable, Refused, OSError) as error:
            say(f"no rows of input '{shown(name)}' are kept to try the model with: {error}")


def _bring_lock(contract: Contract, into: Path, variables: Mapping[str, str]) -> None:
    """Which packages the run had, for who installs them again."""
    if contract.run is None or not contract.has_lock:
        return
    into.mkdir()
    place = f"{contract.run.experiment}/{contract.run.tracking_run}/artifacts/{LOCK_FOLDER}/{LOCK}"
    try:
        (into / LOCK).write_bytes(_small(tracking_of(contract, variables), place))
    except (Unreachable, Refused, OSError) as error:
        say(f"the record of the run's packages cannot be had: {error}")


def _small(tracking: Tracking, place: str) -> bytes:
    """A file of a size that is meant."""
    content = b""
    for piece in tracking.download(place):
        content += piece
        if len(content) > _LARGEST_SAMPLE:
            raise OSError(f"it has more than {_LARGEST_SAMPLE} bytes")
    return content


def tracking_of(contract: Contract, variables: Mapping[str, str]) -> Tracking:
    """The tracking server, asked as the user of this container."""
    return Tracking(
        contract.tracking_uri or variables.get("SMALT_TRACKING_URI", ""),
        variables.get("SMALT_TRACKING_USERNAME", ""),
        variables.get("SMALT_TRACKING_PASSWORD", ""),
    )


def _from_s3(place: Place, secret: Mapping[str, str], folder: Path, progress: Progress) -> None:
    """An object, or all below a prefix."""
    bucket = connect(place.bucket, secret)
    found = list_objects(bucket, Place(place.bucket, place.key.rstrip("/") + "/")) if place.key.rstrip("/") else []
    if not found:
        transfer(S3Object(bucket, place), folder / os.path.basename(place.key), progress)  # noqa: PTH119 — a key, no path
        return
    check_names(found)
    total = sum(each.size for each in found)
    if total > MOST_BYTES:
        raise FetchFailed(f"it has {total} bytes, and a model has {MOST_BYTES} at most")
    progress.of_many(total)
    for each in found:
        transfer(S3Object(bucket, Place(place.bucket, each.key)), folder / each.name, progress)
