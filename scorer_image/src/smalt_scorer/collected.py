"""What score scripts collect, as JSON lines in a bounded folder, for whoever ships it.

Files that end in `.part` are still written to. A shipper takes `*.jsonl`, oldest first, and deletes what it has shipped.
One line is `{"time", "id", "correlation", "collection", "model", "version", "rows"}`; `rows` is a list of objects.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

FOLDER = "SMALT_COLLECTED"
# One file; and all that may wait to be shipped, which a pod's scratch space has room for.
FILE_BYTES = 4 << 20
MOST_BYTES = 64 << 20
# A file that little is written to is handed over after this all the same.
FILE_SECONDS = 30.0
_TELL_SECONDS = 60.0


@dataclass
class Collected:
    """The folder, of one process among several; None keeps nothing."""

    folder: Path | None
    most_bytes: int = MOST_BYTES
    file_bytes: int = FILE_BYTES
    _file: BinaryIO | None = None
    _since: float = 0.0
    _told: float = field(default=-_TELL_SECONDS)

    def add(
        self, collection: str, correlation: str, rows: Sequence[Mapping[str, Any]], model: str, version: str
    ) -> bool:
        """False when it was not kept: no folder, no room, or a disk that does not take it; the log says which."""
        if self.folder is None:
            return self._lost(f"nothing is collected, because {FOLDER} names no folder")
        line = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(),
            "id": str(uuid.uuid4()),
            "correlation": correlation,
            "collection": collection,
            "model": model,
            "version": version,
            "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
        }
        text = json.dumps(line, default=str).encode() + b"\n"
        try:
            return self._write(self.folder, text)
        except OSError as error:
            return self._lost(f"collected data is lost: {error}")

    def _write(self, folder: Path, text: bytes) -> bool:
        file = self._file
        if file is not None and (file.tell() >= self.file_bytes or time.monotonic() - self._since > FILE_SECONDS):
            self.hand_over()
            file = None
        if file is None:
            folder.mkdir(parents=True, exist_ok=True)
            # Names in the order of their making, and no two processes' the same.
            path = folder / f"{time.time_ns():020d}-{os.getpid()}.jsonl.part"
            file = self._file = path.open("ab", buffering=0)
            self._since = time.monotonic()
        if sum(each.stat().st_size for each in _files(folder)) + len(text) > self.most_bytes:
            return self._lost(f"collected data is lost: {folder} holds {self.most_bytes >> 20} MiB that nobody took")
        file.write(text)
        return True

    def hand_over(self) -> None:
        """What is written so far, to whoever ships it."""
        file, self._file = self._file, None
        if file is None:
            return
        file.close()
        path = Path(file.name)
        if path.exists():
            path.rename(path.with_suffix(""))

    def _lost(self, words: str) -> bool:
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            print(words, file=sys.stderr, flush=True)
        return False


def _plain(value: Any) -> Any:
    """NaN and infinity have no form in JSON, and numpy's numbers are Python's."""
    item = getattr(value, "item", None)
    if callable(item):
        value = item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith((".jsonl", ".jsonl.part"))]


def served_model() -> tuple[str, str]:
    """Name and version by the model directory's layout, `azureml-models/<name>/<version>`; empty where it has another."""
    parts = Path(os.environ.get("AZUREML_MODEL_DIR", "")).parts
    return (parts[-2], parts[-1]) if len(parts) >= 3 and parts[-3] == "azureml-models" else ("", "")


_mine: tuple[int, Collected] | None = None


def collected() -> Collected:
    """This process's; a forked worker makes its own."""
    global _mine
    if _mine is None or _mine[0] != os.getpid():
        named = os.environ.get(FOLDER)
        _mine = (os.getpid(), Collected(Path(named) if named else None))
    return _mine[1]
