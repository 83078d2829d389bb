"""The workspace's certificates, trusted besides the system's by everything that the pod starts."""

from __future__ import annotations

from pathlib import Path
from typing import List, MutableMapping

from smalt_trainer.failures import ANOTHER_NAME, RunFailed

BUNDLE = "SMALT_TRUST_BUNDLE"
# OpenSSL and uv, requests, pip, curl: each reads its own.
READERS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
_SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def extend_trust(variables: MutableMapping[str, str], scratch: Path, next_step: str = ANOTHER_NAME) -> None:
    """Point every reader at one file with both; nothing happens where the workspace has no bundle."""
    bundle = variables.get(BUNDLE)
    if not bundle:
        return
    pieces = [_bundle(Path(bundle), next_step), *_system(variables)]
    trusted = scratch / "smalt-trusted.crt"
    trusted.write_bytes(b"\n".join(pieces))
    for name in READERS:
        variables[name] = str(trusted)


def _bundle(file: Path, next_step: str) -> bytes:
    """The certificates, or RunFailed with what is wrong with the ConfigMap that should hold them."""
    import ssl  # most have no bundle, and every run waits for what is loaded

    cause: Exception
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=str(file))
        return file.read_bytes()
    except FileNotFoundError as error:
        problem, cause = f"has no key '{file.name}'", error
    except (OSError, ValueError) as error:
        problem, cause = f"holds no PEM certificate under its key '{file.name}' ({error})", error
    raise RunFailed(
        "TrustBundleInvalid",
        f"the ConfigMap named in the Workspace's spec.trustBundle.configMap {problem}; put certificates in PEM form "
        f"there under '{file.name}', {next_step}",
    ) from cause


def _system(variables: MutableMapping[str, str]) -> List[bytes]:
    """What the image trusts by itself: its own choice first, then the places that systems use."""
    import ssl

    named = variables.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    for place in [named, *_SYSTEM]:
        if place and Path(place).is_file():
            return [Path(place).read_bytes()]
    return []
