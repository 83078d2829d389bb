"""What runs of a workspace share when it has a cache: downloaded packages, and for a while what was resolved.

It only ever saves work: what comes from it is checked against the lock's hashes like everything else, and a cache that
is full, unwritable or gone costs nothing but time. uv's part of it may be used by many pods at once; ours is a file for
each question, replaced as a whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Optional

from smalt_trainer.digests import canonical_digest
from smalt_trainer.lock import Lock, read_entries

# Within it the same words give the same packages, so that a sweep's runs do not differ; after it, what is new is seen.
FRESH_SECONDS = 24 * 3600


@dataclass(frozen=True)
class PackageCache:
    """A folder on a volume."""

    folder: Path
    say: Callable[[str], None]
    now: Callable[[], float] = time.time

    @classmethod
    def at(cls, folder: Optional[Path], say: Callable[[str], None]) -> Optional[PackageCache]:
        """The cache in that folder, when the pod has one that can be written."""
        if folder is None or not folder.is_dir():
            return None
        try:
            for part in ("uv", "locks"):
                (folder / part).mkdir(exist_ok=True)
        except OSError as error:
            say(f"the cache of packages cannot be used ({error}); packages are fetched anew")
            return None
        return cls(folder, say)

    @property
    def packages(self) -> Path:
        """uv's own cache."""
        return self.folder / "uv"

    def lock(self, question: object, resolve: Callable[[], Lock]) -> Lock:
        """The lock that was given to the same question within FRESH_SECONDS, else a new one; one pod at a time asks."""
        file = self.folder / "locks" / f"{canonical_digest(question).partition(':')[2]}.json"
        with self._alone(file.with_suffix(".held")):
            known = self._known(file)
            if known is None:
                known = resolve()
                self._keep(file, known)
            else:
                self.say("the packages are those that were resolved before, less than a day ago")
            return known

    def _known(self, file: Path) -> Optional[Lock]:
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            age = self.now() - float(kept["at"])
            return Lock.of(read_entries(kept["lock"])) if 0 <= age < FRESH_SECONDS else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.say(f"a kept lock cannot be read ({error}); the packages are resolved again")
            return None

    def _keep(self, file: Path, lock: Lock) -> None:
        if any(each.is_images for each in lock.entries):
            return  # what only this image has is no answer for others
        unfinished = file.with_suffix(f".{os.getpid()}.new")
        try:
            unfinished.write_text(json.dumps({"at": self.now(), "lock": lock.text}), encoding="utf-8")
            unfinished.replace(file)
        except OSError as error:
            self.say(f"the lock cannot be kept in the cache of packages: {error}")

    @contextlib.contextmanager
    def _alone(self, file: Path) -> Iterator[None]:
        """Held by one pod at a time, and let go by the kernel when it dies; where the volume knows no locks, by nobody."""
        try:
            held = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            self.say(f"the cache of packages cannot be locked ({error})")
            yield
            return
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            os.close(held)
