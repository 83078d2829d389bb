"""The process: HTTP in a side thread, the script in the main thread, and an end that loses nobody's request."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import uvicorn
import uvloop

from smalt_scorer.application import Application
from smalt_scorer.certificate import Certificate
from smalt_scorer.counted_together import EVERY_SECONDS
from smalt_scorer.http_protocol import config_of, look_at
from smalt_scorer.listening import listen
from smalt_scorer.runners import Runner
from smalt_scorer.workers import Worker

# Endpoints take a moment to hear that the pod is going; until then requests still come.
DRAIN_SECONDS = 3.0
START_SECONDS = 10.0
# Refusals are written by then; connections that somebody merely keeps are not waited for.
RETIRE_SECONDS = 0.5
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Server:
    """One application on one port, or on a `further` one too; `on_early_end` ends the process when it is told to go before its
    script is ready.
    """

    def __init__(
        self,
        application: Application,
        host: str,
        port: int,
        on_early_end: Callable[[], object],
        worker: Worker | None = None,
        certificate: Certificate | None = None,
        further: socket.socket | None = None,
    ) -> None:
        self.application, self._on_early_end, self._worker = application, on_early_end, worker
        self._certificate, self._further = certificate, further
        config = config_of(application, host=host, port=port)
        config.ssl = certificate.context if certificate else None
        self._uvicorn = uvicorn.Server(config)
        self._sockets: list[socket.socket] | None = None
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._signals, self._signals_in = socket.socketpair()
        self._signals_in.setblocking(False)

    def start(self) -> None:
        """Returns when the port is listened on. OSError when it cannot be.

        A worker listens when its model is loaded: until then others answer, and a probe is not told of one that is new.
        """
        threading.Thread(target=self._heed_signals, name="signals", daemon=True).start()
        os.register_at_fork(after_in_child=_forget_signals)
        self._take_signals()
        if self._worker is None:
            self._listen()

    def _listen(self) -> None:
        self._sockets = self._opened()
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._uvicorn.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise OSError(f"port {self._uvicorn.config.port} cannot be listened on")
            time.sleep(0.01)

    def _opened(self) -> list[socket.socket] | None:
        """None where uvicorn opens the one that there is."""
        own = [] if self._worker is None else [self._worker.listening]
        if self._further is None:
            return own or None
        return [*(own or [listen(self._uvicorn.config.host, self._uvicorn.config.port)]), self._further]

    def work(self, runner: Runner) -> None:
        """Scores until SIGTERM, then finishes what has come."""
        self._take_signals()  # again: what init() has set would end the process without an answer
        # Libraries and the model are hundreds of thousands of objects that stay. To look for garbage among them takes a tenth of
        # a second, in which nobody is answered; among what requests leave it takes none.
        gc.collect()
        gc.freeze()
        self.application.is_ready = True
        if self._worker is not None:
            self._listen()
            self._worker.tell_ready()
        self.application.scoring.work(runner)
        self._thread.join(DRAIN_SECONDS)

    def retire(self, end: Callable[[], object]) -> None:
        """Takes no more connections, lets those who are being answered have their answer, and then calls `end`."""
        self._uvicorn.should_exit = True
        threading.Thread(target=self._retire, args=(end,), name="end", daemon=True).start()

    def _retire(self, end: Callable[[], object]) -> None:
        self._thread.join(RETIRE_SECONDS)
        end()

    def close(self) -> None:
        """Waits for nobody. While Python is taken apart, no thread may be in the event loop: the process would crash."""
        self._uvicorn.should_exit = self._uvicorn.force_exit = True
        if self._thread.is_alive():
            self._thread.join()

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
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._served())

    async def _served(self) -> None:
        beside = [
            asyncio.create_task(self._publish()),
            asyncio.create_task(look_at(self._uvicorn.server_state.connections)),
            asyncio.create_task(self._renew()),
        ]
        await self._uvicorn.serve(self._sockets)
        for each in beside:
            each.cancel()
        self.application.metrics.publish()

    async def _publish(self) -> None:
        while self.application.metrics.peers is not None:
            self.application.metrics.publish()
            await asyncio.sleep(EVERY_SECONDS)

    async def _renew(self) -> None:
        while self._certificate is not None:
            await asyncio.sleep(1)
            self._certificate.look()


def _do_nothing(signum: int, frame: object) -> None:
    """The number is on its way to the thread that heeds it; without a handler the process would end, or not hear it."""


def _forget_signals() -> None:
    """What ends a process that the script forks is not meant for the server, and does end that process."""
    signal.set_wakeup_fd(-1)
    for each in _ENDING:
        signal.signal(each, signal.SIG_DFL)
