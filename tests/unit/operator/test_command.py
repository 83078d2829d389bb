"""Placeholders become references by quote state, and no value ever becomes shell text."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalt.builders.command import Names, rendered
from smalt.errors import InvalidCommand

NAMES = Names(inputs=["train"], outputs=["model"], parameters=["C"])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python train.py", "python train.py"),
        ("x ${{inputs.train}}", 'x "${SMALT_INPUTS_train}"'),
        ("x ${{ outputs.model }}", 'x "${SMALT_OUTPUTS_model}"'),
        ('x "a ${{parameters.C}} b"', 'x "a ${SMALT_PARAMETERS_C} b"'),
        ("x 'a ${{parameters.C}} b'", "x 'a '\"${SMALT_PARAMETERS_C}\"' b'"),
        ("x ${{inputs.C}}", 'x "${SMALT_PARAMETERS_C}"'),
        ('x \\"${{inputs.train}}\\"', 'x \\""${SMALT_INPUTS_train}"\\"'),
        ("x ${HOME}/${{inputs.train}}", 'x ${HOME}/"${SMALT_INPUTS_train}"'),
        ("x ${{inputs.train}} $(date)", 'x "${SMALT_INPUTS_train}" $(date)'),
    ],
)
def test_a_placeholder_becomes_a_reference_by_quote_state(command: str, expected: str) -> None:
    assert rendered(command, NAMES) == expected


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("x ${{inputs.trian}}", "inputs.trian"),
        ("x ${{secrets.key}}", "secrets.key"),
        ("x ${{inputs}}", "is no placeholder"),
        ("x $(cat ${{inputs.train}})", "$(…)"),
        ("x `cat ${{inputs.train}}`", "backticks"),
        ('x "$(cat ${{inputs.train}})"', "$(…)"),
        ("x ${A:-${{inputs.train}}}", "${…}"),
        ("x $'${{inputs.train}}'", "$'…'"),
        ("cat <<END\n${{inputs.train}}\nEND", "here-document"),
        ("echo $[ ${{parameters.C}} ]", "$[…]"),
        ('echo "$[ ${{parameters.C}} ]"', "$[…]"),
        ("(( ${{parameters.C}} > 1 )) && x", "((…))"),
        ("[[ ${{parameters.C}} -gt 1 ]] && x", "[[…]]"),
    ],
)
def test_what_cannot_be_put_safely_is_refused_in_words(command: str, words: str) -> None:
    with pytest.raises(InvalidCommand, match=r"command: ") as refused:
        rendered(command, NAMES)
    assert words in str(refused.value)


HOSTILE = st.one_of(
    st.sampled_from(
        ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "$HOME", "a  b", "*", "-n", "\\"]
    ),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40),
)
QUOTED = ("${{parameters.C}}", '"${{parameters.C}}"', "'${{parameters.C}}'")


@settings(max_examples=60, deadline=None)
@given(value=HOSTILE, quoted=st.sampled_from(QUOTED))
def test_a_hostile_value_arrives_as_it_is(value: str, quoted: str) -> None:
    command = rendered(f"printf '%s' {quoted}", NAMES)
    environment = {"SMALT_PARAMETERS_C": value, "PATH": os.environ["PATH"]}
    printed = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, check=True).stdout
    assert printed.decode() == value


@given(command=st.text(max_size=60))
def test_a_command_without_placeholders_is_left_alone(command: str) -> None:
    if "${{" not in command:
        assert rendered(command, NAMES) == command
