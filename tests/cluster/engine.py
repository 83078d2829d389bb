"""A Docker Engine of our own, to build images with, and the base image that no registry has to be asked for."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from cluster.host import BUILD_CGROUP, unmount_below
from cluster.paths import cache
from cluster.processes import Process, below, end_all, naming
from cluster.programs import program
from cluster.progress import step
from cluster.shell import run, succeeds

RELEASE = "bookworm"
# git is the trainer's, and the only thing that the images take from Debian besides Python.
INCLUDED = "python3,python3-venv,ca-certificates,git"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PAUSE = "smalt/pause:1"


class Engine:
    """dockerd with its own folders and socket, beside any other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.process = Process("dockerd", folder)
        self.exec_root = folder / "docker-exec"
        self.layers = cache() / "docker"

    def start(self) -> None:
        if self.process.pid():
            return
        self.end_leftovers()
        config = self.folder / "dockerd.json"
        config.write_text("{}")
        self.process.start(
            [
                "dockerd",
                # Not the machine's configuration, which is another engine's.
                f"--config-file={config}",
                f"--host=unix://{self.socket}",
                # Images are worth keeping, a cluster is not: layers lie in the cache.
                f"--data-root={self.layers}",
                f"--exec-root={self.exec_root}",
                f"--pidfile={self.folder / 'dockerd.pid'}",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                f"--cgroup-parent=/{BUILD_CGROUP}",
                # Builds use the host's network: no bridge and no rules that somebody would have to remove again.
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ]
        )
        self.process.wait(lambda: succeeds(self.docker("version")), 60)

    def stop(self) -> None:
        self.process.stop()
        self.end_leftovers()

    def end_leftovers(self) -> None:
        """dockerd's own containerd and the shims of builds, which a killed dockerd leaves running."""
        managed = self.exec_root / "containerd"
        shims = naming(str(managed / "containerd.sock"), "containerd-shim")
        end_all([pid for shim in shims for pid in (*below(shim), shim)])
        end_all(naming(str(managed / "containerd.toml"), "containerd"))
        (self.folder / "dockerd.pid").unlink(missing_ok=True)
        unmount_below(self.exec_root)
        unmount_below(self.layers)

    def docker(self, *arguments: str | Path) -> list[str | Path]:
        return ["docker", "--host", f"unix://{self.socket}", *arguments]

    def has(self, image: str) -> bool:
        return succeeds(self.docker("image", "inspect", image))

    def image_id(self, image: str) -> str:
        return run(self.docker("image", "inspect", "--format", "{{.Id}}", image)).strip()


def base_key() -> str:
    """Names what the base image is made of: the release, the packages, and whom this machine trusts."""
    digest = hashlib.sha256(f"{RELEASE} {INCLUDED}".encode())
    if CERTIFICATES.exists():
        digest.update(CERTIFICATES.read_bytes())
    return digest.hexdigest()[:12]


def ensure_base(engine: Engine) -> str:
    """Debian with Python and this machine's certificate authorities; the name it has in the engine."""
    name = f"smalt/base:{base_key()}"
    if engine.has(name):
        return name
    archive = cache() / "images" / f"base-{base_key()}.tar"
    if not archive.exists():
        _debootstrap(archive)
    variables = [f"{each}={CERTIFICATES}" for each in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    changes = [word for each in [path, *variables] for word in ("--change", f"ENV {each}")]
    with step("import the base image"):
        run(engine.docker("import", *changes, archive, name))
    return name


def _debootstrap(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with (
        step(f"make the base image (debootstrap {RELEASE}; once)"),
        tempfile.TemporaryDirectory(dir=archive.parent) as made,
    ):
        root = Path(made) / "root"
        run(["debootstrap", "--variant=minbase", f"--include={INCLUDED}", RELEASE, root])
        if CERTIFICATES.exists():
            shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        for each in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(root / each, ignore_errors=True)
        # The package manager's own address book is this machine's, not the image's.
        (root / "etc/apt/sources.list").unlink(missing_ok=True)
        unfinished = archive.with_suffix(".unfinished")
        run(["tar", "--numeric-owner", "--directory", root, "--create", "--file", unfinished, "."])
        unfinished.rename(archive)


def ensure_pause(engine: Engine) -> None:
    """The image that holds a pod's namespaces: one static program."""
    if engine.has(PAUSE):
        return
    with tempfile.TemporaryDirectory() as made:
        archive = Path(made) / "pause.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(program("pause"), "pause")
        run(
            engine.docker("import", "--change", 'ENTRYPOINT ["/pause"]', "--change", "USER 65535:65535", archive, PAUSE)
        )
