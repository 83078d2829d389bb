"""Lays the code out where the script starts: writable, apart from what was mounted, nothing outside that folder."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Mapping

from smalt_trainer.digests import files_below, manifest, manifest_digest
from smalt_trainer.failures import ANOTHER_NAME, RunFailed


def lay_out_inline(files: Mapping[str, str], into: Path) -> str:
    """Write the files of `code.inline` and return their digest."""
    into.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        problem = file_name_problem(name)
        if problem:
            raise RunFailed(
                "CodeInvalid", f"code.inline has a file {name!r}, which {problem}; rename it, {ANOTHER_NAME}"
            )
        target = into / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode("utf-8"))
        except (OSError, ValueError) as error:
            raise RunFailed(
                "CodeInvalid", f"code.inline's file {name!r} cannot be written ({error}); rename it, {ANOTHER_NAME}"
            ) from error
    return manifest_digest(manifest(into))


def lay_out_folder(folder: Path, into: Path) -> str:
    """Copy a mounted folder's files and return their digest; links are followed, the kubelet's `..` entries left out."""
    into.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise RunFailed(
            "CodeInvalid", f"the code folder {folder} is not mounted; check the ConfigMap named in code.configMap"
        )
    try:
        for name, file in files_below(folder):
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            shutil.copymode(file, target)
            target.chmod(target.stat().st_mode | 0o200)
        return manifest_digest(manifest(into))
    except OSError as error:
        raise RunFailed(
            "CodeInvalid",
            f"the code folder {folder} cannot be copied: {error}; make its files readable to user 10001, {ANOTHER_NAME}",
        ) from error


def file_name_problem(name: str) -> str:
    """What is wrong with a file's name inside the code; empty when nothing is."""
    path = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name:
        return "is not a file name"
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name or name == ".":
        return "would not lie below the code's folder under that very name"
    if any(part.startswith("..") for part in path.parts):
        return "begins with two dots, a prefix that belongs to Kubernetes"
    return ""
