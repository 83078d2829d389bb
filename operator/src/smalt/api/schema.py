"""The building blocks of the models: field types whose rules travel into the CRDs with words for people.

A rule's message is what somebody reads after `kubectl apply`: it names the value and shows a good one; the API
server puts the field's path before it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Json = dict[str, Any]
RULES = "x-kubernetes-validations"


class SmaltModel(BaseModel):
    """The base of everything in a spec or status: camelCase outside, frozen, unknown fields of stored objects ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        frozen=True,
        extra="ignore",
        defer_build=True,
    )


def rule(expression: str, message: str = "", *, says: str = "", field: str = "") -> Json:
    """One CEL validation rule. `says` is an expression that gives the message where the value is to be named; the API
    server falls back to `message` when that has a line break in it."""
    made: Json = {"rule": expression}
    if says:
        made["messageExpression"] = says
    if message or not says:
        made["message"] = message
    if field:
        made["fieldPath"] = field
    return made


def rules(*each: Json) -> Any:
    """Rules as `json_schema_extra` of a model or field."""
    return {RULES: list(each)}


def _text(pattern: str, words: str, most: int) -> Any:
    says = f'"\'" + self + "\' {words}"'
    extra = rules(rule(f"self.matches(r'{pattern}')", f"this {words}", says=says))
    return Field(max_length=most, json_schema_extra=extra)


NAME_PATTERN = "^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$"
KEY_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,62}$"
QUOTE_KEYS = "is what YAML makes of a bare word such as n, y, on or null: quote the key"

Name = Annotated[
    str,
    _text(
        NAME_PATTERN,
        "is no name of an object: use at most 52 lower-case letters, digits and '-', beginning with a letter, "
        "such as churn-lr",
        253,
    ),
]
ObjectName = Annotated[
    str,
    _text(
        "^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$",
        "is no name of an object in this namespace: use lower-case letters, digits, '-' and '.', such as my-code",
        253,
    ),
]
Duration = Annotated[
    str,
    _text(
        # In seconds it fits into 32 bits, as Kubernetes wants it.
        "^([0-9]{1,5}(ms|s|m|h)){1,4}$",
        "is no duration: write a number of at most 5 digits with its unit, such as 500ms, 30s, 10m or 2h",
        32,
    ),
]
# How long something is kept: days, but no parts of a second.
Age = Annotated[
    str,
    _text(
        "^([0-9]{1,5}(s|m|h|d)){1,4}$",
        "is no age: write a number of at most 5 digits with its unit, such as 12h or 30d",
        32,
    ),
]
Digest = Annotated[
    str, _text("^sha256:[0-9a-f]{64}$", "is no digest: write sha256: and 64 hexadecimal digits in lower case", 128)
]
RelativePath = Annotated[
    str,
    _text(
        r"^[A-Za-z0-9_][-A-Za-z0-9_.+ ]*(/[A-Za-z0-9_][-A-Za-z0-9_.+ ]*)*$",
        "is no path inside the code: write it relative, without '..' or a leading '/', such as score.py or src/score.py",
        255,
    ),
]
Key = Annotated[str, Field(max_length=63)]
Quantity = Annotated[
    str | int,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            RULES: [
                rule(
                    "type(self) == int ? self >= 0 : (isQuantity(self) && !quantity(self).isLessThan(quantity('0')))",
                    message="is no quantity: write a number, not negative, with its unit, such as 500m, 2, 512Mi or 2Gi",
                )
            ],
        }
    ),
]
Scalar = str | int | float | bool


def keys(what: str, example: str, most: int) -> Any:
    """The field of a map whose keys users write: bounded, environment-variable shaped, and no YAML accident."""
    extra = rules(
        rule(
            "!self.exists(k, k in ['true', 'false', 'null'])",
            says=f"\"{what} '\" + self.filter(k, k in ['true', 'false', 'null'])[0] + \"' {QUOTE_KEYS}\"",
        ),
        rule(
            f"self.all(k, k.matches(r'{KEY_PATTERN}'))",
            f"a {what} is no name: use letters, digits and _, at most 63, such as {example}",
            says=f"\"{what} '\" + self.filter(k, !k.matches(r'{KEY_PATTERN}'))[0] + \"' is no name: "
            f'use letters, digits and _, at most 63, such as {example}"',
        ),
    )
    return Field(max_length=most, json_schema_extra=extra)
