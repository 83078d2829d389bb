"""Hours of compute, counted in whole millionths so that sums are exact however often they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from smalt.api.schema import Json

MILLIONTHS = 1_000_000


@dataclass(frozen=True)
class Hours:
    """CPU and graphics card hours, in millionths of an hour."""

    cpu: int = 0
    gpu: int = 0

    def __add__(self, other: Hours) -> Hours:
        return Hours(self.cpu + other.cpu, self.gpu + other.gpu)

    def __sub__(self, other: Hours) -> Hours:
        return Hours(self.cpu - other.cpu, self.gpu - other.gpu)

    def at_least(self, other: Hours) -> Hours:
        """The larger of each."""
        return Hours(max(self.cpu, other.cpu), max(self.gpu, other.gpu))

    @classmethod
    def of(cls, cpus: float, gpus: float, seconds: float) -> Self:
        """So much of each for so long."""
        hours = max(seconds, 0.0) / 3600
        return cls(round(cpus * hours * MILLIONTHS), round(gpus * hours * MILLIONTHS))

    @classmethod
    def read(cls, stored: object) -> Self:
        """From a status or an annotation, where it may be absent."""
        found = stored if isinstance(stored, dict) else {}
        return cls(_millionths(found.get("cpuHours")), _millionths(found.get("gpuHours")))

    def written(self) -> Json:
        return {"cpuHours": self.cpu / MILLIONTHS, "gpuHours": self.gpu / MILLIONTHS}


def _millionths(value: object) -> int:
    return round(value * MILLIONTHS) if isinstance(value, int | float) else 0
