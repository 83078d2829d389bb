"""Signatures of models after OpenSSF's model-signing: one over all files of a folder, by a key on an elliptic curve.

The library is imported only where a signature is asked for: nothing else in this image needs it.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalt_trainer.registration.refused import NotRegistered

FOLDER = Path("/smalt/signing")
PRIVATE, PUBLIC = "private.pem", "public.pem"
_MEND = (
    "make the keys anew as docs/signing.md says, and put both into the Secret of the Workspace's spec.signing.keySecret"
)


@dataclass(frozen=True)
class Keys:
    """A pair that belongs together; `digest` is that of the public key, as its DER form has it."""

    private: Path
    public: Path
    digest: str


def keys_in(folder: Path) -> Keys:
    """The mounted pair. NotRegistered for what is missing, of another kind, or no pair."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )

    try:
        private = load_pem_private_key((folder / PRIVATE).read_bytes(), None)
        public = load_pem_public_key((folder / PUBLIC).read_bytes())
    except OSError as error:
        raise NotRegistered("SigningFailed", f"the signing keys are not there ({error.strerror}): {_MEND}") from error
    except (ValueError, TypeError) as error:
        raise NotRegistered(
            "SigningFailed", f"{PRIVATE} or {PUBLIC} is no key in PEM form without a password: {_MEND}"
        ) from error
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(public, EllipticCurvePublicKey):
        raise NotRegistered("SigningFailed", f"{PRIVATE} and {PUBLIC} are not keys on an elliptic curve: {_MEND}")
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise NotRegistered("SigningFailed", f"{PUBLIC} is not the public key of {PRIVATE}: {_MEND}")
    digest = hashlib.sha256(public.public_bytes(*form)).hexdigest()
    return Keys(folder / PRIVATE, folder / PUBLIC, f"sha256:{digest}")


def signed(folder: Path, keys: Keys) -> bytes:
    """The signature over every file of the folder, proven with the public key before it is given away."""
    from model_signing import signing, verifying

    with tempfile.TemporaryDirectory() as scratch:
        signature = Path(scratch) / "signature.json"
        try:
            _config(signing).use_elliptic_key_signer(private_key=keys.private).sign(folder, signature)
            _config(verifying).use_elliptic_key_verifier(public_key=keys.public).verify(folder, signature)
        except (ValueError, OSError) as error:
            raise NotRegistered("SigningFailed", f"the model cannot be signed ({error}): {_MEND}") from error
        return signature.read_bytes()


def _config(module: Any) -> Any:
    """The library's settings, which it has left untyped: every file counts, those of git too, which it would leave out."""
    from model_signing import hashing

    every_file: Any = hashing.Config
    return module.Config().set_hashing_config(every_file().set_ignored_paths(paths=[], ignore_git_paths=False))
