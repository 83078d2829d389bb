"""What a command for people ends with: a sentence that says what is wrong and what to do, and never a traceback."""

from __future__ import annotations


class CommandFailed(Exception):
    """The command cannot go on; the text is all that its user reads."""


class Interrupted(Exception):
    """The way to the cluster broke off; trying again may help."""
