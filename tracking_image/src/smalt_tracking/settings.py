"""Where the server listens and keeps its files, from the environment; never a password."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Whatever port a port-forward takes on the laptop, the browser says one of these.
FORWARDED_HOSTS = ("localhost:*", "127.0.0.1:*")


# How addresses of the database that MLflow and its driver know begin.
DATABASES = ("postgresql://", "postgresql+psycopg://")


class SettingsInvalid(ValueError):
    """A setting that the server cannot start with; the text names it and says what it takes."""


@dataclass(frozen=True)
class Settings:
    """What is set from outside."""

    host: str
    port: int
    data: Path
    secrets: Path
    allowed_hosts: tuple[str, ...]
    database: Path
    database_secret: str
    artifacts: str
    trust_bundle: str

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings, or SettingsInvalid."""
        return cls(
            host=environment.get("SMALT_HOST", "0.0.0.0"),  # noqa: S104 - a pod is reached by its own address
            port=port_from(environment.get("SMALT_PORT", "5000")),
            data=Path(environment.get("SMALT_DATA", "/data")),
            secrets=Path(environment.get("SMALT_SECRETS", "/smalt/secrets")),
            allowed_hosts=hosts_from(environment.get("SMALT_ALLOWED_HOSTS", "")),
            database=Path(environment.get("SMALT_DATABASE", "/smalt/database/uri")),
            database_secret=environment.get("SMALT_DATABASE_SECRET", ""),
            artifacts=bucket_from(environment.get("SMALT_ARTIFACTS", "")),
            trust_bundle=environment.get("SMALT_TRUST_BUNDLE", ""),
        )

    def database_uri(self, file: str) -> str:
        """The database that the mounted file names, or one of SQLite's in the data folder."""
        if not self.database_secret:
            return f"sqlite:///{self.data / file}"
        uri = self.database.read_text(encoding="utf-8").strip() if self.database.exists() else ""
        if not uri.startswith(DATABASES):
            problem = "no address of a PostgreSQL database under its key uri" if uri else "no key uri, or is not there"
            raise SettingsInvalid(
                f"the Secret '{self.database_secret}' of tracking.databaseSecret has {problem}: write "
                "postgresql://user:password@host:5432/database to it"
            )
        return uri


def port_from(text: str) -> int:
    """A TCP port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsInvalid(f"SMALT_PORT is {text!r}: set it to a number from 1 to 65535")
    return int(text)


def hosts_from(text: str) -> tuple[str, ...]:
    """The names by which clients may call the server, as their Host header has them."""
    named = tuple(host.strip() for host in text.split(",") if host.strip())
    for host in named:
        if "*" in host.removesuffix(":*"):
            raise SettingsInvalid(f"SMALT_ALLOWED_HOSTS holds {host!r}: name each host; only its port may be *")
    return (*named, *FORWARDED_HOSTS)


def bucket_from(text: str) -> str:
    """The bucket for artifacts, or nothing for the data folder."""
    if text and not text.startswith("s3://"):
        raise SettingsInvalid(f"SMALT_ARTIFACTS is {text!r}: write it as s3://bucket/prefix")
    return text.rstrip("/")
