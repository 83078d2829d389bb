"""From the models to `crds/`: structural schemas that an API server takes.

`python -m smalt.crds` writes the files; `--check` fails when they are not what the models say. Generated files are
never edited, and `kustomize` reads the folder through the kustomization written beside them.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel

from smalt.api.deployment import Deployment
from smalt.api.experiment import SCALAR_MAP, Experiment
from smalt.api.kinds import DEPLOYMENT, EXPERIMENT, GROUP, MODEL, TRAINING_RUN, VERSION, WORKSPACE, Kind
from smalt.api.model import Model
from smalt.api.schema import NAME_PATTERN, RULES, Json, rule
from smalt.api.training_run import TrainingRun
from smalt.api.workspace import Workspace

FOLDER = Path("crds")
HEADER = "# Generated from the models in operator/src/smalt/api by `make generate`. Do not edit.\n"
DROPPED = frozenset({"title", "default", "additionalProperties", "anyOf", "$ref", "$defs"})
# What kubectl apply copies into an annotation must fit into it.
MOST_BYTES = 200_000


class NotStructural(ValueError):
    """A model says something that a structural schema cannot; the text begins with the path."""


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; those with `wide` only show with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    description: str = ""

    def manifest(self) -> Json:
        made: Json = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            made["description"] = self.description
        return made | ({"priority": 1} if self.wide else {})


@dataclass(frozen=True)
class Resource:
    """All that a CustomResourceDefinition needs besides the schema."""

    kind: Kind
    model: type[BaseModel]
    singular: str
    short: str
    columns: tuple[Column, ...]
    name_rule: Json
    scale: Json | None = None


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


READY = Column("Ready", _condition("Ready", "status"), description="Whether all is as the spec wants it")
REASON = Column("Reason", _condition("Ready", "reason"), description="Why it is (not) ready")
MESSAGE = Column(
    "Message", _condition("Ready", "message"), wide=True, description="What is going on, and the next step"
)
AGE = Column("Age", ".metadata.creationTimestamp", type="date")

NAME_RULE = rule(
    f"self.metadata.name.matches('{NAME_PATTERN}')",
    says='"metadata.name \'" + self.metadata.name + "\' cannot be used: use at most 52 lower-case letters, digits and '
    "'-', beginning with a letter, such as churn-lr\"",
)
MODEL_NAME_RULE = rule(
    "self.metadata.name.matches('^[a-z][-a-z0-9]*-[1-9][0-9]{0,5}$') && size(self.metadata.name) > size(self.spec.name) + 1"
    " && self.metadata.name.startsWith(self.spec.name + '-')"
    " && self.metadata.name.substring(size(self.spec.name) + 1).matches('^[1-9][0-9]{0,5}$')"
    " && int(self.metadata.name.substring(size(self.spec.name) + 1)) == self.spec.version",
    says="\"metadata.name '\" + self.metadata.name + \"' is not spec.name, '-' and spec.version: \" + "
    '"call version 3 of churn churn-3"',
)

RESOURCES = (
    Resource(
        WORKSPACE,
        Workspace,
        "workspace",
        "mlws",
        (
            READY,
            REASON,
            Column("Running", ".status.runs.running", type="integer", description="Runs at work"),
            Column(
                "CPU hours", ".status.usage.cpuHours", type="number", wide=True, description="CPU time its runs used"
            ),
            Column(
                "GPU hours", ".status.usage.gpuHours", type="number", wide=True, description="GPU time its runs used"
            ),
            Column("Tracking", ".status.trackingUri", wide=True, description="The tracking server"),
            MESSAGE,
            AGE,
        ),
        NAME_RULE,
    ),
    Resource(
        EXPERIMENT,
        Experiment,
        "experiment",
        "mlexp",
        (
            READY,
            REASON,
            Column("Runs", ".status.runs.total", type="integer", description="All its runs"),
            Column("Best", ".status.best.run", description="The best run"),
            Column("Metric", ".status.best.metric", type="number", description="Its primary metric"),
            Column("Workspace", ".spec.workspace", wide=True),
            MESSAGE,
            AGE,
        ),
        NAME_RULE,
    ),
    Resource(
        TRAINING_RUN,
        TrainingRun,
        "trainingrun",
        "mlrun",
        (
            Column("Experiment", ".spec.experiment"),
            Column(
                "Phase",
                ".status.phase",
                description="Pending, Queued, Preparing, Running, Finalizing, Succeeded, Failed or Canceled",
            ),
            Column(
                "Progress",
                ".status.progress.percent",
                type="integer",
                wide=True,
                description="How far a running script is, in percent",
            ),
            REASON,
            Column("Model", ".status.model", description="The Model it registered"),
            Column("Attempt", ".status.attempt", type="integer", wide=True, description="Which attempt it is"),
            Column("Queue", ".status.queuePosition", type="integer", wide=True, description="Its place in the queue"),
            MESSAGE,
            AGE,
        ),
        NAME_RULE,
    ),
    Resource(
        MODEL,
        Model,
        "model",
        "mlmodel",
        (
            Column("Version", ".spec.version", type="integer"),
            Column("Stage", ".spec.stage"),
            READY,
            REASON,
            Column("Run", ".spec.source.run", wide=True),
            MESSAGE,
            AGE,
        ),
        MODEL_NAME_RULE,
    ),
    Resource(
        DEPLOYMENT,
        Deployment,
        "modeldeployment",
        "mldeploy",
        (
            Column("Model", ".status.effectiveModel", description="The Model that answers now"),
            READY,
            REASON,
            Column("Replicas", ".status.readyReplicas", type="integer", description="Pods that answer"),
            Column("Address", ".status.scoringUri", wide=True, description="Where it answers inside the cluster"),
            MESSAGE,
            AGE,
        ),
        NAME_RULE,
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    ),
)


def structural(schema: Json, definitions: Json, path: str) -> Json:
    """One node of pydantic's JSON schema as a structural one. NotStructural, with the path, for what has no such form."""
    schema = _without_null(_resolved(schema, definitions), definitions, path)
    if schema.get("x-smalt-scalar-map"):
        return {"description": _words(schema.get("description", ""))} | SCALAR_MAP
    made = {key: value for key, value in schema.items() if key not in DROPPED and not key.startswith("x-smalt-")}
    if "description" in made:
        made["description"] = _words(made["description"])
    if "x-smalt-default" in schema:
        made["default"] = schema["x-smalt-default"]
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        return made
    if "const" in made:
        made["enum"] = [made.pop("const")]
    if "type" not in made:
        raise NotStructural(f"{path}: a union or an untyped value has no structural form")
    if "properties" in schema:
        made["properties"] = {
            name: structural(each, definitions, f"{path}.{name}") for name, each in schema["properties"].items()
        }
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = structural(schema["additionalProperties"], definitions, f"{path}[*]")
    if "items" in schema:
        made["items"] = structural(schema["items"], definitions, f"{path}[]")
    return made


