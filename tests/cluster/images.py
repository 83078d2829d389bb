"""Smalt's own images: built when what goes into them has changed, and handed to the cluster."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.engine import Engine
from cluster.node import Node
from cluster.paths import REPOSITORY, cache
from cluster.progress import SetUpFailed, step
from cluster.shell import run

VERSION = "0.1.0"
# What `kubectl apply -k` takes where the images are known by the names they were built under.
INSTALLATION = "manifests/"
_INSTALLER = ("requirements/install.sh", "requirements/uv.txt")
# What each Dockerfile copies; `requirements` are the locks it installs.
PARTS: dict[str, tuple[str, ...]] = {
    "operator": ("operator", *_INSTALLER, "requirements/operator.txt"),
    "trainer": ("trainer_image", *_INSTALLER, "requirements/trainer.txt"),
    "scorer": ("scorer_image", *_INSTALLER, "requirements/scorer.txt", "requirements/scoring.txt"),
    "tracking": ("tracking_image", *_INSTALLER, "requirements/tracking.txt"),
}
# Some build while others wait for the network or the disk.
AT_ONCE = 2
Docker = Callable[..., list[str | Path]]
_PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def tag(name: str) -> str:
    return f"smalt/{name}:{VERSION}"


def contents(name: str, base: str) -> str:
    """Names everything that goes into the image."""
    digest = hashlib.sha256(base.encode())
    for part in PARTS[name]:
        path = REPOSITORY / part
        if not path.exists():
            raise SetUpFailed(f"{path} is missing, which image {tag(name)} is made of")
        for file in [path] if path.is_file() else sorted(_files(path)):
            digest.update(str(file.relative_to(REPOSITORY)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def stamp() -> str:
    """Names the images that were handed over last; empty when none were."""
    file = _stamp_file()
    return file.read_text() if file.exists() else ""


def _stamp_file() -> Path:
    return cache() / "images" / f"stamp-{os.environ.get('CLUSTER') or 'local'}"


def build(docker: Docker, base: str, network: str = "default") -> dict[str, str]:
    """Builds what has changed; the contents of each image by name. `network` is what build steps reach registries by."""
    made = {name: contents(name, base) for name in PARTS}
    changed = [name for name in PARTS if _label(docker, name) != made[name]]
    if not changed:
        return made
    arguments = [word for key in _PASSED_ON if os.environ.get(key) for word in ("--build-arg", key)]
    arguments += ["--network", network, "--build-arg", f"BASE_IMAGE={base}"]
    with step(f"build {', '.join(tag(name) for name in changed)}"), ThreadPoolExecutor(AT_ONCE) as builders:

        def build_one(name: str) -> None:
            started = time.monotonic()
            _build(docker, name, [*arguments, "--label", f"smalt.contents={made[name]}"])
            print(f"      {tag(name)} in {time.monotonic() - started:.0f} s", flush=True)

        list(builders.map(build_one, changed))
    return made


def _label(docker: Docker, name: str) -> str:
    template = '{{index .Config.Labels "smalt.contents"}}'
    return run(docker("image", "inspect", "--format", template, tag(name)), check=False).strip()


def _build(docker: Docker, name: str, arguments: Sequence[str]) -> None:
    run(
        docker("build", "--file", f"{PARTS[name][0]}/Dockerfile", "--tag", tag(name), *arguments, "."),
        cwd=REPOSITORY,
        environment={"DOCKER_BUILDKIT": "0"},
    )


def hand_over(engine: Engine, node: Node, names: list[str]) -> None:
    """Into the node's containerd, those that it does not have in this form yet."""
    missing = [name for name in names if not _is_there(engine, node, name)]
    if not missing:
        return
    with step(f"hand {', '.join(missing)} to the node"):
        saving = subprocess.Popen([str(word) for word in engine.docker("save", *missing)], stdout=subprocess.PIPE)
        importing = [str(word) for word in node.ctr("images", "import", "--no-unpack", "-")]
        finished = subprocess.run(importing, stdin=saving.stdout, capture_output=True, text=True)
        if saving.wait() != 0 or finished.returncode != 0:
            raise SetUpFailed(f"images could not be handed over: {finished.stderr[-1000:]}")
    for name in missing:
        _handed_file(node, name).write_text(engine.image_id(name))


def _is_there(engine: Engine, node: Node, name: str) -> bool:
    file = _handed_file(node, name)
    if not file.exists() or file.read_text() != engine.image_id(name):
        return False
    # The kubelet removes images when the disk is full.
    return bool(run(node.ctr("images", "ls", "--quiet", f"name==docker.io/{name}")).strip())


def _handed_file(node: Node, name: str) -> Path:
    """Lies with containerd's own data, and goes with it."""
    folder = node.folder / "containerd" / "handed"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name.replace("/", "_").replace(":", "_")


def remember(made: dict[str, str]) -> None:
    file = _stamp_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(hashlib.sha256(repr(sorted(made.items())).encode()).hexdigest()[:16])
