"""The same requests to Azure's own scoring server and to ours: what differs is named in deviations.yaml, with its reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.azure_requests import GROUPS, REFUSED, Group
from support.comparing import Deviation, Difference, deviations, differences
from support.score_servers import BOTH, Answered, DidNotStart, Setup, Whose, serving

DEVIATIONS = Path(__file__).parent / "deviations.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def meant() -> list[Deviation]:
    return deviations(DEVIATIONS)


def answers(whose: Whose, group: Group) -> list[Answered]:
    with serving(whose, group.setup) as server:
        return [server.ask(case.asked) for case in group.cases]


def found(group: Group) -> list[Difference]:
    with ThreadPoolExecutor() as both:
        theirs, ours = both.map(lambda whose: answers(whose, group), BOTH)
    return [
        each
        for case, azure, our in zip(group.cases, theirs, ours, strict=True)
        for each in differences(group, case, azure, our)
    ]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_only_what_is_meant_differs(group: Group, meant: list[Deviation]) -> None:
    unmeant = []
    for difference in found(group):
        covering = [each for each in meant if each.covers(difference)]
        for each in covering:
            each.seen.add(difference.what)
        unmeant += [] if covering else [difference]
    assert unmeant == []


def refusal(whose: Whose, setup: Setup) -> str | None:
    """What the server prints when it does not start; None when it does."""
    try:
        with serving(whose, setup):
            return None
    except DidNotStart as error:
        return str(error)


@pytest.mark.parametrize("name", REFUSED)
def test_what_azures_server_does_not_start_with_ours_refuses_in_words(name: str, meant: list[Deviation]) -> None:
    with ThreadPoolExecutor() as both:
        theirs, ours = both.map(lambda whose: refusal(whose, REFUSED[name]), BOTH)
    started = Difference(f"start: {name}", "starts", str(theirs is None), str(ours is None))
    covering = [each for each in meant if each.covers(started)]
    for each in covering:
        each.seen.add("starts")
    assert theirs is not None
    assert started.azure == started.ours or covering
    if ours is not None:
        assert "Traceback" not in ours.splitlines()[-1]


def test_every_deviation_is_still_one(meant: list[Deviation], request: pytest.FixtureRequest) -> None:
    """Runs last: the others note which they met."""
    wanted = {f"test_only_what_is_meant_differs[{group.name}]" for group in GROUPS}
    if not wanted <= {item.name for item in request.session.items}:
        pytest.skip("needs the other tests of this file in the same run")
    gone = {each.name: sorted(set(each.differs) - each.seen) for each in meant if set(each.differs) - each.seen}
    assert gone == {}
