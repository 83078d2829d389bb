"""The OpenAPI 3.1 document of a model that is served directly, with examples made from its schema."""

from __future__ import annotations

from typing import Any

from smalt_scorer.models.loaded import PREDICTIONS, LoadedModel
from smalt_scorer.models.schema import ANY, BOOLEAN, DATETIME, INTEGER, NUMBER, STRING, Input, Output, Schema
from smalt_scorer.protocols import examples
from smalt_scorer.protocols.score import METHODS
from smalt_scorer.protocols.tensors import BYTES, DTYPES, datatype_of

_TYPES: dict[str, list[str]] = {
    INTEGER: ["integer"],
    NUMBER: ["number"],
    BOOLEAN: ["boolean"],
    STRING: ["string"],
    DATETIME: ["string"],
    ANY: ["number", "string", "boolean"],
}
_JSON = "application/json"


def document(model: LoadedModel, name: str, version: str, needs_key: bool) -> dict[str, Any]:
    """All of it, for one model."""
    closed: dict[str, Any] = {"security": [{"key": []}]} if needs_key else {}
    paths: dict[str, Any] = {
        "/score": {"post": _score(model) | closed},
        "/invocations": {"post": _invocations(model) | closed},
        "/v2": {"get": _get("serverMetadata", "What this server is and which extensions it has", "Server") | closed},
        "/v2/health/live": {"get": _probe("live", "Whether the server lives")},
        "/v2/health/ready": {"get": _probe("ready", "Whether the model is loaded")},
    }
    for path, suffix in (
        (f"/v2/models/{name}", ""),
        *([(f"/v2/models/{name}/versions/{version}", "Version")] if version else []),
    ):
        paths[path] = {"get": _get(f"modelMetadata{suffix}", "What the model takes and gives", "Metadata") | closed}
        ready = _probe(f"modelReady{suffix}", "Whether the model is ready")
        ready["responses"]["401"] = _problem(_PROBLEMS["401"], "InferenceProblem")
        paths[f"{path}/ready"] = {"get": ready | closed}
        paths[f"{path}/infer"] = {"post": _infer(model, f"infer{suffix}") | closed}
    paths |= {
        "/": {"get": _probe("alive", "Whether the server lives", "text/plain")},
        "/healthz": {"get": _probe("healthz", "Whether the server lives", "text/plain")},
        "/readyz": {"get": _probe("readyz", "Whether the model is loaded", "text/plain")},
        "/metrics": {"get": _probe("metrics", "Metrics for Prometheus", "text/plain")},
        "/docs": {"get": _probe("docs", "A page to try requests", "text/html")},
        "/openapi.json": {"get": _get("openapi", "This document") | closed},
        "/swagger.json": {"get": _get("swagger", "This document") | closed},
    }
    components: dict[str, Any] = {"schemas": _schemas(model)}
    if needs_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    title = f"{name}, version {version}" if version else name
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version or "0",
            "description": "Predictions of a registered model. Every answer has x-request-id.",
        },
        "paths": paths,
        "components": components,
    }


def row_schema(schema: Schema) -> dict[str, Any]:
    """JSON Schema of one row."""
    columns = schema.columns
    if not columns:
        return {"type": "array"} if len(schema.inputs) == 1 else _object(schema)
    if len(schema.inputs) == 1 and not schema.is_named:
        value = value_schema(columns[0])
        return value if not schema.inputs[0].shape else _array(value, len(columns))
    as_list = {
        "type": "array",
        "prefixItems": [value_schema(each) for each in columns],
        "minItems": len(columns),
        "maxItems": len(columns),
    }
    return {"anyOf": [_object(schema), as_list]}


def value_schema(column: Input) -> dict[str, Any]:
    """JSON Schema of a column's values."""
    types = _TYPES[column.type] + (["null"] if column.is_nullable else [])
    made: dict[str, Any] = {"type": types if len(types) > 1 else types[0]}
    if column.type == DATETIME:
        made["format"] = "date-time"
    if column.name and column.type == INTEGER:
        made["format"] = "int64"
    return made


def _object(schema: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            each.name: value_schema(each) if each.is_scalar else {"type": "array"} for each in schema.inputs
        },
        "required": list(schema.names),
        "additionalProperties": False,
    }


def _array(items: dict[str, Any], size: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": size, "maxItems": size}


def _schemas(model: LoadedModel) -> dict[str, Any]:
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "minItems": 1}
    predictions = {"type": "array", "items": _given(next((o for o in model.outputs if o.name == PREDICTIONS), None))}
    usual = {each.name: {"type": "array"} for each in model.outputs}
    return {
        "Row": row_schema(model.schema),
        "Rows": rows,
        "Scored": {
            "type": "object",
            "properties": {**usual, **({PREDICTIONS: predictions} if PREDICTIONS in usual else {})},
        },
        "Invoked": {"type": "object", "properties": {"predictions": {"type": "array"}}, "required": ["predictions"]},
        "Problem": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]},
        "InferenceProblem": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
        "Tensor": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
                "datatype": {"type": "string", "enum": [*DTYPES, BYTES]},
                "data": {"type": "array"},
                "parameters": {"type": "object"},
            },
            "required": ["name", "shape", "datatype"],
        },
        "Server": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "extensions": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["name", "version", "extensions"],
        },
        "Metadata": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "versions": {"type": "array", "items": {"type": "string"}},
                "platform": {"type": "string"},
                "inputs": {"type": "array", "items": {"type": "object"}},
                "outputs": {"type": "array", "items": {"type": "object"}},
            },
            "required": ["name", "platform", "inputs", "outputs"],
        },
    }


