"""What the recorder of a running pod says of its run, asked over HTTP at the pod's own address.

Whoever trains in that pod may answer in the recorder's place, so nothing of it is trusted: an answer comes soon, is
small and plain, leads nowhere else, and fits the schema, or it counts as none. Neither is trouble of ours: a pod may
be starting, of an older version, or out of reach for an operator that runs outside the cluster.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Protocol

import aiohttp
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from yarl import URL

from smalt.api.conditions import instant
from smalt.api.schema import Json
from smalt.builders.training_job import PAGE_PORT
from smalt.reconcilers.run_results import finite_metrics

STATUS_PATH = "/status.json"
MOST_BYTES = 64 * 1024
# Connections within a cluster are made in milliseconds; nobody waits for this answer.
TIMEOUT = aiohttp.ClientTimeout(total=2.0, connect=1.0)
MOST_MESSAGE = 400


class LiveObserver(Protocol):
    """What metrics want to know: `result` is one of smalt.metrics.LIVE_RESULTS."""

    def asked(self, result: str) -> None: ...


class Unusable(ValueError):
    """An answer that is none."""


class _Said(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, use_attribute_docstrings=True, frozen=True, strict=True, extra="ignore"
    )


class Progress(_Said):
    """How far the script says it is."""

    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    """0 to 100."""
    # Far-off times would be no date-time for the API server.
    estimated_completion_time: (
        Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))] | None
    ) = None
    """When it expects to end."""


class Report(_Said):
    """The schema of an answer."""

    phase: Literal["Preparing", "Running", "Finalizing"]
    """What the attempt is doing."""
    reason: Annotated[str, Field(pattern="^[A-Z][A-Za-z0-9]{0,62}$")] | None = None
    """Why it is doing that, where the phase alone does not say it."""
    message: str = ""
    """A sentence for people."""
    progress: Progress | None = None
    """How far it is."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """The latest values."""


class Recorders:
    """Asks recorders. To be made within an event loop, and closed."""

    def __init__(self, observer: LiveObserver, port: int = PAGE_PORT) -> None:
        self._observer, self._port = observer, port
        self._session = aiohttp.ClientSession(
            # A connection kept for each of a thousand pods would be used once in ten seconds.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A small body may unpack to a large one.
            auto_decompress=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "smalt"},
            read_bufsize=MOST_BYTES,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, address: str) -> Json | None:
        """What the recorder at that IP address says: phase, message, progress, metrics. None without a usable answer."""
        try:
            content = await self._get(address)
            found, is_whole = understood(content)
        except (TimeoutError, aiohttp.ClientConnectionError, OSError):
            self._observer.asked("unreachable")
            return None
        except (aiohttp.ClientError, ValueError):
            self._observer.asked("unusable")
            return None
        self._observer.asked("answered" if is_whole else "partial")
        return found

    async def _get(self, address: str) -> bytes:
        """The body of a good answer, as far as it is allowed to go."""
        host = str(ipaddress.ip_address(address))
        url = URL.build(scheme="http", host=host, port=self._port, path=STATUS_PATH)
        async with self._session.get(url, allow_redirects=False, timeout=TIMEOUT) as answer:
            if answer.status != 200:
                raise Unusable(f"status {answer.status}")
            content = bytearray()
            async for part in answer.content.iter_any():
                content += part
                if len(content) > MOST_BYTES:
                    raise Unusable(f"more than {MOST_BYTES} bytes")
            return bytes(content)


def understood(content: bytes) -> tuple[Json, bool]:
    """The answer in the form of the run's status, and whether all metrics in it could be taken. Unusable for what is
    none; metrics that a status cannot hold are left out."""
    try:
        report = Report.model_validate_json(content)
    except ValidationError as error:
        raise Unusable(str(error)) from error
    made: Json = {"phase": report.phase, "reason": report.reason or report.phase, "message": _line(report.message)}
    if report.progress:
        made["progress"] = {"percent": int(report.progress.percent)}
        if report.progress.estimated_completion_time:
            expected = report.progress.estimated_completion_time.astimezone(UTC)
            made["progress"]["estimatedCompletionTime"] = instant(expected)
    made["metrics"] = finite_metrics(report.metrics)
    return made, len(made["metrics"]) == len(report.metrics)


def _line(words: str) -> str:
    """One line without control characters, for terminals show it as it is."""
    line = "".join(each for each in " ".join(words.split()) if each.isprintable())
    return line if len(line) <= MOST_MESSAGE else line[: MOST_MESSAGE - 1] + "…"
