"""/swagger.json of a score script: Swagger 2, OpenAPI 3.0 and 3.1 from what its decorators say, unless the code brings its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalt_scorer.azure_settings import AzureSettings
from smalt_scorer.failures import Failure

Document = dict[str, Any]
DEFAULT = "2"
# What a caller may ask for, and what inference-schema calls the same.
VERSIONS = {"2": "2", "2.0": "2", "3": "3", "3.0": "3", "3.1": "3.1"}
_SUPPORTED_AS = {"2": {"2", "2.0"}, "3": {"3", "3.0"}, "3.1": {"3.1"}}
_FILES = {"2": ("swagger.json", "swagger2.json"), "3": ("swagger3.json",), "3.1": ("swagger3.1.json",)}
_KEY = {"type": "apiKey", "name": "Authorization", "in": "header", "description": "Bearer <key>"}
_ERROR = {"type": "object", "properties": {"message": {"type": "string"}}}


@dataclass(frozen=True)
class Swagger:
    """The documents by version: 2, 3 and 3.1; those that cannot say the script's schemas are missing."""

    documents: Mapping[str, Document]

    def of(self, asked: str | None) -> tuple[int, Document]:
        """Status and body for `?version=`."""
        version = VERSIONS.get(DEFAULT if asked is None else asked)
        supported = ", ".join(sorted(self.documents))
        if version is None:
            return 404, {"message": f"Swagger version [{asked}] is not valid. Supported versions: [{supported}]."}
        if version not in self.documents:
            told = f"Swagger version [{asked or DEFAULT}] is not supported for the scoring script. "
            return 404, {"message": f"{told}Supported swagger versions: [{supported}]."}
        return 200, self.documents[version]


def swagger(
    settings: AzureSettings, inputs: Mapping[str, Any], outputs: Mapping[str, Any], supported: frozenset[str] | None
) -> Swagger:
    """`supported` are the versions that can say the schemas, None for all. Failure for a file that is no JSON object."""
    documents: dict[str, Document] = {}
    for version, names in _FILES.items():
        own = next((found for name in names if (found := _read(settings.root / name)) is not None), None)
        if own is not None:
            documents[version] = own
        elif supported is None or supported & _SUPPORTED_AS[version]:
            documents[version] = _made(version, settings, inputs, outputs)
    return Swagger(documents)


def _read(path: Path) -> Document | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Failure(
            "ScriptInvalid", f"{path.name} of the code is no JSON ({error}): correct it, or leave it out"
        ) from error
    if not isinstance(found, dict):
        raise Failure("ScriptInvalid", f"{path.name} of the code is no JSON object: correct it, or leave it out")
    return found


def _made(version: str, settings: AzureSettings, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Document:
    schemas = {"ServiceInput": dict(inputs), "ServiceOutput": dict(outputs), "ErrorResponse": _ERROR}
    information = {
        "title": settings.service_name,
        "version": settings.service_version,
        "description": f"What the service {settings.service_name} takes and answers",
    }
    made = _version_2(information, schemas) if version == "2" else _version_3(information, schemas)
    if version == "3.1":
        made["openapi"] = "3.1.0"
    prefix = f"/{settings.path_prefix.strip('/')}" if settings.path_prefix else ""
    made["paths"] = {f"{prefix}{path}": each for path, each in made["paths"].items()}
    # No two places of a document share a dictionary.
    return copy.deepcopy(made)


def _version_2(information: Document, schemas: Document) -> Document:
    def answer(description: str, schema: Document, **more: Any) -> Document:
        error = {"description": "Not answered", "schema": {"$ref": "#/definitions/ErrorResponse"}}
        return {"responses": {"200": {"description": description, "schema": schema, **more}, "default": error}}

    payload = {
        "name": "serviceInputPayload",
        "in": "body",
        "description": "What run() is called with",
        "schema": {"$ref": "#/definitions/ServiceInput"},
    }
    version = {"name": "version", "in": "query", "required": False, "type": "integer", "enum": [2, 3]}
    alive = answer("The service is up", {"type": "string"}, examples={"application/json": "Healthy"})
    scored = answer("What run() gave back", {"$ref": "#/definitions/ServiceOutput"})
    return {
        "swagger": "2.0",
        "info": information,
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"Bearer": _KEY},
        "paths": {
            "/": {"get": {**_HEALTH, **alive}},
            "/score": {"post": {**_SCORE, "parameters": [payload], **scored}},
            "/swagger.json": {
                "get": {**_SWAGGER, "parameters": [version], **answer("This document", {"type": "string"})}
            },
        },
        "definitions": schemas,
    }


def _version_3(information: Document, schemas: Document) -> Document:
    def answer(description: str, media_type: str, schema: Document) -> Document:
        error = {
            "description": "Not answered",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}},
        }
        good = {"description": description, "content": {media_type: {"schema": schema}}}
        return {"responses": {"200": good, "default": error}}

    payload = {
        "description": "What run() is called with",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceInput"}}},
    }
    version = {"name": "version", "in": "query", "required": False, "schema": {"type": "integer", "enum": [2, 3]}}
    scored = answer("What run() gave back", "application/json", {"$ref": "#/components/schemas/ServiceOutput"})
    document = answer("This document", "text/plain", {"type": "string"})
    return {
        "openapi": "3.0.3",
        "info": information,
        "security": [{"Bearer": []}],
        "paths": {
            "/": {
                "get": {
                    **_HEALTH,
                    **answer("The service is up", "text/plain", {"type": "string", "example": "Healthy"}),
                }
            },
            "/score": {"post": {**_SCORE, "requestBody": payload, **scored}},
            "/swagger.json": {"get": {**_SWAGGER, "parameters": [version], **document}},
        },
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": _KEY}},
    }


_HEALTH = {"operationId": "ServiceHealthCheck", "description": "Whether the service is up"}
_SCORE = {"operationId": "RunMLService", "description": "Calls the score script", "security": [{"Bearer": []}]}
_SWAGGER = {"operationId": "GetSwaggerSpec", "description": "The API as Swagger 2 or OpenAPI 3"}
