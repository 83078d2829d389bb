"""A run that was asked for before, to the last part, may have the earlier result instead of running again.

What a run will be is known beforehand only where everything is pinned by its content. `asked` is the digest of all of
it, or says which part is not pinned; it goes with the run's Job into `status.digests.request`, by which later runs
find it. The digest of what really went in (`status.digests.run`) is only known when a pod has resolved it all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from smalt.api import conditions
from smalt.api.kinds import MODEL, TRAINING_RUN
from smalt.api.references import address
from smalt.api.schema import Json
from smalt.api.training_run import REUSE, TrainingRunSpec
from smalt.reconcilers.world import World

REUSED = "Reused"
# What a run has of an earlier one.
RESULT = ("metrics", "outputs", "tracking", "digests", "dataProfile", "model")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_EXACT = re.compile(r"\s*[A-Za-z0-9][-A-Za-z0-9._]*(\[[^\]]*\])?\s*===?\s*[A-Za-z0-9][A-Za-z0-9._+!]*\s*(;.*)?")
_EXACT_CONDA = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]*\s*(==\s*[0-9][^\s*,<>|]*|=\s*[0-9]+\.[0-9]+\.[0-9][^\s*,<>|]*)")
# A list in brackets is not read here.
_CONDA_SECTION = re.compile(r"dependencies:|channels:|(name|prefix):[^\[{]*")
# Which Python it is says the image, and an environment that asks for another one does not start.
_PYTHON = re.compile(r"python\s*[=<>~!0-9. ]*")


@dataclass(frozen=True)
class Asked:
    """The digest of what is asked for; or empty, with the part that is not pinned."""

    digest: str = ""
    loose: str = ""


class Loose(Exception):
    """A part is not pinned by its content; the text says which, and how it would be."""


def wants(resource: Json) -> bool:
    metadata = resource["metadata"]
    said = (metadata.get("annotations") or {}).get(REUSE) or (metadata.get("labels") or {}).get(REUSE)
    return said == "true"


def asked(
    spec: TrainingRunSpec, workspace: Json, image: str, contents: Mapping[str, Json], artifacts: Mapping[str, Json]
) -> Asked:
    """Of all that decides the result. `image` is the installation's own; `contents` are the ConfigMaps that were read, and
    `artifacts` what inputs that other runs and Models make are."""
    written = spec.model_dump(by_alias=True, exclude_none=True)
    try:
        parts = {
            "workspace": workspace["metadata"]["uid"],
            "code": code(written["code"], contents),
            "environment": environment(written, image, contents),
            "inputs": {
                name: data(name, each, contents, artifacts) for name, each in (written.get("inputs") or {}).items()
            },
        }
    except Loose as loose:
        return Asked(loose=str(loose))
    for name in ("command", "environmentVariables", "parameters", "outputs", "register", "distribution", "resources"):
        parts[name] = written.get(name)
    return Asked(digest=digest(parts))


def code(source: Json, contents: Mapping[str, Json]) -> Json:
    if "inline" in source:
        return {"files": source["inline"]}
    if "configMap" in source:
        return {"files": content(contents, source["configMap"])}
    if "git" in source:
        git = source["git"]
        if not _COMMIT.fullmatch(str(git.get("revision") or "")):
            raise Loose("code.git.revision is no commit: write all 40 digits of one")
        return {"git": {key: git.get(key) for key in ("url", "revision", "path")}}
    if source.get("digest"):
        return {"digest": source["digest"]}
    raise Loose("code.url has no digest beside it")


def environment(written: Json, image: str, contents: Mapping[str, Json]) -> Json:
    """The image by its digest, or the installation's own, which changes with the installation; and exact packages."""
    given = dict(written.get("environment") or {})
    named = given.pop("image", None)
    if named and "@" not in named:
        raise Loose(f"environment.image '{named}' is not named by its digest: write it as image@sha256:…")
    for field in ("condaFile", "requirementsFile"):
        if field in given:
            given[field] = file_of_code(field, given[field], written["code"], contents)
    for field, text in given.items():
        lines = text if isinstance(text, list) else str(text).splitlines()
        wrong = next((line for line in lines if not is_exact(str(line), field)), None)
        if wrong is not None:
            raise Loose(f"environment.{field} asks for '{wrong.strip(' -')}', which is no exact version")
    return {"image": named or image, "packages": given}


