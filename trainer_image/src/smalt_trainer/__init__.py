"""What runs a training script inside its pod, in any image with Python 3.9 or newer: standard library only.

`from smalt_trainer import run` is all a script may need of it, so importing this package costs nothing.
"""

__version__ = "0.1.0"
