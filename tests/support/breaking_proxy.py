"""A way to a server on loopback on which connections break: bytes go through as they are, until so many have."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class BreakingProxy:
    """Forwards to `port`. Each number of `cuts` ends a connection once so many more bytes have come from the server, each
    of `sent_cuts` once so many have gone to it; `broken` is set from the first break on."""

    def __init__(self, port: int, cuts: list[int], sent_cuts: list[int] | None = None) -> None:
        self.target, self.cuts, self.sent_cuts = port, list(cuts), list(sent_cuts or [])
        self.passed = self.sent = 0
        self.broken = threading.Event()
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
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
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
            self.broken.set()
            return max(0, allowed)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(65536):
                with self._lock:
                    self.sent += len(piece)
                    if self.sent_cuts and self.sent > self.sent_cuts[0]:
                        self.sent_cuts.pop(0)
                        self.sent = 0
                        self.broken.set()
                        break
                server.sendall(piece)
            else:
                return
            for each in (client, server):
                each.shutdown(socket.SHUT_RDWR)