def file_of_code(field: str, path: str, source: Json, contents: Mapping[str, Json]) -> str:
    files = source.get("inline") or (content(contents, source["configMap"]) if "configMap" in source else {})
    if path not in files:
        raise Loose(f"environment.{field} '{path}' lies in code that is only read when the run starts")
    return str(files[path])


def is_exact(line: str, field: str) -> bool:
    """The line names one version, or asks for nothing."""
    text = line.split(" #")[0].strip()
    if field.startswith("conda"):
        if not text.startswith("-"):
            return not text or text.startswith("#") or bool(_CONDA_SECTION.fullmatch(text))
        text = text.removeprefix("-").strip().strip("'\"")
        return text in ("pip:", "pip", "conda-forge", "defaults", "nodefaults") or bool(
            _PYTHON.fullmatch(text) or _EXACT_CONDA.fullmatch(text) or _EXACT.fullmatch(text)
        )
    if not text or text.startswith(("#", "--hash=")):
        return True
    return bool(_EXACT.fullmatch(re.split(r"\s+(?:--hash=|\\)", text)[0].rstrip("\\")))


def data(name: str, given: Json, contents: Mapping[str, Json], artifacts: Mapping[str, Json]) -> Json:
    """What an input holds, by the digest that is declared or known."""
    kept = {key: given[key] for key in ("type", "unpack", "target") if key in given}
    found = given.get("digest") or (artifacts.get(name) or {}).get("digest")
    if found:
        return kept | {"digest": found}
    scheme, _, rest = str(given["path"]).partition("://")
    if scheme == "configmap":
        config_map, _, key = rest.partition("/")
        whole = content(contents, config_map)
        return kept | {"content": whole.get(key) if key else whole, "key": key}
    if scheme == "workspace":
        return kept | {"place": rest}  # what was pushed lies under its own digest
    raise Loose(f"inputs.{name} has no digest: its content is only known when the run starts")


def content(contents: Mapping[str, Json], name: str) -> Json:
    found = contents.get(name)
    if found is None:
        raise Loose(f"ConfigMap '{name}' was not read")
    return {**(found.get("data") or {}), **(found.get("binaryData") or {})}


def digest(parts: Json) -> str:
    text = json.dumps(_canonical(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: object) -> object:
    """YAML's 1.0 arrives as 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _canonical(each) for key, each in value.items()}
    return [_canonical(each) for each in value] if isinstance(value, list) else value


# --- the offer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """The earlier run whose result serves, or why there is none; as a condition besides Ready."""

    run: Json | None
    said: list[Json]


def offer(resource: Json, spec: TrainingRunSpec, request: Asked, world: World) -> Offer:
    if not wants(resource):
        return Offer(None, [])
    if not request.digest:
        words = f"no earlier result can be reused, since {request.loose}"
        return Offer(None, conditions.information(REUSED, False, "NotPinned", words))
    at = address(TRAINING_RUN, resource)
    for name in reversed(world.runs.answering(at.namespace, request.digest)):
        found = world.get(TRAINING_RUN, at.namespace, name)
        if found is not None and name != at.name and has_its_model(found, spec, world):
            return Offer(found, conditions.information(REUSED, True, "SameDigest", f"nothing was run: see '{name}'"))
    words = "no run has succeeded with the same code, data, environment, command and parameters: this one runs"
    return Offer(None, conditions.information(REUSED, False, "NoEarlierRun", words))


def has_its_model(earlier: Json, spec: TrainingRunSpec, world: World) -> bool:
    """What is to be registered was registered, and is still there."""
    if spec.register_ is None:
        return True
    name = earlier["status"].get("model")
    return bool(name) and world.get(MODEL, earlier["metadata"]["namespace"], name) is not None


def result(earlier: Json, request: Asked, now: datetime) -> tuple[list[Json], Json]:
    """The condition and facts of a run that has an earlier run's result."""
    status = earlier["status"]
    origin = status.get("reusedFrom") or earlier["metadata"]["name"]
    words = (
        f"TrainingRun '{origin}' gave this result at {status['completionTime']} with the same digest {request.digest}, so "
        f"that nothing was run: without annotation {REUSE} it would be"
    )
    facts = {name: status[name] for name in RESULT if name in status}
    return conditions.ready(REUSED, words), facts | {
        "reusedFrom": origin,
        "workspace": status.get("workspace"),
        "completionTime": conditions.instant(now),
    }


def told(resource: Json) -> list[Json]:
    """What was said about reuse before the Job was made: it still holds."""
    found = conditions.find(resource.get("status") or {}, REUSED)
    return [{key: found[key] for key in ("type", "status", "reason", "message")}] if found else []
