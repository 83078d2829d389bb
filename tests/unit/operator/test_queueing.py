"""The queue of a Workspace: fair, counted without walking, told with few writes, and never over its limit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smalt.api.kinds import EXPERIMENT, JOB, TRAINING_RUN, WORKSPACE, Kind
from smalt.engine.store import Store
from smalt.reconcilers import queueing, training_run
from smalt.reconcilers import workspace as workspace_reconciler
from smalt.reconcilers.plan import Child
from smalt.reconcilers.queueing import is_worth_telling, position, turns
from support.resources import (
    NAMESPACE,
    NOW,
    SETTINGS,
    completed,
    experiment,
    finished_run,
    owned_by,
    ready,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
LINES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), max_size=6)
LAST = st.one_of(st.none(), st.sampled_from("abcdefz"))


def lines(lengths: dict[str, int]) -> dict[str, list[str]]:
    return {name: [f"{name}-{number}" for number in range(length)] for name, length in lengths.items()}


@given(LINES, LAST)
def test_everybody_is_served_in_turn_and_within_an_experiment_in_the_order_of_arrival(
    lengths: dict[str, int], last: str | None
) -> None:
    order = list(turns(lines(lengths), last))
    assert sorted(order) == sorted((name, each) for name, line in lines(lengths).items() for each in line)
    for name, line in lines(lengths).items():
        assert [each for experiment_, each in order if experiment_ == name] == line
    for index, (name, _) in enumerate(order):
        waits = [other for other in lengths if other != name and any(o == other for o, _ in order[index:])]
        following = next((at for at in range(index + 1, len(order)) if order[at][0] == name), len(order))
        between = [other for other, _ in order[index + 1 : following]]
        assert following == len(order) or sorted(between) == sorted(waits), "one turn for each that waits"


@given(LINES, LAST)
def test_a_place_is_counted_as_the_turns_come(lengths: dict[str, int], last: str | None) -> None:
    for place, (name, each) in enumerate(turns(lines(lengths), last), 1):
        assert position(lengths, last, name, lines(lengths)[name].index(each)) == place


def test_after_the_one_that_was_served_last_comes_the_next_by_name() -> None:
    assert [name for name, _ in turns(lines({"a": 2, "b": 1, "c": 1}), "a")] == ["b", "c", "a", "a"]
    assert [name for name, _ in turns(lines({"a": 1, "b": 1}), "c")] == ["a", "b"]


def test_a_run_that_moves_up_by_a_thousand_places_is_told_of_few_of_them() -> None:
    told, writes = 1000, 0
    for place in range(999, 0, -1):
        if is_worth_telling(place, told):
            told, writes = place, writes + 1
    assert told == 1 and writes <= queueing.TOLD_EXACTLY + 7, "the last ten, and each half before"


def test_a_step_of_a_long_queue_is_worth_few_writes() -> None:
    told = dict(enumerate(range(1, 1001)))
    writes = []
    for _ in range(500):
        del told[next(iter(told))]
        outdated = [key for place, key in enumerate(told, 1) if is_worth_telling(place, told[key])]
        told |= {key: place for place, key in enumerate(told, 1) if key in outdated}
        writes.append(len(outdated))
    assert max(writes) <= queueing.TOLD_EXACTLY + 10, "the first ten, and one where a half is passed"


# --- a run's side and the Workspace's side ----------------------------------------------------------------------------

LIMITED: Json = {"policy": {"maxConcurrentRuns": 2}}


def limited(*admitted: str, last: str | None = None, limit: int = 2) -> Json:
    queue = {"admitted": list(admitted)} | ({"lastServed": last} if last else {})
    return workspace({"policy": {"maxConcurrentRuns": limit}}, ready() | {"queue": queue})


def asking(name: str, at: int = 0, of: str = "trials", **spec: Any) -> Json:
    made = run(name, **({"experiment": of} | spec))
    made["metadata"]["creationTimestamp"] = f"2026-01-02T03:04:{at:02}Z"
    condition = {"type": "Ready", "status": "False", "reason": "Queued", "message": "position 1 of 1"}
    made["status"] = {"observedGeneration": 1, "phase": "Queued", "conditions": [condition], "queuePosition": 1}
    return made


def plan_of(it: Json, *world: Json) -> Any:
    return training_run.plan(it, store_of(it, *world), {}, NOW, SETTINGS)


def test_a_run_without_a_place_asks_for_one_and_says_where_it_stands() -> None:
    others = [experiment(), other_experiment(), *(asking(f"a-{at}", at) for at in range(3)), asking("b", 9, "others")]
    late = run("late") | {"status": {}}
    late["metadata"]["creationTimestamp"] = "2026-01-02T03:05:00Z"
    plan = plan_of(late, limited("a-0", last="trials"), *others)
    assert plan.apply == () and plan.status["phase"] == "Queued" and said(plan.status)["reason"] == "Queued"
    assert plan.status["queuePosition"] == 4
    for word in ("position 4 of 4", "Workspace 'lab'", "2 runs"):
        assert word in said(plan.status)["message"]


def other_experiment() -> Json:
    return resource(EXPERIMENT, "others", {"workspace": "lab"}, ready())


def test_a_run_with_a_place_gets_its_job() -> None:
    plan = plan_of(asking("first"), limited("first"), experiment())
    assert [child.name for child in plan.apply] == ["first-1"]
    assert "queuePosition" not in plan.status


def test_without_a_limit_nobody_is_asked() -> None:
    assert [child.name for child in plan_of(run(), workspace(), experiment()).apply] == ["first-1"]


@pytest.mark.parametrize(
    ("it", "reason"),
    [
        (run(code={"configMap": "later"}), "WaitingForConfigMap"),
        (run(instanceType="gpu"), "UnknownInstanceType"),
        (run(command="x ${{inputs.no}}"), "InvalidCommand"),
    ],
)
def test_a_run_that_could_not_start_asks_for_no_place(it: Json, reason: str) -> None:
    plan = plan_of(it, limited(), experiment())
    assert said(plan.status)["reason"] == reason


def test_places_are_given_first_in_first_out_and_round_robin() -> None:
    runs = [asking("a-1", 1), asking("a-2", 2), asking("a-3", 3), asking("b-1", 4, "others")]
    admission = admission_of(limited(limit=3), *runs)
    assert admission.queue == {"admitted": ["b-1", "a-1", "a-2"], "lastServed": "trials"}
    assert [each.name for each in admission.wake] == ["b-1", "a-1", "a-2"], "others wait where they are told they do"


def admission_of(it: Json, *world: Json, is_open: bool = True) -> queueing.Admission:
    store = store_of(it, experiment(), other_experiment(), *world)
    return queueing.admission(it, it["spec"]["policy"]["maxConcurrentRuns"], is_open, store)


def test_while_the_budget_is_used_up_nobody_gets_a_place() -> None:
    admission = admission_of(limited(), asking("a-1"), is_open=False)
    assert admission.queue == {"admitted": []}


def test_who_has_ended_makes_room_in_the_same_write() -> None:
    admission = admission_of(limited("old", limit=1), finished_run("old"), asking("new"))
    assert admission.queue == {"admitted": ["new"], "lastServed": "trials"}


def job_of(it: Json, spec: Json | None = None, **status: Any) -> Json:
    about = owned_by(it) | {"labels": {TRAINING_RUN.label: it["metadata"]["name"]}}
    return resource(JOB, f"{it['metadata']['name']}-1", spec or {}, status, **about)


def test_a_run_that_is_deleted_keeps_its_place_until_its_job_is_gone() -> None:
    gone = run("gone")
    admission = admission_of(limited("gone", limit=1), job_of(gone), asking("new"))
    assert admission.queue == {"admitted": ["gone"]} and admission.again is not None
    assert admission_of(limited("gone", limit=1), asking("new")).queue["admitted"] == ["new"]


def waiting_run(name: str, reason: str) -> Json:
    made = asking(name)
    made["status"] |= {"phase": "Pending", "conditions": [made["status"]["conditions"][0] | {"reason": reason}]}
    return made


@pytest.mark.parametrize("reason", ["Suspended", "WaitingForConfigMap", "UnknownInstanceType"])
def test_a_place_that_is_given_back_is_given_away_one_look_later(reason: str) -> None:
    world = [waiting_run("idle", reason), asking("new", 1)]
    first = admission_of(limited("idle", limit=1), *world)
    assert first.queue == {"admitted": []} and first.again is not None
    assert admission_of(limited(limit=1), *world).queue["admitted"] == ["new"]


def test_a_run_that_made_its_job_meanwhile_is_counted_though_its_place_was_taken_back() -> None:
    idle = waiting_run("idle", "WaitingForConfigMap")
    assert admission_of(limited(limit=1), idle, job_of(idle), asking("new", 1)).queue == {"admitted": ["idle"]}


def test_a_run_that_is_being_reconciled_keeps_its_place() -> None:
    store = store_of(limited("idle", limit=1), experiment(), waiting_run("idle", "WaitingForConfigMap"), asking("new"))
    at = queueing.Address(TRAINING_RUN, NAMESPACE, "idle")
    with store.runs.busy(at):
        assert queueing.admission(limited("idle", limit=1), 1, True, store).queue == {"admitted": ["idle"]}


def test_a_lower_limit_ends_nobody_and_admits_nobody_until_there_is_room() -> None:
    admission = admission_of(limited("a", "b", limit=1), asking("a"), asking("b"), asking("c"))
    assert admission.queue["admitted"] == ["a", "b"]


def test_runs_that_work_when_the_limit_comes_have_a_place_each() -> None:
    at_work = waiting_run("busy", "Running")
    admission = admission_of(workspace(LIMITED), at_work, job_of(at_work), asking("new"))
    assert admission.queue["admitted"] == ["busy", "new"]


@pytest.mark.slow
def test_a_queue_of_ten_thousand_finished_runs_is_as_quick_to_decide() -> None:
    """Counted, not timed: nothing that was finished is looked at."""
    store = store_of(limited(limit=1), experiment(), asking("new"))
    for number in range(10_000):
        store.upsert(TRAINING_RUN, finished_run(f"old-{number}"))
    looked: list[str] = []
    found = store.get
    store.get = lambda kind, namespace, name: looked.append(name) or found(kind, namespace, name)  # type: ignore[method-assign]
    queueing.admission(limited(limit=1), 1, True, store)
    training_run.plan(asking("new"), store, {}, NOW, SETTINGS)
    assert "new" in looked and len(looked) < 50
    assert not any(name.startswith("old-") for name in looked)


# --- what holds whatever comes between --------------------------------------------------------------------------------

LIMIT = 2
EXPERIMENTS = ("trials", "others")


class Operator:
    """One replica: a cache that lags behind, and writes that may be on their way."""

    def __init__(self) -> None:
        self.store = Store()
        self.flying: dict[str, Any] = {}


class Limited(RuleBasedStateMachine):
    """Real reconcilers, an API server of a few dictionaries, and everything in any order."""

    operators = 1

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[Kind, str], Json] = {}
        self.version = 1
        self.replicas = [Operator() for _ in range(self.operators)]
        self.count = 0
        self.put(WORKSPACE, workspace({"policy": {"maxConcurrentRuns": LIMIT}}))
        for name in EXPERIMENTS:
            self.put(EXPERIMENT, resource(EXPERIMENT, name, {"workspace": "lab"}, ready()))
        for operator in self.replicas:
            self.catch_up(operator)

    # the API server

    def put(self, kind: Kind, it: Json) -> Json:
        self.version += 1
        stored = copy.deepcopy(it)
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[kind, stored["metadata"]["name"]] = stored
        return stored

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for each, name in self.objects if each is kind)

    def catch_up(self, operator: Operator) -> None:
        for (kind, _), it in list(self.objects.items()):
            operator.store.upsert(kind, copy.deepcopy(it))

    def write_status(self, operator: Operator, kind: Kind, seen: Json, status: Json | None) -> bool:
        """The status, if the object is still as it was seen; the answer goes into the cache."""
        present = self.objects[kind, seen["metadata"]["name"]]
        if present["metadata"]["resourceVersion"] != seen["metadata"]["resourceVersion"]:
            return False
        if status is not None and status != seen.get("status"):
            operator.store.upsert(kind, copy.deepcopy(self.put(kind, present | {"status": status})))
        return True

    @initialize()
    def some_wait_already(self) -> None:
        for number in range(2 * LIMIT + 2):
            self.somebody_applies_a_run(EXPERIMENTS[number % 2])
        for name in self.names(TRAINING_RUN):
            self.catch_up(self.replicas[0])
            self.look_at(self.replicas[0], name)
            self.carry_out(self.replicas[0], name)
        for operator in self.replicas:
            self.catch_up(operator)

    # people

    @rule(which=st.sampled_from(EXPERIMENTS))
    def somebody_applies_a_run(self, which: str) -> None:
        self.count += 1
        made = run(f"run-{self.count:03}", experiment=which)
        made["metadata"]["creationTimestamp"] = f"2026-01-02T03:{self.count // 60:02}:{self.count % 60:02}Z"
        self.put(TRAINING_RUN, made)

    @precondition(lambda self: self.operators == 1)
    @rule(data=st.data(), field=st.sampled_from(["suspend", "suspend", "cancel"]))
    def somebody_edits_a_run(self, data: st.DataObject, field: str) -> None:
        names = self.names(TRAINING_RUN)
        if names:
            it = copy.deepcopy(self.objects[TRAINING_RUN, data.draw(st.sampled_from(names))])
            it["spec"][field] = field == "cancel" or not it["spec"].get(field)
            it["metadata"]["generation"] += 1
            self.put(TRAINING_RUN, it)

    # the cluster

    @rule(data=st.data())
    def a_job_ends(self, data: st.DataObject) -> None:
        going = [name for name in self.names(JOB) if is_going(self.objects[JOB, name])]
        if going:
            it = self.objects[JOB, data.draw(st.sampled_from(going))]
            self.put(JOB, it | {"status": completed("Failed", "DeadlineExceeded")})

    @rule(data=st.data())
    def the_jobs_controller_lets_go_of_a_suspended_job(self, data: st.DataObject) -> None:
        names = [name for name in self.names(JOB) if self.objects[JOB, name]["spec"].get("suspend")]
        if names:
            it = self.objects[JOB, data.draw(st.sampled_from(names))]
            self.put(JOB, it | {"status": LET_GO})

    # the operator

    @rule(data=st.data())
    def news_reach_a_replica(self, data: st.DataObject) -> None:
        operator = data.draw(st.sampled_from(self.replicas))
        kind, name = data.draw(st.sampled_from(sorted(self.objects, key=lambda key: (key[0].kind, key[1]))))
        operator.store.upsert(kind, copy.deepcopy(self.objects[kind, name]))

    @rule(data=st.data())
    def all_news_reach_a_replica(self, data: st.DataObject) -> None:
        self.catch_up(data.draw(st.sampled_from(self.replicas)))

    def look_at_the_workspace(self, operator: Operator) -> None:
        seen = copy.deepcopy(operator.store.get(WORKSPACE, NAMESPACE, "lab"))
        assert seen is not None
        plan = workspace_reconciler.plan(seen, operator.store, {}, NOW, SETTINGS)
        self.write_status(operator, WORKSPACE, seen, plan.status)

    def look_at(self, operator: Operator, name: str) -> None:
        """Decided now; what is decided is carried out by another step, while anything may come between."""
        at = queueing.Address(TRAINING_RUN, NAMESPACE, name)
        seen = copy.deepcopy(operator.store.get(*at))
        assert seen is not None
        busy = operator.store.runs.busy(at)
        busy.__enter__()
        operator.flying[name] = (seen, training_run.plan(seen, operator.store, {}, NOW, SETTINGS), busy)

    def carry_out(self, operator: Operator, name: str) -> None:
        seen, plan, busy = operator.flying.pop(name)
        for child in plan.apply:
            operator.store.upsert(JOB, copy.deepcopy(self.made(seen, child)))
        self.write_status(operator, TRAINING_RUN, seen, plan.status)
        busy.__exit__(None, None, None)

    def made(self, owner: Json, child: Child) -> Json:
        present = self.objects.get((JOB, child.name))
        wanted = child.manifest["metadata"]
        if present is None:
            metadata = wanted | owned_by(owner) | {"uid": f"uid-{child.name}"}
            return self.put(JOB, child.manifest | {"metadata": metadata, "spec": {}, "status": {}})
        if child.once:
            return present
        notes = (present["metadata"].get("annotations") or {}) | wanted["annotations"]
        return self.put(
            JOB, present | {"metadata": present["metadata"] | {"annotations": notes}, "spec": child.manifest["spec"]}
        )

    @rule(data=st.data())
    def the_workspace_is_looked_at(self, data: st.DataObject) -> None:
        self.look_at_the_workspace(data.draw(st.sampled_from(self.replicas)))

    @rule(data=st.data())
    def all_admitted_runs_are_looked_at(self, data: st.DataObject) -> None:
        operator = data.draw(st.sampled_from(self.replicas))
        seen = operator.store.get(WORKSPACE, NAMESPACE, "lab")
        assert seen is not None
        for name in queueing.admitted(seen):
            if name not in operator.flying and operator.store.get(TRAINING_RUN, NAMESPACE, name):
                self.look_at(operator, name)

    @rule(data=st.data())
    def all_decisions_are_carried_out(self, data: st.DataObject) -> None:
        operator = data.draw(st.sampled_from(self.replicas))
        for name in sorted(operator.flying):
            self.carry_out(operator, name)

    @rule(data=st.data())
    def a_run_is_looked_at(self, data: st.DataObject) -> None:
        operator = data.draw(st.sampled_from(self.replicas))
        known = {each["metadata"]["name"] for each in operator.store.all(TRAINING_RUN)} - operator.flying.keys()
        if known:
            self.look_at(operator, data.draw(st.sampled_from(sorted(known))))

    @rule(data=st.data())
    def a_decision_is_carried_out(self, data: st.DataObject) -> None:
        operator = data.draw(st.sampled_from(self.replicas))
        if operator.flying:
            self.carry_out(operator, data.draw(st.sampled_from(sorted(operator.flying))))

    @invariant()
    def never_more_are_at_work_than_may_be(self) -> None:
        going = [name for name in self.names(JOB) if is_going(self.objects[JOB, name])]
        assert len(going) <= LIMIT, going

    def teardown(self) -> None:
        """Left alone, everybody gets a turn: all runs end that nobody suspends."""
        leader = self.replicas[0]
        for _ in range(4 * self.count + 8):
            for name in self.names(TRAINING_RUN):
                self.catch_up(leader)
                if name in leader.flying:
                    self.carry_out(leader, name)
                self.look_at(leader, name)
                self.carry_out(leader, name)
            self.look_at_the_workspace(leader)
            self.never_more_are_at_work_than_may_be()
            self.let_the_cluster_work()
        for name in self.names(TRAINING_RUN):
            it = self.objects[TRAINING_RUN, name]
            assert it["spec"].get("suspend") or it["status"].get("completionTime"), (name, it["status"])

    def let_the_cluster_work(self) -> None:
        for name in self.names(JOB):
            it = self.objects[JOB, name]
            if it["spec"].get("suspend"):
                self.put(JOB, it | {"status": LET_GO})
            elif is_going(it):
                self.put(JOB, it | {"status": completed("Failed", "DeadlineExceeded")})


LET_GO: Json = {"conditions": [{"type": "Suspended", "status": "True"}]}


def is_going(job: Json) -> bool:
    """It has a pod, or may have one: until it has ended, or its controller has let go of its pods."""
    return not (job.get("status") or {}).get("conditions")


class LimitedByTwo(Limited):
    """A leader that was thought dead comes back and carries out what it had decided."""

    operators = 2


BUSY = settings(max_examples=25, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
TestOneOperator = Limited.TestCase
TestOneOperator.pytestmark = [pytest.mark.slow]
TestOneOperator.settings = BUSY
TestTwoOperators = LimitedByTwo.TestCase
TestTwoOperators.pytestmark = [pytest.mark.slow]
TestTwoOperators.settings = BUSY
