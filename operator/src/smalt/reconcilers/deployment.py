"""Deployment (modeldeployments): pods that serve the version that the spec resolves to; the old ones answer until then."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from smalt.api import conditions
from smalt.api.deployment import DeploymentSpec
from smalt.api.kinds import APPS_DEPLOYMENT, CONFIG_MAP, DEPLOYMENT, POD, SECRET, WORKSPACE
from smalt.api.references import Address, address
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec
from smalt.builders import compute, preparing, scoring
from smalt.builders.scoring_contract import Scoring
from smalt.errors import TooLarge
from smalt.reconcilers import diagnosis, environment_images, served_model
from smalt.reconcilers.causes import admission, scheduling, starting
from smalt.reconcilers.causes.finding import Finding
from smalt.reconcilers.optimizing import optimizing, said_before
from smalt.reconcilers.plan import Child, Plan
from smalt.reconcilers.problem import Problem
from smalt.reconcilers.reporting import InvalidSpec, invalid, kept, parsed, status
from smalt.reconcilers.world import Live, LiveRead, Read, World
from smalt.settings import Settings

# Key and ConfigMap are not watched: this is how soon a deleted key comes back and an edited script is rolled out.
REST_SECONDS = 60.0
CONFIG_MAP_SECONDS = 5.0
EVENTS_SECONDS = 5.0
# The exit code after SIGKILL.
KILLED = 137
# Our programs' reasons that pass when what they wait for comes back.
PASSING = frozenset({"ModelUnavailable", "SigningKeyMissing", "CertificateMissing"})


def reads(resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    try:
        spec = parsed(DeploymentSpec, resource)
    except InvalidSpec:
        return ()
    at = address(DEPLOYMENT, resource)
    names = scoring.config_maps(spec, known_workspace(at, spec, world))
    key = Read(SECRET, at.namespace, scoring.key_name(at.name))
    return (key, *(Read(CONFIG_MAP, at.namespace, name) for name in names))


def known_workspace(at: Address, spec: DeploymentSpec, world: World) -> WorkspaceSpec | None:
    """The workspace's spec, as far as it can be known yet."""
    workspace = world.get(WORKSPACE, at.namespace, spec.workspace)
    try:
        return parsed(WorkspaceSpec, workspace) if workspace else None
    except InvalidSpec:
        return None  # `obstacle` says so


def code_config_map(spec: DeploymentSpec) -> str | None:
    return spec.code_configuration.code.config_map if spec.code_configuration else None


