"""The report of a registration always fits, and the schema goes along where there is room for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer.registration.report import fitted
from smalt_trainer.registration.untrusted import read_converted
from smalt_trainer.termination import LIMIT, encode

REPORT: dict[str, Any] = {
    "artifact": {
        "uri": "mlflow-artifacts:/12/" + "a" * 32 + "/artifacts/model",
        "digest": "sha256:" + "0" * 64,
        "bytes": 1,
        "files": 1,
    },
    "format": "joblib",
    "type": "customModel",
    "card": "mlflow-artifacts:/12/" + "a" * 32 + "/artifacts/card.html",
    "registry": {"version": "3", "runId": "a" * 32},
    "signature": {
        "uri": "mlflow-artifacts:/12/" + "a" * 32 + "/artifacts/signature.json",
        "keyDigest": "sha256:" + "0" * 64,
    },
}
URI = "mlflow-artifacts:/12/x/artifacts/schema.json"


def schema(columns: int, letters: str = "c") -> dict[str, Any]:
    return {"inputs": [{"name": f"{letters}{each}", "type": "number"} for each in range(columns)], "outputs": []}


def test_a_small_schema_goes_along() -> None:
    assert fitted(REPORT, schema(5), URI)["schema"] == schema(5)


@pytest.mark.parametrize("large", [schema(65), schema(30, "ä" * 60)], ids=["many columns", "long names"])
def test_a_large_schema_is_told_by_its_address(large: dict[str, Any]) -> None:
    found = fitted(REPORT, large, URI)
    assert "schema" not in found
    assert found["schemaUri"] == URI


def test_without_a_schema_there_is_no_address_of_one() -> None:
    assert fitted(REPORT, None, URI) == REPORT


def test_the_report_fits_whatever_a_conversion_said() -> None:
    refused = {"onnx": {"reason": "NotConvertible", "message": "ö" * 5000}}
    found = encode(fitted({**REPORT, **refused}, schema(40), URI))
    assert len(found) <= LIMIT
    assert json.loads(found)["artifact"] == REPORT["artifact"]


def test_why_nothing_was_converted_is_what_the_operator_knew(tmp_path: Path) -> None:
    found = read_converted(tmp_path, False, ("ConverterUnavailable", "its image is gone"))
    assert (found.reason, found.message, found.onnx) == ("ConverterUnavailable", "its image is gone", None)
    assert read_converted(tmp_path, False).reason == ""
