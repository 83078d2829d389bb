"""The operator of Smalt: Azure Machine Learning's lifecycle as Kubernetes objects."""

__version__ = "0.1.0"
