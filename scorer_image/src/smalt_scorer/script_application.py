"""The routes of a score script, which answer as Azure's server does: `/`, `/score`, `/swagger.json`, beside those of every model."""

from __future__ import annotations

from smalt_scorer.application import GONE, Application, Refusal
from smalt_scorer.azure_contract import Dressing, problem, score, script_failed, swagger_answer, timed_out
from smalt_scorer.contract import RequestSettings
from smalt_scorer.cors import Origins
from smalt_scorer.incoming import Incoming, Receive
from smalt_scorer.keys import Keys
from smalt_scorer.metrics import Metrics
from smalt_scorer.raw_request import FAILED, RawAnswer, RawRequest
from smalt_scorer.scoring import Busy, CallerGone, Scoring, ScriptError, TimedOut
from smalt_scorer.script import Script

SCORE, SWAGGER = "/score", "/swagger.json"


class ScriptApplication(Application):
    """Those in OPEN need no key, and neither does a browser's preflight (OPTIONS)."""

    def __init__(self, scoring: Scoring, settings: RequestSettings, metrics: Metrics, keys: Keys | None) -> None:
        super().__init__(scoring, settings, metrics, keys)
        self.dressing = Dressing(Origins())
        self._script: Script | None = None

    def begin(self, script: Script) -> None:
        """Serves this script, once it is ready."""
        self._script = script

    def run(self, request: RawRequest) -> RawAnswer:
        """The main thread's part."""
        assert self._script is not None
        return score(request, self._script.run)

    def problem(self, request: RawRequest, status: int, message: str, **headers: str) -> RawAnswer:
        return problem(status, message, is_scripts=False, **headers)

    async def answer(self, request: RawRequest, receive: Receive) -> RawAnswer:
        if request.path == SCORE:
            found = await self.counted(request, receive, lambda incoming: self._scored(request, incoming))
        elif request.path == SWAGGER:
            found = self._described(request)
        elif request.path in self.OPEN:
            found = self.dressing.refusal(request) or self.probed(request)
        else:
            found = problem(404, f"there is no {request.path}: ask POST /score")
        return self.dressing.dressed(request, found)

    def _described(self, request: RawRequest) -> RawAnswer:
        if request.method not in ("GET", "HEAD"):
            return problem(405, f"{SWAGGER} takes GET", allow="GET, HEAD")
        try:
            return swagger_answer(request, self._admitted(request).swagger)
        except Refusal as refusal:
            return refusal.answer

    async def _scored(self, request: RawRequest, incoming: Incoming) -> RawAnswer:
        if request.method == "OPTIONS":
            return RawAnswer(content_type="text/html; charset=utf-8", headers=((FAILED, "False"),))
        if request.method not in ("GET", "POST"):
            raise self.refuse(request, 405, "/score takes POST or GET", allow="GET, POST")
        self._admitted(request)
        body = b"" if request.method == "GET" else await self.whole_body(request, incoming)
        asked = RawRequest(request.method, request.path, request.query, self._for_script(request), body)
        return await self._in_turn(incoming.trace.carried(asked) if incoming.trace else asked, incoming)

    def _admitted(self, request: RawRequest) -> Script:
        """The script, for whoever has a key. Refusal for others, and for whoever comes too early."""
        self.admit(request)
        refusal = self.dressing.refusal(request)
        if refusal is not None:
            raise Refusal(refusal)
        if not self.is_ready or self._script is None:
            raise self.refuse(request, 503, "the model is not loaded yet", retry_after="1")
        return self._script

    def _for_script(self, request: RawRequest) -> list[tuple[bytes, bytes]]:
        """Without the key, which is the server's and would come into the log with what a script prints."""
        return [(name, value) for name, value in request.headers if self.keys is None or name != b"authorization"]

    async def _in_turn(self, request: RawRequest, incoming: Incoming) -> RawAnswer:
        timing = incoming.trace.timing if incoming.trace else None
        try:
            found, _ = await self.scoring.score(request, incoming.caller, timing)
        except Busy:
            return problem(503, "too many requests are waiting: try again", retry_after="1")
        except CallerGone:
            return problem(GONE, "the caller has gone")
        except TimedOut:
            return timed_out(self.settings.timeout_seconds * 1000)
        except ScriptError:
            return script_failed()
        assert isinstance(found, RawAnswer)
        return found
