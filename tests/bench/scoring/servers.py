"""Each server as its own documentation starts it: one worker, and a request of one row in its own protocol."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.rows import CannotMeasure
from bench.scoring.models import SCRIPT, Iris
from support.scorer_image import laid_out
from support.virtualenvs import python_of

PEERS = Path(__file__).resolve().parents[1] / "peers"
START_SECONDS = 90.0


@dataclass(frozen=True)
class Kind:
    """How a server is asked: `body` of a row, and `answer`, the part of every right answer that tells the label."""

    path: str
    body: Callable[[Sequence[float]], object]
    answer: Callable[[int], str]
    health: str


@dataclass(frozen=True)
class Program:
    """How it is started in a folder made for it, on a port. Python is ours where `lock` is None."""

    kind: Kind
    lock: str | None
    arguments: Callable[[Iris, Path, int], list[str]]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """One that answers."""

    kind: Kind
    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float

    def ask(self, row: Sequence[float]) -> str:
        """The whole answer to one row."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            body = json.dumps(self.kind.body(row))
            connection.request("POST", self.kind.path, body, {"Content-Type": "application/json"})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def memory_mib(self) -> float:
        """Resident, of the process and all that it has started, which are of its group."""
        pages = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                # What stands behind the name, which may hold anything: state, parent, group, ...
                fields = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            pages += int(fields[21]) if int(fields[2]) == self.process.pid else 0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _plain(row: Sequence[float]) -> object:
    return {"data": [row]}


SCRIPTED = Kind("/score", _plain, lambda label: f"[{label}]", "/")
DIRECT = Kind("/score", _plain, lambda label: f'"predictions":[{label}]', "/")
V1 = Kind("/v1/models/iris:predict", lambda row: {"instances": [row]}, lambda label: f"[{label}]", "/v2/health/live")
V2 = Kind(
    "/v2/models/iris/infer",
    lambda row: {"inputs": [{"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": row}]},
    lambda label: f'"data":[{label}]',
    "/v2/health/live",
)
BY_HAND = Kind("/score", _plain, lambda label: f'"predictions":[{label}', "/healthz")


def _with_script(iris: Iris, folder: Path) -> list[str]:
    (folder / "score.py").write_text(SCRIPT)
    (folder / "models").mkdir()
    shutil.copy(iris.joblib, folder / "models")
    return ["--model_dir", str(folder / "models"), "--entry_script", str(folder / "score.py")]


def _azure(iris: Iris, folder: Path, port: int) -> list[str]:
    return ["-m", "azureml_inference_server_http", *_with_script(iris, folder), "--port", str(port)]


def _ours_scripted(iris: Iris, folder: Path, port: int) -> list[str]:
    return ["-m", "smalt_scorer", *_with_script(iris, folder), "--port", str(port)]


def _ours_alone(iris: Iris, folder: Path, port: int) -> list[str]:
    return [*_ours_scripted(iris, folder, port), "--batching", "Off"]


def _ours_direct(iris: Iris, folder: Path, port: int) -> list[str]:
    shutil.copy(iris.joblib, folder)
    return ["-m", "smalt_scorer", "--model-dir", str(folder), "--port", str(port)]


def _ours_onnx(iris: Iris, folder: Path, port: int) -> list[str]:
    shutil.copy(iris.onnx, folder)
    return ["-m", "smalt_scorer", "--model-dir", str(folder), "--port", str(port)]


def _mlserver(batch: int) -> Callable[[Iris, Path, int], list[str]]:
    """In its own process, which is its faster setting on one worker; `batch` rows at most together."""

    def arguments(iris: Iris, folder: Path, port: int) -> list[str]:
        settings: dict[str, object] = {"http_port": port, "parallel_workers": 0, "host": "127.0.0.1", "debug": False}
        # Its other ports are chosen by the system: several servers of a machine would want the same.
        settings |= {"grpc_port": _free_port(), "metrics_port": _free_port(), "metrics_dir": str(folder)}
        (folder / "settings.json").write_text(json.dumps(settings))
        model: dict[str, object] = {"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel"}
        model |= {"parameters": {"uri": str(iris.joblib)}}
        model |= {"max_batch_size": batch, "max_batch_time": 0.001} if batch else {}
        (folder / "model-settings.json").write_text(json.dumps(model))
        return ["-m", "mlserver.cli.main", "start", str(folder)]

    return arguments


def _kserve(iris: Iris, folder: Path, port: int) -> list[str]:
    return [str(PEERS / "kserve_sklearn.py"), str(iris.joblib), str(port)]


def _fastapi(iris: Iris, folder: Path, port: int) -> list[str]:
    return [str(PEERS / "fastapi_score.py"), str(iris.joblib), str(port)]


AZURE = "azureml-inference-server-http"
OURS = {
    "script": Program(SCRIPTED, None, _ours_scripted),
    "script alone": Program(SCRIPTED, None, _ours_alone),
    "direct": Program(DIRECT, None, _ours_direct),
    "onnx": Program(DIRECT, None, _ours_onnx),
}
OTHERS = {
    AZURE: Program(SCRIPTED, "bench-azureml", _azure),
    "MLServer": Program(V2, "bench-mlserver", _mlserver(0)),
    "MLServer, batching": Program(V2, "bench-mlserver", _mlserver(64)),
    "KServe": Program(V1, "bench-kserve", _kserve),
    "FastAPI by hand": Program(BY_HAND, "bench-fastapi", _fastapi),
}


@contextmanager
def running(program: Program, iris: Iris) -> Iterator[Running]:
    """Started, and every one of the rows answered right. CannotMeasure otherwise."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-scoring-") as made,
        tempfile.TemporaryDirectory(prefix="bench-image-") as image,
    ):
        folder, port = Path(made), _free_port()
        # Each with its own packages alone, as its users install it: ours as its image has them.
        python, source = (python_of(program.lock), None) if program.lock else laid_out(Path(image) / "opt")
        command = [str(python), *program.arguments(iris, folder, port)]
        environment = {"PATH": os.environ["PATH"], "HOME": made, "OMP_NUM_THREADS": "1", **program.variables}
        environment |= {"PYTHONPATH": str(source)} if source else {}
        with (folder / "log").open("wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            server = _answering(program.kind, port, process, began, iris, folder / "log")
            _check(server, iris)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too: the group is its own
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _answering(kind: Kind, port: int, process: subprocess.Popen[bytes], began: float, iris: Iris, log: Path) -> Running:
    """Once the first prediction is there: some listen long before they have their model."""
    while True:
        server = Running(kind, port, process, time.perf_counter() - began)
        try:
            if kind.answer(iris.labels[0]) in _compact(server.ask(iris.rows[0])):
                return Running(kind, port, process, time.perf_counter() - began)
        except (OSError, http.client.HTTPException):
            pass
        if process.poll() is not None or server.start_seconds > START_SECONDS:
            raise CannotMeasure(f"a server did not start: {log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.01)


def _check(server: Running, iris: Iris) -> None:
    for row, label in zip(iris.rows, iris.labels, strict=True):
        found = _compact(server.ask(row))
        if server.kind.answer(label) not in found:
            raise CannotMeasure(f"{row} is answered {found[:200]}, and is {label}")


def _compact(text: str) -> str:
    return text.replace(" ", "")
