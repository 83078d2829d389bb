"""The sample of gates on the real node: a version that passes, what another run measures of it, and one that is refused."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster_namespace import Namespace, condition

SAMPLE = Path(__file__).resolve().parents[2] / "manifests/samples/gates"


def test_a_better_version_is_followed_and_a_worse_one_says_by_how_much(namespace: Namespace) -> None:
    namespace("apply", "-k", str(SAMPLE))
    first = namespace.ready("model", "gated-1", 300)
    assert [each["passed"] for each in first["status"]["gates"]] == [True, True]
    evaluated = namespace.until("model", "gated-1", lambda it: bool(it["status"].get("evaluations")), 120)
    [evaluation] = evaluated["status"]["evaluations"]
    assert evaluation["run"] == "gated-1-recent" and evaluation["data"].keys() == {"recent"}
    assert 0.5 < evaluation["metrics"]["accuracy"] <= 1
    assert condition(evaluated, "Ready")["status"] == "True"
    namespace("apply", "-f", str(SAMPLE / "guess.yaml"))
    refused = namespace.stalled("model", "gated-2", 200)
    said = condition(refused, "Ready")
    assert said["reason"] == "GateFailed" and "is not promoted to Production: accuracy is" in said["message"]
    assert "of Model 'gated-1' on the same data" in said["message"]
    shown = namespace("get", "models", "-o", "wide")
    assert "GateFailed" in shown and "below the" in shown
