"""The wire format of protocol buffers, walked by a description of the messages: no message is ever built."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import Callable, FrozenSet, Mapping, Optional, Tuple, Union

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_DEEPEST = 200
_MOST_FIELDS = 40_000_000


class Malformed(Exception):
    """The bytes are no message of that kind; the text says where."""


@dataclass(frozen=True)
class Message:
    """Which fields a message has: the wire types of each by number, and the messages among them."""

    name: str
    wires: Mapping[int, Tuple[int, ...]]
    messages: Mapping[int, Callable[[], "Message"]] = field(default_factory=dict)
    # Fields that whoever walks wants to hear of.
    noted: FrozenSet[int] = frozenset()


Buffer = Union[bytes, mmap.mmap]
# Of a field that is no message: the path of message names, its number, and its value or where its bytes lie.
Seen = Callable[[Message, int, int, Tuple[int, int]], None]


def varint(buffer: Buffer, at: int, end: int) -> Tuple[int, int]:
    """The number, and where it ends. Malformed when it does not."""
    value, shift = 0, 0
    while True:
        if at >= end or shift > 63:
            raise Malformed(f"a number at byte {at} has no end")
        byte: int = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def walk(
    buffer: Buffer,
    root: Message,
    seen: Optional[Seen] = None,
    ended: Optional[Callable[[Message, int], None]] = None,
) -> None:
    """Every field of the message and of those below it. `seen` hears of the fields that a message notes, `ended` of each
    message that is over, and how deep it was.

    Malformed for what is no message: a field of another wire type, one that is longer than what it lies in.
    """
    at, fields = 0, 0
    message, end = root, len(buffer)
    above: list[Tuple[Message, int]] = []
    while True:
        if at == end:
            if ended:
                ended(message, len(above))
            if not above:
                return
            message, end = above.pop()
            continue
        fields += 1
        if fields > _MOST_FIELDS:
            raise Malformed(f"it has more than {_MOST_FIELDS} fields")
        key = buffer[at]
        at += 1
        if key >= 0x80:
            key, at = varint(buffer, at - 1, end)
        number, wire = key >> 3, key & 7
        known = message.wires.get(number)
        if (known is not None and wire not in known) or not 0 < number < 1 << 29:
            raise Malformed(f"field {number} of {message.name} at byte {at} has wire type {wire}")
        if wire == LENGTH:
            size, at = varint(buffer, at, end)
            stop = at + size
            if stop > end:
                raise Malformed(f"field {number} of {message.name} at byte {at} ends beyond what it lies in")
            below = message.messages.get(number)
            if below is not None:
                if len(above) >= _DEEPEST:
                    raise Malformed(f"messages lie in each other more than {_DEEPEST} deep")
                above.append((message, end))
                message, end = below(), stop
                continue
            place = (at, stop)
            at = stop
        elif wire == VARINT:
            value, at = varint(buffer, at, end)
            place = (value, at)
        elif wire in (FIXED32, FIXED64):
            place = (at, at + (4 if wire == FIXED32 else 8))
            at = place[1]
            if at > end:
                raise Malformed(f"field {number} of {message.name} at byte {at} ends beyond what it lies in")
        else:
            raise Malformed(f"field {number} of {message.name} at byte {at} has wire type {wire}, which nothing writes")
        if seen and number in message.noted:
            seen(message, number, wire, place)
