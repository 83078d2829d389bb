"""Packages of Deployments on the real node: their own, those of the training, and what serves while new ones are missing."""

from __future__ import annotations

import base64
import json
import textwrap
import urllib.request
from typing import Any

from demo.__main__ import port_forward
from e2e.cluster_namespace import Namespace, condition
from e2e.test_bad_deployments import TRAIN, deployment
from e2e.test_bad_runs import experiment, workspace
from e2e.test_bad_runs import run as training_run
from e2e.test_environments import LOGIN, fetched, private_index

Json = dict[str, Any]
USING = "import tiny_thing\ndef run(raw_data):\n    return tiny_thing.ANSWER\n"


def trained(name: str, **spec: Any) -> Json:
    return training_run(
        name,
        textwrap.dedent(TRAIN),
        command="python train.py ${{outputs.model}}",
        outputs={"model": {"type": "customModel"}},
        register={"model": name, "from": "model"},
        **spec,
    )


def using(**spec: Any) -> Json:
    files = spec.pop("files", {})
    code = {"code": {"inline": {"score.py": USING, **files}}, "scoringScript": "score.py"}
    return deployment("prod", "packaged", codeConfiguration=code, **spec)


def answer(namespace: Namespace) -> Any:
    key = base64.b64decode(namespace.get("secret", "prod-key")["data"]["primaryKey"]).decode()
    with port_forward(namespace, "service/prod", 80) as port:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/score", data=b"{}")
        request.add_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())


def test_packages_are_those_of_the_training_until_a_conda_file_names_others(namespace: Namespace) -> None:
    packages = private_index(namespace)
    namespace.apply(workspace(packages=packages | {"cache": {"size": "1Gi"}}), experiment())
    namespace.apply(trained("packaged", environment={"pip": ["tiny-thing"]}))
    found = namespace.ready("model", "packaged-1", 300)["status"]["environment"]
    assert "/environment/requirements.lock" in found["uri"] and found["versions"].keys() == {"numpy", "scikit-learn"}
    before = fetched(namespace)

    namespace.apply(using())
    namespace.ready("modeldeployment", "prod", 240)
    assert answer(namespace) == 42
    assert fetched(namespace) == before, "the cache of the Workspace has them"

    # A file of packages that nobody has: what serves goes on, and the status says which.
    namespace.apply(
        using(files={"conda.yml": "dependencies:\n- absent-thing\n"}, environment={"condaFile": "conda.yml"})
    )
    waiting = namespace.until(
        "modeldeployment", "prod", lambda it: condition(it, "Ready").get("reason") == "ServingPrevious", 180
    )
    assert "absent-thing" in condition(waiting, "Stalled")["message"]
    assert answer(namespace) == 42

    namespace.apply(using(files={"conda.yml": "dependencies:\n- tiny-thing\n"}, environment={"condaFile": "conda.yml"}))
    namespace.until("modeldeployment", "prod", lambda it: condition(it, "Ready").get("reason") == "Serving", 240)
    assert answer(namespace) == 42
    everything = namespace("get", "modeldeployments,models,pods,events", "-o", "json")
    everything += namespace("logs", "deployments.apps/prod", "--all-containers")
    assert LOGIN[1] not in everything
