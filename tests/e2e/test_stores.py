"""On the real cluster: history in PostgreSQL and artifacts in a bucket, and a run recorded by somebody else's server."""

from __future__ import annotations

import base64
from typing import Any

from cluster.network import NODE_IP
from e2e.cluster_namespace import Namespace, condition
from e2e.test_bad_runs import experiment, run, workspace
from support.postgres import Postgres
from support.s3_server import S3Server

Json = dict[str, Any]
SCRIPT = """
import os, pathlib
from smalt_trainer import run
run.log("auc", 0.91)
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "weights.bin").write_bytes(b"w" * 1000)
"""


def secret(name: str, **values: str) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def recorded(name: str, experiment: str) -> Json:
    """A run that logs a metric and leaves a model."""
    made = run(name, SCRIPT, outputs={"model": {"type": "customModel"}}, register={"model": name, "from": "model"})
    made["spec"]["experiment"] = experiment
    return made


def test_a_workspace_without_a_volume_and_one_without_a_server(namespace: Namespace) -> None:
    with Postgres(NODE_IP) as postgres, S3Server("history", host=NODE_IP) as bucket:
        namespace.apply(
            secret("database", uri="mysql://not-this-one"),
            secret("bucket", **bucket.credentials),
            workspace(
                tracking={"databaseSecret": "database"},
                storage={"url": "s3://history/lab", "credentialsSecret": "bucket"},
            ),
            experiment(),
            recorded("first", "trials"),
        )
        told = namespace.until(
            "mlws", "lab", lambda it: condition(it, "Ready").get("reason") == "TrackingFailed", seconds=120
        )
        assert "no address of a PostgreSQL database" in condition(told, "Ready")["message"]
        namespace.apply(secret("database", uri=postgres.uri))
        namespace("delete", "pod", "-l", "app.kubernetes.io/component=tracking", "--wait=false")
        namespace.ready("mlws", "lab", seconds=180)
        done = namespace.ready("mlrun", "first")
        assert done["status"]["metrics"] == {"auc": 0.91}
        assert namespace.ready("mlmodel", "first-1")["status"]["artifact"]["files"] == 1
        assert not namespace.get("pvc")["items"]
        # The run's, and that of the registry's copy.
        assert postgres.sql("select value from latest_metrics where key = 'auc'").split() == ["0.91", "0.91"]
        stored = [path for path in (bucket.data / "history/lab").rglob("weights.bin") if path.is_file()]
        assert [path.read_bytes() for path in stored] == [b"w" * 1000] * 2, "the run's output, and the registry's copy"

        # A server of somebody else's has one user for all that we do.
        password = base64.b64decode(namespace.get("secret", "lab-tracking")["data"]["admin-password"]).decode()
        theirs = {"uri": f"http://lab-tracking.{namespace.namespace}:5000", "credentialsSecret": "mlflow"}
        elsewhere = workspace("elsewhere", tracking={"external": theirs})
        trials = experiment("theirs", "elsewhere")
        namespace.apply(secret("mlflow", username="admin", password=password), elsewhere, trials)
        namespace.apply(recorded("second", "theirs"))
        done = namespace.ready("mlrun", "second")
        assert done["status"]["tracking"]["runId"]
        assert namespace.ready("mlmodel", "second-1")["status"]["artifact"]["files"] == 1
        assert namespace.find("deployment.apps", "elsewhere-tracking") is None
        assert postgres.sql("select count(*) from latest_metrics where key = 'auc'").strip() == "4"
