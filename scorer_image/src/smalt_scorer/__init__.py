"""The scoring server: a registered model behind `POST /score`, with a score script of Azure ML's kind or without."""

import sys
from pathlib import Path

__version__ = "0.1.0"

# Where the image has the server's own packages: apart, and looked into last, so that a script gets the versions of its own
# environment. Before anything of the server is imported, since what it imports lies there.
_OWN = str(Path(__file__).parents[2] / "scorer-packages")
if Path(_OWN).is_dir() and _OWN not in sys.path:
    sys.path.append(_OWN)
