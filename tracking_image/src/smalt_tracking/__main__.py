"""`python -m smalt_tracking`: reads settings and secrets, makes the application, serves it until SIGTERM."""

from __future__ import annotations

import logging
import sys

import uvicorn

from smalt_tracking.application import create
from smalt_tracking.passwords import SecretMissing
from smalt_tracking.settings import Settings, SettingsInvalid


def main() -> int:
    """One process, one worker: SQLite has one writer."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.read()
        application = create(settings)
    except (SettingsInvalid, SecretMissing) as problem:
        print(problem, file=sys.stderr)
        return 1
    uvicorn.run(
        application,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
