"""Smalt's own images: built when what goes into them has changed, and handed to the cluster."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from cluster.engine import Engine
from cluster.node import Node
from cluster.paths import REPOSITORY, cache
from cluster.progress import SetUpFailed, step
from cluster.shell import run

VERSION = "0.1.0"
# What `kubectl apply -k` takes where the images are known by the names they were built under.
INSTALLATION = "manifests/"
# What each Dockerfile copies; `requirements` are the locks it installs.
PARTS: dict[str, tuple[str, ...]] = {
    "operator": ("operator", "requirements/operator.txt"),
    "trainer": ("trainer_image", "requirements/trainer.txt", "requirements/uv.txt"),
    "scorer": ("scorer_image", "requirements/scorer.txt", "requirements/scoring.txt"),
    "tracking": ("tracking_image", "requirements/tracking.txt"),
}
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


def build(docker: Callable[..., list[str | Path]], base: str, network: str = "default") -> dict[str, str]:
    """Builds what has changed; the contents of each image by name. `network` is what build steps reach registries by."""
    made = {}
    for name in PARTS:
        made[name] = contents(name, base)
        marked = run(
            docker("image", "inspect", "--format", '{{index .Config.Labels "smalt.contents"}}', tag(name)), check=False
        )
        if marked.strip() == made[name]:
            continue
        with step(f"build {tag(name)}"):
            folder = PARTS[name][0]
            arguments = [word for key in _PASSED_ON if os.environ.get(key) for word in ("--build-arg", key)]
            arguments += [
                "--network",
                network,
                "--build-arg",
                f"BASE_IMAGE={base}",
                "--label",
                f"smalt.contents={made[name]}",
            ]
            run(
                docker("build", "--file", f"{folder}/Dockerfile", "--tag", tag(name), *arguments, "."),
                cwd=REPOSITORY,
                environment={"DOCKER_BUILDKIT": "0"},
            )
    return made


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
