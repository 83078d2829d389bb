"""The words of the simple command that is being read, as far as it takes to tell whether a word is code to it.

A reference in double quotes is one argument and no code to the shell that expands it, but some commands run an
argument as code of their own accord: `eval`, `bash -c`, `trap`, and bash's arithmetic in `let` and in `name[…]=`.
What a program does with its arguments is not known here: `python -c`, `sed` and `awk` are read as any other command,
and so is what is piped into a shell, or calculated from a variable that was set before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_SHELLS = frozenset(
    {"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash", "fish", "csh", "tcsh", "$SHELL", "${SHELL}"}
)
# Before these, and after an option of these, a command still begins.
_RESERVED = frozenset({"if", "then", "elif", "else", "while", "until", "do", "{", "!"})
_PREFIXES = frozenset({"command", "builtin", "time", "coproc"})
_RUN_THEIR_ARGUMENTS = frozenset({"eval", "trap", "let", "read", "unset"})
_DECLARE = frozenset({"declare", "typeset", "local"})
_TAKE_A_NAME = frozenset({"test", "[", "printf"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(\[.*\])?\+?=")
_SUBSCRIPT = re.compile(r"([A-Za-z_]\w*)?\[")
_QUOTED = "\0"  # stands for a character that is not bare


@dataclass(frozen=True)
class Word:
    """A word, or the part of it that was read: without its quotes, and with a mark for each character inside quotes."""

    text: str = ""
    bare: str = ""
    has_begun: bool = False

    def and_then(self, text: str, is_quoted: bool) -> Word:
        return Word(self.text + text, self.bare + (_QUOTED * len(text) if is_quoted else text), has_begun=True)

    @property
    def program(self) -> str:
        return self.text.rpartition("/")[2]

    @property
    def is_open_subscript(self) -> bool:
        """`name[` or `[` without its end."""
        return bool(_SUBSCRIPT.match(self.bare)) and self.bare.count("[") > self.bare.count("]")


class Words:
    """The words since the simple command's beginning."""

    def __init__(self) -> None:
        self._words: list[Word] = []
        self._word = Word()
        self._is_target = False
        self._outer: list[list[Word]] = []

    def add(self, text: str, is_quoted: bool) -> None:
        """A part of the present word."""
        self._word = self._word.and_then(text, is_quoted)

    def blank(self) -> None:
        """The present word ends; the target of a redirection is no word of the command."""
        if self._word.has_begun and not self._is_target:
            self._words.append(self._word)
        if self._word.has_begun:
            self._is_target = False
        self._word = Word()

    def operator(self, text: str, left: str, right: str) -> None:
        """One of `;|&()<>` or a line's end, with the characters beside it."""
        if text in "<>":
            self._redirect()
        elif (text in "&|" and left in ("<", ">")) or (text == "&" and right == ">"):
            return  # a part of `2>&1`, `>|` or `&>`
        elif text == "(":
            self._open(is_part=left in ("<", ">", "="))
        elif text == ")":
            self._close()
        else:
            self._begin()

    def _redirect(self) -> None:
        if self._word.bare.isdigit():
            self._word = replace(self._word, has_begun=False)  # the descriptor's number
        self.blank()
        self._is_target = True

    def _open(self, is_part: bool) -> None:
        """`<(`, `>(` and `name=(` are parts of a command that goes on behind them."""
        self.blank()
        self._outer.append(self._words if is_part else [])
        self._begin()

    def _close(self) -> None:
        self._begin()
        self._words = self._outer.pop() if self._outer else []

    def _begin(self) -> None:
        self._words, self._word, self._is_target = [], Word(), False

    def running(self) -> str | None:
        """What would run a value as code when it stood here, as in "`eval`"; None when nothing would."""
        if self._is_target:
            return None
        own = self._own()
        if self._word.is_open_subscript and (not own or self._word.bare.startswith("[")):
            return "`name[…]`"
        return self._nested_shell() or (_builtin(own, self._word) if own else None)

    def _own(self) -> list[Word]:
        """The words from the command's name on, without what may stand before it."""
        words = list(self._words)
        if words and words[0].bare == "function":
            del words[:2]
        after_prefix = False
        while words:
            word = words[0]
            is_option = after_prefix and word.text.startswith("-")
            after_prefix = word.text in _PREFIXES or is_option
            if not (after_prefix or word.bare in _RESERVED or _ASSIGNMENT.match(word.bare)):
                break
            del words[0]
        return words

    def _nested_shell(self) -> str | None:
        for at, word in enumerate(self._words):
            if word.program in _SHELLS and _takes_a_text(self._words[at + 1 :]):
                return f"`{word.program} -c`"
        return None


def _takes_a_text(words: list[Word]) -> bool:
    """Among a shell's options is -c; behind the first word that is none, options are those of a script."""
    options = [word.text for word in words]
    while options and options[0].startswith(("-", "+")):
        option = options.pop(0)
        is_long = option.startswith("--")
        if "c" in option and not is_long:
            return True
        if option in ("--rcfile", "--init-file") or (option.endswith(("o", "O")) and not is_long):
            del options[:1]  # its own word, as in `-o pipefail`
    return False


def _builtin(words: list[Word], present: Word) -> str | None:
    name, before = words[0].text, words[1:]
    if name in _RUN_THEIR_ARGUMENTS:
        return f"`{name}`"
    if name in _DECLARE:
        options = "".join(word.text for word in before if word.text.startswith("-"))
        is_plain = _ASSIGNMENT.match(present.text) and "[" not in present.text and not {"i", "n"} & set(options)
        return None if is_plain else f"`{name}`"
    if name in _TAKE_A_NAME and before and before[-1].text == "-v":
        return f"`{name} -v`"
    return None
