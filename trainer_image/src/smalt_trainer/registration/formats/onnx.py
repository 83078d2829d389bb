"""ONNX: a ModelProto, walked field by field; its weights are neither copied nor decoded."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Dict, Tuple

from smalt_trainer.registration.formats.found import ONNX, Found
from smalt_trainer.registration.formats.places import leaves
from smalt_trainer.registration.formats.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Buffer,
    Malformed,
    Message,
    walk,
)
from smalt_trainer.registration.refused import damaged, refused, shown

_MOST_NAMES = 10_000
_LONGEST = 4096
_V, _L = (VARINT,), (LENGTH,)
# Repeated numbers are written one by one or packed.
_MANY, _FLOATS, _DOUBLES = (VARINT, LENGTH), (FIXED32, LENGTH), (FIXED64, LENGTH)


_NOTED = {
    "ModelProto": frozenset({1}),
    "StringStringEntryProto": frozenset({1, 2}),
    "TensorProto": frozenset({14}),
}


# The messages of onnx.proto whose fields matter, by name: the wire types of plain fields, and the messages among the others.
# Those of other names are walked as unknown ones.
_FIELDS: Dict[str, Tuple[Dict[int, Tuple[int, ...]], Dict[int, str]]] = {
    "ModelProto": (
        {1: _V, 2: _L, 3: _L, 4: _L, 5: _V, 6: _L},
        {
            7: "GraphProto",
            8: "OperatorSetIdProto",
            14: "StringStringEntryProto",
            20: "TrainingInfoProto",
            25: "FunctionProto",
        },
    ),
    "OperatorSetIdProto": (
        {1: _L, 2: _V},
        {},
    ),
    "StringStringEntryProto": (
        {1: _L, 2: _L},
        {},
    ),
    "TrainingInfoProto": (
        {},
        {1: "GraphProto", 2: "GraphProto", 3: "StringStringEntryProto", 4: "StringStringEntryProto"},
    ),
    "FunctionProto": (
        {1: _L, 4: _L, 5: _L, 6: _L, 8: _L, 10: _L, 13: _L},
        {
            7: "NodeProto",
            9: "OperatorSetIdProto",
            11: "AttributeProto",
            12: "ValueInfoProto",
            14: "StringStringEntryProto",
        },
    ),
    "GraphProto": (
        {2: _L, 10: _L},
        {
            1: "NodeProto",
            5: "TensorProto",
            11: "ValueInfoProto",
            12: "ValueInfoProto",
            13: "ValueInfoProto",
            14: "TensorAnnotation",
            15: "SparseTensorProto",
            16: "StringStringEntryProto",
        },
    ),
    "NodeProto": (
        {1: _L, 2: _L, 3: _L, 4: _L, 6: _L, 7: _L, 8: _L},
        {5: "AttributeProto", 9: "StringStringEntryProto"},
    ),
    "AttributeProto": (
        {1: _L, 2: (FIXED32,), 3: _V, 4: _L, 7: _FLOATS, 8: _MANY, 9: _L, 13: _L, 20: _V, 21: _L},
        {
            5: "TensorProto",
            6: "GraphProto",
            10: "TensorProto",
            11: "GraphProto",
            14: "TypeProto",
            15: "TypeProto",
            22: "SparseTensorProto",
            23: "SparseTensorProto",
        },
    ),
    "TensorProto": (
        {1: _MANY, 2: _V, 4: _FLOATS, 5: _MANY, 6: _L, 7: _MANY, 8: _L, 9: _L, 10: _DOUBLES, 11: _MANY, 12: _L, 14: _V},
        {13: "StringStringEntryProto", 16: "StringStringEntryProto"},
    ),
    "SparseTensorProto": (
        {3: _MANY},
        {1: "TensorProto", 2: "TensorProto"},
    ),
    "TensorAnnotation": (
        {1: _L},
        {2: "StringStringEntryProto"},
    ),
    "ValueInfoProto": (
        {1: _L, 3: _L},
        {2: "TypeProto", 4: "StringStringEntryProto"},
    ),
    "TypeProto": (
        {1: _L, 4: _L, 5: _L, 6: _L, 7: _L, 8: _L, 9: _L},
        {},
    ),
}


def _messages() -> Dict[str, Message]:
    made: Dict[str, Message] = {}
    for name, (wires, kinds) in _FIELDS.items():
        below = {number: (lambda wanted=kind: made[wanted]) for number, kind in kinds.items()}
        made[name] = Message(name, {**wires, **dict.fromkeys(below, _L)}, below, _NOTED.get(name, frozenset()))
    return made


_MESSAGES = _messages()
_MODEL = _MESSAGES["ModelProto"]


def looks_like(head: bytes) -> bool:
    """A ModelProto begins with its field 1, the version of the format, a small number."""
    return len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 0x40 and head[2] & 7 in (VARINT, LENGTH)


def check(path: Path, folder: Path) -> Found:
    """A model with a graph, whose outer weights lie in its folder. NotRegistered for anything else."""
    walked = _Walked()
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            walked.buffer = buffer
            walk(buffer, _MODEL, walked.field, walked.ended)
            walked.buffer = b""
    except (Malformed, ValueError) as error:
        raise damaged(path.name, f"no ONNX ModelProto: {error}") from error
    if not walked.version or not walked.opsets or not walked.nodes:
        lacks = "ir_version" if not walked.version else "opset_import" if not walked.opsets else "graph with nodes"
        raise damaged(path.name, f"an ONNX ModelProto without {lacks}")
    for place in walked.outer:
        _check_outer(path, folder, place)
    needs = tuple(sorted({(path.parent / place["location"]).relative_to(folder).as_posix() for place in walked.outer}))
    return Found(ONNX, needs=needs)


class _Walked:
    """What is noted on the way."""

    def __init__(self) -> None:
        self.buffer: Buffer = b""
        self.version = self.opsets = self.nodes = 0
        # Where weights lie that are not in the file itself.
        self.outer: list[dict[str, str]] = []
        self._pair = ("", "")
        self._pairs: dict[str, str] = {}

    def field(self, message: Message, number: int, _wire: int, place: Tuple[int, int]) -> None:
        if message is _MODEL and number == 1:
            self.version = place[0]
        elif message.name == "StringStringEntryProto":
            self._pair = (self._text(place), "") if number == 1 else (self._pair[0], self._text(place))
        elif message.name == "TensorProto" and number == 14:
            self._pairs[""] = str(place[0])

    def ended(self, message: Message, depth: int) -> None:
        if message.name == "OperatorSetIdProto" and depth == 1:
            self.opsets += 1
        elif message.name == "NodeProto" and depth == 2:
            self.nodes += 1
        elif message.name == "StringStringEntryProto":
            if self._pair[0] in ("location", "offset", "length"):
                self._pairs[self._pair[0]] = self._pair[1]
            self._pair = ("", "")
        elif message.name == "TensorProto":
            if self._pairs.get("") == "1" or "location" in self._pairs:
                self._note({"location": "", **self._pairs})
            self._pairs = {}

    def _note(self, place: dict[str, str]) -> None:
        self.outer.append(place)
        if len(self.outer) > _MOST_NAMES * 10:
            raise Malformed(f"it has more than {_MOST_NAMES * 10} weights elsewhere")

    def _text(self, place: Tuple[int, int]) -> str:
        return bytes(self.buffer[place[0] : min(place[1], place[0] + _LONGEST)]).decode("utf-8", "replace")


def _check_outer(path: Path, folder: Path, place: dict[str, str]) -> None:
    location = place["location"]
    target = path.parent / location
    if not location or leaves(location):
        raise refused(
            path.name,
            f"keeps weights in '{shown(location)}', which lies outside of the model's folder: save it with its weights "
            "inside, or beside it, and register it again",
        )
    if not target.is_file() or folder.resolve() not in target.resolve().parents:
        raise damaged(path.name, f"its weights in '{shown(location)}' are not in the model's folder")
    try:
        start, size = int(place.get("offset") or 0), int(place.get("length") or 0)
    except ValueError as error:
        raise damaged(path.name, f"where its weights in '{shown(location)}' lie is no number") from error
    if start < 0 or size < 0 or start + size > target.stat().st_size:
        raise damaged(path.name, f"its weights in '{shown(location)}' end beyond that file")
