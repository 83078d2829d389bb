"""The server's certificate and its key, and those that take their place when they are renewed: without a restart."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

from smalt_scorer.failures import Failure

CERTIFICATE, KEY = "tls.crt", "tls.key"
# The kubelet takes up to a minute to bring a changed Secret.
LOOK_SECONDS = 5.0
# Which files these are: where links lead to, and when they were written.
_Identity = tuple[tuple[str, int], ...]


class Certificate:
    """`context` is what connections are accepted with. Failure for files that are missing or no pair."""

    def __init__(self, certificate: Path, key: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = (certificate, key)
        self._clock = clock
        self._looked = clock()
        self._seen: _Identity = ()
        self.context = _context()
        try:
            self._take()
        except OSError as error:
            raise Failure(
                "CertificateInvalid", f"{self._words(error)}: put them right, and the server starts"
            ) from error

    @classmethod
    def of_secret(cls, folder: Path) -> Certificate:
        """From a mounted Secret of type kubernetes.io/tls. Failure, too, when the Secret is not there yet."""
        files = folder / CERTIFICATE, folder / KEY
        missing = [each.name for each in files if not each.is_file()]
        if missing:
            raise Failure(
                "CertificateMissing",
                f"the Secret that spec.tlsSecret names is not there, or has no {' and no '.join(missing)}: make it of type "
                "kubernetes.io/tls (`kubectl create secret tls`, or a Certificate of cert-manager); the pods go on by themselves",
            )
        return cls(*files)

    def look(self) -> None:
        """Takes over what has been renewed. What cannot be used is told once, and the certificate of before stays."""
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        try:
            if self._identity() == self._seen:
                return
            self._take()
        except OSError as error:
            print(f"{self._words(error)}: the certificate of before is still used", file=sys.stderr, flush=True)
        else:
            print(f"the certificate in {self._files[0]} was renewed, and is used from now on", flush=True)

    def _take(self) -> None:
        # Resolved first: a Secret is changed by turning one link, and its two files are to be of the same day.
        certificate, key = (each.resolve() for each in self._files)
        self._seen = self._identity()
        _context().load_cert_chain(certificate, key)  # tried beside, since half a change would stay
        self.context.load_cert_chain(certificate, key)

    def _identity(self) -> _Identity:
        found = tuple(each.resolve() for each in self._files)
        return tuple((str(each), each.stat().st_mtime_ns) for each in found)

    def _words(self, error: OSError) -> str:
        certificate, key = self._files
        why = error.strerror or str(error)
        if isinstance(error, ssl.SSLError):
            why = (error.reason or str(error)).replace("_", " ").lower()
        return f"{certificate} and {key} are no certificate in PEM with its key ({why})"


def _context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    return made
