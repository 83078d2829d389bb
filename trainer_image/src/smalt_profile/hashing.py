"""64-bit hashes of whole columns at once, for counting what is distinct and telling what is the same.

No hash of a library works on an array of texts, and one call for each cell costs more than everything else together.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

_LONGEST = 512  # bytes of a text that are hashed eight at a time
_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(8)] + [2**64 - 1], dtype=np.uint64)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MISSING = np.uint64(0xA24BAED4963EE407)


def mix(values: Any) -> Any:
    """SplitMix64's finalizer: every bit of the argument changes half of the result's."""
    mixed = values + _ODD
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def missing(size: int) -> Any:
    """What stands for cells without a value."""
    return np.full(size, _MISSING, dtype=np.uint64)


def hash_numbers(values: Any) -> Any:
    """Hashes of int64 or float64; a float without a fraction has that of the same integer."""
    if values.dtype == np.int64:
        return mix(values.view(np.uint64))
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    same = whole.astype(np.float64) == values
    return mix(np.where(same, whole, values.view(np.int64)).view(np.uint64))


def hash_texts(texts: pa.Array) -> Any:
    """Hashes of a binary or string array without missing values, by its bytes."""
    offsets, content = _parts(texts)
    starts, lengths = offsets[:-1], np.diff(offsets)
    hashes = mix(lengths.astype(np.uint64) ^ np.uint64(0x7E57))
    # Every position as the beginning of an eight-byte word; the padding makes the last ones complete.
    words = np.ndarray((len(content) - 7,), dtype="<u8", buffer=content, strides=(1,))
    active = np.flatnonzero(lengths > 0)
    position = 0
    while len(active) and position < _LONGEST:
        left = np.minimum(lengths[active] - position, 8)
        word = words[starts[active] + position] & _MASKS[left]
        hashes[active] = mix(hashes[active] * _ODD ^ word)
        position += 8
        active = active[lengths[active] > position]
    for each in active:
        rest = content[starts[each] + position : starts[each] + lengths[each]].tobytes()
        digest = hashlib.blake2b(rest, digest_size=8).digest()
        hashes[each] ^= np.uint64(int.from_bytes(digest, "little"))
    return hashes


def _parts(texts: pa.Array) -> tuple[Any, Any]:
    """Offsets from 0 and the bytes they point into, with seven bytes to spare."""
    wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    _, offsets_buffer, data = texts.buffers()
    kind = np.int64 if wide else np.int32
    offsets = np.frombuffer(offsets_buffer, dtype=kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    content = np.zeros(last - first + 8, dtype=np.uint8)
    if last > first:
        content[: last - first] = np.frombuffer(data, dtype=np.uint8)[first:last]
    return offsets - first, content
