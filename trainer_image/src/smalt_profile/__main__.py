"""`python -m smalt_profile FILE --out FOLDER`: writes profile.json and report.html, and prints a summary as JSON.

The exit code is 3, and the summary a sentence, when the file holds no table.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence

if TYPE_CHECKING:
    from smalt_profile.profiling import Profile

NO_TABLE = 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smalt_profile", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--target", help="the column that is to be predicted")
    parser.add_argument("--sample", action="store_true", help="keep some rows as they are, in sample.json")
    parser.add_argument("--rows", type=int, help="read at most so many rows")
    parser.add_argument("--seconds", type=float, help="read for at most so long")
    parser.add_argument("--threads", type=int, default=2, help="threads that compute; default 2")
    parser.add_argument("--memory", type=int, metavar="MIB", help="take no more memory than this for data")
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The exit code."""
    options = _parser().parse_args(arguments)
    if options.memory:
        # Before anything is loaded. Whoever shares a container with this must not be killed for a hostile file.
        resource.setrlimit(resource.RLIMIT_DATA, (options.memory << 20, options.memory << 20))
    # Read when numpy is imported: pools of its own would only get in the way of ours, and each costs memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from smalt_profile.limits import Limits
    from smalt_profile.problems import ProfileProblem
    from smalt_profile.profiling import profile

    told: list[str] = []
    # Whoever waits for the profile gets one of what was read so far.
    signal.signal(signal.SIGTERM, lambda *_: told.append("the end of the time there was for it"))
    limits = Limits(
        options.rows,
        options.seconds,
        threads=options.threads,
        keeps_rows=options.sample,
        is_over=lambda: told[0] if told else "",
    )
    try:
        made = profile(options.file, options.target, limits)
    except ProfileProblem as problem:
        print(json.dumps({"problem": str(problem)}))
        return NO_TABLE
    except MemoryError:  # pyarrow's own is one, too
        limit = f"the {options.memory} MiB that there are for it" if options.memory else "the memory that there is"
        print(json.dumps({"problem": f"'{options.file.name}' takes more than {limit} to be read"}))
        return NO_TABLE
    _write(made, options.out)
    return 0


def _write(made: Profile, folder: Path) -> None:
    """Both files, and the summary on standard output."""
    from smalt_profile.document import encoded
    from smalt_profile.page import page

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profile.json").write_bytes(encoded(made))
    if made.sample:
        (folder / "sample.json").write_text(made.sample, encoding="utf-8")
    (folder / "report.html").write_text(page(made), encoding="utf-8", errors="replace")
    summary = {
        "rows": made.rows,
        "columns": made.all_columns,
        "missing": made.missing,
        "warnings": len(made.findings),
        "stoppedBy": made.stopped or None,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    sys.exit(main())
