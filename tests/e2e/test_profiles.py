"""The sample of data preparation on the real node: what goes from run to run is profiled, and the reports are kept."""

from __future__ import annotations

import json
from pathlib import Path

from e2e.cluster_namespace import Namespace, tracking

SAMPLE = Path(__file__).resolve().parents[2] / "manifests/samples/data-preparation"


def test_the_tables_of_both_runs_are_profiled(namespace: Namespace) -> None:
    namespace("apply", "-k", str(SAMPLE))
    trained = namespace.ready("trainingrun", "train-1", 300)["status"]
    prepared = namespace.get("trainingrun", "prepare-1")["status"]
    raw, clean, train = (
        prepared["dataProfile"]["raw"],
        prepared["dataProfile"]["clean"],
        trained["dataProfile"]["train"],
    )
    assert raw["missing"] > 0 and clean["missing"] == 0 and clean["columns"] == raw["columns"] + 1
    assert {key: train[key] for key in ("rows", "columns", "missing")} == {
        key: clean[key] for key in ("rows", "columns", "missing")
    }
    assert "model" not in trained["dataProfile"]
    place = train["report"].removeprefix("mlflow-artifacts:/")
    workspace = trained["workspace"]
    with tracking(namespace, workspace) as ask:
        document = json.loads(ask(f"api/2.0/mlflow-artifacts/artifacts/{place}/churn.csv/profile.json"))
        page = ask(f"api/2.0/mlflow-artifacts/artifacts/{place}/churn.csv/report.html")
    assert document["target"]["name"] == "churned" and document["rows"] == train["rows"]
    assert "churned" in page and "<svg" in page
