"""Whether a call of a model costs so much more alone than in company that it is worth waiting for others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy

from smalt_scorer.joined.watched import Joinable
from smalt_scorer.models.kernels import Kernel
from smalt_scorer.runners import MOST_TOGETHER

# What it costs a run() to stop and go on; a linear model is computed in less.
STOPPING_SECONDS = 25e-6


def is_worth_joining(method: Joinable) -> bool:
    """Measured on rows drawn at random, where it is known what rows it takes."""
    if not isinstance(method, Kernel):
        return True
    rows = numpy.random.default_rng(1).standard_normal((MOST_TOGETHER, method.width))
    apart = [rows[[at]] for at in range(MOST_TOGETHER)]
    alone = _seconds(lambda: method.alone(apart[0]))
    return alone - _seconds(lambda: method.joined(apart)) / MOST_TOGETHER > STOPPING_SECONDS


def _seconds(act: Callable[[], Any], times: int = 5) -> float:
    """The least of a few times: what else the machine did meanwhile is not looked for."""

    def once() -> float:
        began = time.perf_counter()
        act()
        return time.perf_counter() - began

    return min(once() for _ in range(times))
