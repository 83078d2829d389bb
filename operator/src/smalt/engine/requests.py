"""What a pod requests, in the sum that counts: the cache keeps that alone of a pod's containers."""

from __future__ import annotations

from smalt.api.schema import Json
from smalt.reconcilers import fit

Requested = dict[str, float]


def requested(pod: Json) -> Requested:
    """CPUs and graphics cards that are the pod's while it is there, as the scheduler counts them."""
    if "requests" in pod:
        return dict(pod["requests"])  # it was summed up before
    counted = fit.requests(pod.get("spec") or {})
    cards = float(sum(amount for name, amount in counted.items() if is_graphics_card(name)))
    made = {"cpu": float(counted.get("cpu", 0)), "gpu": cards}
    return {name: amount for name, amount in made.items() if amount}


def is_graphics_card(resource: str) -> bool:
    """nvidia.com/gpu, amd.com/gpu, gpu.intel.com/i915; a slice such as nvidia.com/mig-1g.5gb counts as one."""
    return "/" in resource and ("gpu" in resource or resource.startswith("nvidia.com/mig-"))
