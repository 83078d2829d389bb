"""Builds the image of an environment: the script's image with the packages that a container before this one installed.

A Docker Engine elsewhere adds one layer, and nothing runs in it: no package is fetched there, and it gets no credentials
but the registry's. The image is named for its lock, so that it is found again instead of being built a second time.
Runs in Smalt's own image, once for all runs that want the same environment.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, MutableMapping, Optional

from smalt_trainer.announcing import Announcing
from smalt_trainer.digests import canonical_digest
from smalt_trainer.environment_record import EnvironmentRecord
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.places import Places
from smalt_trainer.refusals import Refused, Unreachable, Unreadable
from smalt_trainer.say import say
from smalt_trainer.termination import encode, shorten, write_termination
from smalt_trainer.tracking import Tracking
from smalt_trainer.trust import extend_trust

REPOSITORY = "smalt-environments"
_MESSAGE_LIMIT = 1500
_LAST_LINES = 8
_ENGINE_SECONDS = 1800
_LABEL = "smalt.dev/environment"
_ABSENT = ("manifest unknown", "name unknown", "not found")


@dataclass(frozen=True)
class Order:
    """What the contract wants built, and where."""

    namespace: str
    image: str
    registry: str
    engine: str
    is_private: bool

    @classmethod
    def read(cls, file: Path) -> Order:
        """From the contract of the run that came first."""
        contract = json.loads(file.read_text(encoding="utf-8"))
        build = contract["build"]
        return cls(
            str(contract["run"]["namespace"]),
            str(contract["image"]),
            str(build["registry"]),
            str(build["dockerHost"]),
            bool(build["tls"]),
        )

    def name(self, lock: str) -> tuple[str, str]:
        """Repository and tag: of the same lock on top of an image of the same name there is one."""
        tag = canonical_digest({"lock": lock, "image": self.image}).partition(":")[2][:40]
        return f"{self.registry}/{REPOSITORY}", tag


def build_image(places: Places, contract: Path, port: Optional[int], variables: MutableMapping[str, str]) -> int:
    """The command `build-image`: the last words are the image's name by digest, or why there is none."""
    lines: list[str] = []
    order: Optional[Order] = None
    lock = ""
    words: Mapping[str, Any]
    with Announcing.on(port) as announcing:

        def tell(line: str) -> None:
            for each in line.splitlines():
                if each.strip():
                    say(each.rstrip())
                    lines.append(each.rstrip())
                    announcing.say(each)

        try:
            extend_trust(variables, Path(tempfile.gettempdir()))
            order = Order.read(contract)
            lock = EnvironmentRecord(places.environment).digest()
            words = {"version": 1, "image": _image(order, lock, places, tell), "environment": lock}
        except Exception as error:
            failure = error if isinstance(error, RunFailed) else _unforeseen(error)
            tell(f"{failure.reason}: {failure.message}")
            words = {"version": 1, "reason": failure.reason, "message": shorten(failure.message, _MESSAGE_LIMIT)}
    if order:
        _keep(order, lock, lines, "image" in words, places, variables)
    write_termination(places.termination, encode(words))
    return 0 if "image" in words else 1


def _unforeseen(error: Exception) -> RunFailed:
    traceback.print_exception(type(error), error, error.__traceback__)
    return RunFailed("InternalError", f"{type(error).__name__}: {error}; see the log of container image")


def _image(order: Order, lock: str, places: Places, tell: Callable[[str], None]) -> str:
    """The image by digest: found, or built and pushed."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    repository, tag = order.name(lock)
    try:
        engine = _engine(order, places)
        digest = _found(engine, f"{repository}:{tag}")
        if digest:
            tell(f"{repository}:{tag} is there already, with this very lock")
        else:
            _build(engine, order, lock, places, f"{repository}:{tag}", tell)
            digest = _push(engine, repository, tag, tell)
        return f"{repository}@{digest}"
    except (DockerException, RequestException) as error:
        raise RunFailed(
            "EnvironmentFailed",
            f"the Docker Engine {order.engine} did not do its part: {_words(error)}; mend it, or the Workspace's spec.images, "
            f"{ANOTHER_NAME}",
        ) from error


def _engine(order: Order, places: Places) -> Any:
    """The client; the registry's credentials it finds by DOCKER_CONFIG."""
    import docker

    tls: Any = False
    if order.is_private:
        folder = places.credentials / "engine"
        missing = [name for name in ("ca.crt", "tls.crt", "tls.key") if not (folder / name).is_file()]
        if missing:
            raise RunFailed(
                "EnvironmentFailed",
                f"the Secret named in the Workspace's spec.images.tlsSecret has no {' and no '.join(missing)}: put the "
                f"client's certificate there as tls.crt and tls.key, and the engine's authority as ca.crt, {ANOTHER_NAME}",
            )
        client = (str(folder / "tls.crt"), str(folder / "tls.key"))
        # An image's own bundle, named by these, would count before the engine's authority.
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            os.environ.pop(name, None)
        tls = docker.tls.TLSConfig(client_cert=client, ca_cert=str(folder / "ca.crt"), verify=True)
    return docker.APIClient(base_url=order.engine.rstrip("/"), tls=tls, version="auto", timeout=_ENGINE_SECONDS)


