"""What an attempt's two containers left as their last words, and which of them counts.

The wrapper tells how the script ended; the recorder, which ends after it, tells that too and what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from smalt.api.schema import Json
from smalt.builders import fetching, preparing
from smalt.builders.training_job import CONTAINER, RECORDER
from smalt.reconcilers import diagnosis
from smalt.reconcilers.causes.finding import Finding


@dataclass(frozen=True)
class LastWords:
    """How each container ended, as the node reports it, and the JSON it left."""

    training_state: Json = field(default_factory=dict)
    recorder_state: Json = field(default_factory=dict)
    # Of the containers before both, only when one failed: then neither of them starts.
    fetch_state: Json = field(default_factory=dict)
    environment_state: Json = field(default_factory=dict)

    @classmethod
    def of(cls, pod: Json) -> Self:
        fetch, environment = (
            diagnosis.terminated(pod, name) or {} for name in (fetching.CONTAINER, preparing.CONTAINER)
        )
        return cls(
            diagnosis.terminated(pod, CONTAINER) or {},
            diagnosis.terminated(pod, RECORDER) or {},
            fetch if fetch.get("exitCode") else {},
            environment if environment.get("exitCode") else {},
        )

    @property
    def before_both(self) -> Json:
        """How the container ended that kept both from starting."""
        return self.fetch_state or self.environment_state

    @property
    def are_there(self) -> bool:
        """At least one has ended."""
        return bool(self.training_state or self.recorder_state or self.before_both)

    @property
    def training(self) -> Json:
        """The wrapper's, or in the same form those of what failed before it."""
        return diagnosis.report(self.before_both or self.training_state)

    @property
    def recorder(self) -> Json:
        return diagnosis.report(self.recorder_state)

    @property
    def are_complete(self) -> bool:
        """Nothing more will be said."""
        return bool(self.before_both or (self.training_state and self.recorder_state))

    @property
    def facts(self) -> Json:
        """The recorder's, and what it could not tell any more the wrapper's."""
        return self.training | {name: found for name, found in self.recorder.items() if found}

    @property
    def cause(self) -> Finding | None:
        """Why the attempt failed, from whoever knew the end: the recorder has heard the wrapper."""
        return _final(self.recorder) or _final(self.training)

    @property
    def has_succeeded(self) -> bool:
        """The script did, in the wrapper's own words."""
        return self.training.get("outcome") == "succeeded"

    @property
    def provisional_cause(self) -> Finding | None:
        """What was written in case nothing more could be said."""
        return _finding(self.training) or _finding(self.recorder)

    def not_stored(self, job: str) -> Finding:
        """The script succeeded and the recorder was killed over its results."""
        how = self.recorder_state.get("reason") or "its end is not known"
        code = self.recorder_state.get("exitCode")
        words = f"{how}, exit code {code}" if code is not None else how
        return Finding(
            "ResultsNotStored",
            f"the script succeeded, but the container '{RECORDER}' ended ({words}) before all results were stored: see "
            f"`kubectl logs job/{job} -c {RECORDER}`; what was stored is in MLflow",
        )


def _final(report: Json) -> Finding | None:
    return None if report.get("provisional") else _finding(report)


def _finding(report: Json) -> Finding | None:
    if report.get("reason") and report.get("message"):
        return Finding(str(report["reason"])[:63], str(report["message"]))
    return None
