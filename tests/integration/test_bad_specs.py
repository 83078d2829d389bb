"""What cannot work is refused when it is applied, with the field, the value and a good example."""

from __future__ import annotations

import json
import uuid
from typing import Any, NamedTuple

import pytest

from support.controlplane import CommandFailed, ControlPlane
from support.specs import DEPLOYMENT, EXPERIMENT, MODEL, REMOVED, RUN, WORKSPACE, changed

Json = dict[str, Any]
LONG = "x" * 53
ANOTHER = "under another name"


class Bad(NamedTuple):
    """One bad object, and the words a person needs."""

    sentence: str
    manifest: Json
    words: tuple[str, ...]


def workspace(sentence: str, words: tuple[str, ...], name: str | None = None, **changes: Any) -> Bad:
    return Bad(f"Workspace: {sentence}", changed(WORKSPACE, dotted(changes), name), words)


def experiment(sentence: str, words: tuple[str, ...], name: str | None = None, **changes: Any) -> Bad:
    return Bad(f"Experiment: {sentence}", changed(EXPERIMENT, dotted(changes), name), words)


def run(sentence: str, words: tuple[str, ...], name: str | None = None, **changes: Any) -> Bad:
    return Bad(f"TrainingRun: {sentence}", changed(RUN, dotted(changes), name), words)


def model(sentence: str, words: tuple[str, ...], name: str | None = None, **changes: Any) -> Bad:
    return Bad(f"Model: {sentence}", changed(MODEL, dotted(changes), name), words)


def deployment(sentence: str, words: tuple[str, ...], name: str | None = None, **changes: Any) -> Bad:
    return Bad(f"Deployment: {sentence}", changed(DEPLOYMENT, dotted(changes), name), words)


def dotted(changes: Json) -> Json:
    """`storage__size` -> `storage.size`."""
    return {name.replace("__", "."): value for name, value in changes.items()}


