"""The page to try a model, in a real browser that knows no other host: it asks its own server alone, and gets a prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.paths import REPOSITORY
from support import served_models as made
from support.devtools import Page
from support.run_pod import wait_until
from support.scoring_pod import PRIMARY, ScoringPod

PICTURES = REPOSITORY / "build/docs-page"


@pytest.fixture
def page(chromium: str, direct: ScoringPod, tmp_path: Path) -> Iterator[Page]:
    with Page(chromium, tmp_path, f"http://127.0.0.1:{direct.port}/docs") as opened:
        yield opened


def shown(page: Page, element: str) -> str:
    found: str = page.run(f"document.getElementById('{element}').textContent")
    return found


def enter(page: Page, key: str) -> None:
    page.run(f"document.getElementById('key').value = {json.dumps(key)}; document.getElementById('open').click()")


def test_a_visitor_enters_a_key_tries_the_example_and_sees_a_prediction(page: Page, direct: ScoringPod) -> None:
    wait_until(lambda: page.run("document.readyState") == "complete", "the page being there", 20)
    assert page.run("document.getElementById('main').hidden")
    assert "churn" not in page.run("document.documentElement.outerHTML"), "who has no key hears nothing of the model"
    enter(page, "wrong")
    wait_until(lambda: "not one of the Deployment's" in shown(page, "problem"), "the wrong key being told", 20)
    enter(page, PRIMARY)
    wait_until(lambda: not page.run("document.getElementById('main').hidden"), "the description being shown", 20)
    assert shown(page, "title") == "churn, version 3"
    assert "age" in shown(page, "columns")
    page.run("document.getElementById('send').click()")
    wait_until(lambda: shown(page, "status").startswith("200 in"), "the answer", 20)
    assert json.loads(shown(page, "answer")) == {"predictions": ["stays"]}
    page.picture(PICTURES / "answer.png", 1280, 1500)
    for width, name, scheme in ((420, "phone", "light"), (1280, "dark", "dark")):
        page.colours(scheme)
        page.picture(PICTURES / f"{name}.png", width, 1500)
    assert page.asked == {f"127.0.0.1:{direct.port}"}
    # Of the two tries without the right key the browser's own console tells.
    assert [each for each in page.complaints if "401" not in each] == []
    assert PRIMARY not in shown(page, "curl")


def test_every_example_of_every_route_is_answered_from_the_page(page: Page) -> None:
    enter(page, PRIMARY)
    wait_until(lambda: not page.run("document.getElementById('main').hidden"), "the description being shown", 20)
    tried = 0
    for route in range(page.run("document.getElementById('route').options.length")):
        choose(page, "route", route)
        for example in range(page.run("document.getElementById('example').options.length")):
            choose(page, "example", example)
            page.run("document.getElementById('status').textContent = ''; document.getElementById('send').click()")
            wait_until(lambda: " in " in shown(page, "status"), "the answer", 20)
            assert shown(page, "status").startswith("200"), shown(page, "answer")
            tried += 1
    assert tried >= 7


def choose(page: Page, element: str, place: int) -> None:
    page.run(
        f"document.getElementById('{element}').value = {place}; document.getElementById('{element}').dispatchEvent(new Event('change'))"
    )


def test_what_the_page_sends_stays_text(page: Page) -> None:
    enter(page, PRIMARY)
    wait_until(lambda: not page.run("document.getElementById('main').hidden"), "the description being shown", 20)
    wrong = {"data": [[1, 2, 3, "<img src=x onerror=document.title='in'>"]]}
    page.run(
        f"document.getElementById('body').value = {json.dumps(json.dumps(wrong))}; document.getElementById('send').click()"
    )
    wait_until(lambda: shown(page, "status").startswith("400"), "the refusal", 20)
    assert "has 4 values, the model takes 3 (age, spend, city)" in shown(page, "answer")
    assert page.run("document.title") == "churn, version 3"


def test_what_is_no_part_of_the_page_does_not_run(page: Page) -> None:
    script = (
        "const s = document.createElement('script'); s.textContent = \"document.title = 'in'\"; document.body.append(s)"
    )
    page.run(script)
    page.run("new Image().src = 'http://127.0.0.1:9/x.png'")
    wait_until(lambda: any("Content Security Policy" in each for each in page.complaints), "the refusal", 20)
    assert page.run("document.title") != "in"


def test_without_keys_the_page_opens_at_once(chromium: str, tmp_path: Path) -> None:
    made_pod = ScoringPod(tmp_path / "pod", None, {"m.joblib": made.joblib_file(made.linear())}, authMode="none")
    with made_pod as pod, Page(chromium, tmp_path, f"http://127.0.0.1:{pod.port}/docs") as page:
        wait_until(lambda: shown(page, "title") == "churn, version 3", "the description", 20)
        assert page.run("document.getElementById('enter').hidden")
        page.run("document.getElementById('send').click()")
        wait_until(lambda: shown(page, "status").startswith("200"), "the answer", 20)
