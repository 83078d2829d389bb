"""What the tests need besides a cluster: leave to disturb it, Debian packages, and programs for control planes of their own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping

from cluster import doctor, host
from cluster.paths import search_path
from cluster.progress import SetUpFailed

LEAVE = "SMALT_TEST_CLUSTER_IS_DISPOSABLE"
REFUSAL = f"""\
`make test` would disturb the cluster of your kubeconfig: it deletes Smalt's CustomResourceDefinitions, and with them every
Workspace, run and Model in the cluster; it takes the default mark off the StorageClass for a while; and it deletes the
namespace quickstart. Use CLUSTER=local or CLUSTER=kind, or, if nobody misses what is in this cluster, say {LEAVE}=yes."""
# Of a control plane that a test starts for itself on loopback, what Kubernetes' own programs do not bring.
PLANE_PROGRAMS = ("etcd", "openssl")


def prepare(cluster: str, environment: Mapping[str, str]) -> None:
    """SetUpFailed when the tests may not have this cluster. Installs what they start, or says what is not here."""
    if cluster == "current" and environment.get(LEAVE) != "yes":
        raise SetUpFailed(REFUSAL)
    missing = host.missing_packages(host.TEST_PACKAGES)
    if not missing:
        return
    if host.can_install():
        host.install(missing)
    else:
        names = " ".join(sorted(missing))
        print(f"  - {names} is not installed, which tests start: `apt-get install {names}` as root", flush=True)


def markers(cluster: str, which: Callable[[str], str | None] | None = None) -> str:
    """An expression for pytest's -m: all tests, or those that this machine can run, with a sentence about the others."""
    lacking = list(plane_troubles(which)) if cluster != "local" else []
    if not lacking:
        return ""
    print(
        "Tests with a control plane of their own (marked `controlplane`) are left out:\n"
        + "\n".join(f"- {each}" for each in lacking)
        + "\nOn Debian as root, CLUSTER=local installs all of it and runs every test.",
        file=sys.stderr,
        flush=True,
    )
    return "not controlplane"


def plane_troubles(which: Callable[[str], str | None] | None = None) -> list[str]:
    """Why no control plane can be started on loopback here."""
    found = which or _which
    missing = [f"'{name}' is not installed" for name in PLANE_PROGRAMS if not found(name)]
    return [*missing, *doctor.go_troubles(found)]


def _which(program: str) -> str | None:
    return shutil.which(program, path=search_path())
