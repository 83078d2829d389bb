"""The workspace's certificates, trusted besides the system's by everything that the pod starts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import List, MutableMapping

BUNDLE = "SMALT_TRUST_BUNDLE"
# OpenSSL and uv, requests, pip, curl: each reads its own.
READERS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
_SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def extend_trust(variables: MutableMapping[str, str], scratch: Path) -> None:
    """Point every reader at one file with both; nothing happens where the workspace has no bundle.

    OSError when the bundle cannot be read, which the pod's mount prevents.
    """
    bundle = variables.get(BUNDLE)
    if not bundle:
        return
    texts = [Path(bundle).read_text(encoding="utf-8"), *_system_texts(variables)]
    trusted = scratch / "smalt-trusted.crt"
    trusted.write_text("\n".join(texts), encoding="utf-8")
    for name in READERS:
        variables[name] = str(trusted)


def _system_texts(variables: MutableMapping[str, str]) -> List[str]:
    """What the image trusts by itself: its own choice first, then the places that systems use."""
    named = variables.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    for place in [named, *_SYSTEM]:
        if place and Path(place).is_file():
            return [Path(place).read_text(encoding="utf-8", errors="replace")]
    return []
