"""What a pod requests, in the sum that counts: the cache keeps that alone of a pod's containers."""

from __future__ import annotations

from smalt.api.quantities import amount
from smalt.api.schema import Json

Requested = dict[str, float]


def requested(pod: Json) -> Requested:
    """CPUs and graphics cards that are the pod's while it is there, as the scheduler counts them.

    Containers add up, with init containers that stay; one that ends before the next counts where it is the largest.
    """
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return dict(pod.get("requests") or {})  # it was summed up before
    staying: Requested = {}
    peak: Requested = {}
    for each in spec.get("initContainers") or []:
        if each.get("restartPolicy") == "Always":
            staying = _plus(staying, _of(each))
            peak = _most(peak, staying)
        else:
            peak = _most(peak, _plus(staying, _of(each)))
    for each in spec.get("containers") or []:
        staying = _plus(staying, _of(each))
    return _most(peak, staying)


def is_graphics_card(resource: str) -> bool:
    """nvidia.com/gpu, amd.com/gpu, gpu.intel.com/i915; a slice such as nvidia.com/mig-1g.5gb counts as one."""
    return "/" in resource and ("gpu" in resource or resource.startswith("nvidia.com/mig-"))


def _of(container: Json) -> Requested:
    """Limits alone need no look: the API server makes requests of them."""
    made: Requested = {}
    for name, quantity in ((container.get("resources") or {}).get("requests") or {}).items():
        key = "cpu" if name == "cpu" else "gpu" if is_graphics_card(name) else ""
        if key:
            made[key] = made.get(key, 0.0) + float(amount(quantity))
    return made


def _plus(one: Requested, other: Requested) -> Requested:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in one.keys() | other.keys()}


def _most(one: Requested, other: Requested) -> Requested:
    return {key: max(one.get(key, 0.0), other.get(key, 0.0)) for key in one.keys() | other.keys()}
