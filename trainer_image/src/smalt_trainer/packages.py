"""Installs a lock: what the image has stays the image's, the rest goes into an environment on top of it."""

from __future__ import annotations

import site
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Sequence

from smalt_trainer.failures import RunFailed
from smalt_trainer.lock import Entry
from smalt_trainer.uv import Uv, failure


def install(entries: Sequence[Entry], into: Path, uv: Uv, scratch: Path) -> None:
    """Make `into` an environment with the entries, each checked against its hashes."""
    unhashed = [each.requirement for each in entries if not each.hashes]
    if unhashed:
        raise RunFailed(
            "EnvironmentFailed",
            f"the package index gives no hash for {', '.join(unhashed[:5])}, so that nobody could tell what was installed; "
            f"use an index that does (PEP 503), {uv.next_step}",
        )
    _make_environment(uv, into)
    listed = scratch / "install.txt"
    listed.write_text("".join(f"{each.text}\n" for each in entries), encoding="utf-8")
    python = str(into / "bin" / "python")
    options = ("--no-deps", "--require-hashes", "--compile-bytecode")
    arguments = ("pip", "install", "--python", python, *options, "-r", str(listed))
    # What is in the cache needs no index, which may be far away, or away.
    if any(uv.cache.glob("wheels-*")) and not replace(uv, tell=_unheard).attempt(*arguments, offline=True)[0]:
        uv.tell("all packages were in the cache")
        return
    code, printed = uv.attempt(*arguments)
    if code:
        raise failure(printed, uv.next_step)


def _unheard(_line: str) -> None:
    """That something is not in the cache is no news."""


def _make_environment(uv: Uv, into: Path) -> None:
    uv.run("venv", "--quiet", "--allow-existing", "--system-site-packages", "--python", sys.executable, str(into))
    # An image's Python may itself be a virtual environment, whose packages an environment on top of it does not see.
    variables = {"base": str(into), "platbase": str(into)}
    target = Path(sysconfig.get_path("purelib", "posix_prefix", vars=variables))
    target.mkdir(parents=True, exist_ok=True)
    paths = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in paths)
    (target / "smalt-image.pth").write_text(lines, encoding="utf-8")
