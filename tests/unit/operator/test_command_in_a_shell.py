"""What a real shell makes of a rendered command: each value one argument, whatever stands around it, and nothing run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalt.builders.command import Names, rendered
from smalt.errors import InvalidCommand

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
    "touch pwned",
    "a[$(touch pwned)]",
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


# Forms in which the shell, or one that it starts, would read the value again, each with what the refusal names.
NESTED = {
    "bash -c 'echo ${{parameters.C}}'": "`bash -c`",
    'bash -lc "echo ${{parameters.C}}"': "`bash -c`",
    "sh -c ${{parameters.C}}": "`sh -c`",
    "/bin/sh -ec '${{parameters.C}}'": "`sh -c`",
    "busybox sh -c ${{parameters.C}}": "`sh -c`",
    "env -i bash -e -o pipefail -c ${{parameters.C}}": "`bash -c`",
    "bash --rcfile x +e -c ${{parameters.C}}": "`bash -c`",
    "X=1 exec b'a's\\h -c ${{parameters.C}}": "`bash -c`",
    '"bash" \\\n -c ${{parameters.C}}': "`bash -c`",
    "bash 2>&1 >/dev/null -c ${{parameters.C}}": "`bash -c`",
    "$SHELL -c ${{parameters.C}}": "`$SHELL -c`",
    "echo x | xargs sh -c 'echo ${{parameters.C}}'": "`sh -c`",
    "eval echo ${{parameters.C}}": "`eval`",
    "eval 'echo ${{parameters.C}}'": "`eval`",
    "true && eval echo ${{parameters.C}}": "`eval`",
    "if ! eval ${{parameters.C}}; then true; fi": "`eval`",
    "f() { eval ${{parameters.C}}; }; f": "`eval`",
    "X=1 command -p eval ${{parameters.C}}": "`eval`",
    ">/dev/null eval ${{parameters.C}}": "`eval`",
    "2>/dev/null eval ${{parameters.C}}": "`eval`",
    "(eval ${{parameters.C}})": "`eval`",
    "a=(x) eval ${{parameters.C}}": "`eval`",
    "cat <(eval ${{parameters.C}})": "`eval`",
    "eval cat <(true) ${{parameters.C}}": "`eval`",
    "echo x &>/dev/null; eval ${{parameters.C}}": "`eval`",
    "trap ${{parameters.C}} EXIT": "`trap`",
    "let ${{parameters.C}}": "`let`",
    "let x=${{parameters.C}}": "`let`",
    "a[${{parameters.C}}]=1": "`name[…]`",
    "a[0]=1 b[1+'${{parameters.C}}']=1": "`name[…]`",
    "a=([${{parameters.C}}]=1)": "`name[…]`",
    'a=(x ["${{parameters.C}}"]=1)': "`name[…]`",
    "a[b[${{parameters.C}}]]=1": "`name[…]`",
    "declare -i x=${{parameters.C}}": "`declare`",
    "declare ${{parameters.C}}=1": "`declare`",
    "typeset a[${{parameters.C}}]=1": "`typeset`",
    "typeset -n r=${{parameters.C}}; r=1": "`typeset`",
    "f() { local -i x=${{parameters.C}}; }; f": "`local`",
    "echo x | while read ${{parameters.C}}; do true; done": "`read`",
    "printf -v ${{parameters.C}} x": "`printf -v`",
    "test -v ${{parameters.C}}": "`test -v`",
    "[ -v ${{parameters.C}} ]": "`[ -v`",
}


@pytest.mark.parametrize("command", NESTED)
def test_what_would_run_a_value_as_code_is_refused_with_the_next_step(command: str) -> None:
    with pytest.raises(InvalidCommand, match=r"without it \(it is run by a shell already\), or pass") as refused:
        rendered(command, NAMES)
    assert f"${{{{parameters.C}}}} cannot stand in {NESTED[command]}, which" in str(refused.value)


# Commands that look a little like them, and are everyday ones.
ORDINARY = (
    "python -c 'import sys; sys.exit(len(sys.argv) > 9)' ${{parameters.C}}",
    "bash script.sh -c ${{parameters.C}}",
    "bash -x script.sh --mode c ${{parameters.C}}",
    "bash --norc script.sh ${{parameters.C}}",
    "bash -c true; echo ${{parameters.C}}",
    "bash -c true && echo ${{parameters.C}}",
    "bash -c true >${{parameters.C}}",
    "echo eval ${{parameters.C}}",
    "echo main.py eval --ckpt=${{parameters.C}}",
    "eval true | cat - ${{parameters.C}}",
    "eval true 2>&1; echo ${{parameters.C}}",
    "X=${{parameters.C}} Y[0]=1 true",
    "echo layers[${{parameters.C}}]=3",
    "a[0]=${{parameters.C}}",
    "a=(${{parameters.C}} x)",
    "[ ${{parameters.C}} = x ] || test -n ${{parameters.C}}",
    "[ ${{parameters.C}} -eq 1 ]",
    "for each in eval ${{parameters.C}}; do echo $each; done",
    "case x in eval) echo ${{parameters.C}};; esac",
    "declare x=${{parameters.C}}",
    "export x=${{parameters.C}}",
    "while read line; do true; done <${{parameters.C}}",
    "printf -- %s ${{parameters.C}}",
    "trap true EXIT; echo ${{parameters.C}}",
    "echo sh -x ${{parameters.C}}",
)


@pytest.mark.parametrize("value", ["touch pwned", "a[$(touch pwned)]", "'; touch pwned; '"])
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("command", ORDINARY)
def test_everyday_commands_are_rendered_and_run_nothing_of_the_value(
    tmp_path: Path, command: str, shell: str, value: str
) -> None:
    ran(rendered(command, NAMES), value, shell, tmp_path)
    assert not (tmp_path / "pwned").exists()


def ran(command: str, value: str, shell: str, folder: Path) -> None:
    """Whatever becomes of it: some commands end with an error, as they should."""
    environment = {"SMALT_PARAMETERS_C": value, "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    subprocess.run(
        [shell, "-c", command], env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=20
    )


STARTS = (
    "",
    "true; ",
    "X=1 ",
    "(",
    "{ ",
    "if ",
    "! ",
    "echo x | ",
    ">/dev/null ",
    "command ",
    "time ",
    "env ",
    "f() { ",
)
HEADS = (
    *("eval", "trap", "let", "read", "unset", "declare", "declare -i", "typeset -n", "export", "readonly"),
    *(
        "sh -c",
        "bash -c",
        "bash -ec",
        "sh -e -c",
        "bash -x",
        "printf -v",
        "printf",
        "test -v",
        "[ -v",
        "[",
        "echo",
        "a=",
    ),
)
FORMS = (
    " %s",
    ' "%s"',
    " '%s'",
    " x %s",
    " %s=1",
    " x=%s",
    " a[%s]=1",
    " 'echo %s' EXIT",
    "[%s]=1",
    "(%s)",
    "([%s]=1)",
)
CLOSES = {"(": ")", "{ ": "; }", "if ": "; then true; fi", "f() { ": "; }; f"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(STARTS),
    head=st.sampled_from(HEADS),
    form=st.sampled_from(FORMS),
    value=VALUES,
    shell=st.sampled_from(["/bin/sh", "/bin/bash"]),
)
def test_whatever_is_not_refused_runs_nothing_of_the_value(
    tmp_path: Path, start: str, head: str, form: str, value: str, shell: str
) -> None:
    command = start + head + form % PLACEHOLDER + CLOSES.get(start, "")
    try:
        made = rendered(command, NAMES)
    except InvalidCommand:
        return
    ran(made, value, shell, tmp_path)
    assert not (tmp_path / "pwned").exists(), made
