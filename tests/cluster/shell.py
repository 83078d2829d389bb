"""Running other programs, with their own words when they fail."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.paths import search_path
from cluster.progress import ProgramFailed, SetUpFailed


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
    seconds: float = 3600,
    check: bool = True,
) -> str:
    """Standard output. ProgramFailed with the end of standard error when it fails; SetUpFailed when it is not there."""
    words = [str(word) for word in command]
    try:
        finished = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, "PATH": search_path(), **(environment or {})},
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except FileNotFoundError as error:
        raise SetUpFailed(f"'{words[0]}' is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"`{shlex.join(words)}` took longer than {seconds:.0f} s") from error
    if check and finished.returncode != 0:
        said = (finished.stderr.strip() or finished.stdout.strip())[-2000:]
        raise ProgramFailed(f"`{shlex.join(words)}` failed:\n{said}")
    return finished.stdout


def follow(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str], line: Callable[[str], None]
) -> None:
    """Hands over each line of standard error when it is said. ProgramFailed with the last of them when it fails."""
    words = [str(word) for word in command]
    variables = {**os.environ, "PATH": search_path(), **environment}
    last: deque[str] = deque(maxlen=20)
    with subprocess.Popen(words, cwd=cwd, env=variables, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for said in running.stderr:
            last.append(said)
            line(said)
    if running.returncode != 0:
        raise ProgramFailed(f"`{shlex.join(words)}` failed:\n{''.join(last).strip()[-2000:]}")


def succeeds(command: Sequence[str | Path]) -> bool:
    environment = {**os.environ, "PATH": search_path()}
    return subprocess.run([str(word) for word in command], capture_output=True, env=environment).returncode == 0
