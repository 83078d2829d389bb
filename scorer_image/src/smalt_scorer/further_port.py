"""One more port for the same routes, as Azure's SEPERATE_HEALTH_ENDPOINT asks for one."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn

from smalt_scorer.application import Application
from smalt_scorer.failures import Failure


def listen(application: Application, host: str, port: int) -> None:
    """Until the process ends. Failure when the port cannot be listened on."""
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise Failure("InternalError", f"port {port} cannot be listened on: {error.strerror}") from error
    config = uvicorn.Config(application, access_log=False, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="further port", daemon=True).start()
