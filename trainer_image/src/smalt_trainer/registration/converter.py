"""The container `environment`: the packages that the run had, and beside them the converter, before any model is loaded.

It runs in the run's image and has what installing needs, the package index's credentials and the cache, which the
container that loads the model has not. It ends well in every case: what went wrong is left for that one to tell.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Mapping, Optional

from smalt_trainer.environment import Wanted, Workshop, ensure, read_environment
from smalt_trainer.environment_record import EnvironmentRecord
from smalt_trainer.failures import RunFailed
from smalt_trainer.lock import Lock, read_entries
from smalt_trainer.package_cache import PackageCache
from smalt_trainer.registration.contract import Contract
from smalt_trainer.registration.conversion import TOOLS
from smalt_trainer.registration.described import LOCK, LOCK_FOLDER, is_loadable
from smalt_trainer.registration.refused import REGISTER_AGAIN
from smalt_trainer.requirements import installed_versions
from smalt_trainer.trust import extend_trust
from smalt_trainer.uv import Uv, find_uv

# In the environment's folder, so that what the run had stays what it was.
CONVERTER = "converter"
SECONDS = 900


@dataclass(frozen=True)
class Site:
    """Where it is made, and what installs it."""

    into: Path
    cache: Optional[Path] = None
    seconds: int = SECONDS


def run_environment(contract: Contract, source: Path, site: Site) -> None:
    """The environment in `into`, and the converter in a folder of it where the environment lacks one."""
    record = EnvironmentRecord(site.into)
    record.folder.mkdir(parents=True, exist_ok=True)
    if not is_loadable(source):
        return
    before = signal.signal(signal.SIGALRM, _end)
    signal.alarm(site.seconds)
    try:
        _make(contract, source, site, record)
    except RunFailed as error:
        record.write_failure(error)
    except Exception as error:
        traceback.print_exc()
        record.write_failure(RunFailed("EnvironmentFailed", f"{type(error).__name__}: {error}"))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _make(contract: Contract, source: Path, site: Site, record: EnvironmentRecord) -> None:
    extend_trust(os.environ, Path(tempfile.gettempdir()), REGISTER_AGAIN)
    cache = PackageCache.at(site.cache, _say)
    have = installed_versions()
    workshop = Workshop(site.into, contract.image, REGISTER_AGAIN, _say, cache)
    lock = ensure(_wanted(contract, source), workshop)
    record.write(lock, have)
    everything = {**have, **dict(each.pin for each in lock.lacking(have) if each.pin)}
    if any(name not in everything for name in TOOLS):
        _add_converter(site.into, everything, cache)


def _wanted(contract: Contract, source: Path) -> Wanted:
    """What the run has recorded of its packages; nothing where it asked for none on top of its image."""
    if not contract.has_lock:
        return Wanted()
    file = source / LOCK_FOLDER / LOCK
    if not file.is_file():
        raise RunFailed("EnvironmentFailed", f"the run's record of its packages, {LOCK_FOLDER}/{LOCK}, cannot be had")
    wanted = read_environment({"lockFile": str(file)}, source, REGISTER_AGAIN)
    digest = contract.lineage.get("environment")
    # Whoever can write to the run's artifacts would have it installed where the package index's credentials are.
    if wanted.lock is not None and digest and wanted.lock.digest != digest:
        raise RunFailed("EnvironmentFailed", f"{LOCK_FOLDER}/{LOCK} of the run is not what the run had: it was changed")
    return wanted


def _add_converter(environment: Path, have: Mapping[str, str], cache: Optional[PackageCache]) -> None:
    """What is lacking, and what of it is lacking in turn, in versions that fit what is there, into another folder."""
    scratch = environment / ".converter"
    scratch.mkdir(exist_ok=True)
    uv = Uv(find_uv(), cache.packages if cache else scratch / "uv", REGISTER_AGAIN, _say)
    python = str(python_of(environment))
    pinned, asked, listed = scratch / "have.txt", scratch / "asked.txt", scratch / "listed.txt"
    pinned.write_text("".join(f"{name}=={version}\n" for name, version in sorted(have.items())), encoding="utf-8")
    asked.write_text("".join(f"{name}\n" for name in TOOLS if name not in have), encoding="utf-8")
    quiet = ("--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--only-binary", ":all:")
    uv.run("pip", "compile", *quiet, "--python", python, "-c", str(pinned), "-o", str(listed), str(asked))
    entries = Lock.of(read_entries(listed.read_text(encoding="utf-8"))).lacking(have)
    listed.write_text("".join(f"{each.text}\n" for each in entries), encoding="utf-8")
    into = ("--target", str(environment / CONVERTER))
    options = ("--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--link-mode", "copy")
    uv.run("pip", "install", *options, "--python", python, *into, "-r", str(listed))


def python_of(environment: Path) -> Path:
    """The Python that has the run's packages: the image's own where it lacked none."""
    own = environment / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def _end(_number: int, _frame: Optional[FrameType]) -> None:
    """An index that never answers must not take the registration along."""
    raise RunFailed("EnvironmentFailed", "installing them took too long")


def _say(text: str) -> None:
    print(f"[smalt] {text}", file=sys.stderr, flush=True)
