"""`python -m smalt_tracking`: reads settings and secrets, makes the application, serves it until SIGTERM.

`backup` writes what is on the volume to standard output while the server works; `restore` takes it back.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from smalt_tracking import backup
from smalt_tracking.application import create
from smalt_tracking.passwords import SecretMissing
from smalt_tracking.settings import Settings, SettingsInvalid


def main(arguments: Sequence[str] | None = None) -> int:
    """The server, unless a command says otherwise; the exit code."""
    parser = argparse.ArgumentParser(prog="smalt_tracking", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("backup", help="write history and artifacts to standard output")
    restore = commands.add_parser("restore", help="read them from standard input; they hold from the next start")
    restore.add_argument("--replace", action="store_true", help="also where there are runs, which are lost then")
    options = parser.parse_args(arguments)
    if options.command:
        return backup.command(Settings.read().data, options.command, getattr(options, "replace", False))
    return serve()


def serve() -> int:
    """One process, one worker: SQLite has one writer."""
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.read()
        if backup.put_in_place(settings.data):
            logging.getLogger(__name__).info("the restored history is in place")
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
