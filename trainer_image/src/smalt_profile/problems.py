"""The one exception for data that cannot be profiled."""

from __future__ import annotations


class ProfileProblem(Exception):
    """A sentence that names the file, what is wrong with it, and what to do."""
