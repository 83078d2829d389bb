"""A certificate authority for one cluster, and the certificates it signs, by openssl."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.shell import run

DAYS = "3650"


class Authority:
    """Keys and certificates in one folder, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def service_account_key(self) -> Path:
        return self.folder / "service-accounts.key"

    def create(self) -> None:
        """The authority itself, and the key that signs service account tokens."""
        if not self.certificate.exists():
            self._key("ca")
            subject = ["-subj", "/CN=smalt-cluster"]
            run(
                [
                    "openssl",
                    "req",
                    "-x509",
                    "-new",
                    "-key",
                    self.folder / "ca.key",
                    "-days",
                    DAYS,
                    *subject,
                    "-out",
                    self.certificate,
                ]
            )
        if not self.service_account_key.exists():
            run(["openssl", "genrsa", "-out", self.service_account_key, "2048"])
        os.chmod(self.folder, 0o700)

    def issue(self, name: str, subject: str, alternative_names: str = "") -> tuple[Path, Path]:
        """Certificate and key for a subject such as /O=system:masters/CN=admin; `alternative_names` as openssl writes them."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if certificate.exists():
            return certificate, key
        self._key(name)
        request = self.folder / f"{name}.csr"
        run(["openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request])
        extensions = self.folder / f"{name}.ext"
        usage = "keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n"
        extensions.write_text(usage + (f"subjectAltName={alternative_names}\n" if alternative_names else ""))
        signing: list[str | Path] = ["-CA", self.certificate, "-CAkey", self.folder / "ca.key", "-CAcreateserial"]
        run(
            [
                "openssl",
                "x509",
                "-req",
                "-in",
                request,
                *signing,
                "-days",
                DAYS,
                "-extfile",
                extensions,
                "-out",
                certificate,
            ]
        )
        return certificate, key

    def _key(self, name: str) -> None:
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.folder / f"{name}.key"])
