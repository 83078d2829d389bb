"""A certificate authority of a test's own, and a server's certificate that it has signed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def made(cls, folder: Path, host: str = "127.0.0.1") -> Certificates:
        """By openssl, valid for a day."""
        folder.mkdir(parents=True, exist_ok=True)
        authority, authority_key = folder / "ca.crt", folder / "ca.key"
        request, key, certificate = folder / "server.csr", folder / "server.key", folder / "server.crt"
        names = folder / "names"
        names.write_text(f"subjectAltName=IP:{host}\n")
        new = ("openssl", "req", "-newkey", "rsa:2048", "-nodes")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _run(
            *new,
            "-x509",
            "-days",
            "1",
            "-subj",
            "/CN=test authority",
            *usage,
            "-keyout",
            authority_key,
            "-out",
            authority,
        )
        _run(*new, "-subj", f"/CN={host}", "-keyout", key, "-out", request)
        signing = (
            "openssl",
            "x509",
            "-req",
            "-days",
            "1",
            "-CA",
            authority,
            "-CAkey",
            authority_key,
            "-CAcreateserial",
        )
        _run(*signing, "-in", request, "-extfile", names, "-out", certificate)
        return cls(authority, certificate, key)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
