"""Which line of what a script printed is the reason for its failure."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smalt_trainer.diagnosis import cause

CHAINED = "try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise RuntimeError('no fit') from e"
GROUP = "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("raise ValueError('no column churned')", "ValueError: no column churned"),
        ("raise ValueError('two\\nlines')", "ValueError: two"),
        ("class MyError(Exception): pass\nraise MyError", "MyError"),
        (CHAINED, "RuntimeError: no fit"),
        ("x = (", "SyntaxError: '(' was never closed"),
        ("import sys; sys.exit('give --data')", "give --data"),
        ("raise KeyError('a')", "KeyError: 'a'"),
    ],
)
def test_the_last_error_of_a_real_script(script: str, expected: str) -> None:
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr
    assert cause(printed) == expected


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups of exceptions came with Python 3.11")
def test_a_group_of_errors_is_named_by_its_headline() -> None:
    printed = subprocess.run([sys.executable, "-c", GROUP], capture_output=True, text=True).stderr
    assert cause(printed) == "ExceptionGroup: two (2 sub-exceptions)"


def test_what_is_printed_after_a_traceback_does_not_hide_it() -> None:
    script = "import atexit, sys; atexit.register(lambda: print('cleaning up', file=sys.stderr)); raise OSError('disk')"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr
    assert cause(printed) == "OSError: disk"


@pytest.mark.parametrize(
    ("printed", "expected"), [("", None), (" \n\n", None), ("sh: 1: trin: not found\n", "sh: 1: trin: not found")]
)
def test_without_a_traceback_the_last_line_is_taken(printed: str, expected: str | None) -> None:
    assert cause(printed) == expected
