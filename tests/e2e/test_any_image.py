"""A run in an image that was made without a thought of Smalt: Python, and nothing else."""

from __future__ import annotations

import os

from cluster.engine import base_key
from e2e.cluster_namespace import Namespace
from e2e.test_bad_runs import experiment, run, workspace

SCRIPT = """\
import importlib.util, json, pathlib, sys
from smalt_trainer import run
assert importlib.util.find_spec("sklearn") is None, "this is the trainer image"
run.log("auc", 0.75)
print(json.dumps({"metric": "accuracy", "value": 0.5}))
pathlib.Path(sys.argv[1], "model.txt").write_text("kept")
"""


def plain_python_image() -> str:
    """Debian with Python on the local node, where no registry can be asked; elsewhere the one that everybody uses."""
    is_local = (os.environ.get("CLUSTER") or "local") == "local"
    return f"docker.io/smalt/base:{base_key()}" if is_local else "python:3.12-slim"


def test_a_run_works_in_an_image_that_knows_nothing_of_smalt(namespace: Namespace) -> None:
    foreign = run(
        "foreign",
        SCRIPT,
        command="python train.py ${{outputs.model}}",
        environment={"image": plain_python_image()},
        outputs={"model": {"type": "customModel"}},
    )
    namespace.apply(workspace(), experiment(), foreign)
    status = namespace.ready("trainingrun", "foreign", 240)["status"]
    assert status["metrics"] == {"auc": 0.75, "accuracy": 0.5}
    assert status["outputs"]["model"]["files"] == 1
