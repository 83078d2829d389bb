"""Every field of a kind with every hostile value: generated from the CRD, so that no field is forgotten."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Json = dict[str, Any]
CRDS = Path(__file__).resolve().parents[2] / "crds"
MARK = "MARK"
SHELL = f"a'b\"; touch {MARK}; `touch {MARK}` $(touch {MARK}) ${{HOME}} $({MARK}) $$\n{MARK}"
TEXTS = {
    "a huge text": "x" * 300_000,
    "a path out": "../../../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "a path out in the middle": "a/../../b",
    "another namespace": "other-namespace/name",
    "a name of another namespace": "name.other-namespace.svc",
    "what a shell would run": SHELL,
    "nothing": "",
    "a zero byte": "a\0b",
    "a scheme": f"file:///etc/{MARK}",
}
TAILS = {
    "a path out": "/../../../etc/passwd",
    "a path out before it ends": "/../x",
    "what a shell would run": f"; touch {MARK}",
    "a substitution": f"$(touch {MARK})",
    "what the kubelet expands": f"$({MARK})",
    "another line": f"\n{MARK}",
    "a huge text": "x" * 300_000,
}
NUMBERS = {"a huge number": 10**18, "a number beyond every integer": 10**40, "a negative one": -1, "a fraction": 0.5}
TYPES: dict[str, Any] = {
    "a number": 5,
    "true": True,
    "a text": "x",
    "a list": ["x"],
    "an object": {"k": "v"},
    "null": None,
}
WRONG = {
    "string": ("a number", "true", "a list", "an object"),
    "quantity": ("true", "a list", "an object"),
    "integer": ("a text", "true", "a list", "an object"),
    "number": ("a text", "true", "a list", "an object"),
    "boolean": ("a number", "a text", "a list", "an object"),
    "array": ("a number", "true", "a text", "an object"),
    "map": ("a number", "true", "a text", "a list"),
    "scalar": ("a list", "an object"),
}


class Field(NamedTuple):
    """A field by its path; `*` is a key of a map, `[]` an element of a list."""

    path: tuple[str, ...]
    type: str

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def named(self) -> str:
        """The last part that has a name."""
        return [part for part in self.path if part not in ("*", "[]")][-1]

    def values(self, good: Json) -> Iterator[tuple[str, Any]]:
        """Hostile values with what they are; behind a good one, where the good spec has it, they come past the first look."""
        there = value_at(good, self.path)
        if self.type == "string" and isinstance(there, str):
            yield from ((f"a good value and {word}", there + tail) for word, tail in TAILS.items())
        for word in WRONG[self.type]:
            yield word, TYPES[word]
        if self.type in ("string", "quantity", "scalar"):
            yield from TEXTS.items()
        if self.type in ("integer", "number", "quantity", "scalar"):
            yield from NUMBERS.items()
        if self.type == "array":
            yield "a huge list", ["x"] * 100_000
            yield "hostile elements", list(TEXTS.values())[1:]
        if self.type == "map":
            for word, text in TEXTS.items():
                # A parser of YAML takes no longer key than that, and the field would not be reached.
                yield f"a key that is {word}", {text[:1000]: "v"}


def fields(plural: str) -> list[Field]:
    """All fields of the kind's spec that hold no further fields with names."""
    crd = yaml.safe_load((CRDS / f"smalt.dev_{plural}.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return list(_walk(schema, ()))


def _walk(schema: Json, path: tuple[str, ...]) -> Iterator[Field]:
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        for name, each in schema["properties"].items():
            yield from _walk(each, (*path, name))
    elif kind == "object":
        yield Field(path, "map")
        if isinstance(schema.get("additionalProperties"), dict):
            yield from _walk(schema["additionalProperties"], (*path, "*"))
    elif kind == "array":
        yield Field(path, "array")
        yield from _walk(schema["items"], (*path, "[]"))
    else:
        is_quantity = schema.get("x-kubernetes-int-or-string")
        yield Field(path, kind or ("quantity" if is_quantity else "scalar"))


def value_at(spec: Any, path: tuple[str, ...]) -> Any:
    """What stands there; None for nothing. Of maps and lists the first."""
    for part in path:
        if part in ("*", "[]"):
            spec = next(iter(spec.values() if isinstance(spec, dict) else spec or ()), None)
        else:
            spec = spec.get(part) if isinstance(spec, dict) else None
    return spec


def with_value(spec: Json, path: tuple[str, ...], value: Any) -> Json:
    """A copy of the spec with the value in its place; what is missing on the way is made."""
    made = copy.deepcopy(spec)
    _set(made, path, value)
    return made


def _set(at: Any, path: tuple[str, ...], value: Any) -> None:
    here, rest = path[0], path[1:]
    if here == "[]":
        if not at:
            at.append({})
        _put(at, 0, rest, value)
    elif here == "*":
        _put(at, next(iter(at), "k"), rest, value)
    else:
        _put(at, here, rest, value)


def _put(at: Any, key: Any, rest: tuple[str, ...], value: Any) -> None:
    if not rest:
        at[key] = value
        return
    present = at[key] if isinstance(at, list) or key in at else None
    if not isinstance(present, list if rest[0] == "[]" else dict):
        at[key] = present = [] if rest[0] == "[]" else {}
    _set(present, rest, value)
