"""The bodies of docs/scoring.md are answered, and its list of open routes is the server's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalt_scorer.application import Application
from smalt_scorer.models import load
from smalt_scorer.protocols.routes import FIXED, Routes
from smalt_scorer.raw_request import RawRequest
from support import served_models as made
from support.readme import Block, of_language

DOCS = Path(__file__).resolve().parents[2] / "docs/scoring.md"
BODIES = of_language("json", DOCS)


@pytest.mark.parametrize("block", BODIES, ids=lambda block: f"line {block.line}")
@pytest.mark.parametrize("has_schema", [True, False], ids=["schema", "no schema"])
def test_a_body_of_the_docs_is_answered(block: Block, has_schema: bool, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(made.joblib_file(made.customers()))
    if has_schema:
        (tmp_path / "schema.json").write_bytes(made.schema_file())
    routes = Routes(load(tmp_path), "churn", "3", needs_key=True)
    found = json.loads(block.text)
    path = (
        "/v2/models/churn/infer" if "outputs" in found else "/invocations" if "dataframe_split" in found else "/score"
    )
    asked = RawRequest(headers=[(b"content-type", b"application/json")])
    question = routes.ask(routes.find(path), asked, block.text.encode())
    reply = question.reply(routes.model.predict(question.batch, question.wanted))
    assert set(json.loads(reply.body)) & {"predictions", "probabilities", "outputs"}


def test_the_docs_show_every_kind_of_body() -> None:
    assert len(BODIES) >= 4


def test_the_docs_list_the_open_routes() -> None:
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith("| `/`"))
    listed = {name.strip(" `") for name in row.split("|")[1].split(",")}
    assert listed == {*Application.OPEN, *(path for path, route in FIXED.items() if route.is_open)}
