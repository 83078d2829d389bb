"""A way to a server on loopback on which connections break: bytes go through as they are, until so many have."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class BreakingProxy:
    """Forwards to `port`. Each number of `cuts` ends a connection once so many more bytes have come from the server."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self.target, self.cuts = port, list(cuts)
        self.passed = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> BreakingProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            with contextlib.suppress(OSError):
                while piece := server.recv(65536):
                    allowed = self._allowed(len(piece))
                    client.sendall(piece[:allowed])
                    if allowed < len(piece):
                        break
            for each in (client, server):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _allowed(self, size: int) -> int:
        """How many of the bytes go through; fewer than there are when the connection breaks here."""
        with self._lock:
            self.passed += size
            if not self.cuts or self.passed <= self.cuts[0]:
                return size
            allowed = size - (self.passed - self.cuts.pop(0))
            self.passed = 0
            return max(0, allowed)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
