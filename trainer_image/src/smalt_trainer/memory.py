"""Whether the kernel killed a process of this container for its memory, told by the container's own control group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

# A control group without a limit of its own reports the largest multiple of a page; nothing real comes near.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class MemoryWatch:
    """How many processes had been killed when the watch began."""

    group: Path
    kills: Optional[int]

    @classmethod
    def start(cls, group: Path) -> MemoryWatch:
        """Remember the count, so that only what happens from now on counts."""
        return cls(group, oom_kills(group))

    def killed(self, exit_code: int) -> bool:
        """True when the kernel killed for memory since; exit code 137 decides only where no count can be read."""
        now = oom_kills(self.group)
        if now is None or self.kills is None:
            return exit_code == 137
        return now > self.kills


def oom_kills(group: Path) -> Optional[int]:
    """The kernel's count of kills for memory: version 2's memory.events or version 1's memory.oom_control."""
    for path in (group / "memory.events", group / "memory" / "memory.oom_control"):
        if path.is_file():
            counts = dict(line.split(None, 1) for line in path.read_text().splitlines() if " " in line)
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return None


def memory_limit(group: Path) -> Optional[int]:
    """The container's limit in bytes, or None when it has none or it cannot be read."""
    for path in (group / "memory.max", group / "memory" / "memory.limit_in_bytes"):
        if path.is_file():
            text = path.read_text().strip()
            return int(text) if text.isdigit() and int(text) < _UNLIMITED else None
    return None


def size_text(size: int) -> str:
    """A size the way Kubernetes writes it: 512Mi, 2Gi."""
    for unit, factor in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
