"""A whole run whose packages come from an index: what its script sees, and what is kept of its environment."""

from __future__ import annotations

import json
from pathlib import Path

from support.fake_tracking import FakeTracking
from support.package_index import PackageIndex, Wheel
from support.run_pod import RunPod, mlflow_variables

TINY = Wheel("tiny-thing", "1.2.0", "ANSWER = 42\n")
SCRIPT = """
import json, os
import tiny_thing
print(json.dumps({"metric": "answer", "value": tiny_thing.ANSWER}))
"""


def test_the_lock_the_packages_and_the_log_are_kept_with_the_run(tmp_path: Path) -> None:
    with FakeTracking() as server, PackageIndex((TINY,)) as index:
        pod = RunPod(
            tmp_path, mlflow_variables(server.url, "runs", "secret"), SCRIPT, environment={"pip": ["tiny-thing"]}
        )
        pod.variables["UV_DEFAULT_INDEX"] = index.url
        message = pod.run()
    assert message["outcome"] == "succeeded", pod.err
    assert message["metrics"] == {"answer": 42.0}
    lock = server.artifacts["environment/requirements.lock"].decode()
    assert f"tiny-thing==1.2.0 \\\n    --hash=sha256:{TINY.sha256}" in lock
    installed = server.artifacts["environment/installed.txt"].decode().splitlines()
    assert "tiny-thing==1.2.0" in installed and any(line.startswith("pytest==") for line in installed)
    assert "environment/build.log" in server.artifacts
    facts = json.loads((tmp_path / "environment/smalt/facts.json").read_text())
    assert message["digests"]["environment"] == facts["digest"]


def test_the_same_packages_give_the_same_digest_and_others_another(tmp_path: Path) -> None:
    digests = []
    for number, wheels in enumerate(((TINY,), (TINY,), (TINY, Wheel("tiny-thing", "1.3.0", "ANSWER = 43\n")))):
        folder = tmp_path / str(number)
        folder.mkdir()
        with FakeTracking() as server, PackageIndex(wheels) as index:
            pod = RunPod(
                folder, mlflow_variables(server.url, "runs", "secret"), SCRIPT, environment={"pip": ["tiny-thing"]}
            )
            pod.variables["UV_DEFAULT_INDEX"] = index.url
            digests.append(pod.run()["digests"]["environment"])
    assert digests[0] == digests[1] != digests[2]


def test_a_run_whose_packages_cannot_be_had_is_recorded_with_the_cause_and_the_log(tmp_path: Path) -> None:
    with FakeTracking() as server, PackageIndex((TINY,)) as index:
        pod = RunPod(
            tmp_path, mlflow_variables(server.url, "runs", "secret"), SCRIPT, environment={"pip": ["absent-thing"]}
        )
        pod.variables["UV_DEFAULT_INDEX"] = index.url
        message = pod.run()
    assert message["reason"] == "PackageNotFound" and "absent-thing" in message["message"]
    assert server.runs["r1"]["status"] == "FAILED"
    assert "absent-thing" in server.artifacts["environment/build.log"].decode()
    assert "code" in message["digests"] and "environment" not in message["digests"]
