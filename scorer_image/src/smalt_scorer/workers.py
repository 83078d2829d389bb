"""Several processes that score on one port. One that dies, or hangs in code that nothing interrupts, is replaced, while the
others go on; what waits to be accepted meanwhile waits in the socket, which is this process's own.

This process loads no model and imports nothing of one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smalt_scorer.failures import Failure
from smalt_scorer.listening import listen

MOST = 64
COUNT = "WORKER_COUNT"
_INDEX, _SOCKET, _READY, _SHARED = (f"SMALT_SCORER_{name}" for name in ("WORKER", "SOCKET", "READY", "SHARED"))
RESTARTS = "restarts"
_SERVED = "served"
# One that lived shorter did not die of a request.
YOUNG_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 10.0
MOST_YOUNG_DEATHS = 5
_HEEDED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_LOOK_SECONDS = 0.2


def count(variables: Mapping[str, str]) -> int:
    """How many are asked for, as Azure's server takes it. Failure for what is no number of them."""
    text = variables.get(COUNT) or "1"
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise Failure("InvalidSetting", f"{COUNT} is '{text}', and must be a whole number from 1 to {MOST}")
    return int(text)


@dataclass(frozen=True)
class Worker:
    """This process as one of several."""

    index: int
    listening: socket.socket
    shared: Path
    _ready: int

    @classmethod
    def present(cls, environment: MutableMapping[str, str]) -> Worker | None:
        """None for a process that is the only one. Processes that the script starts are no workers."""
        index = environment.pop(_INDEX, None)
        if index is None:
            return None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)
        _end_with_parent()
        listening = socket.socket(fileno=int(environment.pop(_SOCKET)))
        return cls(int(index), listening, Path(environment.pop(_SHARED)), int(environment.pop(_READY)))

    def tell_ready(self) -> None:
        """The model is loaded: when this one ends it is replaced."""
        (self.shared / _SERVED).touch()
        os.write(self._ready, b"1")
        os.close(self._ready)

    @property
    def has_served(self) -> bool:
        """Whether any of the workers has loaded its model: then the server has begun, and one that is late has not failed."""
        return (self.shared / _SERVED).exists()


def _end_with_parent() -> None:
    """Linux alone can; in a container the first process takes all others with it anyway."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@dataclass
class _Place:
    """One of the workers, and those that have been it."""

    index: int
    process: subprocess.Popen[bytes] | None = None
    ready: int = -1
    has_been_ready: bool = False
    began: float = 0.0
    again: float = 0.0
    young_deaths: int = 0


@dataclass
class Supervisor:
    """`arguments` are those of this process, with which each worker is started."""

    number: int
    host: str
    port: int
    arguments: Sequence[str]
    clock: Callable[[], float] = time.monotonic
    _places: list[_Place] = field(default_factory=list)
    _is_stopping: bool = False
    _code: int = 0
    _restarts: int = 0

    def run(self) -> int:
        """The exit code: 0 after SIGTERM, else that of a worker that could not start."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        try:
            listening = listen(self.host, self.port)
        except OSError as error:
            raise Failure("InternalError", str(error)) from error
        with listening, tempfile.TemporaryDirectory(prefix="smalt-workers-") as shared:
            self._places = [_Place(index) for index in range(self.number)]
            while not self._is_over():
                self._start_due(listening, Path(shared))
                found = signal.sigtimedwait(_HEEDED, _LOOK_SECONDS)
                if found is not None and found.si_signo != signal.SIGCHLD:
                    self._stop()
                for place in self._places:
                    self._look(place)
        return self._code

    def _is_over(self) -> bool:
        return self._is_stopping and all(place.process is None for place in self._places)

    def _start_due(self, listening: socket.socket, shared: Path) -> None:
        for place in self._places:
            if place.process is None and not self._is_stopping and self.clock() >= place.again:
                self._start(place, listening, shared)

    def _start(self, place: _Place, listening: socket.socket, shared: Path) -> None:
        (shared / RESTARTS).write_text(str(self._restarts))
        place.ready, writing = os.pipe()
        os.set_blocking(place.ready, False)
        given = {
            _INDEX: str(place.index),
            _SOCKET: str(listening.fileno()),
            _READY: str(writing),
            _SHARED: str(shared),
        }
        command = [sys.executable, "-m", "smalt_scorer", *self.arguments]
        place.process = subprocess.Popen(command, env=os.environ | given, pass_fds=(listening.fileno(), writing))
        place.began = self.clock()
        os.close(writing)

    def _look(self, place: _Place) -> None:
        if place.process is None:
            return
        code = place.process.poll()
        place.has_been_ready = place.has_been_ready or _has_word(place.ready)
        if code is None:
            return
        os.close(place.ready)
        place.process = None
        if self._is_stopping:
            self._code = self._code or max(code, 0)
            return
        self._plan_again(place, code)

    def _plan_again(self, place: _Place, code: int) -> None:
        is_young = self.clock() - place.began < YOUNG_SECONDS
        place.young_deaths = place.young_deaths + 1 if is_young else 0
        said = f"worker {place.index} has ended with {code}"
        if not place.has_been_ready or place.young_deaths > MOST_YOUNG_DEATHS:
            print(f"{said}, and would again: all end", file=sys.stderr, flush=True)
            self._code = code if code > 0 else 1
            self._stop()
            return
        pause = min(LONGEST_PAUSE_SECONDS, 0.1 * 2**place.young_deaths) if place.young_deaths > 1 else 0.0
        print(f"{said}: another one takes its place", file=sys.stderr, flush=True)
        self._restarts += 1
        place.again = self.clock() + pause

    def _stop(self) -> None:
        self._is_stopping = True
        for place in self._places:
            if place.process is not None:
                place.process.send_signal(signal.SIGTERM)


def _has_word(reading: int) -> bool:
    try:
        return bool(os.read(reading, 1))
    except BlockingIOError:
        return False
