"""Our own errors, translated where the API server's answers come in.

SmaltError
├── ApiError                 the API server did not do what was asked
│   ├── NotFound             404
│   ├── AlreadyExists        409, the name is taken
│   ├── Conflict             409, a precondition (UID, version) no longer holds: look again
│   ├── Refused              400, 403, 422: the same request will be refused again until somebody changes something
│   └── Unavailable          429, 5xx, time-outs, broken connections: the same request may work later
├── NameTaken                a child's name belongs to somebody else's object
├── NotYetGone               a child's name is held by an object that is being deleted
├── InvalidCommand           a placeholder in a command cannot be resolved or stands where it must not
├── TooLarge                 a spec is more than a pod can carry
└── LeaseLost                another replica leads, or the API server could not be asked in time
"""

from __future__ import annotations


class SmaltError(Exception):
    """The root of all errors that we raise on purpose."""


class ApiError(SmaltError):
    """The API server did not do what was asked; the text says what it answered."""

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class NotFound(ApiError):
    """There is no such object."""


class AlreadyExists(ApiError):
    """There is an object of that name already."""


class Conflict(ApiError):
    """The object is not the one that was meant, or has changed since."""


class Refused(ApiError):
    """The request is not allowed, or not valid."""


class Unavailable(ApiError):
    """The API server could not answer; `retry_after` seconds where it named them."""


class NameTaken(SmaltError):
    """A child cannot be made because its name belongs to an object that is not ours."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} '{name}' exists and was not made for this object: delete or rename it")
        self.kind = kind
        self.name = name


class NotYetGone(SmaltError):
    """A child's name is still held by an object that is being deleted, or by a namesake's child on its way out."""


class InvalidCommand(SmaltError):
    """A command's placeholder cannot be resolved, or stands where a value cannot be put safely."""


class TooLarge(SmaltError):
    """What an object says is more than the pod made for it can carry."""


class LeaseLost(SmaltError):
    """This replica no longer leads."""


class WatchLost(SmaltError):
    """Events of some kind no longer come."""
