import sys

import humanize

print(f"Python {sys.version.split()[0]}, humanize {humanize.__version__}: {humanize.intword(1234567)}")
