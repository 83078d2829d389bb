"""What cannot work is refused when it is applied, with the field, the value and a good example."""

from __future__ import annotations

import json
import uuid
from typing import Any, NamedTuple

import pytest

from support.controlplane import CommandFailed, ControlPlane
from support.rest import RequestRefused, Rest
from support.specs import DEPLOYMENT, EXPERIMENT, MODEL, REMOVED, RUN, WORKSPACE, changed

Json = dict[str, Any]
LONG = "x" * 53
WAYS = (("create",), ("apply", "--server-side"))
ANOTHER = "under another name"
PLURALS = {
    "Workspace": "workspaces",
    "Experiment": "experiments",
    "TrainingRun": "trainingruns",
    "Model": "models",
    "Deployment": "modeldeployments",
}


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


INCUMBENT = {"model": "churn", "stage": "Production"}


def gated(sentence: str, words: tuple[str, ...], gate: Json) -> Bad:
    """A run whose model has this gate."""
    register = {"model": "churn", "from": "model", "gates": [gate]}
    changes: Json = {"outputs": {"model": {"type": "customModel"}}, "register": register}
    return run(f"a gate with {sentence}", ("register.gates[0]", *words), **changes)


def dotted(changes: Json) -> Json:
    """`storage__size` -> `storage.size`."""
    return {name.replace("__", "."): value for name, value in changes.items()}