def _resolved(schema: Json, definitions: Json) -> Json:
    """The schema with its reference put in; what stands beside the reference wins, and rules add up."""
    if "$ref" not in schema:
        return schema
    target = _resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return _joined(target, beside)


def _joined(target: Json, beside: Json) -> Json:
    both = target | beside
    if RULES in target and RULES in beside:
        both[RULES] = [*target[RULES], *beside[RULES]]
    return both


def _without_null(schema: Json, definitions: Json, path: str) -> Json:
    """`X | None` is X that may be absent."""
    if "anyOf" not in schema or schema.get("x-kubernetes-int-or-string"):
        return schema
    options = [each for each in schema["anyOf"] if each.get("type") != "null"]
    if len(options) != 1:
        raise NotStructural(f"{path}: {len(options)} alternatives have no structural form")
    beside = {key: value for key, value in schema.items() if key != "anyOf"}
    return _without_null(_joined(_resolved(options[0], definitions), beside), definitions, path)


def _words(text: str) -> str:
    """A docstring as one paragraph, as `kubectl explain` shows it."""
    return " ".join(inspect.cleandoc(text).split())


def definition(resource: Resource) -> Json:
    """The whole CustomResourceDefinition."""
    kind = resource.kind
    generated = resource.model.model_json_schema(by_alias=True)
    schema = structural(generated, generated.get("$defs", {}), kind.kind)
    schema["properties"]["status"]["default"] = {"observedGeneration": -1}
    schema["properties"] |= {
        "apiVersion": {"type": "string", "description": "The version of the API."},
        "kind": {"type": "string", "description": "The kind of the object."},
        "metadata": {"type": "object"},
    }
    schema["required"] = ["spec"]
    schema[RULES] = [resource.name_rule]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}} | ({"scale": resource.scale} if resource.scale else {}),
        "additionalPrinterColumns": [column.manifest() for column in resource.columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {"app.kubernetes.io/name": "smalt"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": resource.singular,
                "shortNames": [resource.short],
                "categories": ["smalt"],
            },
            "versions": [version],
        },
    }


def files() -> dict[str, str]:
    """Every generated file by name. ValueError when a definition has grown too large for `kubectl apply`."""
    made = {}
    for resource in RESOURCES:
        manifest = definition(resource)
        size = len(json.dumps(manifest))
        if size > MOST_BYTES:
            raise ValueError(
                f"{manifest['metadata']['name']} has {size} bytes as JSON, at most {MOST_BYTES} can be applied"
            )
        made[f"{GROUP}_{resource.kind.plural}.yaml"] = HEADER + _yaml(manifest)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(made),
    }
    return made | {"kustomization.yaml": HEADER + _yaml(kustomization)}


def _yaml(manifest: Json) -> str:
    return yaml.safe_dump(manifest, sort_keys=False, width=120, allow_unicode=True)


def drift(folder: Path) -> list[str]:
    """Names of files that are not what the models say, and of files that are there too many."""
    wanted = files()
    found = {path.name: path.read_text() for path in folder.glob("*.yaml")} if folder.exists() else {}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m smalt.crds", description="Write crds/ from the models.")
    parser.add_argument("--check", action="store_true", help="fail when crds/ is not what the models say")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if options.check:
        different = drift(options.folder)
        if different:
            print(
                f"{', '.join(different)} in {options.folder}/ differ from the models: run `make generate`",
                file=sys.stderr,
            )
        return 1 if different else 0
    options.folder.mkdir(exist_ok=True)
    for name in drift(options.folder):
        (options.folder / name).unlink(missing_ok=True)
    for name, text in files().items():
        (options.folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
