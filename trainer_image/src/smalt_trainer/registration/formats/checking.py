"""What a model's files are, by content: each file that is of a known format is checked, and one of them is the model."""

from __future__ import annotations

import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

from smalt_trainer.registration.formats import mlflow, onnx, pickled, safetensors, skops
from smalt_trainer.registration.formats.found import (
    FORMATS,
    JOBLIB,
    MLFLOW,
    ONNX,
    OTHER,
    SAFETENSORS,
    SAME,
    SKOPS,
    Found,
)
from smalt_trainer.registration.formats.packed import opened
from smalt_trainer.registration.refused import REGISTER_AGAIN, NotRegistered, damaged, refused, shown

MOST_FILES = 10_000
_SUFFIXES = frozenset((".onnx", ".skops", ".safetensors", ".joblib", ".pkl", ".pickle"))
_HEAD = 512
_KNOWN = {
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"ggml": "a GGML file",
    b"TFL3": "a TensorFlow Lite file",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "an array of numpy",
    b"ZF": "a pickle packed by a joblib older than 0.10",
    b"\x04\x22\x4d\x18": "a file packed with LZ4",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
    b"tree\nversion": "a text model of LightGBM",
    b"<": "XML or HTML",
    b"{": "JSON",
    b"[": "JSON",
}


@dataclass(frozen=True)
class Checked:
    """The model by content: its format, the file that it is where it is one, and what was found in each file."""

    format: str
    file: Optional[str]
    files: Tuple[Tuple[str, Found], ...]

    @property
    def types(self) -> list[str]:
        """Classes that loading it would make, of all its files."""
        return sorted({each for _, found in self.files for each in found.types})

    def as_json(self) -> dict[str, Any]:
        """As source.json holds it."""
        return {
            "format": self.format,
            "file": self.file,
            "types": self.types[:100],
            "files": {name: found.as_json() for name, found in self.files[:100]},
        }


def check(folder: Path, declared: Optional[str], allowed: Optional[Sequence[str]]) -> Checked:
    """The model in a folder. NotRegistered for one that is damaged, not of the declared format, or not allowed."""
    names = regular_files(folder)
    found: list[Tuple[str, Found]] = []
    if mlflow.MLMODEL in names:
        found.append((mlflow.MLMODEL, mlflow.check(folder)))
    heads = {name: _head(folder / name) for name in names if name != mlflow.MLMODEL}
    for name in heads:
        format_ = format_of(folder / name, heads[name])
        if format_ is not None:
            found.append((name, _checked(folder / name, folder, format_)))
    made = _model(folder, tuple(found), heads, SAME.get(declared or "", declared))
    _check_allowed(made, allowed)
    return made


def regular_files(folder: Path) -> list[str]:
    """Every file by its path in the folder. NotRegistered for what is neither file nor folder: links, devices, pipes."""
    found: list[str] = []
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        with os.scandir(parent) as entries:
            for each in entries:
                name = (parent / each.name).relative_to(folder).as_posix()
                mode = each.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    waiting.append(parent / each.name)
                elif stat.S_ISREG(mode):
                    found.append(name)
                else:
                    kind = "a link" if stat.S_ISLNK(mode) else "a device or a pipe"
                    raise refused(name, f"is {kind}, and a model is made of files: save it without, {REGISTER_AGAIN}")
                if len(found) > MOST_FILES:
                    raise NotRegistered(
                        "ModelTooLarge",
                        f"the model has more than {MOST_FILES} files: keep data out of its folder, {REGISTER_AGAIN}",
                    )
    if not found:
        raise NotRegistered("ModelDamaged", f"the model has no files: have the run write one, {REGISTER_AGAIN}")
    return sorted(found)


def format_of(path: Path, head: bytes) -> Optional[str]:
    """The format that a file's first bytes speak of; None when they are those of nothing that is checked."""
    if head.startswith(b"PK\x03\x04"):
        return SKOPS if skops.looks_like(path) or path.suffix == ".skops" else None
    if pickled.looks_like(head) and not _is_packed_archive(path, head):
        return JOBLIB
    if safetensors.looks_like(head, path.stat().st_size):
        return SAFETENSORS
    return ONNX if onnx.looks_like(head) else None


