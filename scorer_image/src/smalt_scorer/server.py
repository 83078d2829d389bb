"""The process: HTTP in a side thread, the script in the main thread, and an end that loses nobody's request."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from smalt_scorer.application import Application

# Endpoints take a moment to hear that the pod is going; until then requests still come.
DRAIN_SECONDS = 3.0
START_SECONDS = 10.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Server:
    """One application on one port; `on_early_end` ends the process when it is told to go before its script is ready."""

    def __init__(self, application: Application, host: str, port: int, on_early_end: Callable[[], object]) -> None:
        self.application, self._on_early_end = application, on_early_end
        config = uvicorn.Config(
            application,
            host=host,
            port=port,
            access_log=False,
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=75,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._signals, self._signals_in = socket.socketpair()
        self._signals_in.setblocking(False)

    def start(self) -> None:
        """Returns when the port is listened on. OSError when it cannot be."""
        threading.Thread(target=self._heed_signals, name="signals", daemon=True).start()
        os.register_at_fork(after_in_child=_forget_signals)
        self._take_signals()
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._uvicorn.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise OSError(f"port {self._uvicorn.config.port} cannot be listened on")
            time.sleep(0.01)

    def work(self, run: Callable[[str, Mapping[str, str]], Any]) -> None:
        """Scores until SIGTERM, then finishes what has come."""
        self._take_signals()  # again: what init() has set would end the process without an answer
        self.application.is_ready = True
        self.application.scoring.work(run)
        self._thread.join(DRAIN_SECONDS)

    def _take_signals(self) -> None:
        # Python's own handlers wait until the main thread is back from C code, which an init() or run() that hangs
        # never is. A signal's number comes through here at once.
        signal.set_wakeup_fd(self._signals_in.fileno(), warn_on_full_buffer=False)
        for each in _ENDING:
            signal.signal(each, _do_nothing)

    def _heed_signals(self) -> None:
        while not set(self._signals.recv(64)).intersection(_ENDING):
            pass
        if not self.application.is_ready:
            # Nobody waits for an answer yet. In a pod this is process 1, which no signal ends by itself.
            self._on_early_end()
        else:
            self._drain()

    def _drain(self) -> None:
        """The main thread goes on scoring meanwhile."""
        self.application.is_stopping = True
        time.sleep(DRAIN_SECONDS)
        self._uvicorn.should_exit = True
        self._thread.join()
        self.application.scoring.stop()

    def _serve(self) -> None:
        asyncio.run(self._uvicorn.serve())


def _do_nothing(signum: int, frame: object) -> None:
    """The number is on its way to the thread that heeds it; without a handler the process would end, or not hear it."""


def _forget_signals() -> None:
    """What ends a process that the script forks is not meant for the server, and does end that process."""
    signal.set_wakeup_fd(-1)
    for each in _ENDING:
        signal.signal(each, signal.SIG_DFL)
