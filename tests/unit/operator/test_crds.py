"""The generated CRDs are what the models say: structural, described, small, and each name in them given once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

from smalt.api.kinds import GROUP, OURS
from smalt.api.schema import RULES, rule, rules
from smalt.crds import FOLDER, MOST_BYTES, RESOURCES, NotStructural, definition, drift, files, main, structural

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
DEFINITIONS = {resource.kind.plural: definition(resource) for resource in RESOURCES}
each_definition = pytest.mark.parametrize("plural", DEFINITIONS)


def schema_of(plural: str) -> Json:
    found: Json = DEFINITIONS[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Every schema inside the schema, with its path."""
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from nodes(each, f"{path}.{name}")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}[*]")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def test_the_files_are_what_the_models_say() -> None:
    assert drift(ROOT / FOLDER) == []


@pytest.mark.slow
def test_drift_names_what_differs_what_is_missing_and_what_is_too_many(tmp_path: Path) -> None:
    assert main(["--folder", str(tmp_path)]) == 0
    assert main(["--folder", str(tmp_path), "--check"]) == 0
    first, second, *_ = sorted(files())
    (tmp_path / first).write_text("edited")
    (tmp_path / second).unlink()
    (tmp_path / "zzz.yaml").write_text("left behind")
    assert drift(tmp_path) == [first, second, "zzz.yaml"]
    assert main(["--folder", str(tmp_path), "--check"]) == 1
    assert main(["--folder", str(tmp_path)]) == 0
    assert drift(tmp_path) == []


@each_definition
def test_every_field_is_described(plural: str) -> None:
    wanting = [
        f"{path}.{name}"
        for path, node in nodes(schema_of(plural), plural)
        for name, field in node.get("properties", {}).items()
        if not field.get("description") and f"{path}.{name}" != f"{plural}.metadata"
    ]
    assert wanting == []


@each_definition
def test_descriptions_are_one_line_of_prose(plural: str) -> None:
    for path, node in nodes(schema_of(plural), plural):
        words = node.get("description", "A sentence.")
        assert words == " ".join(words.split()) and words.endswith("."), path


@each_definition
def test_it_is_structural(plural: str) -> None:
    forbidden = {"anyOf", "oneOf", "allOf", "not", "$ref", "$defs", "title", "const", "definitions"}
    for path, node in nodes(schema_of(plural), plural):
        assert not forbidden & node.keys(), path
        untyped = node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields")
        assert untyped or "type" in node, path


@each_definition
def test_nothing_is_defaulted_but_the_generation_that_was_never_observed_and_what_is_scaled(plural: str) -> None:
    defaults = {path: node["default"] for path, node in nodes(schema_of(plural), plural) if "default" in node}
    scaled = {"modeldeployments.spec.replicas": 1} if plural == "modeldeployments" else {}
    assert defaults == {f"{plural}.status": {"observedGeneration": -1}} | scaled


@each_definition
def test_every_rule_has_words_for_people(plural: str) -> None:
    for path, node in nodes(schema_of(plural), plural):
        for each in node.get(RULES, []):
            assert each.get("message") or each.get("messageExpression"), (path, each["rule"])


@each_definition
def test_what_kubectl_copies_into_an_annotation_fits(plural: str) -> None:
    assert len(json.dumps(DEFINITIONS[plural])) < MOST_BYTES == 200_000


def test_a_definition_that_has_grown_too_large_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.crds.MOST_BYTES", 100)
    with pytest.raises(ValueError, match=rf"^{OURS[0].plural}\.{GROUP} has \d+ bytes"):
        files()


def test_every_kind_has_a_definition_and_every_name_is_given_once() -> None:
    assert [resource.kind for resource in RESOURCES] == list(OURS)
    names = [each["spec"]["names"] for each in DEFINITIONS.values()]
    given = [name for each in names for name in {each["plural"], each["singular"], *each["shortNames"]}]
    assert len(given) == len(set(given))
    assert not {"deployments", "deployment", "deploy", "jobs", "pods"} & set(given), "kubectl's own words stay its own"


@each_definition
def test_columns_show_fields_that_the_schema_has(plural: str) -> None:
    paths = {path.removeprefix(plural) for path, _ in nodes(schema_of(plural), plural)}
    for column in DEFINITIONS[plural]["spec"]["versions"][0]["additionalPrinterColumns"]:
        shown = column["jsonPath"]
        if not shown.startswith((".metadata.", ".status.conditions[")):
            assert shown in paths, column


def test_the_kustomization_lists_every_definition() -> None:
    made = files()
    assert set(yaml.safe_load(made["kustomization.yaml"])["resources"]) == made.keys() - {"kustomization.yaml"}


# --- models that no structural schema can say ---------------------------------------------------------------------------


class Inner(BaseModel):
    either: int | str | None = None


class Outer(BaseModel):
    one: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}


class Untyped(BaseModel):
    anything: Any = None


class Ruled(BaseModel):
    model_config = {"json_schema_extra": rules(rule("a", message="the type's"))}


class Pointing(BaseModel):
    to: Annotated[Ruled, Field(json_schema_extra=rules(rule("b", message="the field's")))]
    maybe: Annotated[Ruled | None, Field(description="beside")] = None


def made_of(model: type[BaseModel]) -> Json:
    generated = model.model_json_schema()
    return structural(generated, generated.get("$defs", {}), model.__name__)


@pytest.mark.parametrize("without", [{"many", "named"}, {"one", "named"}, {"one", "many"}])
def test_a_union_has_no_structural_form_and_is_named_by_its_path(without: set[str]) -> None:
    generated = Outer.model_json_schema()
    for name in without:
        del generated["properties"][name]
    (left,) = generated["properties"]
    path = {"one": "Outer.one.either", "many": "Outer.many[].either", "named": "Outer.named[*].either"}[left]
    with pytest.raises(NotStructural) as refused:
        structural(generated, generated["$defs"], "Outer")
    assert str(refused.value).startswith(f"{path}: 2 alternatives")


def test_an_untyped_value_has_none_either() -> None:
    with pytest.raises(NotStructural, match=r"^Untyped\.anything: "):
        made_of(Untyped)


def test_rules_of_a_type_and_of_the_field_add_up_and_the_fields_words_win() -> None:
    made = made_of(Pointing)["properties"]
    assert [each["rule"] for each in made["to"][RULES]] == ["a", "b"]
    assert made["maybe"]["description"] == "beside" and [each["rule"] for each in made["maybe"][RULES]] == ["a"]
