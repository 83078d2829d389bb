"""The container `register`: copies the proven files to where runs cannot write, and says what has become of them.

Every step can be done twice: a pod that is killed anywhere and started again ends with one run and one version.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from smalt_trainer.digests import Entry, manifest, manifest_digest
from smalt_trainer.environment_record import LOCK, VERSIONS, WRITTEN_WITH
from smalt_trainer.lock import Lock
from smalt_trainer.registration import model_registry, signing
from smalt_trainer.registration.card import made_card
from smalt_trainer.registration.contract import Contract
from smalt_trainer.registration.described import DESCRIPTION, MODEL
from smalt_trainer.registration.formats.checking import regular_files
from smalt_trainer.registration.refused import REGISTER_AGAIN, NotRegistered
from smalt_trainer.registration.report import fitted
from smalt_trainer.registration.source import proven, say, tracking_of
from smalt_trainer.registration.store import PATIENCE, RegistryRun
from smalt_trainer.registration.untrusted import ONNX_FILE, ONNX_FOLDER, SCHEMA, Converted, read_converted
from smalt_trainer.termination import encode
from smalt_trainer.tracking import Tracking

SIGNATURE, ONNX_SIGNATURE = "signature.json", "onnx.signature.json"
CARD, CARD_PAGE, LINEAGE = "card.md", "card.html", "lineage.json"
_MOST_PACKAGES = 2000


@dataclass(frozen=True)
class Material:
    """All that is known of the model before anything is stored."""

    contract: Contract
    source: Path
    entries: Sequence[Entry]
    digest: str
    description: Mapping[str, Any]
    converted_folder: Path
    converted: Converted
    keys: Optional[signing.Keys]

    @property
    def model(self) -> Path:
        """The folder of the model's files."""
        return self.source / MODEL


def run_register(
    contract: Contract,
    source: Path,
    converted: Path,
    variables: Mapping[str, str],
    keys: Path = signing.FOLDER,
    patience: float = PATIENCE,
) -> dict[str, Any]:
    """The report. NotRegistered says why there is none."""
    material = _material(contract, source, converted, keys)
    tracking = tracking_of(contract, variables)
    run = RegistryRun.open(tracking, contract, patience)
    scratch = Path(tempfile.mkdtemp(prefix="smalt-register-"))
    try:
        return _registered(material, tracking, run, scratch)
    finally:
        shutil.rmtree(scratch)