INPUT = {"type": "uriFile", "path": "configmap://rows/rows.csv"}
BAD = (
    workspace("a name with capitals", ("Lab", "lower"), name="Lab"),
    workspace("a name that begins with a digit", ("metadata.name", "'9lab'", "churn-lr"), name="9lab"),
    workspace("a name of 53 letters", ("metadata.name", "52"), name=LONG),
    workspace("a size that is no quantity", ("spec.storage.size", "tenGi", "512Mi"), storage__size="tenGi"),
    workspace(
        "a reclaim policy that does not exist",
        ("spec.storage.reclaimPolicy", "Recycle", "Retain"),
        storage__reclaimPolicy="Recycle",
    ),
    workspace(
        "a storage class that is no name",
        ("spec.storage.storageClassName", "'Fast_1'"),
        storage__storageClassName="Fast_1",
    ),
    workspace(
        "an index that is no address",
        ("spec.packages.indexUrl", "'pypi'", "https://packages.example"),
        packages__indexUrl="pypi",
    ),
    workspace(
        "an index with a password in it",
        ("spec.packages.indexUrl", "credentials"),
        packages__indexUrl="https://u:p@packages.example/simple",
    ),
    workspace(
        "an instance type that is no name", ("spec.instanceTypes", "'GPU'", "such as gpu"), instanceTypes={"GPU": {}}
    ),
    workspace(
        "a request that is no quantity",
        ("requests[cpu]", "half", "500m"),
        instanceTypes={"gpu": {"resources": {"requests": {"cpu": "half"}}}},
    ),
    workspace(
        "a toleration with an effect that does not exist",
        ("effect", "Never", "NoSchedule"),
        instanceTypes={"gpu": {"tolerations": [{"effect": "Never"}]}},
    ),
    workspace(
        "a trust bundle that is no name", ("spec.trustBundle.configMap", "'../ca'"), trustBundle__configMap="../ca"
    ),
    workspace("a wrong type", ("spec.storage", "object"), storage="10Gi"),
    experiment(
        "a workspace in another namespace", ("spec.workspace", "'team-b/lab'", "churn-lr"), workspace="team-b/lab"
    ),
    experiment("no workspace", ("spec.workspace", "Required"), workspace=REMOVED),
    experiment(
        "a goal that does not exist",
        ("goal", "highest", "maximize"),
        objective={"primaryMetric": "auc", "goal": "highest"},
    ),
    experiment("an objective without a metric", ("primaryMetric", "Required"), objective={"goal": "maximize"}),
    run("a name that ends with a dash", ("first-", "metadata.name"), name="first-"),
    run("an experiment that is no name", ("spec.experiment", "'My Trials'"), experiment="My Trials"),
    run("no code", ("spec.code", "Required"), code=REMOVED),
    run("code from nowhere", ("spec.code", "inline", "configMap"), code={}),
    run("code from two places", ("exactly one",), code={"inline": {"a.py": ""}, "configMap": "code"}),
    run("a file that leaves the code", ("spec.code.inline", "'../a.py'", "train.py"), code={"inline": {"../a.py": ""}}),
    run("a file by absolute path", ("'/etc/passwd'",), code={"inline": {"/etc/passwd": ""}}),
    run("more code than fits", ("131072", "configMap"), code={"inline": {"a.py": "x" * 70000, "b.py": "x" * 70000}}),
    run("an empty command", ("spec.command", "1"), command=""),
    run("no command", ("spec.command", "Required"), command=REMOVED),
    run("two environments", ("at most one", "conda", "pip"), environment={"conda": "dependencies: []", "pip": ["a"]}),
    run("a conda file longer than 32 KiB", ("environment.conda", "32768"), environment={"conda": "x" * 32769}),
    run(
        "a conda file outside of the code",
        ("environment.condaFile", "'../conda.yml'"),
        environment={"condaFile": "../conda.yml"},
    ),
    run(
        "an image with a space",
        ("environment.image", "'my image'", "registry.example"),
        environment={"image": "my image"},
    ),
    run("a variable called true", ("environmentVariables", "'true'", "quote"), environmentVariables={"true": "1"}),
    run(
        "a variable with a dash",
        ("environmentVariables", "'a-b'", "OMP_NUM_THREADS"),
        environmentVariables={"a-b": "1"},
    ),
    run("an input called null", ("inputs", "'null'", "quote"), inputs={"null": INPUT}),
    run("an input over http", ("path", "'http://x/y'", "https://"), inputs={"train": INPUT | {"path": "http://x/y"}}),
    run("an input from s3", ("path", "'s3://x/y'", "configmap://"), inputs={"train": INPUT | {"path": "s3://x/y"}}),
    run(
        "an input that leaves its volume",
        ("path", "pvc://"),
        inputs={"train": INPUT | {"path": "pvc://data/../../etc"}},
    ),
    run(
        "an input of a type that does not exist",
        ("type", "mltable", "uriFile"),
        inputs={"train": INPUT | {"type": "mltable"}},
    ),
    run("a digest that is none", ("digest", "'abc'", "sha256:"), inputs={"train": INPUT | {"digest": "abc"}}),
    run("seventeen inputs", ("inputs", "16"), inputs={f"i{number}": INPUT for number in range(17)}),
    run("nine outputs", ("outputs", "8"), outputs={f"o{number}": {"type": "uriFolder"} for number in range(9)}),
    run(
        "an output of a type that does not exist",
        ("type", "model", "customModel"),
        outputs={"model": {"type": "model"}},
    ),
    run("a parameter that is a list", ("spec.parameters",), parameters={"layers": [1, 2]}),
    run("a parameter that is a map", ("spec.parameters",), parameters={"net": {"layers": 2}}),
    run("a parameter called false", ("parameters", "'false'", "quote"), parameters={"false": 1}),
    run("a parameter with a dot", ("parameters", "learning_rate"), parameters={"a.b": 1}),
    run("a time-out in words", ("limits.timeout", "'5 min'", "10m"), limits={"timeout": "5 min"}),
    run("a time-out in bare seconds", ("limits.timeout",), limits={"timeout": 300}),
    run("a negative number of retries", ("limits.retries", "-1"), limits={"retries": -1}),
    run(
        "a model from an output that is not there",
        ("register.from", "'model'", "outputs"),
        register={"model": "churn", "from": "model"},
    ),
    run(
        "a model from a single file",
        ("register.from", "uriFile", "customModel"),
        outputs={"model": {"type": "uriFile"}},
        register={"model": "churn", "from": "model"},
    ),
    run(
        "a stage that does not exist",
        ("stage", "prod", "Production"),
        outputs={"model": {"type": "customModel"}},
        register={"model": "churn", "from": "model", "stage": "prod"},
    ),
    model("a name that is not name and version", ("metadata.name", "'churn'", "churn-3"), name="churn"),
    model("another version in the name", ("metadata.name", "'churn-2'"), name="churn-2"),
    model("a leading zero", ("metadata.name", "'churn-01'"), name="churn-01"),
    model("version nought", ("spec.version", "0"), name="churn-0", version=0),
    model("a stage that does not exist", ("spec.stage", "Live", "Production"), stage="Live"),
    model("a source digest that is none", ("spec.source.digest", "'md5:1'", "sha256:"), source__digest="md5:1"),
    model("no source", ("spec.source", "Required"), source=REMOVED),
    model("a type that cannot be served yet", ("spec.type", "tritonModel", "customModel"), type="tritonModel"),
    deployment("neither version nor stage", ("spec.model", "exactly one", "version: 3"), model={"name": "churn"}),
    deployment(
        "both version and stage",
        ("spec.model", "exactly one"),
        model={"name": "churn", "version": 1, "stage": "Production"},
    ),
    deployment("a stage that nobody follows", ("spec.model.stage", "None"), model={"name": "churn", "stage": "None"}),
    deployment("a target that does not exist", ("spec.target", "edge", "kubernetes"), target="edge"),
    deployment("an authentication that does not exist", ("spec.authMode", "basic", "key"), authMode="basic"),
    deployment("a negative number of pods", ("spec.replicas", "-1"), replicas=-1),
    deployment(
        "a score script that leaves the code",
        ("scoringScript", "'../score.py'", "src/score.py"),
        codeConfiguration={"code": {"configMap": "code"}, "scoringScript": "../score.py"},
    ),
    deployment("a conda file without code", ("condaFile", "codeConfiguration"), environment={"condaFile": "conda.yml"}),
    deployment("a queue wait in words", ("maxQueueWait", "'soon'", "500ms"), requestSettings={"maxQueueWait": "soon"}),
    deployment("no body at all", ("maxBodyBytes", "0"), requestSettings={"maxBodyBytes": 0}),
    deployment(
        "a probe period without a unit", ("readinessProbe.period", "'10'", "10m"), readinessProbe={"period": "10"}
    ),
    deployment("memory that is no quantity", ("limits[memory]", "lots"), resources={"limits": {"memory": "lots"}}),
)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.sentence)
def test_is_refused_in_words(plane: ControlPlane, bad: Bad) -> None:
    with pytest.raises(CommandFailed) as refused:
        plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(bad.manifest))
    for word in bad.words:
        assert word in str(refused.value), f"{word!r} is missing"


