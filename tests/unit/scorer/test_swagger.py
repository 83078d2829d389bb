"""/swagger.json of a score script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalt_scorer.azure_settings import AzureSettings
from smalt_scorer.failures import Failure
from smalt_scorer.swagger import Swagger, swagger

PLAIN = {"type": "object", "example": {}}


def made(folder: Path, supported: frozenset[str] | None = None, prefix: str = "", name: str = "churn") -> Swagger:
    settings = AzureSettings(folder, service_name=name, path_prefix=prefix)
    return swagger(settings, {"type": "object", "properties": {"a": {"type": "integer"}}}, PLAIN, supported)


@pytest.mark.parametrize(
    ("asked", "told"),
    [(None, "2.0"), ("2", "2.0"), ("2.0", "2.0"), ("3", "3.0.3"), ("3.0", "3.0.3"), ("3.1", "3.1.0")],
)
def test_a_version_is_chosen_by_its_names(asked: str | None, told: str, tmp_path: Path) -> None:
    status, document = made(tmp_path).of(asked)
    assert (status, document.get("swagger") or document.get("openapi")) == (200, told)
    schemas = document.get("definitions") or document["components"]["schemas"]
    assert schemas["ServiceInput"]["properties"] == {"a": {"type": "integer"}}
    assert document["info"]["title"] == "churn"


@pytest.mark.parametrize("asked", ["1", "", "3.2", "three"])
def test_another_version_is_not_found(asked: str, tmp_path: Path) -> None:
    status, document = made(tmp_path).of(asked)
    assert (status, document) == (
        404,
        {"message": f"Swagger version [{asked}] is not valid. Supported versions: [2, 3, 3.1]."},
    )


def test_a_version_that_cannot_say_the_schemas_is_not_supported(tmp_path: Path) -> None:
    status, document = made(tmp_path, frozenset({"3.0", "3.1"})).of(None)
    assert status == 404
    assert document["message"].endswith("Supported swagger versions: [3, 3.1].")


def test_a_prefix_stands_before_every_path(tmp_path: Path) -> None:
    assert list(made(tmp_path, prefix="/api/v1/").of("3")[1]["paths"]) == [
        "/api/v1/",
        "/api/v1/score",
        "/api/v1/swagger.json",
    ]


@pytest.mark.parametrize(
    ("file", "version"),
    [("swagger.json", "2"), ("swagger2.json", "2"), ("swagger3.json", "3"), ("swagger3.1.json", "3.1")],
)
def test_a_document_of_the_codes_own_wins(file: str, version: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(json.dumps({"mine": 1}))
    documents = made(tmp_path, frozenset()).documents
    assert documents == {version: {"mine": 1}}


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_document_of_the_codes_own_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "swagger3.json").write_text(text)
    with pytest.raises(Failure, match=r"swagger3\.json of the code is no JSON"):
        made(tmp_path)
