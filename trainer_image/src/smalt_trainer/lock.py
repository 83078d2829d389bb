"""A lock: every package of an environment with its version and the hashes of its files, and nothing of where they came from.

What is installed is installed from a lock, and its digest is the environment's: the same lock for the same Python and
platform is the same environment, on another day and node, from whichever index.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from dataclasses import dataclass, field
from typing import Iterable, Mapping, Optional, Sequence, Tuple

from smalt_trainer.digests import canonical_digest
from smalt_trainer.requirements import normalized, public

_HASH = re.compile(r"\s--hash[= ]([A-Za-z0-9]+:[0-9A-Fa-f]+)")
_HEAD = re.compile(r"^# (?P<python>[\w.-]+), (?P<platform>[\w.-]+)$")
_IMAGES = re.compile(r"^# (?P<requirement>[A-Za-z0-9][\w.-]*==\S+) \(the image's own\)$")
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*===?\s*(?P<version>[^\s;]+)")


@dataclass(frozen=True)
class Entry:
    """One package: its requirement, which is a pin or an address, and the hashes that its file may have."""

    requirement: str
    hashes: Tuple[str, ...] = ()
    is_images: bool = False

    @property
    def pin(self) -> Optional[Tuple[str, str]]:
        """Normalized name and version, when it is pinned by a version."""
        match = _PIN.match(self.requirement)
        return (normalized(match["name"]), match["version"]) if match else None

    @property
    def text(self) -> str:
        """The entry as a requirements file has it; what only the image has is a comment there."""
        if self.is_images:
            return f"# {self.requirement} (the image's own)"
        return " \\\n    ".join([self.requirement, *(f"--hash={each}" for each in self.hashes)])


@dataclass(frozen=True)
class Lock:
    """All entries, in the order of their names, and the Python and the platform that they are for: this one's."""

    entries: Tuple[Entry, ...] = ()
    python: str = field(default_factory=lambda: interpreter())
    platform: str = field(default_factory=lambda: platform_name())

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Lock:
        return cls(tuple(sorted(entries, key=lambda each: (normalized(each.requirement), each.requirement))))

    @classmethod
    def read(cls, text: str) -> Lock:
        """The lock that `text` was written from. ValueError for a text that is no lock's."""
        head, _, rest = text.partition("\n")
        made_for = _HEAD.match(head)
        if not made_for:
            raise ValueError("its first line does not say for which Python and platform it is")
        own = [match["requirement"] for line in rest.splitlines() if (match := _IMAGES.match(line))]
        entries = cls.of([*read_entries(rest), *(Entry(each, is_images=True) for each in own)]).entries
        return cls(entries, made_for["python"], made_for["platform"])

    @property
    def text(self) -> str:
        """A requirements file: put into the code and named in environment.requirementsFile, it gives the same environment."""
        head = f"# {self.python}, {self.platform}\n"
        return head + "".join(f"{each.text}\n" for each in self.entries)

    @property
    def digest(self) -> str:
        """Names the environment: packages with their hashes, Python and platform."""
        packages = [[each.requirement, sorted(each.hashes)] for each in self.entries]
        return canonical_digest({"packages": packages, "python": self.python, "platform": self.platform})

    def lacking(self, have: Mapping[str, str]) -> Sequence[Entry]:
        """What the image does not have in that very version."""
        return [each for each in self.entries if not each.is_images and not _has(each, have)]


def read_entries(text: str) -> Tuple[Entry, ...]:
    """The entries of a requirements file whose lines are known to be nothing but requirements and hashes."""
    joined = re.sub(r"\\\r?\n", " ", text)
    found = []
    for line in joined.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            found.append(read_entry(line))
    return tuple(found)


def read_entry(line: str) -> Entry:
    """A requirement with the hashes behind it."""
    hashes = tuple(sorted({each.lower() for each in _HASH.findall(line)}))
    return Entry(" ".join(_HASH.sub("", line).split()), hashes)


def _has(entry: Entry, have: Mapping[str, str]) -> bool:
    """Without a builder's mark (2.5.1+cu121) in the pin, any build of that version will do."""
    pin = entry.pin
    version = have.get(pin[0]) if pin else None
    return version is not None and pin is not None and pin[1] in (version, public(version))


def interpreter() -> str:
    """The Python that packages are chosen for, as its caches are named: cpython-311."""
    return str(sys.implementation.cache_tag or sys.implementation.name)


def platform_name() -> str:
    """The platform that packages are chosen for, with its C library where Python tells it: x86_64-linux-gnu."""
    return str(sysconfig.get_config_var("MULTIARCH") or sysconfig.get_platform())
