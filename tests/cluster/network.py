"""What the cluster adds to the machine's network: a bridge, a route, one nftables table; and how each goes again."""

from __future__ import annotations

import json
from pathlib import Path

from cluster import kernel
from cluster.controlplane import SERVICE_RANGE
from cluster.shell import run, succeeds

NODE_BRIDGE = "smalt0"
NODE_IP = "10.89.0.1"
POD_RANGE = "10.88.0.0/16"
CNI_NETWORK = "smalt"
CNI_RECORDS = Path("/var/lib/cni/results")
NAMESPACES = Path("/run/netns")
_TABLE = "smalt"
# Packets that leave for elsewhere carry the machine's address; a table of our own is gone with one command.
_RULES = f"""\
table ip {_TABLE} {{}}
flush table ip {_TABLE}
table ip {_TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {POD_RANGE} ip daddr != {POD_RANGE} masquerade
  }}
}}
"""
_KUBE_PROXY_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))


def network_up() -> None:
    """An address for the node that is not loopback, and Services' packets kept on this machine."""
    _node_bridge()
    run(["ip", "route", "replace", SERVICE_RANGE, "dev", NODE_BRIDGE])
    (kernel.SETTINGS / kernel.FORWARDING).write_text("1")
    run(["nft", "-f", "-"], text=_RULES)
    _allow_forwarding()


def services_answer() -> bool:
    """kube-proxy has written its rules."""
    return succeeds(["nft", "list", "table", "ip", "kube-proxy"])


def network_down() -> None:
    """Removes what `network_up`, CNI and kube-proxy have made, whether or not it is there."""
    _forbid_forwarding()
    if succeeds(["ip", "link", "show", NODE_BRIDGE]):
        run(["ip", "link", "delete", NODE_BRIDGE])
    for family, table in (("ip", _TABLE), *_KUBE_PROXY_TABLES):
        if succeeds(["nft", "list", "table", family, table]):
            run(["nft", "delete", "table", family, table])
    forget_pods()


def forget_pods(records: Path = CNI_RECORDS, namespaces: Path = NAMESPACES) -> None:
    """CNI's records of our pods' networks, which lie among those of any other cluster, and namespaces they name."""
    for record in records.glob(f"{CNI_NETWORK}-*"):
        content = json.loads(record.read_text())
        if content.get("networkName") != CNI_NETWORK:
            continue
        # In the state folder, and gone with its mounts; a containerd too old for that has them where all have them.
        namespace = Path(content.get("netns") or "").name
        if namespace and (namespaces / namespace).exists():
            run(["ip", "netns", "delete", namespace])
        for each in records.glob(f"*-{content['containerId']}-*"):
            each.unlink()


def _node_bridge() -> None:
    if not succeeds(["ip", "link", "show", NODE_BRIDGE]):
        run(["ip", "link", "add", NODE_BRIDGE, "type", "bridge"])
    if f"{NODE_IP}/24" not in run(["ip", "addr", "show", NODE_BRIDGE]):
        run(["ip", "addr", "add", f"{NODE_IP}/24", "dev", NODE_BRIDGE])
    run(["ip", "link", "set", NODE_BRIDGE, "up"])


def _allow_forwarding() -> None:
    """Another Docker on this machine sets forwarding to DROP: Services would answer the host and not pods."""
    if "-P FORWARD DROP" not in run(["iptables", "-S", "FORWARD"], check=False):
        return
    for rule in _forwarding_rules():
        if not succeeds(["iptables", "-C", *rule]):
            run(["iptables", "-I", *rule])


def _forbid_forwarding() -> None:
    # Asked by way of saving, which makes no table where there was none.
    if f"-s {POD_RANGE}" not in run(["iptables-save", "-t", "filter"], check=False):
        return
    for rule in _forwarding_rules():
        if succeeds(["iptables", "-C", *rule]):
            run(["iptables", "-D", *rule])


def _forwarding_rules() -> list[list[str]]:
    return [["FORWARD", end, POD_RANGE, "-j", "ACCEPT"] for end in ("-s", "-d")]