def _given(output: Output | None) -> dict[str, Any]:
    """JSON Schema of a row's prediction; anything where only the model knows."""
    if output is None or output.type == ANY:
        return {}
    if output.shape:
        return {"type": "array"}
    return {"type": [_TYPES[output.type][0], "null"]}


def _score(model: LoadedModel) -> dict[str, Any]:
    rows = [examples.row(model.schema)]
    has = {each.name for each in model.outputs}
    methods = [method for method, output in METHODS.items() if output in has]
    properties: dict[str, Any] = {"data": {"$ref": "#/components/schemas/Rows"}}
    if methods:
        properties["method"] = {"type": "string", "enum": methods}
    body: dict[str, Any] = {"type": "object", "properties": properties, "required": ["data"]}
    shown: dict[str, Any] = {"rows": {"summary": "Rows", "value": {"data": rows}}}
    if model.schema.is_named and model.schema.width:
        split = {"columns": list(model.schema.names), "index": [0], "data": [examples.listed(model.schema)]}
        shown["table"] = {"summary": "A table as pandas writes it", "value": {"input_data": split}}
    if "predict_proba" in methods:
        shown["probabilities"] = {"summary": "Probabilities", "value": {"data": rows, "method": "predict_proba"}}
    body = {"anyOf": [body, {"type": "object", "properties": {"input_data": {}}, "required": ["input_data"]}]}
    return _post("score", "Predictions for rows", {_JSON: {"schema": body, "examples": shown}}, "Scored")


def _invocations(model: LoadedModel) -> dict[str, Any]:
    schema = model.schema
    table = schema.is_named and bool(schema.width)
    shown: dict[str, Any] = {"instances": {"summary": "Rows", "value": {"instances": [examples.row(schema)]}}}
    if table:
        split = {"columns": list(schema.names), "data": [examples.listed(schema)]}
        shown["dataframe_split"] = {"summary": "A table as pandas writes it", "value": {"dataframe_split": split}}
    keys = ("dataframe_split", "dataframe_records", "instances", "inputs")
    body = {"oneOf": [{"type": "object", "properties": {key: {}}, "required": [key]} for key in keys]}
    content: dict[str, Any] = {_JSON: {"schema": body, "examples": shown}}
    if schema.columns:
        content["text/csv"] = {"schema": {"type": "string"}, "example": _csv(schema)}
    return _post("invocations", "Predictions, as MLflow's scoring server gives them", content, "Invoked")


def _csv(schema: Schema) -> str:
    names = schema.names if schema.is_named else tuple(str(each) for each in range(len(schema.columns)))
    values = (
        examples.value(each)
        for each in (schema.inputs if schema.is_named else [Input("", schema.inputs[0].type)] * len(names))
    )
    return (
        ",".join(names)
        + "\n"
        + ",".join(str(each).lower() if isinstance(each, bool) else str(each) for each in values)
        + "\n"
    )


def _infer(model: LoadedModel, operation: str) -> dict[str, Any]:
    tensors = {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}, "minItems": 1}
    body = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "inputs": tensors,
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["inputs"],
    }
    content = {
        _JSON: {"schema": body, "examples": {"tensors": {"summary": "Tensors", "value": inference_example(model)}}}
    }
    return _post(operation, "Inference with tensors (Open Inference Protocol, version 2)", content, None)


def inference_example(model: LoadedModel) -> dict[str, Any]:
    """The body of an inference of one row."""
    inputs = []
    for each in model.schema.inputs:
        shape = [each.fixed_rows or 1, *(examples._UNKNOWN_WIDTH if size < 0 else size for size in each.shape)]
        kind = datatype_of(each)
        leaf = examples._VALUES[each.type] if kind != BYTES else "text"
        inputs.append(
            {"name": each.name, "shape": shape, "datatype": kind, "data": examples.nested(tuple(shape), leaf)}
        )
    return {"inputs": inputs, "outputs": [{"name": each.name} for each in model.outputs[:2]]}


def _post(operation: str, summary: str, content: dict[str, Any], answer: str | None) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{answer}"} if answer else {"type": "object"}
    problem = "InferenceProblem" if answer is None else "Problem"
    return {
        "operationId": operation,
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The outputs, a row for each row", "content": {_JSON: {"schema": schema}}},
            **{code: _problem(words, problem) for code, words in _PROBLEMS.items()},
        },
    }


_PROBLEMS = {
    "400": "The body does not fit; the message names the row, the column and the type that is wanted",
    "401": "A key is missing or wrong",
    "408": "The prediction took too long",
    "413": "The body is larger than maxBodyBytes",
    "415": "The body is of a type that is not read",
    "500": "The model failed; the message names the class of the error",
    "503": "Too many requests are waiting, or the model is not loaded; Retry-After says when to come again",
}


def _problem(words: str, schema: str) -> dict[str, Any]:
    return {"description": words, "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _get(operation: str, summary: str, answer: str | None = None) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{answer}"} if answer else {"type": "object"}
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {
            "200": {"description": "It", "content": {_JSON: {"schema": schema}}},
            "401": _problem(_PROBLEMS["401"], "InferenceProblem" if answer else "Problem"),
        },
    }


def _probe(operation: str, summary: str, kind: str = _JSON) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {"schema": {"type": "string"}}} if kind != _JSON else {}
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {
            "200": {"description": "Yes", **({"content": content} if content else {})},
            "503": {"description": "No; the body says why"},
        },
    }