def described(path: Path, head: bytes) -> str:
    """What a file of no known format is, in words."""
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        is_torch = _has_member(path, "data.pkl")
        return "a file of torch.save" if is_torch else "a zip archive"
    if head[257:262] == b"ustar" or _is_packed_archive(path, head):
        return "a tar archive"
    known = next((words for magic, words in _KNOWN.items() if head.startswith(magic)), None)
    return known or f"of no format that is known (it begins with {head[:8]!r})"


def _checked(path: Path, folder: Path, format_: str) -> Found:
    if format_ == ONNX:
        return onnx.check(path, folder)
    return {SKOPS: skops.check, JOBLIB: pickled.check, SAFETENSORS: safetensors.check}[format_](path)


def _model(
    folder: Path, found: Tuple[Tuple[str, Found], ...], heads: dict[str, bytes], declared: Optional[str]
) -> Checked:
    formats = sorted({each.format for _, each in found})
    is_known = declared in FORMATS
    if not found and (is_known or not _may_be_others(heads)):
        raise _unknown(folder, heads, declared)
    if not is_known and len(formats) != 1 and MLFLOW not in formats:
        return Checked(OTHER, None, found)
    if MLFLOW in formats:
        format_ = MLFLOW
    elif declared in formats:
        format_ = str(declared)
    elif len(formats) == 1:
        format_ = formats[0]
    else:
        raise NotRegistered(
            "FormatMismatch",
            f"the model's files are of the formats {', '.join(formats)}, and "
            + (f"format says '{shown(declared)}'" if declared else "format does not say which of them is the model")
            + f": write one of {', '.join(formats)} into format, or register them apart",
        )
    if declared is not None and is_known and declared != format_:
        names = ", ".join(f"'{shown(name)}'" for name, each in found if each.format == format_)
        raise NotRegistered(
            "FormatMismatch",
            f"format says '{shown(declared)}', and {names[:400]} is {format_} by its content: write format: {format_}, or save "
            f"the model as {shown(declared)}, {REGISTER_AGAIN}",
        )
    own = [name for name, each in found if each.format == format_]
    return Checked(format_, own[0] if len(own) == 1 else None, found)


def _may_be_others(heads: dict[str, bytes]) -> bool:
    """Nothing is called like a file of a known format and is none; nor are all empty, or pointers to what was left elsewhere."""
    if any(Path(name).suffix in _SUFFIXES for name in heads):
        return False
    return any(head and not head.startswith(b"version https://git-lfs") for head in heads.values())


def _unknown(folder: Path, heads: dict[str, bytes], declared: Optional[str]) -> NotRegistered:
    names = sorted(heads, key=lambda name: (name.count("/"), name))
    said = "; ".join(f"'{shown(name)}' is {described(folder / name, heads[name])}" for name in names[:3])
    if all(not head for head in heads.values()):
        return damaged(names[0], "it is empty")
    says = f", and format says '{shown(declared)}'" if declared else ""
    return NotRegistered(
        "FormatMismatch",
        f"none of the model's files is of a format that can be registered{says}: {said}; save the model as "
        f"{', '.join(FORMATS[:-1])} or as a folder of {MLFLOW}, {REGISTER_AGAIN}",
    )


def _check_allowed(made: Checked, allowed: Optional[Sequence[str]]) -> None:
    """The model's format and those of all its files."""
    if allowed is None:
        return
    fine = {SAME.get(each, each) for each in allowed}
    for name, found in ((made.file or made.format, None), *made.files):
        format_ = found.format if found else made.format
        if format_ not in fine:
            raise NotRegistered(
                "FormatNotAllowed",
                f"'{shown(name)}' is {format_}, and the Workspace's spec.policy.modelFormats allows {', '.join(allowed) or 'none'}: "
                f"save the model in one of them, {REGISTER_AGAIN}, or have the Workspace allow {format_}",
            )


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD)


def _is_packed_archive(path: Path, head: bytes) -> bool:
    """tar.gz and its like begin as packed pickles do."""
    if head[:1] == b"\x80" or not pickled.looks_like(head):
        return False
    if ".tar" in path.suffixes or path.suffix in (".tgz", ".tbz2", ".txz"):
        return True
    with opened(path, head) as content:
        return content.some(_HEAD)[257:262] == b"ustar"


def _has_member(path: Path, name: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(each == name or each.endswith(f"/{name}") for each in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
