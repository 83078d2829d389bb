"""`python -m smalt_card --into FOLDER`: card.md and card.html from what is known, which comes as JSON on standard input."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from pathlib import Path
from typing import Optional, Sequence

_MEMORY = 2 << 30


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Both files; the exit code."""
    parser = argparse.ArgumentParser(prog="smalt_card", description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args(arguments)
    # Before anything is loaded, which reserves address space by the thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    from smalt_card.facts import facts_of
    from smalt_card.markdown import markdown
    from smalt_card.page import page

    facts = facts_of(json.load(sys.stdin))
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "card.md").write_text(markdown(facts), encoding="utf-8", errors="replace")
    (options.into / "card.html").write_text(page(facts), encoding="utf-8", errors="replace")
    return 0


if __name__ == "__main__":
    sys.exit(main())