INPUT = {"type": "uriFile", "path": "configmap://rows/rows.csv"}
GIT = {"url": "https://git.example/team/churn.git"}
URL = "https://a.example/code.tar.gz"
STAGED = {"name": "churn", "stage": "production"}
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
    workspace("a volume of less than nothing", ("spec.storage.size", "not negative"), storage__size="-1Gi"),
    workspace(
        "a bucket by https",
        ("spec.storage.url", "s3://bucket/prefix"),
        storage={"url": "https://s3.example/bucket", "credentialsSecret": "bucket"},
    ),
    workspace(
        "a bucket with a way out",
        ("spec.storage.url", "no bucket", "s3://bucket/prefix"),
        storage={"url": "s3://bucket/../other", "credentialsSecret": "bucket"},
    ),
    workspace(
        "a bucket that nobody opens",
        ("spec.storage", "credentialsSecret", "accessKeyId"),
        storage={"url": "s3://bucket/prefix"},
    ),
    workspace(
        "two histories",
        ("spec.tracking", "one of databaseSecret", "external"),
        tracking={"databaseSecret": "pg", "external": {"uri": "https://mlflow.example"}},
    ),
    workspace(
        "a volume for somebody else's history",
        ("spec", "leave storage out"),
        storage={"size": "1Gi"},
        tracking={"external": {"uri": "https://mlflow.example"}},
    ),
    workspace(
        "a password in the server's address",
        ("spec.tracking.external.uri", "without credentials"),
        tracking={"external": {"uri": "https://me:secret@mlflow.example"}},
    ),
    workspace(
        "a database by its address",
        ("spec.tracking.databaseSecret", "no name of an object"),
        tracking={"databaseSecret": "postgresql://db"},
    ),
    workspace("a volume of nothing", ("spec.storage", "storage.size must be more", "10Gi"), storage__size=0),
    workspace(
        "a storage class with a line break",
        ("spec.storage.storageClassName", "no name of an object", "my-code"),
        storage__storageClassName="fast\n",
    ),
    workspace(
        "an index with a second line",
        ("spec.packages.indexUrl", "no address", "https://"),
        packages__indexUrl="https://packages.example/simple\n--trusted-host",
    ),
    workspace(
        "credentials for no index",
        ("packages.credentialsSecret", "packages.indexUrl", "https://packages.example/simple"),
        packages={"credentialsSecret": "index"},
    ),
    workspace(
        "credentials in another namespace",
        ("spec.packages.credentialsSecret", "'team-b/index'"),
        packages={"indexUrl": "https://packages.example/simple", "credentialsSecret": "team-b/index"},
    ),
    workspace(
        "a registry with a scheme",
        ("spec.images.registry", "'https://registry.example'", "registry.example/team"),
        images={"registry": "https://registry.example", "dockerHost": "tcp://docker.build:2376"},
    ),
    workspace(
        "a registry in capitals",
        ("spec.images.registry", "'registry.example/Team'"),
        images={"registry": "registry.example/Team", "dockerHost": "tcp://docker.build:2376"},
    ),
    workspace(
        "an engine by its socket",
        ("spec.images.dockerHost", "'unix:///var/run/docker.sock'", "tcp://docker.build:2376"),
        images={"registry": "registry.example/team", "dockerHost": "unix:///var/run/docker.sock"},
    ),
    workspace(
        "an engine by plain http",
        ("spec.images.dockerHost", "'http://docker.build:2375'", "tcp://"),
        images={"registry": "registry.example/team", "dockerHost": "http://docker.build:2375"},
    ),
    workspace(
        "images without an engine", ("spec.images.dockerHost", "Required"), images={"registry": "registry.example/team"}
    ),
    workspace("a cache of nothing", ("packages.cache.size", "10Gi"), packages={"cache": {"size": 0}}),
    workspace("a cache in pounds", ("packages.cache.size", "2Gi"), packages={"cache": {"size": "5 pounds"}}),
    workspace(
        "a cache for everybody", ("packages.cache.accessMode", "Anybody"), packages={"cache": {"accessMode": "Anybody"}}
    ),
    workspace("a trust bundle without a name", ("spec.trustBundle.configMap", "Required"), trustBundle={}),
    workspace(
        "a resource with a letter swapped",
        ("requests", "'memroy'", "memory", "nvidia.com/gpu"),
        instanceTypes={"gpu": {"resources": {"requests": {"memroy": "1Gi"}}}},
    ),
    workspace(
        "a graphics card without its domain",
        ("limits", "'gpu'", "nvidia.com/gpu"),
        instanceTypes={"gpu": {"resources": {"limits": {"gpu": 1}}}},
    ),
    workspace(
        "more requested than is allowed",
        ("instanceTypes[small].resources", "requests.memory", "raise limits"),
        instanceTypes={"small": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}},
    ),
    workspace(
        "a toleration that exists and has a value",
        ("tolerations", "Exists", "no value", "Equal"),
        instanceTypes={"gpu": {"tolerations": [{"key": "gpu", "operator": "Exists", "value": "yes"}]}},
    ),
    workspace(
        "a toleration of nothing in particular",
        ("tolerations", "without a key", "Exists"),
        instanceTypes={"gpu": {"tolerations": [{"value": "yes"}]}},
    ),
    workspace(
        "a toleration for some seconds of what does not evict",
        ("tolerationSeconds", "NoExecute"),
        instanceTypes={"gpu": {"tolerations": [{"key": "gpu", "effect": "NoSchedule", "tolerationSeconds": 3}]}},
    ),
    workspace(
        "a node's label with a space",
        ("nodeSelector", "the card", "accelerator: a100"),
        instanceTypes={"gpu": {"nodeSelector": {"the card": "a100"}}},
    ),
    workspace(
        "thirty-three instance types",
        ("spec.instanceTypes", "32"),
        instanceTypes={f"t{number}": {} for number in range(33)},
    ),
    workspace(
        "a format of models that nobody knows",
        ("spec.policy.modelFormats", "pkl", "joblib"),
        policy__modelFormats=["pkl"],
    ),
    workspace("a format twice", ("modelFormats", "uplicate", "onnx"), policy__modelFormats=["onnx", "onnx"]),
    workspace("no format at all", ("modelFormats", "1"), policy__modelFormats=[]),
    workspace("no run at a time", ("spec.policy.maxConcurrentRuns", "1"), policy__maxConcurrentRuns=0),
    workspace("more runs at a time than can be listed", ("maxConcurrentRuns", "1000"), policy__maxConcurrentRuns=1001),
    workspace("half a run at a time", ("maxConcurrentRuns", "integer"), policy__maxConcurrentRuns=0.5),
    workspace("a budget of nothing in particular", ("spec.policy.budget", "cpuHours: 500"), policy__budget={}),
    workspace("a budget below nothing", ("cpuHours", "greater than or equal to 0"), policy__budget={"cpuHours": -1}),
    workspace("a budget in words", ("gpuHours", "string"), policy__budget={"gpuHours": "40h"}),
    workspace("no image at all allowed", ("spec.policy.allowedImages", "at least 1"), policy__allowedImages=[]),
    workspace(
        "a pattern of images with a shell's meaning",
        ("allowedImages", "'$(id)'", "registry.example/team/*"),
        policy__allowedImages=["$(id)"],
    ),
    workspace(
        "a pattern of images with a second line",
        ("allowedImages", "no pattern", "registry.example/team/*"),
        policy__allowedImages=["registry.example/*\n*"],
    ),
    workspace("runs kept for a month by name", ("finishedRuns", "'1 month'", "30d"), retention__finishedRuns="1 month"),
    workspace("runs kept for part of a second", ("finishedRuns", "'500ms'", "12h"), retention__finishedRuns="500ms"),
    workspace("runs kept for a negative time", ("finishedRuns", "'-1d'", "30d"), retention__finishedRuns="-1d"),
    workspace(
        "a queue of another namespace",
        ("queueName", "'team-b/queue'", "my-code"),
        instanceTypes={"gpu": {"queueName": "team-b/queue"}},
    ),
    experiment("a name that begins with a digit", ("metadata.name", "'9x'", "churn-lr"), name="9x"),
    experiment("a name with a dot", ("metadata.name", "'trials.may'", "churn-lr"), name="trials.may"),
    experiment("a workspace with a line break", ("spec.workspace", "no name", "churn-lr"), workspace="lab\n"),
    experiment("a metric without a name", ("primaryMetric", "1"), objective={"primaryMetric": "", "goal": "maximize"}),
    experiment("an objective without a goal", ("goal", "Required"), objective={"primaryMetric": "auc"}),
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
    run("code from nowhere", ("spec.code", "inline", "configMap", "has none"), code={}),
    run("code from two places", ("exactly one",), code={"inline": {"a.py": ""}, "configMap": "code"}),
    run("a file that leaves the code", ("spec.code.inline", "'../a.py'", "train.py"), code={"inline": {"../a.py": ""}}),
    run("a file by absolute path", ("'/etc/passwd'",), code={"inline": {"/etc/passwd": ""}}),
    run("more code than fits", ("131072", "configMap"), code={"inline": {"a.py": "x" * 70000, "b.py": "x" * 70000}}),
    run("a name that begins with a digit", ("metadata.name", "'9x'", "churn-lr"), name="9x"),
    run("code without a file", ("spec.code.inline", "at least 1"), code={"inline": {}}),
    run("a file that leaves the code in the middle", ("'a/../../b'",), code={"inline": {"a/../../b": ""}}),
    run("a file with a backslash", ("'a\\b'", "src/train.py"), code={"inline": {"a\\b": ""}}),
    run("a file without a name", ("inline file ''", "train.py"), code={"inline": {"": ""}}),
    run("a file with a line break in its name", ("spec.code.inline", "train.py"), code={"inline": {"a\n": ""}}),
    run("code in a ConfigMap that is no name", ("spec.code.configMap", "'My_Code'"), code={"configMap": "My_Code"}),
    run(
        "code from git and from a ConfigMap",
        ("exactly one", "has configMap git"),
        code={"git": GIT, "configMap": "code"},
    ),
    run("code from three places", ("has inline git url",), code={"inline": {"a": ""}, "git": GIT, "url": URL}),
    run(
        "an archive over http",
        ("code.url", "'http://a.example/c.zip'", "https://"),
        code={"url": "http://a.example/c.zip"},
    ),
    run("an archive on the node", ("code.url", "'file:///etc/c.zip'", "s3://"), code={"url": "file:///etc/c.zip"}),
    run(
        "an archive with a password in it",
        ("code.url", "no password", "credentialsSecret"),
        code={"url": "https://u:p@a.example/c.zip"},
    ),
    run("an archive that is a bucket", ("code.url", "'s3://bucket'"), code={"url": "s3://bucket"}),
    run("an archive that is a folder", ("code.url", "'s3://bucket/code/'"), code={"url": "s3://bucket/code/"}),
    run(
        "code of the store that nobody pushed",
        ("code.url", "'workspace://1/abc/artifacts/code'", "smalt push"),
        code={"url": "workspace://1/abc/artifacts/code"},
    ),
    run(
        "pushed code with a login",
        ("code.credentialsSecret", "workspace://", "leave it out"),
        code={"url": "workspace://uploads/" + "0" * 64 + "/code", "credentialsSecret": "login"},
    ),
    run("an archive that is a host", ("code.url", "'https://a.example/'"), code={"url": "https://a.example/"}),
    run("an archive with a second line", ("code.url",), code={"url": "https://a.example/c\n.zip"}),
    run("an archive with half a digest", ("code.digest", "sha256:"), code={"url": URL, "digest": "sha256:12"}),
    run("a folder outside of the archive", ("code.path", "'../a'"), code={"url": URL, "path": "../a"}),
    run(
        "a folder of an archive that is not there",
        ("code.path", "code.url", "code.git"),
        code={"git": GIT, "path": "churn"},
    ),
    run(
        "a digest of no archive",
        ("code.digest", "code.url"),
        code={"inline": {"a": ""}, "digest": "sha256:" + "0" * 64},
    ),
    run(
        "a repository with a password in it",
        ("code.git.url", "no password", "credentialsSecret"),
        code={"git": GIT | {"url": "https://u:p@git.example/a.git"}},
    ),
    run("a repository by ssh", ("code.git.url", "ssh"), code={"git": {"url": "git@git.example:team/a.git"}}),
    run(
        "a repository without its encryption",
        ("code.git.url", "'http://git.example/a.git'", "https://host/team/repository.git"),
        code={"git": {"url": "http://git.example/a.git"}},
    ),
    run("a repository on the node", ("code.git.url", "'file:///etc'"), code={"git": {"url": "file:///etc"}}),
    run("a repository by a program", ("code.git.url", "'ext::sh -c id'"), code={"git": {"url": "ext::sh -c id"}}),
    run("a repository that is an option", ("code.git.url",), code={"git": {"url": "--upload-pack=id"}}),
    run("a host without a repository", ("code.git.url",), code={"git": {"url": "https://git.example"}}),
    run(
        "a repository with a query",
        ("code.git.url", "no repository"),
        code={"git": {"url": "https://git.example/a.git?token=x"}},
    ),
    run("a repository with a second line", ("code.git.url",), code={"git": {"url": "https://git.example/a\nb"}}),
    run("git without a repository", ("code.git.url", "Required"), code={"git": {"revision": "v1"}}),
    run(
        "a revision that is an option",
        ("code.git.revision", "'--upload-pack=id'", "v1.2"),
        code={"git": GIT | {"revision": "--upload-pack=id"}},
    ),
    run("a revision in shell", ("code.git.revision", "'$(id)'"), code={"git": GIT | {"revision": "$(id)"}}),
    run("a revision that is two", ("code.git.revision", "'a..b'"), code={"git": GIT | {"revision": "a..b"}}),
    run("a revision of nothing", ("code.git.revision",), code={"git": GIT | {"revision": ""}}),
    run("a folder outside of the repository", ("code.git.path", "'../a'", "src"), code={"git": GIT | {"path": "../a"}}),
    run(
        "a Secret in another namespace",
        ("code.git.credentialsSecret", "'team-b/git'"),
        code={"git": GIT | {"credentialsSecret": "team-b/git"}},
    ),
    run("an empty command", ("spec.command", "1"), command=""),
    run("a command of spaces", ("spec.command", "python train.py"), command="  \n "),
    run("a command of more than 8 KiB", ("spec.command", "8192"), command="x" * 8193),
    run("no command", ("spec.command", "Required"), command=REMOVED),
    run("two environments", ("at most one", "conda", "pip"), environment={"conda": "dependencies: []", "pip": ["a"]}),
    run("a conda file longer than 32 KiB", ("environment.conda", "32768"), environment={"conda": "x" * 32769}),
    run(
        "a conda file outside of the code",
        ("environment.condaFile", "'../conda.yml'"),
        environment={"condaFile": "../conda.yml"},
    ),
    run(
        "a conda file that is not among the code's files",
        ("condaFile", "'conda.yml'", "code.inline", "environment.conda"),
        environment={"condaFile": "conda.yml"},
    ),
    run(
        "a list and a file of requirements",
        ("at most one", "requirementsFile", "pip"),
        environment={"pip": ["a"], "requirementsFile": "r.txt"},
    ),
    run(
        "a requirements file outside the code",
        ("environment.requirementsFile", "'../r.txt'"),
        environment={"requirementsFile": "../r.txt"},
    ),
    run(
        "a requirements file that is not there",
        ("requirementsFile", "'r.txt'", "code.inline", "environment.pip"),
        environment={"requirementsFile": "r.txt"},
    ),
    run("a conda file by absolute path", ("condaFile", "'/conda.yml'"), environment={"condaFile": "/conda.yml"}),
    run("a package without a name", ("environment.pip[0]", "1"), environment={"pip": [""]}),
    run(
        "an image by its web address",
        ("environment.image", "'https://registry.example/a'", "registry.example/team/image:1.0"),
        environment={"image": "https://registry.example/a"},
    ),
    run("an image with capitals", ("environment.image", "'Team/Image:1'"), environment={"image": "Team/Image:1"}),
    run("an image with two colons", ("environment.image", "'image::1'"), environment={"image": "image::1"}),
    run(
        "an image with a line break",
        ("environment.image", "registry.example/team/image:1.0"),
        environment={"image": "registry.example/a:1\n"},
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
    run("a priority class that is no name", ("priorityClassName", "'../high'"), priorityClassName="../high"),
    run("a suspension in words", ("spec.suspend", "boolean"), suspend="yes"),
    run("a cancellation in words", ("spec.cancel", "boolean"), cancel="now"),
    run("retries below nothing", ("spec.limits.retries", "0"), limits={"retries": -1}),
    run("an input called null", ("inputs", "'null'", "quote"), inputs={"null": INPUT}),
    run("an input over http", ("path", "'http://x/y'", "https://"), inputs={"train": INPUT | {"path": "http://x/y"}}),
    run("an input called a-b", ("inputs", "'a-b'", "train"), inputs={"a-b": INPUT}),
    run("an input without a type", ("type", "Required"), inputs={"train": {"path": "configmap://rows/rows.csv"}}),
    run("an input by path", ("path", "'/data/x'", "pvc://"), inputs={"train": INPUT | {"path": "/data/x"}}),
    run(
        "an input from Azure's store",
        ("path", "'azureml://datastores/x'", "https://"),
        inputs={"train": INPUT | {"path": "azureml://datastores/x"}},
    ),
    run(
        "an input with a password in it",
        ("path", "no place to read from"),
        inputs={"train": INPUT | {"path": "https://u:p@data.example/x"}},
    ),
    run(
        "an input with a second line",
        ("path", "no place to read from", "https://host/path"),
        inputs={"train": INPUT | {"path": "https://data.example/x\ny"}},
    ),
    run(
        "a file that is a whole ConfigMap",
        ("inputs[train]", "'configmap://rows'", "configmap://name/key", "uriFolder"),
        inputs={"train": INPUT | {"path": "configmap://rows"}},
    ),
    run(
        "a file that is a whole volume",
        ("inputs[train]", "'pvc://data/'", "pvc://claim/path", "uriFolder"),
        inputs={"train": INPUT | {"path": "pvc://data/"}},
    ),
    run(
        "a folder that is one key",
        ("inputs[train]", "'configmap://rows/rows.csv'", "uriFile"),
        inputs={"train": INPUT | {"type": "uriFolder"}},
    ),
    run(
        "an input of a store that is none",
        ("path", "'gs://x/y'", "s3://bucket/key"),
        inputs={"train": INPUT | {"path": "gs://x/y"}},
    ),
    run(
        "a file that is a whole bucket",
        ("inputs[train]", "'s3://data'", "s3://bucket/folder/file.csv", "uriFolder"),
        inputs={"train": INPUT | {"path": "s3://data"}},
    ),
    run(
        "a file that is a folder of a bucket",
        ("inputs[train]", "'s3://data/2026/'", "uriFolder"),
        inputs={"train": INPUT | {"path": "s3://data/2026/"}},
    ),
    run(
        "a bucket with capitals",
        ("path", "'s3://Data/x'", "s3://bucket/key"),
        inputs={"train": INPUT | {"path": "s3://Data/x"}},
    ),
    run(
        "a key that leads elsewhere",
        ("path", "'s3://data/a/../b'", "no place to read from"),
        inputs={"train": INPUT | {"path": "s3://data/a/../b"}},
    ),
    run(
        "a run without its output",
        ("path", "'run://prep'", "run://name/output"),
        inputs={"train": INPUT | {"path": "run://prep"}},
    ),
    run(
        "a run of another namespace",
        ("path", "'run://team-b/prep/clean'", "run://name/output"),
        inputs={"train": INPUT | {"path": "run://team-b/prep/clean"}},
    ),
    run(
        "a model without its version",
        ("path", "'model://churn'", "model://name/1"),
        inputs={"train": INPUT | {"path": "model://churn"}},
    ),
    run(
        "a model by its stage",
        ("path", "'model://churn/Production'", "model://name/1"),
        inputs={"train": INPUT | {"path": "model://churn/Production"}},
    ),
    run(
        "a model of version 0",
        ("path", "'model://churn/0'", "model://name/1"),
        inputs={"train": INPUT | {"path": "model://churn/0"}},
    ),
    run(
        "something of the store that nobody pushed",
        ("path", "'workspace://1/abc/artifacts/x'", "smalt push"),
        inputs={"train": INPUT | {"path": "workspace://1/abc/artifacts/x"}},
    ),
    run(
        "an archive that stays a file",
        ("inputs[train]", "unpack: true", "type: uriFolder"),
        inputs={"train": INPUT | {"unpack": True}},
    ),
    run(
        "an archive that is a whole volume",
        ("inputs[train]", "'pvc://data'", "pvc://claim/path"),
        inputs={"train": {"type": "uriFolder", "path": "pvc://data", "unpack": True}},
    ),
    run(
        "a login for a ConfigMap",
        ("inputs[train]", "credentialsSecret", "'configmap://rows/rows.csv'"),
        inputs={"train": INPUT | {"credentialsSecret": "login"}},
    ),
    run(
        "a login by a path",
        ("credentialsSecret", "'../login'", "my-code"),
        inputs={"train": INPUT | {"path": "s3://data/x", "credentialsSecret": "../login"}},
    ),
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
    run(
        "a digest in capitals",
        ("digest", "sha256:", "lower case"),
        inputs={"train": INPUT | {"digest": "sha256:" + "A" * 64}},
    ),
    run("an output called true", ("outputs", "'true'", "quote"), outputs={"true": {"type": "uriFolder"}}),
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
    run("a parameter with a dash", ("parameters", "learning_rate"), parameters={"a-b": 1}),
    run("a parameter of more than 1 KiB", ("spec.parameters.a", "1024"), parameters={"a": "x" * 1025}),
    run("129 parameters", ("spec.parameters", "128"), parameters={f"p{number}": 1 for number in range(129)}),
    run("a time-out in days", ("limits.timeout", "'1d'", "2h"), limits={"timeout": "1d"}),
    run("a time-out with a fraction", ("limits.timeout", "'1.5h'", "10m"), limits={"timeout": "1.5h"}),
    run("a negative time-out", ("limits.timeout", "'-5s'", "30s"), limits={"timeout": "-5s"}),
    run("a time-out of nothing", ("limits.timeout", "''", "30s"), limits={"timeout": ""}),
    run("a time-out of a century", ("limits.timeout", "'999999h'"), limits={"timeout": "999999h"}),
    run("eleven retries", ("limits.retries", "10"), limits={"retries": 11}),
    run(
        "a model from an output by another name",
        ("register.from", "'model'", "outputs"),
        outputs={"fitted": {"type": "customModel"}},
        register={"model": "churn", "from": "model"},
    ),
    run(
        "a model whose name has capitals",
        ("register.model", "'Churn'", "churn-lr"),
        outputs={"model": {"type": "customModel"}},
        register={"model": "Churn", "from": "model"},
    ),
    run("a time-out in words", ("limits.timeout", "'5 min'", "10m"), limits={"timeout": "5 min"}),
    run("a time-out in bare seconds", ("limits.timeout",), limits={"timeout": 300}),
    run("a negative number of retries", ("limits.retries", "-1"), limits={"retries": -1}),
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
    model("a source of both kinds", ("source", "exactly one of run", "uri"), source__uri="s3://models/churn"),
    model("a source of neither kind", ("source", "exactly one of run"), source={"digest": "sha256:" + "0" * 64}),
    model(
        "an import without a digest", ("source.digest", "python -m smalt digest"), source={"uri": "s3://models/churn"}
    ),
    model(
        "an import with an output",
        ("source.output", "source.run"),
        source={"uri": "s3://models/churn", "digest": "sha256:" + "0" * 64, "output": "model"},
    ),
    model(
        "credentials for the output of a run",
        ("source.credentialsSecret", "source.uri"),
        source__credentialsSecret="login",
    ),
    model(
        "an import with a password in its address",
        ("source.uri", "holds no user and no password", "source.credentialsSecret"),
        source={"uri": "https://me:secret@host/model.onnx", "digest": "sha256:" + "0" * 64},
    ),
    model(
        "an import from a server that is not asked",
        ("source.uri", "no address to import from", "s3://bucket/folder"),
        source={"uri": "http://host/model.onnx", "digest": "sha256:" + "0" * 64},
    ),
    model(
        "an output that is to be unpacked",
        ("source.unpack", "source.uri"),
        source__unpack=True,
    ),
    model(
        "an import from a place above",
        ("source.uri", "no address to import from"),
        source={"uri": "s3://models/../other", "digest": "sha256:" + "0" * 64},
    ),
    model("a name that is not name and version", ("metadata.name", "'churn'", "churn-3"), name="churn"),
    model("another version in the name", ("metadata.name", "'churn-2'"), name="churn-2"),
    model("a leading zero", ("metadata.name", "'churn-01'"), name="churn-01"),
    model("version nought", ("spec.version", "0"), name="churn-0", version=0),
    model("a version of seven digits", ("spec.version", "999999"), name="churn-1000000", version=1000000),
    Bad("Model: a name of 53 letters", changed(MODEL, {"name": LONG}, f"{LONG}-1"), ("spec.name", "52")),
    model("a tag called null", ("spec.tags", "'null'", "quote"), tags={"null": "x"}),
    model("a tag with a dash", ("spec.tags", "'a-b'", "owner"), tags={"a-b": "x"}),
    model("a stage that does not exist", ("spec.stage", "Live", "Production"), stage="Live"),
    model("a source digest that is none", ("spec.source.digest", "'md5:1'", "sha256:"), source__digest="md5:1"),
    gated("two bounds", ("'auc'", "exactly one", "min: 0.8"), {"metric": "auc", "min": 0.8, "max": 0.9}),
    gated("no bound", ("'auc'", "exactly one", "Production"), {"metric": "auc"}),
    gated("a tolerance of a number", ("'auc'", "tolerance", "atLeast"), {"metric": "auc", "min": 1, "tolerance": 0.1}),
    gated("data to compare with a number", ("'auc'", "data", "atLeast"), {"metric": "auc", "min": 1, "data": "test"}),
    gated("a negative tolerance", ("tolerance", "-1"), {"metric": "auc", "atLeast": INCUMBENT, "tolerance": -1}),
    gated(
        "an incumbent by stage and version",
        ("atLeast", "exactly one", "stage: Production"),
        {"metric": "auc", "atLeast": INCUMBENT | {"version": 1}},
    ),
    gated(
        "an incumbent without a choice", ("atLeast", "exactly one"), {"metric": "auc", "atLeast": {"model": "churn"}}
    ),
    gated("a word for a number", ("min", "string"), {"metric": "auc", "min": "high"}),
    model("a gate without a bound", ("spec.gates[0]", "'auc'", "exactly one"), gates=[{"metric": "auc"}]),
    model("no source", ("spec.source", "Required"), source=REMOVED),
    model("a type that cannot be served yet", ("spec.type", "tritonModel", "customModel"), type="tritonModel"),
    deployment("neither version nor stage", ("spec.model", "exactly one", "version: 3"), model={"name": "churn"}),
    deployment(
        "both version and stage",
        ("spec.model", "exactly one"),
        model={"name": "churn", "version": 1, "stage": "Production"},
    ),
    deployment("a name of 53 letters", ("metadata.name", "52"), name=LONG),
    deployment("version nought", ("spec.model.version", "1"), model={"name": "churn", "version": 0}),
    deployment("a model with capitals", ("spec.model.name", "'Churn'"), model={"name": "Churn", "version": 1}),
    deployment("a stage in lower case", ("spec.model.stage", "production", "Production"), model=STAGED),
    deployment("a variable called true", ("environmentVariables", "'true'"), environmentVariables={"true": "1"}),
    deployment("batching in lower case", ("spec.batching", "off", "Auto"), batching="off"),
    deployment("an optimization that does not exist", ("spec.optimize", "tensorrt", "onnx"), optimize="tensorrt"),
    deployment(
        "a script whose model is to be converted",
        ("optimize: onnx", "codeConfiguration"),
        optimize="onnx",
        codeConfiguration={"code": {"inline": {"score.py": "text"}}, "scoringScript": "score.py"},
    ),
    deployment("more pods than 1000", ("spec.replicas", "1000"), replicas=1001),
    deployment(
        "a score script that is not among the code's files",
        ("scoringScript", "'score.py'", "code.inline"),
        codeConfiguration={"code": {"inline": {"main.py": ""}}, "scoringScript": "score.py"},
    ),
    deployment(
        "a conda file that is not among the code's files",
        ("condaFile", "'conda.yml'", "code.inline", "environment.conda"),
        codeConfiguration={"code": {"inline": {"score.py": ""}}, "scoringScript": "score.py"},
        environment={"condaFile": "conda.yml"},
    ),
    deployment(
        "code without a score script",
        ("scoringScript", "Required"),
        codeConfiguration={"code": {"configMap": "code"}},
    ),
    deployment(
        "a score script by absolute path",
        ("scoringScript", "'/score.py'", "src/score.py"),
        codeConfiguration={"code": {"configMap": "code"}, "scoringScript": "/score.py"},
    ),
    deployment("two environments", ("at most one",), environment={"conda": "dependencies: []", "pip": ["a"]}),
    deployment(
        "liveness that must succeed twice",
        ("livenessProbe.successThreshold", "1", "readinessProbe"),
        livenessProbe={"successThreshold": 2},
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
    deployment(
        "requirements without code",
        ("requirementsFile", "codeConfiguration", "environment.pip"),
        environment={"requirementsFile": "r.txt"},
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
    refused_with(plane, bad.words, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(bad.manifest))


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.sentence)
def test_is_refused_by_server_side_apply_in_the_same_words(plane: ControlPlane, bad: Bad) -> None:
    with pytest.raises(RequestRefused) as refused:
        Rest(plane.kubeconfig, "default").apply(PLURALS[bad.manifest["kind"]], bad.manifest, dry_run=True)
    for word in bad.words:
        # As JSON has it, which the answer is: a quoted word in a message has its quotes escaped.
        assert json.dumps(word)[1:-1] in str(refused.value), f"{word!r} is missing"


def refused_with(plane: ControlPlane, words: tuple[str, ...], *arguments: str, stdin: str | None = None) -> None:
    """kubectl is refused, and every one of the words is in what it says."""
    with pytest.raises(CommandFailed) as refused:
        plane.kubectl(*arguments, stdin=stdin)
    for word in words:
        assert word in str(refused.value), f"{word!r} is missing"


# What is of the wrong type never gets as far as our rules: each way of applying has the API server's own words for it.
WRONG_TYPES = (
    ("a word for an object", changed(WORKSPACE, {"storage": "10Gi"}), "spec.storage", ("object", "expected map")),
    ("a word for a number", changed(DEPLOYMENT, {"replicas": "two"}), "spec.replicas", ("integer", "numeric")),
    (
        "a truth for a text",
        changed(RUN, {"environmentVariables": {"A": True}}),
        "spec.environmentVariables.A",
        ("string", "string"),
    ),
    ("a list for a map", changed(RUN, {"inputs": []}), "spec.inputs", ("object", "expected map")),
)


@pytest.mark.parametrize("at", range(len(WAYS)), ids=[" ".join(way) for way in WAYS])
@pytest.mark.parametrize(
    ("manifest", "field", "expected"), [each[1:] for each in WRONG_TYPES], ids=[each[0] for each in WRONG_TYPES]
)
def test_a_wrong_type_is_refused_with_the_right_one(
    plane: ControlPlane, manifest: Json, field: str, expected: tuple[str, ...], at: int
) -> None:
    words = (field, expected[at])
    refused_with(plane, words, *WAYS[at], "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


MISSPELT = {
    "spec.cmmand": changed(RUN, {"cmmand": "x"}),
    "spec.resources.request": changed(DEPLOYMENT, {"resources": {"request": {"cpu": "1"}}}),
    "spec.environment.image": changed(DEPLOYMENT, {"environment": {"image": "registry.example/a:1"}}),
    "spec.storage.storageClass": changed(WORKSPACE, {"storage": {"storageClass": "fast"}}),
    "spec.objectives": changed(EXPERIMENT, {"objectives": {}}),
    "spec.stages": changed(MODEL, {"stages": "Production"}),
}


@pytest.mark.parametrize("how", WAYS, ids=" ".join)
@pytest.mark.parametrize("field", MISSPELT)
def test_a_misspelt_field_is_named(plane: ControlPlane, field: str, how: tuple[str, ...]) -> None:
    command = [*how, "--dry-run=server", "--validate=strict", "-f", "-"]
    refused_with(plane, (field,), *command, stdin=json.dumps(MISSPELT[field]))


@pytest.mark.parametrize("field", MISSPELT)
def test_a_misspelt_field_is_dropped_where_nobody_checks(plane: ControlPlane, field: str) -> None:
    command = ["create", "--dry-run=server", "--validate=ignore", "-o", "json", "-f", "-"]
    stored = json.loads(plane.kubectl(*command, stdin=json.dumps(MISSPELT[field])))
    *path, name = field.split(".")
    for step in path:
        stored = stored.get(step, {})
    assert name not in stored


@pytest.mark.parametrize(("word", "key"), [("y", "true"), ("no", "false")])
def test_a_bare_word_that_yaml_takes_for_something_else_is_told(plane: ControlPlane, word: str, key: str) -> None:
    text = f"""\
apiVersion: smalt.dev/v1alpha1
kind: TrainingRun
metadata: {{name: first}}
spec:
  experiment: trials
  command: python train.py
  code: {{inline: {{train.py: ""}}}}
  environmentVariables: {{{word}: "1"}}
"""
    refused_with(plane, (f"'{key}'", "quote the key"), "create", "--dry-run=server", "-f", "-", stdin=text)


def test_a_status_with_thirty_three_metrics_is_refused(plane: ControlPlane) -> None:
    namespace = f"bad-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", namespace)
    for manifest in (RUN, MODEL):
        plane.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(changed(manifest, {})))
        name = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
        patch = json.dumps({"status": {"metrics": {f"m{number}": 0.5 for number in range(33)}}})
        command = ["-n", namespace, "patch", name, "--subresource=status", "--type=merge", "-p", patch]
        refused_with(plane, ("status.metrics", "32"), *command)


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
        "priorityClassName": "low",
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
            "priorityClassName": "high",
            "limits": {"timeout": "2h"},
            "register": {"stage": "Production"},
        }.items()
    ),
    *(
        Change(f"TrainingRun: cancel {value}", changed(RUN, {"cancel": True}), {"cancel": value}, ("cancel", ANOTHER))
        for value in (False, None)
    ),
    Change("TrainingRun: parameters taken away", FULL_RUN, {"parameters": None}, ("parameters", ANOTHER)),
    Change("Experiment: workspace", EXPERIMENT, {"workspace": "other"}, ("'lab'", "'other'", "another name")),
    Change("Deployment: workspace", DEPLOYMENT, {"workspace": "other"}, ("'lab'", "'other'", "another name")),
    Change("Model: source", MODEL, {"source": {"output": "other"}}, ("source", "stage and tags", "new version")),
    Change("Model: workspace", MODEL, {"workspace": "other"}, ("workspace", "stage and tags")),
    *(
        Change(
            f"Workspace: storage class {sentence}",
            changed(WORKSPACE, {"storage": {"storageClassName": "fast"}}),
            patch,
            ("storageClassName", "another name"),
        )
        for sentence, patch in {
            "replaced": {"storage": {"storageClassName": "slow"}},
            "taken away": {"storage": {"storageClassName": None}},
            "taken away with the storage": {"storage": None},
        }.items()
    ),
    Change("Model: name and version", MODEL, {"version": 2}, ("version", "stage and tags", "new version")),
    Change("Model: format that was not there", MODEL, {"format": "joblib"}, ("format", "stage and tags")),
    Change("TrainingRun: limits that were not there", RUN, {"limits": {"timeout": "1h"}}, ("limits", ANOTHER)),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.sentence)
def test_what_must_not_change_is_refused_in_words(plane: ControlPlane, change: Change) -> None:
    namespace = f"bad-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", namespace)
    base = changed(change.base, {})
    plane.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(base))
    plural = {"Deployment": "modeldeployment"}.get(base["kind"], base["kind"].lower())
    patch = json.dumps({"spec": change.patch})
    command = ["-n", namespace, "patch", plural, base["metadata"]["name"], "--type=merge", "-p", patch]
    refused_with(plane, change.words, *command)


def test_a_run_is_suspended_and_resumed_and_canceled_as_often_as_one_likes(plane: ControlPlane) -> None:
    namespace = f"bad-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", namespace)
    plane.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(changed(FULL_RUN, {})))
    edits: tuple[Json, ...] = (
        {"suspend": True},
        {"suspend": False},
        {"suspend": None},
        {"cancel": False},
        {"cancel": True},
    )
    for edit in (*edits, {"cancel": True}, {"suspend": True}):
        patch = json.dumps({"spec": edit})
        plane.kubectl("-n", namespace, "patch", "trainingrun", "first", "--type=merge", "-p", patch)
