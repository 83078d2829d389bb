"""Cross-origin requests, for the origins that AML_CORS_ORIGINS names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from smalt_scorer.failures import Failure

_METHODS = "GET, POST"
_EXPRESSION = frozenset("*\\]?$^[]()")


@dataclass(frozen=True)
class Origins:
    """Names, without regard to case, and regular expressions, which have to fit the whole of an origin."""

    names: tuple[str, ...] = ()
    expressions: tuple[re.Pattern[str], ...] = ()
    is_all: bool = False

    @property
    def any(self) -> bool:
        return bool(self.names or self.expressions)

    def headers(self, method: str, given: Mapping[str, str]) -> list[tuple[str, str]]:
        """What to add to the answer of a request with these headers (their names in lower case)."""
        allowed = self._allowed(given.get("origin", ""))
        if not allowed:
            return []
        made = [("access-control-allow-origin", each) for each in allowed]
        if method == "OPTIONS" and given.get("access-control-request-method", "").upper() in ("GET", "POST"):
            asked = [each.strip() for each in given.get("access-control-request-headers", "").split(",")]
            if any(asked):
                made.append(("access-control-allow-headers", ", ".join(sorted(asked))))
            made.append(("access-control-allow-methods", _METHODS))
        if allowed != ["*"] and (len(self.names) + len(self.expressions) > 1 or self.expressions):
            made.append(("vary", "Origin"))
        return made

    def _allowed(self, origin: str) -> list[str]:
        if not origin:
            return ["*"] if self.is_all else sorted(self.names)[:1]
        named = any(origin.casefold() == each.casefold() for each in self.names)
        return [origin] if named or any(each.fullmatch(origin) for each in self.expressions) else []


def read(text: str | None) -> Origins:
    """Origins separated by commas; `*` is every one. Failure for a regular expression that is none."""
    names, expressions, is_all = [], [], False
    for each in filter(None, (part.strip() for part in (text or "").split(","))):
        is_all = is_all or each == "*"
        if not _EXPRESSION.intersection(each):
            names.append(each)
            continue
        try:
            expressions.append(re.compile(".*" if each == "*" else each, re.IGNORECASE))
        except re.error as error:
            raise Failure(
                "ScriptInvalid",
                f"AML_CORS_ORIGINS has '{each}', which is no regular expression ({error}): write it as https://host",
            ) from error
    return Origins(tuple(names), tuple(expressions), is_all)