UNKNOWN = changed(RUN, {"cmmand": "x"})


def test_a_misspelt_field_is_named(plane: ControlPlane) -> None:
    with pytest.raises(CommandFailed, match=r'unknown field "spec\.cmmand"'):
        plane.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(UNKNOWN))


class Change(NamedTuple):
    """An edit of an object that is there, and the words of its refusal."""

    sentence: str
    base: Json
    patch: Json
    words: tuple[str, ...]


FULL_RUN = changed(
    RUN,
    {
        "environment": {"pip": ["a"]},
        "environmentVariables": {"A": "1"},
        "inputs": {"train": INPUT},
        "parameters": {"C": 1},
        "outputs": {"model": {"type": "customModel"}},
        "instanceType": "gpu",
        "limits": {"timeout": "1h"},
        "register": {"model": "churn", "from": "model"},
    },
)
CHANGES = (
    *(
        Change(f"TrainingRun: {field}", FULL_RUN, {field: value}, (field, ANOTHER))
        for field, value in {
            "experiment": "others",
            "code": {"inline": {"train.py": "print()"}},
            "command": "python other.py",
            "environment": {"pip": ["b"]},
            "environmentVariables": {"A": "2"},
            "inputs": {"train": {"path": "configmap://others/rows.csv"}},
            "parameters": {"C": 2},
            "outputs": {"more": {"type": "uriFolder"}},
            "instanceType": "cpu",
            "limits": {"timeout": "2h"},
            "register": {"stage": "Production"},
        }.items()
    ),
    Change("TrainingRun: parameters taken away", FULL_RUN, {"parameters": None}, ("parameters", ANOTHER)),
    Change("Experiment: workspace", EXPERIMENT, {"workspace": "other"}, ("'lab'", "'other'", "another name")),
    Change("Deployment: workspace", DEPLOYMENT, {"workspace": "other"}, ("'lab'", "'other'", "another name")),
    Change("Model: source", MODEL, {"source": {"output": "other"}}, ("source", "stage and tags", "new version")),
    Change("Model: workspace", MODEL, {"workspace": "other"}, ("workspace", "stage and tags")),
    Change(
        "Workspace: storage class",
        changed(WORKSPACE, {"storage": {"storageClassName": "fast"}}),
        {"storage": {"storageClassName": "slow"}},
        ("storageClassName", "another name"),
    ),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.sentence)
def test_what_must_not_change_is_refused_in_words(plane: ControlPlane, change: Change) -> None:
    namespace = f"bad-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", namespace)
    base = changed(change.base, {})
    plane.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(base))
    plural = {"Deployment": "modeldeployment"}.get(base["kind"], base["kind"].lower())
    patch = json.dumps({"spec": change.patch})
    with pytest.raises(CommandFailed) as refused:
        plane.kubectl("-n", namespace, "patch", plural, base["metadata"]["name"], "--type=merge", "-p", patch)
    for word in change.words:
        assert word in str(refused.value), f"{word!r} is missing"
