"""Signed models on the real node: what is unsigned is not served, what is signed is, and a flipped byte is caught at a pod's start."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from e2e.cluster_namespace import Json, Namespace, condition
from e2e.test_bad_deployments import deployment
from e2e.test_bad_runs import experiment, workspace
from e2e.test_deployment_environments import trained

# Of the registry's copy, in the store of the tracking server.
FLIP = """
import pathlib, sys
[file] = [each for each in pathlib.Path("/data").glob("**/" + sys.argv[1] + "/artifacts/model/model.joblib") if each.is_file()]
content = bytearray(file.read_bytes())
content[100] ^= 1
file.write_bytes(content)
"""


def keys(folder: Path) -> Json:
    private, public = folder / "private.pem", folder / "public.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    pair = {each.name: each.read_text() for each in (private, public)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "model-signing"}, "stringData": pair}


def test_only_what_the_registry_has_signed_is_served_and_only_as_it_was(namespace: Namespace, tmp_path: Path) -> None:
    namespace.apply(keys(tmp_path), workspace(), experiment(), trained("before"))
    assert not condition(namespace.ready("model", "before-1", 300), "SignatureVerified")
    namespace.apply(workspace(signing={"keySecret": "model-signing"}), trained("after"))
    signed = namespace.ready("model", "after-1", 300)
    assert condition(signed, "SignatureVerified")["status"] == "True"
    assert signed["status"]["signature"]["uri"].endswith("/signature.json")

    namespace.apply(deployment("unsigned", "before"), deployment("prod", "after"))
    namespace.ready("modeldeployment", "prod", 180)
    refused = condition(namespace.stalled("modeldeployment", "unsigned"), "Ready")
    assert refused["reason"] == "NotSigned" and "before-1" in refused["message"]
    assert not namespace.get("pods", "-l", "smalt.dev/deployment=unsigned")["items"], "no pod is even started for it"

    pods = namespace.get("pods", "-l", "smalt.dev/deployment=prod")["items"]
    private = (tmp_path / "private.pem").read_text().splitlines()[1]
    assert private not in json.dumps(pods) + namespace("logs", "deployments.apps/prod", "--all-containers")
    [server] = namespace.get("pods", "-l", "app.kubernetes.io/component=tracking")["items"]
    run = signed["status"]["registry"]["runId"]
    namespace("exec", server["metadata"]["name"], "--", "python3", "-c", FLIP, run)
    namespace("delete", "pod", "-l", "smalt.dev/deployment=prod", "--wait=false")
    caught = namespace.stalled("modeldeployment", "prod", 180)
    said = condition(caught, "Ready")
    assert said["reason"] == "ModelDigestMismatch" and "altered" in said["message"]