def _material(contract: Contract, source: Path, converted: Path, keys: Path) -> Material:
    try:
        description = json.loads((source / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotRegistered("InternalError", f"the container 'source' has left no {DESCRIPTION} ({error})") from error
    regular_files(source / MODEL)
    entries = manifest(source / MODEL)
    # Of an archive the first container has proven its digest; what was in it is what source.json says, and no other
    # container can write there.
    digest = manifest_digest(entries) if contract.source.unpack else proven(contract.source, entries)
    if digest != description.get("digest"):
        raise NotRegistered(
            "DigestMismatch",
            f"the model's files have digest {digest}, and {description.get('digest')} was checked: they were changed within the "
            "pod; the registration is tried again with a new Job",
        )
    return Material(
        contract,
        source,
        entries,
        digest,
        description,
        converted,
        read_converted(converted, contract.convert, contract.not_converted),
        signing.keys_in(keys) if contract.signing else None,
    )


def _registered(material: Material, tracking: Tracking, run: RegistryRun, scratch: Path) -> dict[str, Any]:
    contract, schema = material.contract, material.converted.schema
    say(f"storing {contract.model.object} at {run.uri('')}")
    profiles = _profiles(contract, run, scratch)
    copies = _environment(contract, run, scratch)
    packages = _packages(copies)
    size = sum(entry.size for entry in material.entries)
    artifact = {"uri": run.uri(MODEL), "digest": material.digest, "bytes": size, "files": len(material.entries)}
    report: dict[str, Any] = {
        "artifact": artifact,
        "format": material.description["format"],
        "type": contract.model.type or "customModel",
    }
    environment = described(contract, copies, run)
    if environment:
        report["environment"] = environment
    if schema is not None:
        run.store(SCHEMA, encode(schema))
        report["schemaDigest"] = f"sha256:{hashlib.sha256(encode(schema)).hexdigest()}"
    run.store(LINEAGE, encode(lineage(contract, artifact)))
    report.update(_signature(material, run))
    converted = _onnx(material, run, scratch)
    if converted:
        report["onnx"] = converted
    run.store_folder(MODEL, material.model, material.entries)
    known = {**_known(material, report), "profiles": profiles, "packages": packages}
    card = made_card(known, scratch / "card")
    for name in (CARD, CARD_PAGE):
        if card is not None:
            run.store(name, card / name)
    if card is not None:
        report["card"] = run.uri(CARD_PAGE)
    version = model_registry.registered(tracking, contract, run, material.digest)
    report["registry"] = {"version": version, "runId": run.run}
    run.finish({"smalt.digest": material.digest, "smalt.registry.version": version}, contract.metrics)
    say(
        f"{contract.model.object} is registered: version {version} of {contract.model.name} in MLflow, {material.digest}"
    )
    return fitted(report, schema, run.uri(SCHEMA))


def lineage(contract: Contract, artifact: Mapping[str, Any]) -> dict[str, Any]:
    """Where the model comes from, for whoever has the registry alone."""
    model = contract.model
    return {
        "version": 1,
        "model": {"name": model.name, "version": model.version, "object": model.object, "namespace": model.namespace},
        "artifact": dict(artifact),
        "source": {"uri": contract.source.uri.partition("?")[0], "digest": contract.source.digest},
        "lineage": dict(contract.lineage),
        "run": {"name": contract.run.name, "trackingRunId": contract.run.tracking_run} if contract.run else None,
        "metrics": dict(contract.metrics),
        "parameters": dict(contract.parameters),
    }


def _signature(material: Material, run: RegistryRun) -> dict[str, Any]:
    if material.keys is None:
        return {}
    run.store(SIGNATURE, signing.signed(material.model, material.keys))
    return {"signature": {"uri": run.uri(SIGNATURE), "keyDigest": material.keys.digest}}


def _onnx(material: Material, run: RegistryRun, scratch: Path) -> dict[str, Any]:
    """The converted model, or why there is none; nothing where none was asked for."""
    converted = material.converted
    if converted.onnx is None:
        return {"reason": converted.reason, "message": converted.message} if converted.reason else {}
    # A copy of our own, with that file alone: what lies beside it is not taken, signed or stored.
    folder = scratch / ONNX_FOLDER
    folder.mkdir()
    shutil.copyfile(material.converted_folder / ONNX_FOLDER / ONNX_FILE, folder / ONNX_FILE, follow_symlinks=False)
    entries = manifest(folder)
    if material.keys is not None:
        run.store(ONNX_SIGNATURE, signing.signed(folder, material.keys))
    run.store_folder(ONNX_FOLDER, folder, entries)
    return {
        "uri": run.uri(ONNX_FOLDER),
        "digest": manifest_digest(entries),
        "bytes": sum(entry.size for entry in entries),
        "tolerance": converted.onnx.tolerance,
        "rows": converted.onnx.rows,
        "maxDifference": converted.onnx.max_difference,
    }


def _profiles(contract: Contract, run: RegistryRun, scratch: Path) -> dict[str, Any]:
    """The profiles of what the model was trained on, copied; the first table of each input for the card."""
    found = {}
    for name, uri in sorted(contract.profiles.items()):
        place = _place(uri)
        copies = run.copy(place, scratch / "profiles" / name, f"profiles/inputs/{name}") if place else []
        document = next((each for each in sorted(copies) if each.name == "profile.json"), None)
        known = _json(document) if document else None
        if known is not None:
            found[name] = known
    return found


def _environment(contract: Contract, run: RegistryRun, scratch: Path) -> dict[str, Path]:
    """The record of the training run's environment, copied; by the files' names."""
    if contract.run is None:
        return {}
    place = f"{contract.run.experiment}/{contract.run.tracking_run}/artifacts/environment"
    return {each.name: each for each in run.copy(place, scratch / "environment", "environment")}


def described(contract: Contract, copies: Mapping[str, Path], run: RegistryRun) -> dict[str, Any]:
    """What serves the model in the environment of its training: the lock, where packages were asked for, and versions.

    NotRegistered for a lock that is not the one which the run was given: whoever could write it would have it installed
    wherever the model is served."""
    found: dict[str, Any] = {}
    if LOCK in copies:
        text = copies[LOCK].read_bytes()
        digest = _lock_digest(text)
        wanted = contract.lineage.get("environment")
        if wanted and digest != wanted:
            raise NotRegistered(
                "DigestMismatch",
                f"environment/{LOCK} of TrainingRun '{contract.run.name if contract.run else ''}' has digest {digest}, and the run "
                f"had {wanted}: it was changed in the workspace's store. Find out who changed it, run it anew, {REGISTER_AGAIN}",
            )
        found = {"uri": run.uri(f"environment/{LOCK}"), "digest": f"sha256:{hashlib.sha256(text).hexdigest()}"}
    versions = (_json(copies[VERSIONS]) or {}).get("packages") if VERSIONS in copies else None
    if isinstance(versions, dict):
        known = {name: str(versions[name])[:64] for name in WRITTEN_WITH if isinstance(versions.get(name), str)}
        found |= {"versions": known} if known else {}
    return found


def _lock_digest(text: bytes) -> str:
    try:
        return Lock.read(text.decode("utf-8")).digest
    except ValueError:
        return "none, being no lock"


def _packages(copies: Mapping[str, Path]) -> list[str]:
    """What the training run could import, as it has recorded it."""
    listed = copies.get("installed.txt")
    return listed.read_text(encoding="utf-8", errors="replace").splitlines()[:_MOST_PACKAGES] if listed else []


def _place(uri: str) -> str:
    scheme, _, place = uri.partition(":/")
    return place.strip("/") if scheme == "mlflow-artifacts" else ""


def _json(path: Path) -> Optional[dict[str, Any]]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None  # a run writes it, and the card is made without what is no profile
    return found if isinstance(found, dict) else None


def _known(material: Material, report: Mapping[str, Any]) -> dict[str, Any]:
    """What the card tells."""
    contract = material.contract
    model = contract.model
    return {
        "model": {
            "name": model.name,
            "version": model.version,
            "object": model.object,
            "namespace": model.namespace,
            "stage": model.stage,
            "type": report["type"],
            "format": report["format"],
            "tags": dict(model.tags),
        },
        "registered": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "artifact": report["artifact"],
        "files": [{"path": each.path, "bytes": each.size, "sha256": each.sha256} for each in material.entries[:200]],
        "types": material.description.get("types") or [],
        "inspection": material.converted.inspection,
        "schema": material.converted.schema,
        "onnx": report.get("onnx"),
        "signature": report.get("signature"),
        "lineage": contract.lineage,
        "run": {"name": contract.run.name, "trackingRunId": contract.run.tracking_run} if contract.run else None,
        "source": contract.source.uri.partition("?")[0],
        "metrics": contract.metrics,
        "parameters": contract.parameters,
    }
