"""The local cluster: up, down, status. Every part is started if it does not run, so that `up` also repairs."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import host, images, kernel, network, owner
from cluster.addons import Addons, names_resolve
from cluster.controlplane import Plane, Ports
from cluster.engine import PAUSE, Engine, ensure_base, ensure_pause
from cluster.node import Node
from cluster.paths import REPOSITORY, cache, state
from cluster.processes import Process
from cluster.programs import FOR_THE_CLUSTER, folder, folder_name
from cluster.progress import SetUpFailed, step

# Of the state; programs, base image and layers, which took minutes to make, lie beside it.
_KEPT = ("logs", "pids")


class LocalCluster:
    """All parts of the one local cluster."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state()
        self.plane = Plane(self.folder, Ports(), network.NODE_IP)
        self.node = Node(self.plane)
        self.engine = Engine(self.folder)

    def processes(self) -> list[Process]:
        plane, node = self.plane, self.node
        addons = Addons(plane, "")
        return [
            plane.etcd,
            plane.api,
            plane.controllers,
            plane.scheduler,
            node.containerd,
            node.kubelet,
            node.proxy,
            addons.dns,
            addons.volumes,
            self.engine.process,
        ]

    def is_up(self) -> bool:
        running = all(each.pid() for each in self.processes())
        return running and names_resolve() and self.plane.is_ready() and self.node.is_ready()

    def up(self) -> None:
        with locked():
            if self.is_up():
                return
            dead = owner.left_behind(self.folder)
            if dead:
                LocalCluster(dead)._clear()
            owner.claim(self.folder)
            host.install_packages()
            for name in FOR_THE_CLUSTER:
                folder(name)
            if not self.node.containerd.pid():
                self._clear()
            self._start()

    def _start(self) -> None:
        kernel.remember()
        network.network_up()
        with step("control plane"):
            self.plane.start()
        with step("containerd and dockerd"):
            self.node.start_containerd()
            self.engine.start()
        base = ensure_base(self.engine)
        ensure_pause(self.engine)
        images.hand_over(self.engine, self.node, [PAUSE, base])
        with step("node"):
            host.make_cgroups()
            self.node.start()
            self.node.kubelet.wait(self.node.is_ready, 120)
            self.node.proxy.wait(network.services_answer, 60)
        with step("DNS and volumes"):
            Addons(self.plane, f"docker.io/{base}").start()

    def down(self) -> None:
        with locked():
            if owner.owner() is None and any(each.pid() for each in self.processes()):
                owner.claim(self.folder)
            Addons(self.plane, "").stop()
            self.node.stop()
            self.plane.stop()
            self._clear()
            for path in self.folder.iterdir() if self.folder.exists() else ():
                if path.name not in _KEPT:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            host.remove_log_links(self.folder)
            if owner.owner() == self.folder:
                owner.release()

    def _clear(self) -> None:
        """What processes that are gone have left on the machine, if the machine was ours."""
        self.node.stop()
        self.engine.stop()
        host.unmount_below(self.folder)
        host.unmount_below(self.folder.parent / "images")
        if owner.owner() == self.folder:
            host.remove_cgroups()
            network.network_down()
            kernel.restore()
        shutil.rmtree(self.folder / "cni-leases", ignore_errors=True)

    def status(self) -> str:
        lines = [
            f"{each.name:28} {'pid ' + str(each.pid()) if each.pid() else 'not running'}" for each in self.processes()
        ]
        lines.append(f"{'API server':28} {'ready' if self.plane.api.pid() and self.plane.is_ready() else 'not ready'}")
        lines.append(f"{'node':28} {'ready' if self.plane.api.pid() and self.node.is_ready() else 'not ready'}")
        return "\n".join([*lines, f"logs lie in {self.folder / 'logs'}"])

    def environment(self) -> dict[str, str]:
        # Named, not built: what is printed is for a shell to evaluate.
        programs = cache() / "programs" / folder_name("cluster")
        return {"PATH": f"{programs}:$PATH", "KUBECONFIG": str(self.plane.kubeconfig)}

    def images(self) -> None:
        if not self.node.containerd.pid() or not self.engine.process.pid():
            raise SetUpFailed("the local cluster is not up: run `make up`")
        with locked():
            base = ensure_base(self.engine)
            made = images.build(self.engine.docker, base, network="host")
            images.hand_over(self.engine, self.node, [images.tag(name) for name in made])
            images.remember(made)

    def installation(self) -> str:
        return images.INSTALLATION


@contextmanager
def locked() -> Iterator[None]:
    """One at a time; who comes second hears who holds it."""
    cache().mkdir(parents=True, exist_ok=True)
    path = cache() / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"waiting for {file.read().strip() or 'another clone'}, which is setting the cluster up", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} in {REPOSITORY}")
        file.flush()
        yield
        file.truncate(0)
