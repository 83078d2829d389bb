"""The same history and artifacts wherever they are kept: SQLite or PostgreSQL, a volume or a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.postgres import Postgres
from support.s3_server import S3Server
from support.tracking import USERS, TrackingFailed, TrackingServer
from support.tracking_client import ask

BUCKET = "history"
STORES = ("SQLite and a volume", "PostgreSQL and a volume", "SQLite and a bucket", "PostgreSQL and a bucket")
POINTS = 2500


class Store:
    """A tracking server over one pair of stores."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.postgres = stack.enter_context(Postgres()) if "PostgreSQL" in name else None
        self.bucket = stack.enter_context(S3Server(BUCKET)) if "bucket" in name else None
        database = self.postgres.uri if self.postgres else None
        self.server = stack.enter_context(TrackingServer(database=database, variables=self._variables()))

    def _variables(self) -> dict[str, str]:
        """As the operator sets them from the keys of the Secret."""
        if self.bucket is None:
            return {}
        return {
            "SMALT_ARTIFACTS": f"s3://{BUCKET}/lab",
            "AWS_ACCESS_KEY_ID": self.bucket.credentials["accessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.bucket.credentials["secretAccessKey"],
            "AWS_DEFAULT_REGION": self.bucket.credentials["region"],
            "MLFLOW_S3_ENDPOINT_URL": self.bucket.credentials["endpointUrl"],
        }

    def files(self) -> list[Path]:
        """What is stored of artifacts, where it is stored."""
        folder = self.bucket.data / BUCKET / "lab" if self.bucket else self.server.data / "artifacts"
        return sorted(each for each in folder.rglob("*") if each.is_file())

    def call(self, user: str, method: str, path: str, body: Any = None) -> Any:
        answer = ask(self.server, user, method, f"/api/2.0/mlflow/{path}", body)
        assert answer.status == 200, answer.body
        return answer.json()


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with ExitStack() as stack:
        yield Store(request.param, stack)


@pytest.fixture(scope="module")
def run(store: Store) -> dict[str, Any]:
    """A run with a series of points, parameters, tags and artifacts, as the recorder writes them."""
    experiment = store.call("runs", "POST", "experiments/create", {"name": "ns/stored"})
    info: dict[str, Any] = store.call("runs", "POST", "runs/create", experiment)["run"]["info"]
    points = [{"key": "loss", "value": 1 / (step + 1), "step": step, "timestamp": step} for step in range(POINTS)]
    for start in range(0, POINTS, 1000):
        batch = {"run_id": info["run_id"], "metrics": points[start : start + 1000]}
        store.call("runs", "POST", "runs/log-batch", batch)
    told = {"params": [{"key": "C", "value": "0.5"}], "tags": [{"key": "smalt.run.uid", "value": "u-1"}]}
    store.call("runs", "POST", "runs/log-batch", {"run_id": info["run_id"], **told})
    for name, content in (("outputs/model/model.joblib", "model" * 1000), ("logs/ä b.txt", "words")):
        assert ask(store.server, "runs", "PUT", artifact(info, name), content).status == 200
    store.call("runs", "POST", "runs/update", {"run_id": info["run_id"], "status": "FINISHED"})
    return info


def artifact(info: dict[str, Any], name: str) -> str:
    from urllib.parse import quote

    place = f"{info['experiment_id']}/{info['run_id']}/artifacts/{quote(name)}"
    return f"/api/2.0/mlflow-artifacts/artifacts/{place}"


def check_all_is_there(store: Store, info: dict[str, Any]) -> None:
    found = store.call("scoring", "GET", f"runs/get?run_id={info['run_id']}")["run"]
    assert found["info"]["status"] == "FINISHED"
    assert found["data"]["params"] == [{"key": "C", "value": "0.5"}]
    history: list[Any] = []
    token = ""
    while True:
        query = f"run_id={info['run_id']}&metric_key=loss&max_results=1000" + (f"&page_token={token}" if token else "")
        page = store.call("scoring", "GET", f"metrics/get-history?{query}")
        history += page["metrics"]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert sorted(point["step"] for point in history) == list(range(POINTS))
    search = {"experiment_ids": [info["experiment_id"]], "filter": "tags.`smalt.run.uid` = 'u-1' and metrics.loss < 1"}
    assert [each["info"]["run_id"] for each in store.call("runs", "POST", "runs/search", search)["runs"]] == [
        info["run_id"]
    ]
    assert ask(store.server, "scoring", "GET", artifact(info, "outputs/model/model.joblib")).json() == "model" * 1000
    assert ask(store.server, "scoring", "GET", artifact(info, "logs/ä b.txt")).json() == "words"


def test_what_a_run_left_is_there_and_a_restart_loses_none_of_it(store: Store, run: dict[str, Any]) -> None:
    check_all_is_there(store, run)
    store.server.restart()
    check_all_is_there(store, run)


def test_artifacts_lie_where_they_should_and_nowhere_else(store: Store, run: dict[str, Any]) -> None:
    assert {each.name for each in store.files()} >= {"model.joblib", "ä b.txt"}
    if store.bucket:
        assert not list((store.server.data / "artifacts").iterdir())
    if store.postgres:
        assert not list(store.server.data.glob("*.db"))
        assert store.postgres.sql("select count(*) from metrics").strip() == str(POINTS)


def test_registered_versions_are_counted(store: Store, run: dict[str, Any]) -> None:
    store.call("admin", "POST", "registered-models/create", {"name": "churn"})
    source = {"name": "churn", "source": f"{run['artifact_uri']}/outputs/model", "run_id": run["run_id"]}
    versions = [
        store.call("admin", "POST", "model-versions/create", source)["model_version"]["version"] for _ in range(2)
    ]
    assert versions == ["1", "2"]


def test_rights_are_the_same(store: Store, run: dict[str, Any]) -> None:
    for user, status in (("scoring", 403), ("runs", 200)):
        assert ask(store.server, user, "PUT", artifact(run, "more.txt"), "more").status == status
    other = ask(store.server, "admin", "POST", "/api/2.0/mlflow/experiments/create", {"name": "admin's"}).json()
    assert ask(store.server, "runs", "POST", "/api/2.0/mlflow/runs/create", other).status == 403
    for user in USERS:
        assert ask(store.server, user, "GET", artifact(run, "../../../../auth.db")).status in (400, 403, 404)


def test_no_password_is_in_the_log_the_arguments_or_the_data(store: Store, run: dict[str, Any]) -> None:
    assert store.server.process is not None
    shown = store.server.log.read_bytes() + Path(f"/proc/{store.server.process.pid}/cmdline").read_bytes()
    shown += b"".join(each.read_bytes() for each in store.server.data.rglob("*") if each.is_file())
    for password in (store.postgres and store.postgres.password, store.bucket and store.bucket.secret_key):
        assert not password or password.encode() not in shown


def test_a_database_that_is_away_for_a_while_costs_an_answer_and_nothing_else() -> None:
    with Postgres() as postgres, TrackingServer(database=postgres.uri) as server:
        made = ask(server, "runs", "POST", "/api/2.0/mlflow/experiments/create", {"name": "ns/kept"}).json()
        postgres.stop()
        path = f"/api/2.0/mlflow/experiments/get?experiment_id={made['experiment_id']}"
        assert ask(server, "runs", "GET", path).status >= 500
        postgres.start()
        assert ask(server, "runs", "GET", path).status == 200


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("mysql://root:hunter22@db/history", "no address of a PostgreSQL database under its key uri"),
        ("", "'history' of tracking.databaseSecret has no key uri, or is not there"),
    ],
)
def test_an_address_of_no_database_is_told_without_showing_it(database: str, words: str) -> None:
    server = TrackingServer(database=database)
    with pytest.raises(TrackingFailed, match=words) as told, server:
        pass
    assert "hunter22" not in str(told.value)
