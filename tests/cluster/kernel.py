"""Settings of the kernel that a cluster changes: what they were is written down before, and set again afterwards.

The record lies where a reboot clears it, as a reboot clears the settings.
"""

from __future__ import annotations

import json
from pathlib import Path

RECORD = Path("/run/smalt-cluster-kernel")
SETTINGS = Path("/proc/sys")
FORWARDING = "net/ipv4/ip_forward"
CHANGED = (
    # network.py
    FORWARDING,
    # the kubelet
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    # kube-proxy
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
)


def values(settings: Path = SETTINGS) -> dict[str, str]:
    """As they are now; what this kernel does not have is left out."""
    return {name: (settings / name).read_text().strip() for name in CHANGED if (settings / name).exists()}


def remember(record: Path = RECORD, settings: Path = SETTINGS) -> None:
    """Once: a repair must not take what the cluster itself has set for what was there before."""
    if not record.exists():
        record.write_text(json.dumps(values(settings)))


def remembered(record: Path = RECORD) -> dict[str, str]:
    """What was there before; nothing when no cluster has changed anything."""
    try:
        return dict(json.loads(record.read_text()))
    except FileNotFoundError:
        return {}


def restore(record: Path = RECORD, settings: Path = SETTINGS) -> None:
    """As it was, and forgets it."""
    now = values(settings)
    for name, before in remembered(record).items():
        if now.get(name, before) != before:
            (settings / name).write_text(before)
    record.unlink(missing_ok=True)
