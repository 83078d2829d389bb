"""Metrics of several workers as one: each leaves its numbers in a folder that they share, and whoever is asked adds them up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smalt_scorer.workers import RESTARTS

# How old another worker's numbers may be.
EVERY_SECONDS = 0.5


class SharedFolder:
    """A file for each worker, by its place: the next one in the place counts on."""

    def __init__(self, folder: Path, index: int) -> None:
        self._folder, self._own = folder, folder / f"{index}.json"
        self._written = ""

    def own(self) -> dict[str, Any] | None:
        return _read(self._own)

    def others(self) -> list[dict[str, Any]]:
        paths = (each for each in self._folder.glob("*.json") if each != self._own)
        return [found for found in map(_read, paths) if found is not None]

    def write(self, state: Mapping[str, Any]) -> None:
        text = json.dumps(state)
        if text == self._written:
            return
        part = self._own.with_suffix(".part")
        part.write_text(text)
        part.replace(self._own)  # whoever reads sees the one or the other
        self._written = text

    def restarts(self) -> int:
        return int((self._folder / RESTARTS).read_text())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return found
