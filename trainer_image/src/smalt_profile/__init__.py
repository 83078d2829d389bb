"""Profiles of tabular data: statistics in one streaming pass, as JSON and as a page to look at.

A program of its own beside the trainer's wrapper: it needs libraries, which only Smalt's own images have, and what goes
wrong in it must cost no run. Nothing is imported here, so that asking for the version is free.
"""

__version__ = "0.1.0"
