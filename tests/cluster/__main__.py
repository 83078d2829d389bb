"""`python3 -m cluster VERB`: the cluster chosen by CLUSTER=local|kind|current."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Protocol

from cluster import doctor, for_tests, images, virtualenv
from cluster.elsewhere import CurrentCluster, KindCluster
from cluster.local import LocalCluster
from cluster.progress import ProgramFailed, SetUpFailed, fail


class Cluster(Protocol):
    """What every choice of CLUSTER offers."""

    def up(self) -> None: ...
    def down(self) -> None: ...
    def status(self) -> str: ...
    def environment(self) -> dict[str, str]: ...
    def images(self) -> None: ...
    def installation(self) -> str: ...


def choice() -> str:
    return os.environ.get("CLUSTER") or "local"


def chosen() -> Cluster:
    match choice():
        case "local":
            return LocalCluster()
        case "kind":
            return KindCluster()
        case "current":
            return CurrentCluster()
        case other:
            raise SetUpFailed(f"CLUSTER={other} is none of local, kind and current")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m cluster", description="A Kubernetes to try Smalt on.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, words in (("up", "start or repair"), ("down", "end without a trace"), ("status", "what runs")):
        verbs.add_parser(verb, help=words)
    verbs.add_parser("env", help="print the shell's variables for kubectl")
    verbs.add_parser("images", help="build the images and hand them over").add_argument(
        "--stamp", action="store_true", help="print what was handed over, by content"
    )
    verbs.add_parser("installation", help="print the folder for `kubectl apply -k`")
    verbs.add_parser("doctor", help="what is missing here")
    verbs.add_parser("virtualenv", help="make the virtualenv of the lock").add_argument("folder", type=Path)
    verbs.add_parser("for-tests", help="may the tests have this cluster, and what they need besides")
    verbs.add_parser("markers", help="print which tests can run here, as pytest's -m takes it")
    options = parser.parse_args()
    try:
        return act(options)
    except ProgramFailed as failure:
        troubles = "".join(f"\n{trouble}" for trouble in doctor.network_troubles())
        return fail(f"\n{failure}{troubles}")
    except SetUpFailed as failure:
        return fail(f"\n{failure}")


def act(options: argparse.Namespace) -> int:
    match options.verb:
        case "doctor":
            return diagnose()
        case "virtualenv":
            virtualenv.make(options.folder)
            return 0
        case "for-tests":
            for_tests.prepare(choice(), os.environ)
            return 0
        case "markers":
            print(for_tests.markers(choice()))
            return 0
    return act_on(chosen(), options)


def act_on(cluster: Cluster, options: argparse.Namespace) -> int:
    if options.verb == "up":
        return go_up(cluster)
    if options.verb == "images" and options.stamp:
        print(images.stamp())
    elif options.verb == "images":
        cluster.images()
    elif options.verb == "down":
        cluster.down()
    elif options.verb == "status":
        print(cluster.status())
    elif options.verb == "installation":
        print(cluster.installation())
    else:
        for name, value in cluster.environment().items():
            print(f'export {name}="{value}"')
    return 0


def go_up(cluster: Cluster) -> int:
    if isinstance(cluster, LocalCluster):
        troubles = list(doctor.cluster_troubles())
        if troubles:
            return fail("The local cluster cannot be started:\n" + "\n".join(f"- {each}" for each in troubles))
    cluster.up()
    return 0


def diagnose() -> int:
    troubles = list(doctor.python_troubles())
    if choice() == "local":
        troubles += doctor.cluster_troubles()
        if not doctor.has_all_programs():
            troubles += doctor.network_troubles()
    for trouble in troubles:
        print(f"- {trouble}", file=sys.stderr)
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
