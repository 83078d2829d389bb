"""A model without a score script: the routes of its protocols, answered by the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smalt_scorer.application import GONE, Application, Refusal
from smalt_scorer.identifiers import identifiers_of
from smalt_scorer.incoming import Incoming, Receive
from smalt_scorer.models.loaded import LoadedModel, Refused, join, part
from smalt_scorer.protocols.question import BadRequest, Question, Reply
from smalt_scorer.protocols.routes import NoSuchRoute, Route, Routes, problem_reply
from smalt_scorer.raw_request import RawAnswer, RawRequest
from smalt_scorer.runners import MOST_TOGETHER
from smalt_scorer.scoring import Busy, CallerGone, ScriptError, TimedOut


class Predicting:
    """What the scoring thread does with questions: the model's outputs, written as each caller wants them.

    Rows of several callers go through the model together where each gets what it would have got alone, to the bit, and
    their types and number of columns are the same as those of the rows they are joined with.
    """

    def __init__(self, model: LoadedModel, is_joining: bool = True) -> None:
        self._model = model
        # One after the other each has the whole of its time, and is answered as soon as it is predicted.
        self.most = MOST_TOGETHER if is_joining and (model.is_joinable or model.takes_singles) else 1

    def __call__(self, questions: Sequence[Question]) -> list[Reply | Refused]:
        if len(questions) == 1:
            return [self._alone(questions[0])]
        answers: dict[int, Reply | Refused] = {}
        for numbers in together(questions, self._model.is_joinable):
            answers |= zip(numbers, self._joined([questions[each] for each in numbers]), strict=True)
        return [answers[number] for number in range(len(questions))]

    def _joined(self, questions: Sequence[Question]) -> list[Reply | Refused]:
        outputs = self._outputs(questions) if len(questions) > 1 else None
        if outputs is None:
            return [self._alone(each) for each in questions]
        answers, start = list[Reply | Refused](), 0
        for each in questions:
            stop = start + each.batch.rows
            answers.append(each.reply(part(outputs, start, stop)))
            start = stop
        return answers

    def _outputs(self, questions: Sequence[Question]) -> Mapping[str, Any] | None:
        """Of all rows together; None when they are to be asked for apart."""
        batch, wanted = join([each.batch for each in questions]), questions[0].wanted
        if not self._model.is_joinable:
            return self._model.predict_singly(batch, wanted)
        try:
            return self._model.predict(batch, wanted)
        except Refused:  # somebody's value, of which the others are to hear nothing
            return None

    def _alone(self, question: Question) -> Reply | Refused:
        try:
            return question.reply(self._model.predict(question.batch, question.wanted))
        except Refused as refused:
            return refused


def together(questions: Sequence[Question], is_joinable: bool) -> list[list[int]]:
    """Which questions go through the model together, by their numbers: of one form, and not too many rows.

    Several rows of one question are predicted together as they came, so that only for a joinable model they can be
    together with others too.
    """
    made: list[list[int]] = []
    open_: dict[Any, tuple[list[int], int]] = {}
    for number, each in enumerate(questions):
        rows = each.batch.rows
        if rows > 1 and not is_joinable:
            made.append([number])
            continue
        form = (each.wanted, each.batch.form)
        numbers, so_far = open_.get(form, ([], 0))
        if not numbers or so_far + rows > MOST_TOGETHER:
            numbers, so_far = [], 0
            made.append(numbers)
        numbers.append(number)
        open_[form] = (numbers, so_far + rows)
    return made


class DirectApplication(Application):
    """Its routes stand once the model is loaded; until then all but probes are told to come again."""

    routes: Routes | None = None

    def problem(self, request: RawRequest, status: int, message: str, **headers: str) -> RawAnswer:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return _answered(status, problem_reply(request.path, message), **more)

    async def answer(self, request: RawRequest, receive: Receive) -> RawAnswer:
        if request.path in self.OPEN:
            return self.probed(request)
        try:
            route = self._route(request)
            if not route.asks:
                return self._read(route, request)
        except Refusal as refusal:
            return refusal.answer
        own, too_long = identifiers_of(request.headers)
        found = await self.counted(request, receive, lambda incoming: self._asked(route, request, incoming, too_long))
        found.headers = (*found.headers, *own.items())
        return found

    def _route(self, request: RawRequest) -> Route:
        """The route that is asked for. Refusal for one that is not there, not open to this caller, or takes another method."""
        path = request.path
        if self.routes is None:
            raise self.refuse(request, 503, "the model is not loaded yet", retry_after="1")
        try:
            route = self.routes.find(path)
        except NoSuchRoute as error:
            if path.startswith("/v2/"):
                self.admit(request)  # which model there is, is not for everybody to hear
            raise self.refuse(request, 404, str(error)) from None
        if request.method not in route.methods:
            if not route.is_open:
                self.admit(request)  # nor is it to be told from what this says of another method
            allowed = ", ".join(route.methods)
            raise self.refuse(request, 405, f"{path[:200]} takes {allowed}", allow=allowed)
        if not route.is_open and not route.asks:
            self.admit(request)
        return route

    def _read(self, route: Route, request: RawRequest) -> RawAnswer:
        assert self.routes is not None
        query = request.query.decode("latin-1")
        return _answered(*self.routes.read(route, query, self.is_ready and not self.is_stopping))

    async def _asked(self, route: Route, request: RawRequest, incoming: Incoming, too_long: str | None) -> RawAnswer:
        assert self.routes is not None
        self.admit(request)
        if too_long:
            raise self.refuse(request, 431, too_long)
        body = await self.whole_body(request, incoming) if request.method == "POST" else b""
        try:
            question = self.routes.ask(route, request, body)
            timing = incoming.trace.timing if incoming.trace else None
            reply, milliseconds = await self.scoring.score(question, incoming.caller, timing)
        except Busy:
            return self.problem(request, 503, "too many requests are waiting: try again", retry_after="1")
        except CallerGone:
            return self.problem(request, GONE, "the caller has gone")
        except TimedOut:
            limit = f"{self.settings.timeout_seconds:g} s (requestSettings.requestTimeout)"
            return self.problem(request, 408, f"the prediction took more than {limit}")
        except ScriptError as error:
            return _answered(*self.routes.failed(route, str(error)))
        except BadRequest as error:
            return _answered(*self.routes.problem(route, error))
        if isinstance(reply, Refused):
            return _answered(*self.routes.problem(route, reply))
        return _answered(200, reply, **{"x-ms-run-fn-exec-ms": f"{milliseconds:.3f}"})


def _answered(status: int, reply: Reply, **headers: str) -> RawAnswer:
    return RawAnswer(status, reply.body, reply.content_type, (*reply.headers.items(), *headers.items()))
