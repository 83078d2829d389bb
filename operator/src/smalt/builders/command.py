"""A command's placeholders as references to variables, by quote state.

A value never enters the shell's text: `${{parameters.C}}` becomes `"${SMALT_PARAMETERS_C}"` unquoted,
`${SMALT_PARAMETERS_C}` inside double quotes and `'"${SMALT_PARAMETERS_C}"'` inside single quotes. Inside `$(…)`,
backticks, `${…}`, `$'…'`, arithmetic and here-documents a placeholder is refused, since another parse awaits its value there.
The same goes for the arguments of `bash -c`, `eval` and whatever else runs an argument as code (see shell_words).
A program's own language is not looked into: in `python -c "print(${{parameters.C}})"` the value is Python to Python, as
the author wrote it; `python -c "…" ${{parameters.C}}` gives it as an argument.
A comment stays as it is: its quotes open nothing, and its placeholders ask for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from smalt.builders.shell_words import Words
from smalt.errors import InvalidCommand

PLACEHOLDER = re.compile(r"\$\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z0-9_][-A-Za-z0-9_]*)\s*\}\}")
_OPENING = "${{"
_UNQUOTED, _SINGLE, _DOUBLE = "unquoted", "single", "double"
# After these a word begins, and a '#' at the beginning of a word begins a comment.
_BEFORE_WORDS = frozenset(" \t\n;|&()<>")
_CONTINUED = "\\\n"
_OPERATORS = frozenset("\n;|&()<>")
# Stands for a value among the words; it is nobody's option.
_VALUE = "/"
# Nothing in it means anything to a shell, wherever it stands.
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")


@dataclass(frozen=True)
class Names:
    """What placeholders may name."""

    inputs: Collection[str] = ()
    outputs: Collection[str] = ()
    parameters: Collection[str] = ()

    def variable(self, section: str, name: str) -> str:
        """The variable for `section.name`. Azure mixes parameters into inputs, so `inputs.C` finds a parameter too."""
        sections: Mapping[str, Collection[str]] = {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "parameters": self.parameters,
        }
        if name in sections.get(section, ()):
            return f"SMALT_{section.upper()}_{name}"
        if section == "inputs" and name in self.parameters:
            return f"SMALT_PARAMETERS_{name}"
        known = [f"{each}.{key}" for each, keys in sections.items() for key in sorted(keys)]
        among = f"it may name {', '.join(known)}" if known else "the run has no inputs, outputs or parameters"
        raise InvalidCommand(f"command: ${{{{{section}.{name}}}}} names nothing; {among}")


def rendered(command: str, names: Names) -> str:
    """The command with references in the place of placeholders. InvalidCommand names what cannot be done."""
    if _OPENING not in command:
        return command
    return _Scan(command, names).run()


class _Scan:
    """One pass over the command, keeping the shell's quote state."""

    def __init__(self, command: str, names: Names) -> None:
        self.command, self.names = command, names
        self.at = 0
        self.state = _UNQUOTED
        self.made: list[str] = []
        self.words = Words()

    def run(self) -> str:
        while self.at < len(self.command):
            if self.command.startswith(_OPENING, self.at):
                self._placeholder()
            else:
                self._character()
        return "".join(self.made)

    def _placeholder(self) -> None:
        found = PLACEHOLDER.match(self.command, self.at)
        if found is None:
            shown = self.command[self.at : self.at + 40]
            raise InvalidCommand(
                f"command: '{shown}' is no placeholder: write ${{{{inputs.name}}}}, as in ${{{{inputs.train}}}}"
            )
        runs = self.words.running()
        if runs:
            raise InvalidCommand(
                f"command: {found[0]} cannot stand in {runs}, which would run its value as code: write the command "
                "without it (it is run by a shell already), or pass the value to the script as an argument"
            )
        reference = "${" + self.names.variable(found[1], found[2]) + "}"
        self.words.add(_VALUE, is_quoted=True)
        quoted = {_UNQUOTED: f'"{reference}"', _DOUBLE: reference, _SINGLE: f"'\"{reference}\"'"}
        self._take(quoted[self.state], found.end())

    def _character(self) -> None:
        plain = _PLAIN.match(self.command, self.at)
        if plain:
            self.words.add(plain[0], is_quoted=self.state != _UNQUOTED)
            self._take(plain[0], plain.end())
            return
        text = self.command[self.at]
        if text == "\\" and self.state != _SINGLE:
            pair = self.command[self.at : self.at + 2]
            if pair != _CONTINUED:
                self.words.add(pair[1:], is_quoted=True)
            self._take(pair, self.at + 2)
            return
        if text == "#" and self.state == _UNQUOTED and self._begins_word():
            end = self.command.find("\n", self.at)
            end = len(self.command) if end < 0 else end
            self._take(self.command[self.at : end], end)
            return
        if self.state != _SINGLE:
            self._refuse_before_nested()
        if text == "'" and self.state != _DOUBLE:
            self.state = _UNQUOTED if self.state == _SINGLE else _SINGLE
            self.words.add("", is_quoted=True)
        elif text == '"' and self.state != _SINGLE:
            self.state = _UNQUOTED if self.state == _DOUBLE else _DOUBLE
            self.words.add("", is_quoted=True)
        else:
            self._word(text)
        self._take(text, self.at + 1)

    def _word(self, text: str) -> None:
        if self.state != _UNQUOTED:
            self.words.add(text, is_quoted=True)
        elif text in _OPERATORS:
            self.words.operator(text, self.command[: self.at][-1:], self.command[self.at + 1 :][:1])
        elif text in " \t":
            self.words.blank()
        else:
            self.words.add(text, is_quoted=False)

    def _begins_word(self) -> bool:
        before = next((each for each in reversed(self.made) if each != _CONTINUED), "\n")
        return before in _BEFORE_WORDS

    def _refuse_before_nested(self) -> None:
        """What is nested is not followed: with a placeholder anywhere after its beginning, the command is refused."""
        nested = {"$(": "$(…)", "${": "${…}", "`": "backticks"}
        # Where the image's shell is bash, arithmetic evaluates a value once more.
        nested |= {"$[": "$[…]"}
        if self.state == _UNQUOTED:
            nested |= {"$'": "$'…'", "<<": "a here-document", "((": "((…))", "[[": "[[…]]"}
        for opening, words in nested.items():
            if not self.command.startswith(opening, self.at) or _OPENING not in self.command[self.at + 1 :]:
                continue
            if not self._ends_before_next_placeholder(opening):
                raise InvalidCommand(
                    f"command: a placeholder cannot stand inside or after {words}, where the shell would read its "
                    "value again: put the placeholders first, or pass the value to the script as an argument"
                )

    def _ends_before_next_placeholder(self, opening: str) -> bool:
        """True for a plain `${NAME}`, the one nested form whose end is certain."""
        return opening == "${" and re.match(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", self.command[self.at :]) is not None

    def _take(self, text: str, until: int) -> None:
        self.made.append(text)
        self.at = until
