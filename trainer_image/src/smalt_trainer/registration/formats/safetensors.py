"""safetensors: a header of JSON that says where each tensor lies, and the tensors one after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List, Optional, Tuple

from smalt_trainer.registration.formats.found import SAFETENSORS, Found
from smalt_trainer.registration.refused import damaged, shown

# The library takes 100 MB; no header that anybody writes comes near a tenth of it.
_LARGEST_HEADER = 16 << 20
# Bits of an element.
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


def looks_like(head: bytes, size: int) -> bool:
    """A length that fits the file, then JSON."""
    return len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= max(size, 1 << 20)


def check(path: Path) -> Found:
    """Tensors that fill the file without a gap. NotRegistered for anything else."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, _LARGEST_HEADER):
            raise damaged(path.name, f"its header is said to have {length} bytes, and it cannot have so many")
        header = _header(path, stream.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(path.name, "__metadata__ holds other things than texts")
    at = 0
    for start, end, name in sorted(_place(path, name, header[name]) for name in header):
        if start != at:
            raise damaged(path.name, f"tensor '{shown(name)}' begins at byte {start} of the data, and {at} is next")
        at = end
    if at != size - 8 - length:
        raise damaged(path.name, f"its tensors have {at} bytes, and the file holds {size - 8 - length} of them")
    return Found(SAFETENSORS)


def _header(path: Path, text: bytes) -> dict[str, Any]:
    def once(pairs: List[Tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise damaged(path.name, f"its header is no JSON: {error or 'too deep'}") from error
    if not isinstance(found, dict):
        raise damaged(path.name, "its header is no JSON object")
    return found


def _place(path: Path, name: str, tensor: Any) -> Tuple[int, int, str]:
    """Where a tensor lies, when its size is that of its shape."""
    found = tensor if isinstance(tensor, dict) else {}
    bits, shape, offsets = (
        _BITS.get(str(found.get("dtype"))),
        _counts(found.get("shape")),
        _counts(found.get("data_offsets")),
    )
    if not bits or shape is None or offsets is None or len(offsets) != 2 or len(shape) > 64:
        raise damaged(path.name, f"tensor '{shown(name)}' has no dtype, shape and data_offsets that are known")
    wanted = bits
    for each in shape:
        wanted *= each
        if wanted > 8 * path.stat().st_size and all(shape):
            break
    if offsets[1] < offsets[0] or wanted != 8 * (offsets[1] - offsets[0]):
        raise damaged(path.name, f"tensor '{shown(name)}' has not as many bytes as its shape needs")
    return offsets[0], offsets[1], name


def _counts(found: Any) -> Optional[List[int]]:
    are_counts = isinstance(found, list) and all(type(each) is int and 0 <= each < 1 << 63 for each in found)
    return found if are_counts else None
