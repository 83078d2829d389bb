"""A score script's run(), called as its signature and decorators ask: with text, with arguments, or with the request."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Any

from smalt_scorer import script_input
from smalt_scorer.answers import body_of
from smalt_scorer.failures import Failure
from smalt_scorer.raw_request import FAILED, RawAnswer, RawRequest, RequestHeaders

HEADERS = "request_headers"
_RAW_HTTP = "azureml_inference_server_http.api.aml_request"


class Takes(Enum):
    """What a run() is called with."""

    TEXT = "the body as text"
    ARGUMENTS = "the members of a JSON body"
    REQUEST = "the request itself"


@dataclass(frozen=True)
class ScriptRun:
    """`parameters` without request_headers."""

    run: Callable[..., Any]
    takes: Takes
    parameters: tuple[inspect.Parameter, ...]
    wants_headers: bool

    def __call__(self, request: RawRequest) -> RawAnswer:
        """Calls run(). Unacceptable before it is called; whatever it raises; TypeError for what has no form in JSON."""
        if "flask" in sys.modules:
            from smalt_scorer.flask_requests import in_context

            return in_context(request, lambda given: self._answer(request, given))
        return self._answer(request, None)

    def _answer(self, request: RawRequest, given: Any) -> RawAnswer:
        arguments = self._arguments(request, given)
        if self.wants_headers:
            arguments[HEADERS] = RequestHeaders.of(request.headers)
        began = time.perf_counter()
        result = self.run(**arguments)
        took = ("x-ms-run-fn-exec-ms", f"{(time.perf_counter() - began) * 1000:.3f}")
        made = None if given is None else _flask_answer(result)
        if made is None:
            # Put into JSON at once: the next run() may change what this one gave back.
            made = RawAnswer(body=body_of(result), headers=((FAILED, "False"),))
        made.headers = (*made.headers, took)
        return made

    def _arguments(self, request: RawRequest, given: Any) -> dict[str, Any]:
        if self.takes is Takes.ARGUMENTS:
            return script_input.arguments_of(request, self.parameters)
        value = given if self.takes is Takes.REQUEST else script_input.text_of(request)
        return {self.parameters[0].name: value}


def _flask_answer(result: Any) -> RawAnswer | None:
    from smalt_scorer.flask_requests import answer_of

    return answer_of(result)


def adapted(run: Callable[..., Any], script: str) -> ScriptRun:
    """Failure when it has a signature that no request can be given to."""
    parameters = inspect.signature(run).parameters.values()
    wrong = next(
        (each for each in parameters if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)), None
    )
    if wrong is not None:
        raise _invalid(script, f"takes '{wrong}', and may take neither *args, **kwargs nor positional-only arguments")
    own = tuple(each for each in parameters if each.name != HEADERS)
    if not own:
        raise _invalid(script, "takes no argument for the data")
    is_raw, is_decorated = is_raw_http(), is_schema_decorated(run)
    if is_raw and is_decorated:
        raise _invalid(script, "has both @rawhttp and @input_schema, which exclude each other")
    takes = Takes.REQUEST if is_raw else Takes.ARGUMENTS if is_decorated else Takes.TEXT
    return ScriptRun(run, takes, own, HEADERS in {each.name for each in parameters})


def _invalid(script: str, words: str) -> Failure:
    return Failure("ScriptInvalid", f"run() of score script '{script}' {words}: write run(raw_data) and apply again")


def is_raw_http() -> bool:
    """Whether the script has used @rawhttp, wherever it imported it from."""
    return bool(getattr(sys.modules.get(_RAW_HTTP), "is_raw_http_asked_for", False))


def is_schema_decorated(run: Callable[..., Any]) -> bool:
    schemas = schema_functions()
    return schemas is not None and bool(schemas.is_schema_decorated(run))


def schema_functions() -> ModuleType | None:
    """`inference_schema.schema_util`, if the script has imported it: nothing is decorated otherwise."""
    return sys.modules.get("inference_schema.schema_util")


def schemas_of(run: Callable[..., Any]) -> tuple[Mapping[str, Any], Mapping[str, Any], frozenset[str] | None]:
    """The schemas of run()'s input and output, and the versions of Swagger that can say them (None: all)."""
    schemas = schema_functions()
    if schemas is None or not schemas.is_schema_decorated(run):
        plain = {"type": "object", "example": {}}
        return plain, plain, None
    versions = frozenset(schemas.get_supported_versions(run))
    return schemas.get_input_schema(run), schemas.get_output_schema(run), versions
