"""`python -m smalt_profile FILE --out FOLDER`: writes profile.json and report.html, and prints a summary as JSON.

The exit code is 3, and the summary a sentence, when the file holds no table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Optional, Sequence

NO_TABLE = 3


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="smalt_profile", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--target", help="the column that is to be predicted")
    parser.add_argument("--rows", type=int, help="read at most so many rows")
    parser.add_argument("--seconds", type=float, help="read for at most so long")
    parser.add_argument("--threads", type=int, default=2, help="threads that compute; default 2")
    options = parser.parse_args(arguments)
    # Read when numpy is imported: pools of its own would only get in the way of ours, and each costs memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from smalt_profile.document import encoded
    from smalt_profile.limits import Limits
    from smalt_profile.page import page
    from smalt_profile.problems import ProfileProblem
    from smalt_profile.profiling import profile

    limits = Limits(rows=options.rows, seconds=options.seconds, threads=options.threads)
    try:
        made = profile(options.file, options.target, limits)
    except ProfileProblem as problem:
        print(json.dumps({"problem": str(problem)}))
        return NO_TABLE
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "profile.json").write_bytes(encoded(made))
    (options.out / "report.html").write_text(page(made), encoding="utf-8", errors="replace")
    summary = {
        "rows": made.rows,
        "columns": made.all_columns,
        "missing": made.missing,
        "warnings": len(made.findings),
        "stoppedBy": made.stopped or None,
    }
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
