"""`azureml_inference_server_http.api.aml_request`, and `azureml.contrib.services.aml_request`: a run() that takes the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

try:
    from flask import Request
except ImportError as error:
    raise ImportError(
        "@rawhttp needs flask: add flask, or azureml-defaults, to the Deployment's environment"
    ) from error

__all__ = ["AMLRequest", "rawhttp"]

_Run = TypeVar("_Run", bound=Callable[..., object])
is_raw_http_asked_for = False


def rawhttp(run: _Run) -> _Run:
    """Marks the script: run() is called with the request instead of its body."""
    global is_raw_http_asked_for
    is_raw_http_asked_for = True
    return run


class AMLRequest(Request):  # type: ignore[misc]  # checked as if flask were not installed
    """For annotations: what run() gets is a `flask.Request`."""
