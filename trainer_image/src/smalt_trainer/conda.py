"""Reads conda.yml: the part of YAML that conda environment files are written in, and nothing beyond it.

Packages of conda that the Python package index knows by the same name become pip requirements, so that an
environment file from Azure ML works without conda. What cannot be honoured is refused with its line, never skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

from smalt_trainer.conda_names import INDEX_NAMES, TOOLS, advice
from smalt_trainer.requirements import RequirementError, normalized, requirement

_KEY = re.compile(r"^(?P<key>[A-Za-z_][\w-]*)\s*:(?:\s+(?P<value>.*))?$")
_SPEC = re.compile(r"^(?:[\w.-]+::)?(?P<name>[A-Za-z0-9][\w.-]*)\s*(?P<version>[=<>!~].*)?$")


class CondaError(RequirementError):
    """The file is not one this reader understands; the message names the line."""


@dataclass
class CondaFile:
    """What an environment file asks for."""

    name: Optional[str] = None
    channels: list[str] = field(default_factory=list)
    python: Optional[str] = None
    requirements: list[str] = field(default_factory=list)
    # Where those stand that conda itself would install, by the index's name: the index may not have them.
    conda: dict[str, str] = field(default_factory=dict)
    # What the index certainly does not have, each with where it stands and what to do.
    foreign: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Line:
    number: int
    indent: int
    text: str


def parse_conda(text: str) -> CondaFile:
    """The file's content, or CondaError."""
    result = CondaFile()
    lines = _significant(text)
    position = 0
    seen: set[str] = set()
    while position < len(lines):
        line = lines[position]
        match = _KEY.match(line.text)
        if line.indent or not match:
            raise CondaError(f"line {line.number}: expected a key such as `dependencies:`, found {line.text!r}")
        key, value = match["key"], (match["value"] or "").strip()
        if key in seen:
            raise CondaError(f"line {line.number}: {key} is given twice")
        seen.add(key)
        block = _block(lines, position + 1)
        position += 1 + len(block)
        if key in ("name", "prefix"):
            if block or not value:
                raise CondaError(f"line {line.number}: {key} must be a single value")
            result.name = _scalar(value, line.number) if key == "name" else result.name
        elif key == "channels":
            result.channels = [item for _, item in _items(block, value, line.number)]
        elif key == "dependencies":
            _dependencies(block, value, line.number, result)
        else:
            raise CondaError(f"line {line.number}: {key} is not supported; name, channels and dependencies are")
    if "dependencies" not in seen:
        raise CondaError("there are no dependencies; add `dependencies:` with a list")
    return result


def _significant(text: str) -> list[_Line]:
    lines = []
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        stripped = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if not stripped.strip() or stripped in ("---", "..."):
            continue
        content = stripped.lstrip(" ")
        if content.startswith("\t"):
            raise CondaError(f"line {number}: indented by a tab; use spaces")
        lines.append(_Line(number, len(stripped) - len(content), content))
    return lines


def _block(lines: list[_Line], start: int) -> list[_Line]:
    """The lines that belong to a key: deeper ones, and list items of the same depth."""
    end = start
    while end < len(lines) and (lines[end].indent > 0 or lines[end].text.startswith("-")):
        end += 1
    return lines[start:end]


def _items(block: list[_Line], inline: str, number: int) -> list[tuple[int, str]]:
    """The scalars of a list, written below its key or within brackets behind it."""
    if inline:
        if block or not (inline.startswith("[") and inline.endswith("]")):
            raise CondaError(f"line {number}: expected a list, found {inline!r}")
        inner = inline[1:-1].strip().rstrip(",")
        return [(number, _scalar(part.strip(), number)) for part in inner.split(",")] if inner else []
    items = []
    for line in block:
        if line.indent != block[0].indent or not line.text.startswith("- "):
            raise CondaError(f"line {line.number}: expected a list item `- …`, found {line.text!r}")
        items.append((line.number, _scalar(line.text[2:].strip(), line.number)))
    return items


def _dependencies(block: list[_Line], inline: str, number: int, result: CondaFile) -> None:
    position = 0
    plain: list[_Line] = []
    while position < len(block):
        line = block[position]
        pip = re.match(r"^-\s+pip\s*:\s*(?P<value>.*)$", line.text)
        position += 1
        if not pip:
            plain.append(line)
            continue
        nested = []
        while position < len(block) and block[position].indent > line.indent:
            nested.append(block[position])
            position += 1
        for at, item in _items(nested, pip["value"].strip(), line.number):
            result.requirements.append(requirement(item, f"line {at}"))
    for at, item in _items(plain, inline, number):
        _conda_package(item, at, result)


def _conda_package(item: str, number: int, result: CondaFile) -> None:
    match = _SPEC.match(item)
    if not match:
        raise CondaError(f"line {number}: {item!r} is not a package such as numpy=2.4 or numpy>=2")
    name, version = match["name"].lower(), (match["version"] or "").replace(" ", "")
    if name == "python":
        result.python = version or None
        return
    if name in TOOLS:
        return
    words = advice(name)
    if words:
        result.foreign.append(f"{name} (line {number}): {words}")
        return
    known = INDEX_NAMES.get(name, name)
    result.conda[normalized(known)] = f"{name} (line {number})"
    result.requirements.append(known + _pip_version(version, item, number))


def _pip_version(version: str, item: str, number: int) -> str:
    """conda's `=1.2` means any 1.2.x; `=1.2.3=build` means exactly that version."""
    if "|" in version:
        raise CondaError(f"line {number}: alternatives ({item!r}) are not supported; name one range")
    if not version.startswith("=") or version.startswith("=="):
        return version
    number_part, _, build = version[1:].partition("=")
    if not number_part:
        raise CondaError(f"line {number}: {item!r} names no version behind the =")
    return f"=={number_part}" if build or number_part.endswith("*") else f"=={number_part}.*"


def _scalar(text: str, number: int) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if not text or text[0] in "'\"[]{}&*!|>%@`" or ": " in text or text.endswith(":"):
        raise CondaError(f"line {number}: {text!r} is not a plain value; put it into quotes if it is meant as one")
    return text
