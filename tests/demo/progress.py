"""A line per step with its time, so that nobody wonders whether it hangs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Step:
    """One step under way; `says` shows what it waits for, only when that changed."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self._last = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def says(self, text: str) -> None:
        if text and text != self._last:
            self._last = text
            print(f"    {self.seconds:5.1f} s  {text}", flush=True)


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Prints the title, and when it is done how long it took."""
    under_way = Step(title)
    print(f"==> {title}", flush=True)
    try:
        yield under_way
    except BaseException:
        print(f"    failed after {under_way.seconds:.1f} s: {title}", file=sys.stderr, flush=True)
        raise
    print(f"    done in {under_way.seconds:.1f} s", flush=True)
