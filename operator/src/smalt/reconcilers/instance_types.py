"""What a Workspace's status says of its instance types: whether a node has room for one more run of each.

The words name what does not change with every pod that comes and goes, so that a busy cluster is no reason to write.
"""

from __future__ import annotations

from collections.abc import Mapping

from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.training_run import TrainingRunSpec
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders import compute
from smalt.builders.training_job import Attempt, training_job
from smalt.reconcilers.fit import Amounts, Need, Obstacle, Shortage, Stage, need_of, obstacle, written
from smalt.settings import Settings

UNKNOWN = "unknown: the operator serves one namespace and may not look at nodes"
# Any run will do: what it asks of a node is its instance type's, and what stands beside its script.
_ANY_RUN = TrainingRunSpec.model_validate({"experiment": "any", "code": {"inline": {"any.py": ""}}, "command": "any"})


def offered(
    at: Address, spec: WorkspaceSpec, nodes: list[Json], used: Mapping[str, Amounts], settings: Settings
) -> dict[str, Json]:
    """The status of every instance type by name."""
    if settings.namespace:
        return {name: {"message": UNKNOWN} for name in compute.names(spec)}
    return {name: _offer(at, spec, name, nodes, used, settings) for name in compute.names(spec)}


def _offer(
    at: Address, spec: WorkspaceSpec, name: str, nodes: list[Json], used: Mapping[str, Amounts], settings: Settings
) -> Json:
    chosen = compute.instance_type(spec, name)
    assert chosen is not None
    try:
        need = _need(at, spec, chosen, settings)
    except ValueError as error:  # a quantity that an older schema, or none, has let through
        return {"fitsNow": False, "message": f"spec.instanceTypes.{name}: {error}"}
    return _fit(need, nodes, used)


def _need(at: Address, spec: WorkspaceSpec, chosen: InstanceType, settings: Settings) -> Need:
    """What the pod of a run of this type asks for, its helpers included."""
    attempt = Attempt(
        run=at,
        uid="",
        number=1,
        spec=_ANY_RUN,
        workspace=at,
        workspace_spec=spec,
        instance=chosen,
        trainer_image=settings.trainer_image,
        pull_policy=settings.image_pull_policy,
    )
    return need_of(training_job(attempt)["spec"]["template"]["spec"])


def _fit(need: Need, nodes: list[Json], used: Mapping[str, Amounts]) -> Json:
    if not nodes:
        return {"fitsNow": False, "message": "the cluster has no node"}
    met = [obstacle(need, node, used.get(node["metadata"]["name"], {})) for node in nodes]
    obstacles = [each for each in met if each is not None]
    if len(obstacles) < len(nodes):
        return {"fitsNow": True, "message": "a node has room for one more run of it"}
    stage = max(each.stage for each in obstacles)
    return {"fitsNow": False, "message": _words([each for each in obstacles if each.stage == stage])}


def _words(nearest: list[Obstacle]) -> str:
    """What keeps all of the nodes that come nearest."""
    named = " or ".join(sorted({each.words for each in nearest}))
    match nearest[0].stage:
        case Stage.UNLIKE:
            return f"no node has the label {named}"
        case Stage.NOT_READY:
            return "no node that would do is ready"
        case Stage.CORDONED:
            return "every node that would do is cordoned"
        case Stage.TAINTED:
            return f"every node that would do has a taint that it does not tolerate: {named}"
        case Stage.TOO_SMALL:
            return f"no node has {' and '.join(_too_small(nearest))}"
    resources = sorted({short.resource for each in nearest for short in each.shortages})
    return f"no node has enough {' and '.join(resources)} free now; runs of it wait for that"


def _too_small(nearest: list[Obstacle]) -> list[str]:
    """What no node has, with the most that one has; the resources of the node that lacks the fewest."""
    lacking = min((each.shortages for each in nearest), key=len)
    return [_most(each, nearest) for each in lacking]


def _most(short: Shortage, nearest: list[Obstacle]) -> str:
    found = [each.allocatable for node in nearest for each in node.shortages if each.resource == short.resource]
    most = max(found)
    if not most:
        return short.resource
    wanted = written(short.resource, short.wanted, is_at_least=True)
    return f"{wanted} {short.resource} (the largest has {written(short.resource, most)})"
