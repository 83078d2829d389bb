"""etcd, the API server, the controller manager and the scheduler: a control plane on loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.pki import Authority
from cluster.processes import Process
from cluster.programs import program
from cluster.shell import run

SERVICE_RANGE = "10.90.0.0/16"
API_SERVICE = "10.90.0.1"
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  users: ["system:kube-scheduler", "system:kube-controller-manager", "system:node:smalt"]
- level: Metadata
"""


@dataclass(frozen=True)
class Ports:
    """On loopback; `free` for as many planes as one likes."""

    etcd: int = 23790
    etcd_peer: int = 23800
    api: int = 26443

    @classmethod
    def free(cls) -> Ports:
        sockets = [socket.socket() for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        numbers = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        return cls(*numbers)


class Plane:
    """A control plane in a folder; its processes go on after the one that started them unless `temporary`."""

    def __init__(self, folder: Path, ports: Ports, node_ip: str = "127.0.0.1", temporary: bool = False) -> None:
        self.folder, self.ports, self.node_ip = folder, ports, node_ip
        self.authority = Authority(folder / "pki")
        self.audit_log = folder / "audit.log"
        self.kubeconfig = folder / "kubeconfig"
        self.etcd = Process("etcd", folder, temporary)
        self.api = Process("kube-apiserver", folder, temporary)
        self.controllers = Process("kube-controller-manager", folder, temporary)
        self.scheduler = Process("kube-scheduler", folder, temporary)

    @property
    def url(self) -> str:
        return f"https://{self.node_ip}:{self.ports.api}"

    def start(self, controllers: Sequence[str] = ("*",), scheduler: bool = True) -> None:
        """Starts what does not run, and waits until the API server is ready. SetUpFailed with the log's end."""
        self._prepare()
        self.etcd.start(self._etcd())
        self.etcd.wait(self._etcd_listens, 30)
        self.api.start(self._api())
        self.api.wait(self.is_ready, 90)
        self.controllers.start(self._controllers(controllers))
        if scheduler:
            config = self.kubeconfig_for("scheduler", "/CN=system:kube-scheduler")
            options: list[str | Path] = [
                "--kubeconfig",
                config,
                "--bind-address=127.0.0.1",
                "--secure-port=0",
                "--leader-elect=false",
            ]
            self.scheduler.start([program("kube-scheduler"), *options])

    def stop(self) -> None:
        for each in (self.scheduler, self.controllers, self.api, self.etcd):
            each.stop()

    def is_ready(self) -> bool:
        found = run(self._kubectl("get", "--raw", "/readyz"), check=False)
        return found.strip() == "ok"

    def _etcd_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports.etcd)) == 0

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """kubectl's output as cluster-admin. SetUpFailed with its words when it fails."""
        return run(self._kubectl(*arguments), text=text)

    def _kubectl(self, *arguments: str) -> list[str | Path]:
        return [program("kubectl"), "--kubeconfig", self.kubeconfig, *arguments]

    def _prepare(self) -> None:
        self.authority.create()
        (self.folder / "audit-policy.yaml").write_text(_AUDIT_POLICY)
        self.kubeconfig_for("admin", "/O=system:masters/CN=admin", self.kubeconfig)

    def kubeconfig_for(self, name: str, subject: str, path: Path | None = None) -> Path:
        """A kubeconfig (JSON, which is YAML) with a client certificate of its own."""
        certificate, key = self.authority.issue(f"client-{name}", subject)
        path = path or self.folder / f"{name}.kubeconfig"
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        server = {"server": self.url, "certificate-authority": str(self.authority.certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "smalt",
            "clusters": [{"name": "smalt", "cluster": server}],
            "users": [{"name": "smalt", "user": user}],
            "contexts": [{"name": "smalt", "context": {"cluster": "smalt", "user": "smalt"}}],
        }
        if not path.exists() or self.url not in path.read_text():
            path.write_text(json.dumps(content, indent=1))
            path.chmod(0o600)
        return path

    def _etcd(self) -> list[str | Path]:
        client, peer = f"http://127.0.0.1:{self.ports.etcd}", f"http://127.0.0.1:{self.ports.etcd_peer}"
        return [
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--name=smalt",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=smalt={peer}",
            # A cluster for tests and demos may lose its data with the machine's power.
            "--unsafe-no-fsync",
            "--quota-backend-bytes=4294967296",
            "--auto-compaction-retention=1h",
            "--log-level=warn",
        ]

    def _api(self) -> list[str | Path]:
        names = (
            f"DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
            f"DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{API_SERVICE},IP:{self.node_ip}"
        )
        certificate, key = self.authority.issue("api", "/CN=kube-apiserver", names)
        kubelet_certificate, kubelet_key = self.authority.issue("api-kubelet", "/O=system:masters/CN=kube-apiserver")
        front_certificate, front_key = self.authority.issue("front-proxy", "/CN=front-proxy")
        # Pods reach the API server on the node's address, which is a bridge's; nothing outside is listened on.
        return [
            program("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.ports.etcd}",
            f"--bind-address={self.node_ip}",
            f"--advertise-address={self.node_ip}",
            f"--secure-port={self.ports.api}",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--kubelet-client-certificate={kubelet_certificate}",
            f"--kubelet-client-key={kubelet_key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--proxy-client-cert-file={front_certificate}",
            f"--proxy-client-key-file={front_key}",
            f"--requestheader-client-ca-file={self.authority.certificate}",
            "--requestheader-allowed-names=front-proxy",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.authority.service_account_key}",
            f"--service-account-signing-key-file={self.authority.service_account_key}",
            f"--audit-policy-file={self.folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=200",
            "--audit-log-maxbackup=3",
            "--profiling=false",
        ]

    def _controllers(self, names: Sequence[str]) -> list[str | Path]:
        config = self.kubeconfig_for("controllers", "/CN=system:kube-controller-manager")
        return [
            program("kube-controller-manager"),
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.authority.service_account_key}",
            f"--root-ca-file={self.authority.certificate}",
            f"--controllers={','.join(names)}",
            "--concurrent-gc-syncs=10",
            "--node-monitor-grace-period=40s",
        ]
