"""From a run's output to an answer from ONNX Runtime: the registration's own containers, the real tracking server, the
operator's decisions in between, and a scoring pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy
import pandas
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from smalt.reconcilers import deployment as deployments
from smalt.reconcilers import model as models
from smalt.reconcilers.registration import registered
from smalt_profile.limits import Limits
from smalt_profile.profiling import profile
from smalt_trainer.digests import manifest, manifest_digest, manifest_text
from smalt_trainer.lock import Lock, interpreter, platform_name
from smalt_trainer.tracking import Tracking
from support.job_pod import JobPod
from support.package_index import PackageIndex, Wheel
from support.resources import NOW, SETTINGS, deployment, finished_run, model, ready, said, store_of, workspace
from support.scoring_pod import PRIMARY, ScoringPod
from support.tracking import TrackingServer

# Trackers, converters and pods start one after the other, each with imports that a cold disk makes long.
pytestmark = pytest.mark.timeout(900)
Json = dict[str, Any]
RANDOM = numpy.random.default_rng(3)
ROWS = 80
TABLE = pandas.DataFrame(
    {
        "tenure": RANDOM.integers(1, 72, ROWS),
        "charges": RANDOM.normal(70, 20, ROWS).round(2),
        "plan": RANDOM.choice(["monthly", "yearly"], ROWS),
    }
)
CHURNED = numpy.where(TABLE["tenure"] < 30, "yes", "no")
TINY = Wheel("tiny-thing", "1.2.0", "ANSWER = 42\n")
LOCK = f"# {interpreter()}, {platform_name()}\ntiny-thing==1.2.0 --hash=sha256:{TINY.sha256}\n"


def fitted(classifier: Any) -> Any:
    columns = make_column_transformer(
        ("passthrough", ["tenure", "charges"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
    )
    return make_pipeline(columns, classifier).fit(TABLE, CHURNED)


FOREST, NEAREST = fitted(RandomForestClassifier(10, random_state=1)), fitted(NearestCentroid())


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@dataclass
class Trained:
    """A run that has ended, as the operator and the tracking server know it."""

    server: TrackingServer
    folder: Path
    fitted: Any
    environment: Json | None = None

    def run(self) -> Json:
        """Stores what the recorder stores."""
        runs = Tracking(self.server.url, "runs", self.server.passwords["runs"])
        experiment = runs.experiment_id("team-a/churn")
        run = runs.call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        (self.folder / "model").mkdir(parents=True)
        joblib.dump(self.fitted, self.folder / "model/model.joblib")
        TABLE.assign(churned=CHURNED).to_csv(self.folder / "train.csv", index=False)
        sample = profile(self.folder / "train.csv", target="churned", limits=Limits(keeps_rows=True)).sample
        entries = manifest(self.folder / "model")
        runs.upload(experiment, run, "outputs/model/model.joblib", self.folder / "model/model.joblib")
        runs.upload(experiment, run, "outputs/model.manifest.json", manifest_text(entries).encode())
        runs.upload(experiment, run, "profiles/inputs/train/sample.json", sample.encode())
        digests = {}
        if self.environment:
            runs.upload(experiment, run, "environment/requirements.lock", LOCK.encode())
            digests = {"digests": {"environment": Lock.read(LOCK).digest}}
        place = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
        size = sum(entry.size for entry in entries)
        artifact = {"uri": f"{place}/outputs/model", "digest": manifest_digest(entries), "bytes": size, "files": 1}
        profiled = {"dataProfile": {"train": {"rows": ROWS, "report": f"{place}/profiles/inputs/train"}}}
        it = finished_run(outputs={"model": artifact}, **profiled, **digests)
        return it | {"spec": it["spec"] | ({"environment": self.environment} if self.environment else {})}

    def registered(self, packages: Json | None = None) -> tuple[Json, JobPod]:
        """The Model, after its Job."""
        ran = self.run()
        it = model(status={"observedGeneration": -1})
        it["spec"]["source"].pop("digest")
        it["metadata"]["uid"] = f"uid-{self.folder}"
        at = workspace({"packages": packages} if packages else None)
        [job] = models.plan(it, store_of(it, at, ran), {}, NOW, SETTINGS).apply
        secrets = {f"{user}-password": password for user, password in self.server.passwords.items()}
        secrets |= {"username": "team", "password": "index-secret"}
        pod = JobPod(job.manifest, self.folder / "pod", secrets, {"http://lab-tracking.team-a:5000": self.server.url})
        facts = registered(pod.run(), ran["status"]["outputs"]["model"]["digest"])
        assert facts is not None
        return it | {"status": ready("Registered") | facts}, pod

    def scoring(self, of: Json, **spec: Any) -> tuple[ScoringPod, Json]:
        """A pod of a Deployment of the Model, with its files; and what the Deployment says of ONNX."""
        it = deployment(**spec)
        plan = deployments.plan(it, store_of(it, of, workspace()), {}, NOW, SETTINGS)
        [made] = [child.manifest for child in plan.apply if child.manifest["kind"] == "Deployment"]
        folder = self.folder / f"scoring-{spec.get('optimize')}"
        pod = ScoringPod(folder, None, {"left": b""})
        pod.contract = json.loads(made["spec"]["template"]["metadata"]["annotations"]["smalt.dev/scoring"])
        (folder / "model").rename(folder / "elsewhere")
        asking = {"SMALT_TRACKING_USERNAME": "scoring", "SMALT_TRACKING_PASSWORD": self.server.passwords["scoring"]}
        assert pod.fetch(SMALT_TRACKING_URI=self.server.url, **asking) == 0, (folder / "log").read_text()
        return pod, said(plan.status, "Optimized")


def answers(pod: ScoringPod, body: Json) -> Any:
    found = pod.request("POST", "/score", json.dumps(body).encode(), Authorization=f"Bearer {PRIMARY}")
    assert found.code == 200, found.body
    return found.json


ASKED = {"data": TABLE[:30].to_dict("records")}


def test_a_forest_answers_from_onnx_runtime_as_it_does_itself(server: TrackingServer, tmp_path: Path) -> None:
    trained = Trained(server, tmp_path, FOREST)
    of, pod = trained.registered()
    onnx, schema = of["status"]["onnx"], of["status"]["schema"]
    assert onnx["rows"] == ROWS and onnx["maxDifference"] <= 1e-5
    assert [(each["name"], each["type"]) for each in schema["inputs"]] == [
        ("tenure", "integer"),
        ("charges", "number"),
        ("plan", "string"),
    ]
    assert "ONNX: differs by at most" in pod.said["convert"]
    optimized, condition = trained.scoring(of, optimize="onnx")
    assert (condition["status"], condition["reason"]) == ("True", "Converted")
    with optimized:
        assert (
            optimized.request("GET", "/v2/models/churn", Authorization=f"Bearer {PRIMARY}").json["platform"]
            == "onnx_onnxv1"
        )
        assert answers(optimized, ASKED)["predictions"] == FOREST.predict(TABLE[:30]).tolist()
        found = answers(optimized, ASKED | {"method": "predict_proba"})["probabilities"]
        assert numpy.abs(numpy.array(found) - FOREST.predict_proba(TABLE[:30])).max() <= 1e-5


def test_what_cannot_be_converted_is_registered_and_served_as_it_is(server: TrackingServer, tmp_path: Path) -> None:
    trained = Trained(server, tmp_path, NEAREST)
    of, _ = trained.registered()
    assert of["status"]["onnx"]["reason"] == "NotConvertible" and "NearestCentroid" in of["status"]["onnx"]["message"]
    pod, condition = trained.scoring(of, optimize="onnx")
    assert (condition["status"], condition["reason"]) == ("False", "NotConvertible")
    with pod:
        assert (
            pod.request("GET", "/v2/models/churn", Authorization=f"Bearer {PRIMARY}").json["platform"]
            == "sklearn_joblib"
        )
        assert answers(pod, ASKED)["predictions"] == NEAREST.predict(TABLE[:30]).tolist()


def test_the_packages_of_the_run_come_from_its_lock_and_the_converter_sees_no_password(
    server: TrackingServer, tmp_path: Path
) -> None:
    trained = Trained(server, tmp_path, FOREST, {"pip": ["tiny-thing"]})
    with PackageIndex((TINY,), credentials=("team", "index-secret")) as index:
        of, pod = trained.registered({"indexUrl": index.url, "credentialsSecret": "index"})
    assert of["status"]["onnx"].get("rows") == ROWS, (of["status"]["onnx"], pod.said)
    assert list(pod.said) == ["source", "tools", "environment", "convert", "register"]
    assert list((pod.root / "environment").glob("lib/python*/site-packages/tiny_thing.py"))
    secret = b"index-secret"
    seen = [path for path in pod.root.rglob("*") if path.is_file() and not path.is_symlink() and path.name != "uv"]
    assert not [path for path in seen if secret in path.read_bytes()]


def test_a_package_index_that_is_away_keeps_nothing_from_being_registered(
    server: TrackingServer, tmp_path: Path
) -> None:
    trained = Trained(server, tmp_path, FOREST, {"pip": ["tiny-thing"]})
    with PackageIndex((), credentials=("team", "index-secret")) as index:
        of, _ = trained.registered({"indexUrl": index.url, "credentialsSecret": "index"})
    # The model needs none of them to be loaded: what the image has suffices.
    assert of["status"]["onnx"].get("rows") == ROWS, of["status"]["onnx"]
