"""What a real shell makes of a rendered command: each value one argument, whatever stands around it, and nothing run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalt.builders.command import Names, rendered

NAMES = Names(parameters=["C"])
PLACEHOLDER = "${{parameters.C}}"
PAYLOADS = (
    "",
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "$HOME ${HOME}",
    "a  b",
    "*",
    "-n",
    "\\",
    "# no comment",
    "one\ntwo\n",
    "${{parameters.C}}",
    "<<END",
)
VALUES = st.one_of(
    st.sampled_from(PAYLOADS),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40),
)
# Text that stands before and after the placeholder, with the argument that a shell makes of it.
PIECES = {
    PLACEHOLDER: "{value}",
    f'"{PLACEHOLDER}"': "{value}",
    f"'{PLACEHOLDER}'": "{value}",
    f'"it\'s {PLACEHOLDER} "': "it's {value} ",
    f"'say \"{PLACEHOLDER}\" '": 'say "{value}" ',
    '"a # b"': "a # b",
    "'a # \"b'": 'a # "b',
    "\\'": "'",
    '\\"': '"',
    '"\\""': '"',
    "a#b": "a#b",
    "\\ #": " #",
    "''#": "#",
    "x\\\ny": "xy",
}
BETWEEN = (" ", "  \\\n ", "\t")
ENDS = ("", "\n", " # it's the end", f' # "not {PLACEHOLDER} here', "\n# `old`\n")
BEGINNINGS = (
    "",
    "# it's a comment\n",
    '# say "hi\n',
    "# `x` $(y) <<END\n",
    " \\\n# it's one too\n",
    ":;# it's\n",
    "(:)# it's\n",
)


def arguments(command: str, value: str, folder: Path) -> list[str]:
    """What `printf '%s\\0'` at the end of the command was given."""
    environment = {"SMALT_PARAMETERS_C": value, "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, cwd=folder, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=VALUES,
    words=st.lists(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=3), min_size=1, max_size=3),
    between=st.sampled_from(BETWEEN),
    beginning=st.sampled_from(BEGINNINGS),
    end=st.sampled_from(ENDS),
)
def test_every_word_arrives_as_one_argument_with_its_value_in_it(
    tmp_path: Path, value: str, words: list[list[str]], between: str, beginning: str, end: str
) -> None:
    # At the beginning of a word '#' opens a comment, which is another test's matter.
    texts = ["".join(pieces) for pieces in words]
    command = beginning + "printf '%s\\0' " + between.join(texts) + end
    expected = ["".join(PIECES[piece].replace("{value}", value) for piece in pieces) for pieces in words]
    assert arguments(rendered(command, NAMES), value, tmp_path) == expected
    assert list(tmp_path.iterdir()) == [], "something was run"


@pytest.mark.parametrize("value", PAYLOADS)
@pytest.mark.parametrize("beginning", [each for each in BEGINNINGS if each])
def test_an_apostrophe_in_a_comment_opens_no_quote(tmp_path: Path, beginning: str, value: str) -> None:
    command = rendered(f"{beginning}printf '%s\\0' {PLACEHOLDER}", NAMES)
    assert arguments(command, value, tmp_path) == [value]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("x # ${{parameters.typo}}", "x # ${{parameters.typo}}"),
        ("# $(cat ${{parameters.C}})\nx", "# $(cat ${{parameters.C}})\nx"),
        ("x a#${{parameters.C}}", 'x a#"${SMALT_PARAMETERS_C}"'),
        ("x ''# ${{parameters.C}}", "x ''# \"${SMALT_PARAMETERS_C}\""),
        ("x '# ${{parameters.C}}'", "x '# '\"${SMALT_PARAMETERS_C}\"''"),
        ("x \\# ${{parameters.C}}", 'x \\# "${SMALT_PARAMETERS_C}"'),
        ("x ${{parameters.C}}# y", 'x "${SMALT_PARAMETERS_C}"# y'),
        ("x $# ${{parameters.C}}", 'x $# "${SMALT_PARAMETERS_C}"'),
    ],
)
def test_a_comment_stays_as_it_is_and_what_only_looks_like_one_is_none(command: str, expected: str) -> None:
    assert rendered(command, NAMES) == expected
