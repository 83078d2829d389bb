"""Signatures made by the real library: exactly what was signed passes, by any key that the file holds, and nothing else does."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_signing import hashing, signing

from smalt_scorer.contract import Model
from smalt_scorer.digests import Entry, manifest_text, text_digest
from smalt_scorer.failures import Failure
from smalt_scorer.fetch import Server, fetch
from smalt_scorer.signature import prove
from support.file_server import FileServer

PLACE = "/api/2.0/mlflow-artifacts/artifacts/7/run/artifacts"
FILES = {"model.joblib": b"w" * 5000, "sub/labels.json": b"[]", ".gitattributes": b"*", ".git/hook": b"x"}


def pair(folder: Path) -> Path:
    folder.mkdir()
    private, public = folder / "private.pem", folder / "public.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pair(tmp_path_factory.mktemp("signing") / "keys")


@pytest.fixture(scope="module")
def signature(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("signed") / "model"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    made = folder.with_name("signature.json")
    config: Any = signing.Config
    files: Any = hashing.Config
    every_file = files().set_ignored_paths(paths=[], ignore_git_paths=False)
    signer = config().set_hashing_config(every_file).use_elliptic_key_signer(private_key=keys / "private.pem")
    signer.sign(folder, made)
    return made.read_bytes()


def stored(files: dict[str, bytes], signature: bytes | None, name: str = "model") -> tuple[Model, dict[str, bytes]]:
    """A model whose digest is that of these very files: whoever changed them has changed that too."""
    text = manifest_text(Entry(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items())
    held = {f"{PLACE}/{name}/{path}": data for path, data in files.items()}
    held[f"{PLACE}/{name}.manifest.json"] = text.encode()
    if signature is not None:
        held[f"{PLACE}/{'' if name == 'model' else f'{name}.'}signature.json"] = signature
    return Model("churn", 3, "churn-3", f"mlflow-artifacts:/7/run/artifacts/{name}", text_digest(text), "model"), held


def proven(tmp_path: Path, files: dict[str, bytes], signature: bytes | None, keys: Path, name: str = "model") -> str:
    model, held = stored(files, signature, name)
    with FileServer(held) as server:
        asked = Server(server.url)
        return prove(model, fetch(model, tmp_path / "into", asked, 0.0), keys, asked, 0.0)


@pytest.mark.parametrize("name", ["model", "onnx"])
def test_what_was_signed_passes(tmp_path: Path, signature: bytes, keys: Path, name: str) -> None:
    assert proven(tmp_path, FILES, signature, keys / "public.pem", name) == "key 1 of 1"


def flipped() -> Iterator[tuple[str, dict[str, bytes]]]:
    for name, data in FILES.items():
        for at in (0, len(data) - 1):
            changed = bytearray(data)
            changed[at] ^= 1
            yield f"{name} byte {at}", {**FILES, name: bytes(changed)}
    yield "a file more", {**FILES, "more.py": b"import os"}
    yield "a file of git more", {**FILES, ".github/x": b""}
    yield "a file less", {name: data for name, data in FILES.items() if name != "sub/labels.json"}
    yield "another name", {name.replace("model", "other"): data for name, data in FILES.items()}


@pytest.mark.parametrize(("what", "files"), list(flipped()))
def test_one_flipped_byte_is_caught_though_the_digest_is_that_of_the_changed_files(
    tmp_path: Path, signature: bytes, keys: Path, what: str, files: dict[str, bytes]
) -> None:
    with pytest.raises(Failure, match="is not what was signed") as caught:
        proven(tmp_path, files, signature, keys / "public.pem")
    assert caught.value.reason == "SignatureInvalid"


def test_a_model_without_a_signature_is_not_loaded(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(Failure, match="Model 'churn-3' is not signed") as caught:
        proven(tmp_path, FILES, None, keys / "public.pem")
    assert caught.value.reason == "SignatureInvalid"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"no json", b"\xff\xfe", b'{"dsseEnvelope": {"payload": "AA=="}}']
)
def test_what_is_no_signature_proves_nothing(tmp_path: Path, keys: Path, content: bytes) -> None:
    with pytest.raises(Failure, match="is not what was signed"):
        proven(tmp_path, FILES, content, keys / "public.pem")


def test_a_bit_of_the_signature_counts_too(tmp_path: Path, signature: bytes, keys: Path) -> None:
    at = signature.index(b'"payload"') + 40
    changed = signature[:at] + (b"A" if signature[at : at + 1] != b"A" else b"B") + signature[at + 1 :]
    with pytest.raises(Failure, match="is not what was signed"):
        proven(tmp_path, FILES, changed, keys / "public.pem")


def test_another_s_key_does_not_pass_and_an_older_one_beside_the_new_does(
    tmp_path: Path, signature: bytes, keys: Path
) -> None:
    other = pair(tmp_path / "other")
    with pytest.raises(Failure, match="another key"):
        proven(tmp_path, FILES, signature, other / "public.pem")
    both = tmp_path / "both.pem"
    both.write_text((other / "public.pem").read_text() + (keys / "public.pem").read_text())
    assert proven(tmp_path, FILES, signature, both) == "key 2 of 2"


@pytest.mark.parametrize("content", [None, "", "no key"])
def test_a_key_that_is_missing_is_waited_for(tmp_path: Path, signature: bytes, content: str | None) -> None:
    key = tmp_path / "public.pem"
    if content is not None:
        key.write_text(content)
    with pytest.raises(Failure) as caught:
        proven(tmp_path, FILES, signature, key)
    assert caught.value.reason == "SigningKeyMissing"
