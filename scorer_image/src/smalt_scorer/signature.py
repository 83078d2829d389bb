"""The signature of a model, proven with the workspace's public key at every start of a pod, before anything is loaded.

The digest says that the files are those that were registered; the signature says by whom, also when whoever could change
the files could change what the digest is compared with.
"""

from __future__ import annotations

import tempfile
import urllib.error
from pathlib import Path
from typing import Any

from smalt_scorer.contract import Model
from smalt_scorer.failures import Failure, last_line
from smalt_scorer.fetch import Server, artifact_path, patiently

_LARGEST = 64 << 20
_BEGIN = "-----BEGIN PUBLIC KEY-----"
_MEND = "register the model again, in a Workspace that signs with this key"


def prove(model: Model, artifact: Path, keys: Path, server: Server, patience_seconds: float) -> str:
    """Which of the file's public keys has signed exactly these files. Failure when none has."""
    found = public_keys(keys)
    with tempfile.TemporaryDirectory() as scratch:
        signature = Path(scratch) / "signature.json"
        signature.write_text(
            patiently(lambda: _fetched(model, server), model, patience_seconds),
            encoding="utf-8",
            errors="surrogateescape",
        )
        problem = ""
        for number, text in enumerate(found, 1):
            key = Path(scratch) / f"{number}.pem"
            key.write_text(text, encoding="utf-8")
            problem = _mismatch(artifact, signature, key)
            if not problem:
                return f"key {number} of {len(found)}"
    raise _invalid(model, f"is not what was signed, or was signed with another key ({problem[:300]})")


def public_keys(path: Path) -> list[str]:
    """The keys in a file, which may hold older ones below the present one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failure(
            "SigningKeyMissing",
            f"the public key to prove models with is not there ({last_line(error)}): put public.pem into the Secret that the "
            "Workspace's spec.signing.keySecret names; it is tried again",
        ) from error
    found = [f"{_BEGIN}{each}" for each in text.split(_BEGIN)[1:]]
    if not found:
        raise Failure(
            "SigningKeyMissing",
            "public.pem in the Secret of the Workspace's spec.signing.keySecret holds no public key in PEM form: make one as "
            "docs/signing.md says; it is tried again",
        )
    return found


def signature_path(model: Model) -> str:
    """Beside the artifact: `model` has signature.json, any other folder one with its name before it."""
    parent, _, name = artifact_path(model).rpartition("/")
    return f"{parent}/{'' if name == 'model' else f'{name}.'}signature.json"


def _fetched(model: Model, server: Server) -> str:
    try:
        with server.open(signature_path(model)) as answer:
            content = bytes(answer.read(_LARGEST + 1))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise _invalid(model, "is not signed") from error
        raise
    if len(content) > _LARGEST:
        raise _invalid(model, "has a signature that is larger than any")
    return content.decode("utf-8", "surrogateescape")


def _mismatch(artifact: Path, signature: Path, key: Path) -> str:
    """What is wrong; nothing when this key has signed exactly these files."""
    from model_signing import hashing, verifying

    config: Any = verifying.Config
    files: Any = hashing.Config
    # Every file counts, those of git too, which the library would leave out.
    every_file = files().set_ignored_paths(paths=[], ignore_git_paths=False)
    try:
        proving = config().use_elliptic_key_verifier(public_key=key).set_hashing_config(every_file)
        proving.verify(artifact, signature)
    # Whatever the library says of a signature that somebody may have made up, it proves nothing.
    except Exception as error:
        return last_line(error)
    return ""


def _invalid(model: Model, words: str) -> Failure:
    return Failure(
        "SignatureInvalid",
        f"Model '{model.object_name}' {words}, and its Workspace wants signed models: it is not loaded. Find out who changed it, "
        f"or {_MEND}",
    )
