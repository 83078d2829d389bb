"""The API: what users write, as pydantic models, one file per kind. Imports nothing of ours."""
