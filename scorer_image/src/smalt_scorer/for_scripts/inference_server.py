"""`azureml_inference_server_http`: the release whose contract this server keeps."""

__version__ = "1.5.1"
