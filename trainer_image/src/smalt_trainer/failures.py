"""One exception for every way a run can fail before, during or after its script: a reason and what to do next."""

from __future__ import annotations

REASONS = (
    "ScriptFailed",
    "OutOfMemory",
    "TimedOut",
    "EnvironmentFailed",
    "PackageNotFound",
    "PythonMismatch",
    "InputFailed",
    "DigestMismatch",
    "OutputMissing",
    "TrackingUnavailable",
    "ResultsNotStored",
    "CodeInvalid",
    "CodeUnavailable",
    "TrustBundleInvalid",
    "Terminated",
    "Interrupted",
    "InternalError",
)

# A run's spec is immutable, so whoever has to change it needs a new name.
ANOTHER_NAME = "then apply the run under another name (a run is a record)"


class RunFailed(Exception):
    """The run cannot succeed; `reason` is one of REASONS, `message` names the cause and the next step."""

    def __init__(self, reason: str, message: str, exit_code: int | None = None) -> None:
        if reason not in REASONS:
            raise ValueError(f"reason {reason!r} is not one of {', '.join(REASONS)}")
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.exit_code = exit_code


def failure_of(error: Exception, hint: str) -> RunFailed:
    """The failure itself, or a defect of ours as one; `hint` says where more of it stands."""
    if isinstance(error, RunFailed):
        return error
    return RunFailed("InternalError", f"{type(error).__name__}: {error}; {hint}")
