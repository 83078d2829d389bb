"""What the operator is told of a registered model: one JSON object of at most 4,096 bytes; the rest lies in the registry."""

from __future__ import annotations

from typing import Any, Mapping

from smalt_trainer.termination import LIMIT, encode, shorten

_MOST_COLUMNS = 64
_MOST_SCHEMA_BYTES = 2000
_MOST_MESSAGE_BYTES = 600


def fitted(report: Mapping[str, Any], schema: Mapping[str, Any] | None, schema_uri: str) -> dict[str, Any]:
    """The report with the schema where that is small, else with its address."""
    made = dict(report)
    reason = made.get("onnx") or {}
    if "message" in reason:
        made["onnx"] = {**reason, "message": shorten(str(reason["message"]), _MOST_MESSAGE_BYTES)}
    if schema is None:
        return made
    columns = len(schema.get("inputs") or ()) + len(schema.get("outputs") or ())
    small = columns <= _MOST_COLUMNS and len(encode(schema)) <= _MOST_SCHEMA_BYTES
    whole = {**made, "schema": schema, "schemaUri": schema_uri}
    if small and len(encode(whole)) <= LIMIT:
        return whole
    return {**made, "schemaUri": schema_uri}
