"""What came before an attempt, carried by its Job: counts that no status has to be trusted for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Self

from smalt.api.hours import Hours
from smalt.api.schema import Json

ANNOTATION = "smalt.dev/before"


@dataclass(frozen=True)
class History:
    """The attempts before one: how many failed by themselves, how many the platform ended, and what they used.

    Attempts that were suspended are in neither count. `because` is why there is another one, in words.
    """

    failures: int = 0
    disruptions: int = 0
    used: Hours = field(default_factory=Hours)
    because: str = ""

    @classmethod
    def read(cls, stored: Json) -> Self:
        """From a run's status or a Job's annotation."""
        words = str(stored.get("because") or "")
        return cls(_count(stored, "failures"), _count(stored, "disruptions"), Hours.read(stored.get("usage")), words)

    @classmethod
    def of_job(cls, job: Json) -> Self:
        try:
            found = json.loads((job["metadata"].get("annotations") or {}).get(ANNOTATION) or "{}")
        except ValueError:
            found = {}  # somebody else's words: no history that we wrote
        return cls.read(found if isinstance(found, dict) else {})

    def written(self) -> Json:
        """As facts of a status; what is nothing is left out."""
        made: Json = {"failures": self.failures, "disruptions": self.disruptions}
        return {name: count for name, count in made.items() if count} | (
            {"usage": self.used.written()} if self.used != Hours() else {}
        )

    def annotation(self) -> dict[str, str]:
        because = {"because": self.because} if self.because else {}
        text = json.dumps(self.written() | because, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        return {ANNOTATION: text} if self != History() else {}


def _count(stored: Json, name: str) -> int:
    found = stored.get(name)
    return found if isinstance(found, int) and found >= 0 else 0
