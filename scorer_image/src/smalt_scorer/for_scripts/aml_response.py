"""`azureml_inference_server_http.api.aml_response`, and `azureml.contrib.services.aml_response`: an answer as it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

try:
    from flask import Response
except ImportError as error:
    raise ImportError(
        "AMLResponse needs flask: add flask, or azureml-defaults, to the Deployment's environment"
    ) from error

__all__ = ["AMLResponse"]


class AMLResponse(Response):  # type: ignore[misc]  # checked as if flask were not installed
    """A body as it is, or as JSON with `json_str`; commas in a header's value make it a header that comes repeatedly."""

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: Mapping[str, str] | None = None,
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        given = response_headers or {}
        if json_str or message is None:
            super().__init__(json.dumps({} if message is None else message), status_code, mimetype="application/json")
        else:
            super().__init__(message, status_code)
            if "Content-Type" in given:
                del self.headers["Content-Type"]
        self.headers["x-ms-run-function-failed"] = str(run_function_failed)
        for name, values in given.items():
            for value in values.split(","):
                self.headers.add(name, value.strip())
