"""`azureml.ai.monitoring.context`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any


class CorrelationContext:
    """What ties several collected tables together."""

    def get_id(self) -> str:
        return ""

    def __str__(self) -> str:
        return self.get_id()


class BasicCorrelationContext(CorrelationContext):
    """An identifier, made up where none is given."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  the name is Azure's
        timestamp: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        self.id, self.timestamp = id or str(uuid.uuid4()), timestamp or int(time.time())
        self.headers = dict(headers or {})

    def get_id(self) -> str:
        return self.id

    def get_timestamp(self) -> int:
        return self.timestamp

    def get_headers(self) -> dict[str, Any]:
        return self.headers
