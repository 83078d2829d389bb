"""One node: containerd, kubelet and kube-proxy, beside the control plane."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.controlplane import Plane
from cluster.host import CGROUP, CNI_PLUGINS
from cluster.network import CNI_NETWORK, NODE_IP, POD_RANGE
from cluster.processes import Process, below, end_all, naming
from cluster.programs import program
from cluster.shell import run, succeeds

NODE = "smalt"
KUBELET_PORT = 26250
PROXY_HEALTH_PORT, PROXY_METRICS_PORT = 26256, 26249
PAUSE = "smalt/pause:1"


class Node:
    """containerd with its own folders and socket, and what makes it a node of the plane."""

    def __init__(self, plane: Plane) -> None:
        self.plane, self.folder = plane, plane.folder
        self.socket = self.folder / "containerd.sock"
        self.containerd = Process("containerd", self.folder)
        self.kubelet = Process("kubelet", self.folder)
        self.proxy = Process("kube-proxy", self.folder)

    def start_containerd(self) -> None:
        self._write_cni()
        config = self.folder / "containerd.toml"
        config.write_text(self._containerd_config())
        self.containerd.start(["containerd", "--config", config])
        self.containerd.wait(lambda: succeeds(self.ctr("version")), 60)

    def start(self) -> None:
        config = self.folder / "kubelet.json"
        config.write_text(json.dumps(self._kubelet_config()))
        (self.folder / "kubelet").mkdir(exist_ok=True)
        kubeconfig = self.plane.kubeconfig_for("kubelet", f"/O=system:nodes/CN=system:node:{NODE}")
        self.kubelet.start(
            [
                program("kubelet"),
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={self.folder / 'kubelet'}",
                f"--cert-dir={self.folder / 'kubelet-pki'}",
                f"--hostname-override={NODE}",
                f"--node-ip={NODE_IP}",
            ]
        )
        config = self.folder / "kube-proxy.json"
        config.write_text(json.dumps(self._proxy_config()))
        self.proxy.start([program("kube-proxy"), f"--config={config}", f"--hostname-override={NODE}"])

    def is_ready(self) -> bool:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        found = run(
            [program("kubectl"), "--kubeconfig", self.plane.kubeconfig, "get", "node", NODE, "-o", path], check=False
        )
        return found.strip() == "True"

    def ctr(self, *arguments: str | Path) -> list[str | Path]:
        return ["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments]

    def stop(self) -> None:
        """The kubelet first, so that nothing is started again; then containers, and what they ran under."""
        self.kubelet.stop()
        self.proxy.stop()
        # Before the shims, so that no pod is half made when they end; they outlive containerd on purpose.
        self.containerd.stop()
        shims = naming(str(self.socket), "containerd-shim")
        end_all([pid for shim in shims for pid in (*below(shim), shim)])

    def _write_cni(self) -> None:
        """A pair of interfaces for each pod: every packet is routed, so that Services' replies find their way back
        without the kernel's bridge filter, which not every machine has. Masquerading is network.py's."""
        folder = self.folder / "cni"
        folder.mkdir(parents=True, exist_ok=True)
        pair = {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.folder / "cni-leases"),
                "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        content = {"cniVersion": "0.4.0", "name": CNI_NETWORK, "plugins": [pair]}
        (folder / "10-smalt.conflist").write_text(json.dumps(content, indent=1))

    def _containerd_config(self) -> str:
        return f"""\
version = 2
root = "{self.folder}/containerd/root"
state = "{self.folder}/containerd/state"
oom_score = 0
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{self.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

    def _kubelet_config(self) -> dict[str, object]:
        certificate, key = self.plane.authority.issue(
            "kubelet", f"/O=system:nodes/CN=system:node:{NODE}", f"IP:{NODE_IP}"
        )
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_IP,
            "port": KUBELET_PORT,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.plane.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "clusterDNS": [NODE_IP],
            "clusterDomain": "cluster.local",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "cgroupsPerQOS": True,
            "failCgroupV1": False,
            "failSwapOn": False,
            # kube-proxy's nftables need none of the kubelet's iptables chains, which nobody would remove.
            "makeIPTablesUtilChains": False,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 99,
            "imageGCLowThresholdPercent": 98,
            "maxPods": 200,
            "registryPullQPS": 0,
            "serializeImagePulls": False,
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "podLogsDir": str(self.folder / "pod-logs"),
            "resolvConf": "/etc/resolv.conf",
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "5s",
        }

    def _proxy_config(self) -> dict[str, object]:
        kubeconfig = self.plane.kubeconfig_for("kube-proxy", "/CN=system:kube-proxy")
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "clusterCIDR": POD_RANGE,
            "healthzBindAddress": f"127.0.0.1:{PROXY_HEALTH_PORT}",
            "metricsBindAddress": f"127.0.0.1:{PROXY_METRICS_PORT}",
            "bindAddress": NODE_IP,
            "conntrack": {"maxPerCore": 0},
            "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        }
