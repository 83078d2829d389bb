"""An API server of the test's own: no node, and no controllers whose results the tests play themselves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.controlplane import Plane, Ports
from cluster.programs import program

REPOSITORY = Path(__file__).resolve().parents[2]
# Not job, deployment or persistentvolume controllers: what they would report is played.
CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "clusterrole-aggregation-controller",
    "resourcequota-controller",
    "persistentvolumeclaim-protection-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-token-controller",
    "validatingadmissionpolicy-status-controller",
)


class CommandFailed(AssertionError):
    """kubectl said no; the text is what it said."""


class ControlPlane:
    """etcd, an API server with the project's CRDs, a few controllers and at wish the scheduler, ended with the block or the
    process."""

    def __init__(
        self, folder: Path, controllers: Sequence[str] = CONTROLLERS, crds: bool = True, scheduler: bool = False
    ) -> None:
        self.has_crds, self.has_scheduler = crds, scheduler
        self.plane = Plane(folder, Ports.free(), temporary=True)
        self.controllers = controllers
        # Once: pytest sets a variable for every test, and a process that a thread starts at that moment may get neither
        # the old environment nor the new one.
        self._variables = dict(os.environ)

    @property
    def kubeconfig(self) -> Path:
        return self.plane.kubeconfig

    @property
    def audit_log(self) -> Path:
        return self.plane.audit_log

    def __enter__(self) -> ControlPlane:
        self.plane.start(self.controllers, scheduler=self.has_scheduler)
        if self.has_crds:
            self.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "crds"))
            self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        return self

    def __exit__(self, *_: object) -> None:
        self.plane.stop()

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl printed, as cluster-admin. CommandFailed with its words."""
        finished = subprocess.run(
            [str(program("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            env=self._variables,
            capture_output=True,
            text=True,
        )
        if finished.returncode != 0:
            raise CommandFailed(f"kubectl {' '.join(arguments)}\n{finished.stderr.strip() or finished.stdout.strip()}")
        return finished.stdout
