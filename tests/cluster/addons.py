"""DNS and volumes: two programs beside the control plane, so that no image has to be made for them."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

from cluster.controlplane import Plane
from cluster.network import NODE_IP
from cluster.processes import Process
from cluster.programs import program

VOLUME_NAMESPACE = "kube-system"
STORAGE_CLASS = "local-path"
_PROVISIONER_READY = b"Started provisioner controller"
_COREFILE = """\
.:53 {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    forward . {resolver}
    cache 5
    loop
}}
"""


class Addons:
    """CoreDNS on the node's address, and the provisioner of the default StorageClass."""

    def __init__(self, plane: Plane, helper_image: str) -> None:
        self.plane, self.folder, self.helper_image = plane, plane.folder, helper_image
        self.dns = Process("coredns", self.folder)
        self.volumes = Process("local-path-provisioner", self.folder)

    def start(self) -> None:
        self._api_endpoints()
        corefile = self.folder / "Corefile"
        kubeconfig = self.plane.kubeconfig_for("coredns", "/O=system:masters/CN=coredns")
        corefile.write_text(_COREFILE.format(address=NODE_IP, kubeconfig=kubeconfig, resolver=_resolver()))
        self.dns.start([program("coredns"), "-conf", corefile])
        self.dns.wait(names_resolve, 30)
        self._storage_class()
        config, helper = self._volume_files()
        kubeconfig = self.plane.kubeconfig_for("volumes", "/O=system:masters/CN=local-path-provisioner")
        said_before = self.volumes.log.stat().st_size if self.volumes.log.exists() else 0
        started = self.volumes.start(
            [
                program("local-path-provisioner", "local-path-provisioner"),
                "start",
                f"--kubeconfig={kubeconfig}",
                f"--config={config}",
                f"--helper-pod-file={helper}",
                f"--helper-image={self.helper_image}",
                f"--namespace={VOLUME_NAMESPACE}",
                "--service-account-name=default",
                "--configmap-name=local-path-config",
            ],
            environment={"POD_NAMESPACE": VOLUME_NAMESPACE},
        )
        if started:
            self.volumes.wait(lambda: _PROVISIONER_READY in self.volumes.log.read_bytes()[said_before:], 60)

    def stop(self) -> None:
        self.volumes.stop()
        self.dns.stop()

    def _api_endpoints(self) -> None:
        """The Service `kubernetes`, which the API server does not fill by itself on a loopback machine."""
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": self.plane.ports.api, "protocol": "TCP"}],
        }
        self.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(slice_))

    def _storage_class(self) -> None:
        manifest = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "rancher.io/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        }
        self.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(manifest))

    def _volume_files(self) -> tuple[Path, Path]:
        folder = self.folder / "volumes"
        folder.mkdir(exist_ok=True)
        config, helper = folder / "config.json", folder / "helperPod.yaml"
        paths = [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(folder / "data")]}]
        config.write_text(json.dumps({"nodePathMap": paths}))
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "helper-pod"},
            "spec": {
                "containers": [{"name": "helper-pod", "image": self.helper_image, "imagePullPolicy": "IfNotPresent"}]
            },
        }
        helper.write_text(json.dumps(pod))
        setup = '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n'
        teardown = '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n'
        data = {
            "config.json": config.read_text(),
            "setup": setup,
            "teardown": teardown,
            "helperPod.yaml": helper.read_text(),
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "local-path-config", "namespace": VOLUME_NAMESPACE},
            "data": data,
        }
        self.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(manifest))
        return config, helper


def names_resolve(name: str = "kubernetes.default.svc.cluster.local", server: str = NODE_IP) -> bool:
    """Asks the cluster's DNS for a Service's address, as a pod would."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + question + struct.pack(">BHH", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        try:
            asking.sendto(query, (server, 53))
            answer = asking.recv(4096)
        except OSError:
            return False  # nobody listens yet, which is what is being waited for
    _, flags, _, answers, _, _ = struct.unpack(">6H", answer[:12])
    return bool(flags & 0xF == 0 and answers > 0)


def _resolver() -> str:
    """The host's first resolver that a pod could reach too."""
    for line in Path("/etc/resolv.conf").read_text().splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and not words[1].startswith("127."):
            return words[1]
    return "/etc/resolv.conf"
