"""`azureml.contrib.services`."""

from azureml_inference_server_http.api.aml_request import rawhttp

__all__ = ["rawhttp"]
