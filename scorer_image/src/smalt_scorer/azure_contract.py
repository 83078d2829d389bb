"""What Azure's server answers, from request to answer: pure but for run() itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import parse_qs

from smalt_scorer.cors import Origins
from smalt_scorer.identifiers import MOST_CHARACTERS, NAMES, identifiers_of
from smalt_scorer.raw_request import FAILED, RawAnswer, RawRequest
from smalt_scorer.script_input import Unacceptable
from smalt_scorer.script_run import ScriptRun
from smalt_scorer.swagger import Swagger

SCRIPT_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."


def problem(status: int, message: str, is_scripts: bool = False, **headers: str) -> RawAnswer:
    """An error as Azure's clients read it; further headers by name, with `_` for `-`."""
    more = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return RawAnswer(status, json.dumps({"message": message}).encode(), headers=((FAILED, str(is_scripts)), *more))


def timed_out(milliseconds: float) -> RawAnswer:
    return problem(500, f"Scoring timeout after {milliseconds:.0f} ms", is_scripts=True)


def script_failed() -> RawAnswer:
    return problem(500, SCRIPT_FAILED, is_scripts=True)


def score(request: RawRequest, run: ScriptRun) -> RawAnswer:
    """Calls run(), in the main thread. Whatever it raises is raised on."""
    try:
        return run(request)
    except Unacceptable as refusal:
        return problem(refusal.status, refusal.message)


def swagger_answer(request: RawRequest, documents: Swagger) -> RawAnswer:
    asked = parse_qs(request.query.decode("latin-1"), keep_blank_values=True).get("version")
    status, document = documents.of(asked[0] if asked else None)
    return RawAnswer(status, json.dumps(document).encode(), headers=((FAILED, "False"),))


@dataclass(frozen=True)
class Dressing:
    """What every answer of `/`, `/score` and `/swagger.json` carries."""

    origins: Origins

    def refusal(self, request: RawRequest) -> RawAnswer | None:
        """Why it is not even looked at, or None."""
        if not any(name in NAMES and len(value) > MOST_CHARACTERS for name, value in request.headers):
            return None
        told = identifiers_of(request.headers)[1]
        return None if told is None else problem(431, told)

    def dressed(self, request: RawRequest, answer: RawAnswer) -> RawAnswer:
        own = identifiers_of(request.headers)[0]
        kept = [each for each in answer.headers if each[0].lower() not in own]
        kept += own.items()
        if self.origins.any:
            kept += self.origins.headers(request.method, request.by_name())
        return RawAnswer(answer.status, answer.body, answer.content_type, kept)
