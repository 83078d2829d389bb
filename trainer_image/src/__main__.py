"""Makes the folder that holds the package a program: `python3 <folder> run`, whatever PYTHONPATH the image has set."""

from __future__ import annotations

import sys

from smalt_trainer.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
