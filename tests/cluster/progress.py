"""A line per step with its time, and errors that say what to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Of a long step, how often it says how far it is.
EVERY_SECONDS = 30


class SetUpFailed(RuntimeError):
    """The set-up cannot go on; the text says what is missing and how to get it."""


class ProgramFailed(SetUpFailed):
    """A program that was started has failed; it may have wanted something from the network."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Prints the title, and the time when it took more than a moment."""
    started = time.monotonic()
    print(f"  - {title}", flush=True)
    yield
    seconds = time.monotonic() - started
    if seconds > 2:
        print(f"    {seconds:.0f} s", flush=True)


def counter(of: int, what: str) -> Callable[[], None]:
    """To be called for each that is done; says now and then how far it is."""
    done, said = 0, time.monotonic()

    def one_more() -> None:
        nonlocal done, said
        done += 1
        if time.monotonic() - said >= EVERY_SECONDS:
            said = time.monotonic()
            print(f"      {done} of {of} {what}", flush=True)

    return one_more


def fail(text: str) -> int:
    print(text, file=sys.stderr, flush=True)
    return 1
