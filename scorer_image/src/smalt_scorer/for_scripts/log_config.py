"""`azureml_inference_server_http.log_config`: what a logging.json that was written for Azure's server names."""

from __future__ import annotations

import logging
import time


class RootAccessFilter(logging.Filter):
    """Leaves out the access log's lines of liveness probes."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "GET / HTTP/1.1" not in record.getMessage()


class AMLLogFormatter(logging.Formatter):
    """Times are in UTC."""

    converter = staticmethod(time.gmtime)