def plan(resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
    try:
        spec = parsed(DeploymentSpec, resource)
    except InvalidSpec as error:
        return invalid(resource, error, now)
    at = address(DEPLOYMENT, resource)
    server = world.get(APPS_DEPLOYMENT, at.namespace, at.name)
    model = served_model.resolved(resource, world)
    problem = obstacle(at, spec, model, world, live, has_server=server is not None)
    if problem:
        return hindered(resource, problem, server, now, spec)
    assert model is not None
    workspace = world.get(WORKSPACE, at.namespace, spec.workspace)
    workspace_spec = parsed(WorkspaceSpec, workspace or {})
    instance = compute.instance_type(workspace_spec, spec.instance_type)
    assert instance is not None
    name = code_config_map(spec)
    optimized = optimizing(spec, model, workspace_spec)
    wanted = Scoring(
        deployment=at,
        spec=spec,
        model=model,
        workspace=Address(WORKSPACE, at.namespace, spec.workspace),
        workspace_spec=workspace_spec,
        instance=instance,
        code_digest=scoring.code_digest(live.get(Read(CONFIG_MAP, at.namespace, name)) if name else None),
        scorer_image=settings.scorer_image,
        trainer_image=settings.trainer_image,
        pull_policy=settings.image_pull_policy,
        onnx=optimized.onnx,
    )
    making = scoring.environment_attempt(wanted, resource["metadata"]["uid"])
    built: Json = {}
    if environment_images.is_wanted(making):
        image = environment_images.known_of(making, live, resource) or environment_images.image(
            making, environment_images.OF_DEPLOYMENT, workspace or {}, world, live, now, settings
        )
        if not isinstance(image, environment_images.Image):
            return without_image(resource, image, server, now, spec)
        wanted = replace(wanted, built_image=image.name)
        built = {"environment": {"job": image.job, "image": image.name}}
    try:
        manifest = scoring.scoring_deployment(wanted)
    except TooLarge as error:
        return hindered(resource, Problem("TooLarge", str(error), is_users=True), server, now, spec)
    return observed(resource, manifest, server, world, now, spec, built, optimized.said)


def without_image(
    resource: Json,
    found: environment_images.NotYet | environment_images.Never,
    server: Json | None,
    now: datetime,
    spec: DeploymentSpec,
) -> Plan:
    """The packages are on their way into an image, or will never be in one; what is there serves meanwhile."""
    ready = conditions.find({"conditions": found.said}, "Ready")
    is_over = isinstance(found, environment_images.Never)
    again = REST_SECONDS if is_over else environment_images.LOOK_SECONDS
    problem = Problem(ready["reason"], ready["message"], is_users=is_over, again=again)
    made = hindered(resource, problem, server, now, spec)
    told = {**(made.status or {}), "environment": {"job": found.job}} if found.job else made.status
    builder = () if isinstance(found, environment_images.Never) else found.apply
    return replace(made, status=told, apply=(*made.apply, *builder))


def obstacle(
    at: Address, spec: DeploymentSpec, model: Json | None, world: World, live: Live, has_server: bool
) -> Problem | None:
    """The first thing that stands in the way."""
    workspace = world.get(WORKSPACE, at.namespace, spec.workspace)
    if workspace is None:
        return Problem(
            "WaitingForWorkspace",
            f"Workspace '{spec.workspace}' does not exist in namespace '{at.namespace}': apply it, or correct spec.workspace",
        )
    if not has_server and not conditions.is_ready(workspace):
        words = f"Workspace '{spec.workspace}' is not ready: {conditions.why_not(workspace)}; the rollout follows when it is"
        return Problem("WaitingForWorkspace", words)
    try:
        workspace_spec = parsed(WorkspaceSpec, workspace)
    except InvalidSpec as error:
        return Problem("WaitingForWorkspace", f"Workspace '{spec.workspace}': {error}")
    if compute.instance_type(workspace_spec, spec.instance_type) is None:
        has = ", ".join(compute.names(workspace_spec))
        return Problem(
            "UnknownInstanceType",
            f"Workspace '{spec.workspace}' has no instance type '{spec.instance_type}' (it has {has}): add it there, or "
            "correct spec.instanceType",
            is_users=True,
        )
    if found := served_model.obstacle(at, spec, model, workspace_spec, world):
        return found
    for name in scoring.config_maps(spec, workspace_spec):
        if live.get(Read(CONFIG_MAP, at.namespace, name)) is None:
            where = "spec.codeConfiguration" if name == code_config_map(spec) else "the Workspace's spec.trustBundle"
            return Problem(
                "WaitingForConfigMap",
                f"ConfigMap '{name}' of {where} does not exist in namespace '{at.namespace}': apply it; the rollout follows "
                "by itself",
                again=CONFIG_MAP_SECONDS,
            )
    return None


def hindered(resource: Json, problem: Problem, server: Json | None, now: datetime, spec: DeploymentSpec) -> Plan:
    """What is there stays as it is; the status says what is asked for in vain."""
    facts = counted(resource, spec, server) | kept(resource, "effectiveModel", "environment")
    if server and ready_replicas(server) and facts.get("effectiveModel"):
        words = (
            f"Model '{facts['effectiveModel']}' still serves; what is asked for now {fate(problem)}: {problem.message}"
        )
        said = conditions.serving_previous(words, problem.reason, problem.message, problem.is_users)
    else:
        said = (conditions.stalled if problem.is_users else conditions.waiting)(problem.reason, problem.message)
    said = said + said_before(spec, resource)
    return Plan(
        status=status(resource, said, now, **facts),
        apply=standing(address(DEPLOYMENT, resource), spec) if server else (),
        requeue_after=problem.again or REST_SECONDS,
    )


def fate(why: Problem | Finding) -> str:
    return "cannot" if why.is_users else "waits"


def standing(at: Address, spec: DeploymentSpec) -> tuple[Child, ...]:
    """The children that do not depend on the model."""
    key = (Child(scoring.key_secret(at), once=True, random=scoring.KEYS),)
    return (
        *(key if (spec.auth_mode or "key") == "key" else ()),
        Child(scoring.scoring_service(at, spec)),
        Child(scoring.scoring_network_policy(at)),
    )


def observed(
    resource: Json,
    manifest: Json,
    server: Json | None,
    world: World,
    now: datetime,
    spec: DeploymentSpec,
    built: Json,
    besides: tuple[Json, ...],
) -> Plan:
    """Rolls out, and says how far that is. `built` is the image of the packages, as the status has it; `besides` are
    conditions that have to do with neither."""
    at = address(DEPLOYMENT, resource)
    annotations = manifest["spec"]["template"]["metadata"]["annotations"]
    wanted_model = annotations[scoring.MODEL_ANNOTATION]
    facts = counted(resource, spec, server) | built
    if server and is_rolled_out(server, manifest):
        facts["effectiveModel"] = wanted_model
        said = conditions.ready("Serving", serving_message(at, spec, wanted_model, manifest["spec"]["replicas"]))
        again = REST_SECONDS
    else:
        facts |= kept(resource, "effectiveModel")
        pods = [pod for pod in world.labelled(POD, at) if is_of(pod, annotations)]
        finding = trouble(pods) or admission.unmade(server or {})
        has_old = bool(server and old_pods(at, annotations, world))
        said, again = rolling_out(at, wanted_model, facts, finding, has_old, doing(pods))
    children = (*standing(at, spec), Child(manifest))
    return Plan(status=status(resource, [*said, *besides], now, **facts), apply=children, requeue_after=again)


def serving_message(at: Address, spec: DeploymentSpec, model: str, replicas: int) -> str:
    if replicas == 0:
        return f"Model '{model}' is scaled to zero pods: set spec.replicas to serve it"
    return f"Model '{model}' answers at {scoring.scoring_uri(at, spec)}"


def rolling_out(
    at: Address, model: str, facts: Json, finding: Finding | None, has_old: bool, at_work: str
) -> tuple[list[Json], float]:
    if finding and has_old and facts.get("effectiveModel"):
        words = (
            f"the pods of before still serve Model '{facts['effectiveModel']}'; what is asked for now {fate(finding)}: "
            f"{finding.message}"
        )
        return conditions.serving_previous(words, finding.reason, finding.message, finding.is_users), REST_SECONDS
    if finding:
        said = (conditions.stalled if finding.is_users else conditions.waiting)(finding.reason, finding.message)
        return said, REST_SECONDS
    (label, name), *_ = scoring.selector(at).items()
    words = f"pods for Model '{model}' of Deployment '{at.name}' are starting{at_work}: see `kubectl get pods -l {label}={name}`"
    return conditions.waiting("RollingOut", words), EVENTS_SECONDS


def doing(pods: list[Json]) -> str:
    """What the slowest of the pods is at before its server starts, in words that go on a sentence."""
    running = {name for pod in pods for name in diagnosis.running(pod)}
    return next((f", and {words}" for name, words in _DOING.items() if name in running), "")


_DOING = {
    scoring.FETCHING: "the model is fetched",
    preparing.CONTAINER: "their packages are installed",
    scoring.CONTAINER: "the model is loaded",
}


def counted(resource: Json, spec: DeploymentSpec, server: Json | None) -> Json:
    at = address(DEPLOYMENT, resource)
    report = (server or {}).get("status") or {}
    labels = ",".join(f"{key}={value}" for key, value in scoring.selector(at).items())
    return {
        "replicas": report.get("replicas", 0),
        "readyReplicas": report.get("readyReplicas", 0),
        "selector": labels,
        "scoringUri": scoring.scoring_uri(at, spec),
    }


def ready_replicas(server: Json) -> int:
    return int((server.get("status") or {}).get("readyReplicas") or 0)


def is_rolled_out(server: Json, manifest: Json) -> bool:
    """The server is what is wanted, its controller has seen it, and all its pods are of the new kind and available."""
    report, replicas = server.get("status") or {}, manifest["spec"]["replicas"]
    template = server["spec"]["template"]["metadata"].get("annotations", {})
    same = is_of({"metadata": {"annotations": template}}, manifest["spec"]["template"]["metadata"]["annotations"])
    seen = report.get("observedGeneration", 0) >= server["metadata"].get("generation", 1)
    all_new = report.get("updatedReplicas", 0) == replicas and report.get("replicas", 0) == replicas
    return same and seen and all_new and report.get("availableReplicas", 0) >= replicas


def is_of(pod: Json, annotations: Json) -> bool:
    """The pod was made from a template with these contents."""
    found = pod["metadata"].get("annotations") or {}
    return bool(found.get(scoring.CONTENTS_ANNOTATION) == annotations[scoring.CONTENTS_ANNOTATION])


def old_pods(at: Address, annotations: Json, world: World) -> list[Json]:
    """Ready pods of an earlier template."""
    return [pod for pod in world.labelled(POD, at) if not is_of(pod, annotations) and is_ready(pod)]


def is_ready(pod: Json) -> bool:
    found = (pod.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in found)


def trouble(pods: list[Json]) -> Finding | None:
    """Why pods do not come up: their programs' own last words first. What a pod says that is deleted is no trouble."""
    pods = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    for pod in pods:
        for each in diagnosis.statuses(pod):
            state = (each.get("state") or {}).get("terminated") or (each.get("lastState") or {}).get("terminated")
            if not state or not state.get("exitCode"):
                continue
            return of_ended(pod, each, state)
    for pod in pods:
        finding = scheduling.unscheduled(pod) or starting.blocked(pod, "the operator's SMALT_SCORER_IMAGE")
        if finding:
            return finding
    return None


def of_ended(pod: Json, container: Json, state: Json) -> Finding:
    said = diagnosis.report(state)
    if said.get("reason") and said.get("message"):
        reason = str(said["reason"])[:63]
        return Finding(reason, str(said["message"]), is_users=reason not in PASSING)
    name, container_name, code = pod["metadata"]["name"], container.get("name"), state.get("exitCode")
    if state.get("reason") == "OOMKilled":
        raising = "raise spec.resources.limits.memory"
        if container_name != scoring.CONTAINER:  # theirs are not the user's to set
            raising = "use a smaller model, or fewer packages in spec.environment"
        return Finding(
            "OutOfMemory", f"container '{container_name}' took more memory than its limit: {raising}", is_users=True
        )
    if code == KILLED:
        return Finding(
            "Killed",
            f"container '{container_name}' was killed, as one is that does not answer its probes, or when its node lacks "
            f"memory: see the events of `kubectl describe pod {name}`",
        )
    return Finding(
        "InternalError",
        f"container '{container_name}' ended with exit code {code}: "
        f"see `kubectl logs {name} -c {container_name} --previous`",
    )
