"""What a finished attempt left behind, as facts of the run's status. Nothing of it is trusted beyond its schema."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import TypeGuard

from smalt.api.schema import Json
from smalt.api.training_run import MOST_METRICS, TrainingRunSpec
from smalt.builders import fetching
from smalt.builders.training_job import CONTAINER, logged_model
from smalt.reconcilers import diagnosis

# MLflow's own bound.
MOST_METRIC_NAME = 250
# What the API's integers can hold.
LARGEST = 2**63 - 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def facts(report: Json, pod: Json | None, spec: TrainingRunSpec) -> Json:
    """Metrics, digests, outputs and tracking, as far as the report has them in the form that the schema wants."""
    made: Json = {}
    metrics = finite_metrics(report.get("metrics"))
    if metrics:
        made["metrics"] = metrics
    known = {*(spec.outputs or {}), logged_model(spec)}
    outputs = {name: each for name, each in _section(report, "outputs").items() if name in known}
    outputs = {name: each for name, each in outputs.items() if is_artifact(each)}
    if outputs:
        made["outputs"] = {
            name: {key: each[key] for key in ("uri", "digest", "bytes", "files")} for name, each in outputs.items()
        }
    tracking = _section(report, "tracking")
    if isinstance(tracking.get("runId"), str) and tracking["runId"]:
        made["tracking"] = {"runId": tracking["runId"]}
        if isinstance(tracking.get("experimentId"), str) and tracking["experimentId"]:
            made["tracking"]["url"] = f"/#/experiments/{tracking['experimentId']}/runs/{tracking['runId']}"
    digests = _digests(_section(report, "digests"), pod, spec)
    if digests:
        made["digests"] = digests
    inputs = _inputs(_section(report, "inputs"), made.get("digests", {}).get("data", {}), spec)
    if inputs:
        made["inputs"] = inputs
    profiles = data_profiles(_section(report, "profiles"), made.get("tracking") or {}, tracking, spec)
    if profiles:
        made["dataProfile"] = profiles
    code = fetched_code(pod) if pod else {}
    return made | ({"code": code} if code else {})


def data_profiles(found: Json, known: Json, tracking: Json, spec: TrainingRunSpec) -> Json:
    """Of each table, what its profile says in numbers, where its report lies, or why there is none."""
    made: Json = {}
    declared = {"inputs": set(spec.inputs or {}), "outputs": set(spec.outputs or {})}
    for kind, names in declared.items():
        for name, said in sorted(_section(found, kind).items()):
            if name not in names or not isinstance(said, dict):
                continue
            told: Json = {
                key: said[key] for key in ("rows", "columns", "missing", "warnings") if _is_size(said.get(key))
            }
            if told and "experimentId" in tracking and "runId" in known:
                place = (
                    f"mlflow-artifacts:/{tracking['experimentId']}/{known['runId']}/artifacts/profiles/{kind}/{name}"
                )
                told["report"] = place[:2048]
            if isinstance(said.get("message"), str):
                told["message"] = said["message"][:256]
            if told:
                made[f"outputs.{name}" if kind == "outputs" and name in declared["inputs"] else name] = told
    return made


def data_read(found: Json) -> Json:
    """The digests of inputs among the facts of an attempt; a pod may say anything, and what is no digest pins nothing."""
    said = (found.get("digests") or {}).get("data") or {}
    return {name: digest for name, digest in said.items() if _DIGEST.fullmatch(digest)}


def fetched_code(pod: Json) -> Json:
    """Which code the pod has fetched: known as soon as that is done, so that it outlasts the pod."""
    found = _section(diagnosis.report(diagnosis.terminated(pod, fetching.CONTAINER) or {}), "code")
    forms = {"commit": _COMMIT, "archiveDigest": _DIGEST}
    return {
        key: found[key] for key, form in forms.items() if isinstance(found.get(key), str) and form.fullmatch(found[key])
    }


def _inputs(found: Json, digests: Json, spec: TrainingRunSpec) -> Json:
    """Where each input lay, without what may be a secret in its address, what it was, and how large."""
    made = {}
    for name, given in (spec.inputs or {}).items():
        size = found.get(name)
        if isinstance(size, dict) and name in digests and all(_is_size(size.get(key)) for key in ("bytes", "files")):
            place = given.path.partition("?")[0] if given.path.startswith("https://") else given.path
            made[name] = {"uri": place, "digest": digests[name], "bytes": size["bytes"], "files": size["files"]}
    return made


def _section(report: Json, name: str) -> Json:
    found = report.get(name)
    return found if isinstance(found, dict) else {}


def finite_metrics(found: object) -> dict[str, float]:
    """The metrics that a status can hold."""
    if not isinstance(found, dict):
        return {}
    finite = {str(name): float(value) for name, value in found.items() if _is_name(name) and _is_finite(value)}
    return dict(sorted(finite.items())[:MOST_METRICS])


def _is_name(found: object) -> bool:
    return isinstance(found, str) and 0 < len(found) <= MOST_METRIC_NAME


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False  # an integer beyond every float


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def non_finite(report: Json) -> list[str]:
    """Names of metrics that were last logged as NaN or infinite."""
    found = report.get("nonFinite")
    return [str(name) for name in found] if isinstance(found, list) else []


def is_text(found: object, most: int = 2048) -> bool:
    """Something, and no more characters than a status has room for."""
    return isinstance(found, str) and 0 < len(found) <= most


def is_digest(found: object) -> TypeGuard[str]:
    return isinstance(found, str) and _DIGEST.fullmatch(found) is not None


def is_artifact(found: object) -> TypeGuard[Json]:
    """Whether it has the form that a status holds."""
    if not isinstance(found, dict):
        return False
    texts = all(isinstance(found.get(key), str) and len(found[key]) <= 2048 for key in ("uri", "digest"))
    return texts and all(_is_size(found.get(key)) for key in ("bytes", "files"))


def _digests(found: Json, pod: Json | None, spec: TrainingRunSpec) -> Json:
    parts: Json = {key: found[key] for key in ("code", "environment", "parameters") if isinstance(found.get(key), str)}
    data = found.get("data")
    if isinstance(data, dict):
        parts["data"] = {str(name): str(digest) for name, digest in data.items() if name in (spec.inputs or {})}
    image = image_digest(pod) if pod else ""
    if image:
        parts["image"] = image
    if not parts:
        return {}
    parts |= {"command": digest(spec.command), "variables": digest(spec.environment_variables or {})}
    # A node that does not tell the image would give the same run another digest than one that does.
    whole = ("code", "environment", "parameters", *(("image",) if pod else ()))
    if all(key in parts for key in whole) and len(parts.get("data", {})) == len(spec.inputs or {}):
        return {"run": digest(parts)} | parts
    return parts


def digest(value: object) -> str:
    """Of a JSON value; of all parts it is the run's own: the same whole for the same parts, wherever and whenever."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def image_digest(pod: Json) -> str:
    """The digest by which the node resolved the image; empty where the runtime tells none."""
    for each in diagnosis.statuses(pod):
        if each.get("name") == CONTAINER:
            found = str(each.get("imageID") or "")
            return found[found.index("sha256:") :] if "sha256:" in found else ""
    return ""
