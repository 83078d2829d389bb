"""`python -m smalt`: without a word the operator's process, with one a command for people. Neither loads the other."""

from __future__ import annotations

import sys


def main() -> int:
    if len(sys.argv) > 1:
        from smalt.cli.application import run

        return run(sys.argv[1:])
    from smalt.operate import main as operate

    return operate()


if __name__ == "__main__":
    sys.exit(main())