def _found(engine: Any, name: str) -> Optional[str]:
    """The digest under which the registry has the image."""
    from docker.errors import APIError

    try:
        return str(engine.inspect_distribution(name)["Descriptor"]["digest"])
    except APIError as error:
        words = str(error.explanation or error).lower()
        if error.status_code == 404 or any(each in words for each in _ABSENT):
            return None
        raise


def _build(engine: Any, order: Order, lock: str, places: Places, name: str, tell: Callable[[str], None]) -> None:
    tell(f"building {name} on top of {order.image}")
    with tempfile.TemporaryFile(dir=places.work) as context:
        _write_context(context, order, lock, places)
        context.seek(0)
        answers = engine.build(fileobj=context, custom_context=True, tag=name, rm=True, forcerm=True, decode=True)
        _follow(answers, tell, f"building on top of {order.image} failed")


def _write_context(into: Any, order: Order, lock: str, places: Places) -> None:
    """A Dockerfile and the environment, the same bytes for the same files."""
    dockerfile = f'FROM {order.image}\nCOPY environment {places.environment}\nLABEL {_LABEL}="{lock}"\n'.encode()
    with tarfile.open(fileobj=into, mode="w") as archive:
        about = tarfile.TarInfo("Dockerfile")
        about.size = len(dockerfile)
        with tempfile.TemporaryFile() as stream:
            stream.write(dockerfile)
            stream.seek(0)
            archive.addfile(about, stream)
        archive.add(places.environment, "environment", filter=_anybodys)


def _anybodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever runs the image can read it, and nobody can write there but root."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _push(engine: Any, repository: str, tag: str, tell: Callable[[str], None]) -> str:
    tell(f"pushing {repository}:{tag}")
    digest = ""
    answers = engine.push(repository, tag=tag, stream=True, decode=True)
    for answer in _follow(answers, tell, "pushing failed, see the Workspace's spec.images.pushSecret"):
        digest = str((answer.get("aux") or {}).get("Digest") or digest)
    return digest or str(_found(engine, f"{repository}:{tag}"))


def _follow(answers: Iterable[Mapping[str, Any]], tell: Callable[[str], None], failed: str) -> list[Mapping[str, Any]]:
    """All answers, told as they come; RunFailed with the last lines when one of them is an error."""
    seen: list[Mapping[str, Any]] = []
    said: list[str] = []
    for answer in answers:
        seen.append(answer)
        words = (
            answer.get("error")
            or answer.get("stream")
            or ("" if answer.get("progressDetail") else answer.get("status"))
        )
        for line in str(words or "").splitlines():
            if line.strip():
                said.append(line.strip())
                tell(line)
        if answer.get("error"):
            raise RunFailed(
                "EnvironmentFailed", f"{failed}: {' | '.join(said[-_LAST_LINES:])}; mend what it names, {ANOTHER_NAME}"
            )
    return seen


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "explanation", None) or error).split())


def _keep(
    order: Order, lock: str, lines: list[str], is_built: bool, places: Places, variables: Mapping[str, str]
) -> None:
    """The log, and the lock if there is one, in the tracking server; the image does not depend on it."""
    try:
        tracking = Tracking.from_environment(variables, places.password)
        experiment = tracking.experiment_id(f"{order.namespace}/environments")
        name = order.name(lock)[1] if lock else "failed"
        tags = {"mlflow.runName": name, "smalt.environment.digest": lock, "smalt.environment.image": order.image}
        body = {
            "experiment_id": experiment,
            "run_name": name,
            "start_time": int(time.time() * 1000),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        run = str(tracking.call("POST", "runs/create", body)["run"]["info"]["run_id"])
        tracking.upload(experiment, run, "build.log", "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        record = EnvironmentRecord(places.environment)
        for file in sorted(record.folder.glob("*")):
            tracking.upload(experiment, run, f"environment/{file.name}", file)
        status = "FINISHED" if is_built else "FAILED"
        tracking.call("POST", "runs/update", {"run_id": run, "status": status, "end_time": int(time.time() * 1000)})
    except (Unreachable, Refused, Unreadable) as error:
        say(f"the log is not kept: {error}")


def run_image_building(places: Places, contract: Optional[Path], port: Optional[int]) -> int:
    """With the container's own variables."""
    return build_image(places, contract or places.contract, port, os.environ)
