"""The termination message always parses and always fits, whatever names and errors a run brings."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from smalt_trainer.failures import REASONS
from smalt_trainer.termination import LIMIT, MESSAGE_LIMIT, Outcome, shorten, termination_message

TEXT = st.text(max_size=300)
OUTPUT = st.fixed_dictionaries({"uri": TEXT, "digest": TEXT, "bytes": st.integers(), "files": st.integers()})
OUTCOMES = st.builds(
    Outcome,
    reason=st.sampled_from(("", *REASONS)),
    message=st.text(max_size=3000),
    exit_code=st.one_of(st.none(), st.integers(0, 255)),
    metrics=st.dictionaries(TEXT, st.floats(), max_size=60),
    non_finite=st.lists(TEXT, max_size=40),
    digests=st.fixed_dictionaries(
        {"code": TEXT, "data": st.dictionaries(TEXT, TEXT, max_size=16), "environment": TEXT, "parameters": TEXT}
    ),
    outputs=st.dictionaries(TEXT, OUTPUT, max_size=8),
    tracking=st.fixed_dictionaries({"runId": TEXT, "experimentId": TEXT}),
)


@given(OUTCOMES)
def test_every_outcome_fits_and_parses(outcome: Outcome) -> None:
    raw = termination_message(outcome)
    assert len(raw) <= LIMIT
    body = json.loads(raw)
    assert body["version"] == 1
    assert body["outcome"] == ("failed" if outcome.reason else "succeeded")
    assert body["reason"] == outcome.reason
    assert len(body["message"].encode()) <= MESSAGE_LIMIT
    assert len(body["metrics"]) <= 32
    assert all(math.isfinite(value) for value in body["metrics"].values())


def test_metrics_that_do_not_fit_go_before_anything_else() -> None:
    outcome = Outcome(
        metrics={f"metric/{'m' * 150}/{number}": number / 3 for number in range(40)},
        outputs={"model": {"uri": "mlflow-artifacts:/1/2", "digest": "sha256:0", "bytes": 1, "files": 1}},
    )
    body = json.loads(termination_message(outcome))
    assert 0 < len(body["metrics"]) < 32
    assert body["outputs"] == outcome.outputs
    assert len(outcome.as_json()["metrics"]) == 40


def test_a_long_message_keeps_its_cause_and_its_advice() -> None:
    text = "ValueError: " + "ä" * 2000 + "; see the log"
    short = shorten(text, 1000)
    assert short.startswith("ValueError: ")
    assert short.endswith("; see the log")
    assert len(short.encode()) <= 1000


@given(st.text(), st.integers(10, 400))
def test_shortening_never_exceeds_its_limit(text: str, limit: int) -> None:
    assert len(shorten(text, limit).encode()) <= limit
