"""The process: HTTP in a side thread, the script in the main thread, and an end that loses nobody's request."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from smalt_scorer.application import Application

# Endpoints take a moment to hear that the pod is going; until then requests still come.
DRAIN_SECONDS = 3.0
START_SECONDS = 10.0


class Server:
    """One application on one port."""

    def __init__(self, application: Application, host: str, port: int) -> None:
        self.application = application
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
        self._draining: threading.Thread | None = None

    def start(self) -> None:
        """Returns when the port is listened on. OSError when it cannot be."""
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
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._on_signal)

    def _on_signal(self, signum: int, frame: object) -> None:
        if not self.application.is_ready:
            # Nobody waits for an answer yet, and an exception could be kept by the init() that runs. In a pod this is
            # process 1, which no signal ends by itself.
            os._exit(0)
        if self._draining is None:
            self.application.is_stopping = True
            self._draining = threading.Thread(target=self._drain, name="drain", daemon=True)
            self._draining.start()

    def _drain(self) -> None:
        """Not in the signal's handler: the main thread goes on scoring meanwhile."""
        time.sleep(DRAIN_SECONDS)
        self._uvicorn.should_exit = True
        self._thread.join()
        self.application.scoring.stop()

    def _serve(self) -> None:
        asyncio.run(self._uvicorn.serve())
