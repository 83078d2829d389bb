"""Tells MLflow who asks: the hook that its configuration names for authentication."""

from __future__ import annotations

from typing import Any

from flask import request
from mlflow.server.auth import make_basic_auth_response


def authenticated() -> Any:
    """The user whom the guard has proved; every request comes through it, so the name alone is trusted here."""
    if request.authorization is None or not request.authorization.username:
        return make_basic_auth_response()
    return request.authorization
