"""One exception for every way a registration can fail: a reason for the Model's condition, and what to do next."""

from __future__ import annotations

REASONS = (
    "SourceUnavailable",
    "SourceUnreachable",
    "CredentialsMissing",
    "DigestMismatch",
    "FormatMismatch",
    "FormatNotAllowed",
    "ModelDamaged",
    "ModelRefused",
    "ModelTooLarge",
    "TrackingUnavailable",
    "RegistryRefused",
    "SigningFailed",
    "TrustBundleInvalid",
    "Interrupted",
    "InternalError",
)

REGISTER_AGAIN = "then register it as a new version"


class NotRegistered(Exception):
    """The model cannot be registered; `reason` is one of REASONS, `message` names the cause and the next step."""

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"reason {reason!r} is not one of {', '.join(REASONS)}")
        super().__init__(message)
        self.reason, self.message = reason, message


def damaged(name: str, words: str) -> NotRegistered:
    """A file that is not whole, or not what its beginning says."""
    return NotRegistered(
        "ModelDamaged", f"'{shown(name)}' is damaged or cut short ({words}): save the model again, {REGISTER_AGAIN}"
    )


def refused(name: str, words: str) -> NotRegistered:
    """A file that could do more than be a model."""
    return NotRegistered("ModelRefused", f"'{shown(name)}' {words}")


def shown(name: str) -> str:
    """A name from elsewhere as a sentence can hold it."""
    return name[:200].encode("utf-8", "replace").decode("utf-8").replace("\n", "?").replace("\r", "?")
