"""Several runs of an unchanged script at once: each answers what it would have answered alone."""

from __future__ import annotations

import copy
import inspect
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import flask
import numpy
import pandas
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from smalt_scorer.joined import found, runs, worth
from smalt_scorer.joined import runner as joined_runner
from smalt_scorer.joined.row_by_row import RowByRow
from smalt_scorer.joined.runs import Runs
from smalt_scorer.joined.watched import Watch
from smalt_scorer.models.kernels import Kernel
from smalt_scorer.models.kernels.proof import same
from smalt_scorer.runners import Alone, Failed, Interleaving, TookTooLong

ROWS, KINDS = load_iris(return_X_y=True)
NAMES = ["a", "b", "c", "d"]
MODELS = {
    "linear": LogisticRegression(max_iter=500),
    "regression": LinearRegression(),
    "forest": RandomForestClassifier(20, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}
FITTED = {name: clone(model).fit(ROWS, KINDS) for name, model in MODELS.items()}
FITTED["large"] = RandomForestClassifier(100, random_state=0).fit(ROWS, KINDS)
NAMED = clone(MODELS["forest"]).fit(pandas.DataFrame(ROWS, columns=NAMES), KINDS)


class Scripted:
    """A script that has begun, and how often its models have been asked for several at once."""

    def __init__(self, text: str, seconds: float = 5.0, **bound: Any) -> None:
        self.module = ModuleType("score")
        self.module.__dict__.update(bound)
        exec(text, self.module.__dict__)
        getattr(self.module, "init", lambda: None)()
        self.watch = found.watch([self.module])
        self.runs = Runs(lambda question: self.module.run(question), seconds, self.watch.methods)
        self.watch.answer = self.runs.answer
        self.parts: list[dict[int, Any]] = []

    def answers(self, *questions: Any) -> list[Any]:
        """What the runs gave, or raised, by the order of the questions; those put off are asked again, as by the queue."""
        told: dict[int, Any] = {}
        left = list(enumerate(questions))
        while left:
            for part in self.runs.in_parts([question for _, question in left], lambda number: True):
                self.parts.append(part)
                told |= {left[at][0]: each.error if isinstance(each, Failed) else each for at, each in part.items()}
            assert self.parts[-1], "some are answered each time"
            left = [each for each in left if each[0] not in told]
        assert len(told) == len(questions)
        return [told[at] for at in range(len(questions))]


@pytest.fixture(autouse=True)
def time_to_begin_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(runs, "BEGINNING_SECONDS", 60.0)
    monkeypatch.setattr(runs, "WHOLE_SECONDS", 60.0)


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    for kind in (
        LogisticRegression,
        LinearRegression,
        RandomForestClassifier,
        GradientBoostingClassifier,
        type(FITTED["pipeline"]),
    ):
        for method in ("predict", "predict_proba", "decision_function"):
            own = vars(kind).get(method)
            if type(own).__name__ == "_Catching":
                own._watch.close()


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions each joined call answered."""
    counts: list[int] = []
    plain = Kernel.joined

    def counted(self: Kernel, questions: Any) -> Any:
        counts.append(len(questions))
        return plain(self, questions)

    monkeypatch.setattr(Kernel, "joined", counted)
    return counts


PREDICT = "def run(rows): return model.predict(rows)"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize("form", ["arrays", "lists", "single precision"])
def test_runs_answer_as_if_each_were_alone_to_the_bit(name: str, method: str, form: str, joined: list[int]) -> None:
    model = FITTED[name]
    if not hasattr(model, method):
        return
    rows = ROWS.astype("float32") if form == "single precision" else ROWS
    questions = [rows[at : at + 1].tolist() if form == "lists" else rows[at : at + 1] for at in range(64)]
    alone = [getattr(model, method)(each) for each in questions]
    script = Scripted(f"def run(rows): return model.{method}(rows)", model=copy.deepcopy(model))
    for one, other in zip(script.answers(*questions), alone, strict=True):
        assert same(one, other)
        assert one.flags.owndata and one.flags.writeable
    assert sum(joined) == 64 and len(joined) < 10


@pytest.mark.parametrize("name", MODELS)
def test_several_rows_each_are_answered_as_alone(name: str) -> None:
    model = FITTED[name]
    questions = [ROWS[at : at + 1 + at % 4] for at in range(20)]
    alone = [model.predict(each) for each in questions]
    answers = Scripted(PREDICT, model=copy.deepcopy(model)).answers(*questions)
    assert all(same(one, other) for one, other in zip(answers, alone, strict=True))


def test_tables_with_the_columns_of_the_model_are_joined(joined: list[int]) -> None:
    script = Scripted(
        "def run(row): return model.predict_proba(pandas.DataFrame([row], columns=list('abcd')))",
        model=copy.deepcopy(NAMED),
        pandas=pandas,
    )
    answers = script.answers(*ROWS[:10].tolist())
    for row, answer in zip(ROWS[:10].tolist(), answers, strict=True):
        assert same(answer, NAMED.predict_proba(pandas.DataFrame([row], columns=NAMES)))
    assert joined == [10]


def test_tables_with_other_columns_are_refused_by_the_model_itself() -> None:
    script = Scripted(PREDICT, model=copy.deepcopy(NAMED))
    right, wrong = pandas.DataFrame(ROWS[:1], columns=NAMES), pandas.DataFrame(ROWS[:1], columns=list("abcx"))
    first, second, third = script.answers(right, wrong, right)
    assert same(first, NAMED.predict(right)) and same(third, first)
    assert isinstance(second, ValueError) and "x" in str(second)


@pytest.mark.parametrize(
    "bad",
    [
        numpy.array([[1.0, 2.0, numpy.nan, 3.0]]),
        numpy.ones((1, 5)),
        numpy.ones(4),
        numpy.empty((0, 4)),
        numpy.array([["a", "b", "c", "d"]], dtype=object),
        [["a", 1, 2, 3]],
        [[1, 2], [3]],
        None,
    ],
    ids=str,
)
def test_what_the_model_refuses_is_refused_in_its_own_words_and_to_nobody_else(bad: Any) -> None:
    model = FITTED["linear"]
    good = ROWS[:1]
    answers = Scripted(PREDICT, model=copy.deepcopy(model)).answers(good, bad, good)
    assert same(answers[0], model.predict(good)) and same(answers[2], answers[0])
    with pytest.raises(Exception) as told:
        model.predict(bad)
    assert type(answers[1]) is told.type and str(answers[1]) == str(told.value)


def test_one_that_raises_among_ten_is_the_only_one(joined: list[int]) -> None:
    text = "def run(at):\n  answer = model.predict(rows[at:at + 1])\n  return answer if at != 3 else 1 / 0"
    script = Scripted(text, model=copy.deepcopy(FITTED["forest"]), rows=ROWS)
    answers = script.answers(*range(10))
    assert isinstance(answers[3], ZeroDivisionError)
    assert all(same(each, FITTED["forest"].predict(ROWS[at : at + 1])) for at, each in enumerate(answers) if at != 3)
    assert joined == [10]


def test_sys_exit_ends_one_run_alone() -> None:
    text = "import sys\ndef run(at):\n  model.predict(rows[:1])\n  return at if at else sys.exit(3)"
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    answers = script.answers(0, 1, 2)
    assert isinstance(answers[0], SystemExit) and answers[1:] == [1, 2]


def test_a_joined_call_that_fails_is_made_again_by_each(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(PREDICT, model=copy.deepcopy(FITTED["linear"]))
    monkeypatch.setattr(Kernel, "joined", lambda self, questions: 1 / 0)
    answers = script.answers(*(ROWS[at : at + 1] for at in range(5)))
    assert all(same(each, FITTED["linear"].predict(ROWS[at : at + 1])) for at, each in enumerate(answers))


def test_a_run_over_its_time_is_interrupted_alone_and_the_next_go_one_by_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "def run(at):\n  while at == 2: pass\n  return at, model.predict(rows[:1])[0]"
    script = Scripted(text, 0.3, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    began = time.monotonic()
    answers = script.answers(0, 1, 2, 3)
    assert time.monotonic() - began < 5
    assert isinstance(answers[2], TookTooLong)
    assert [each for at, each in enumerate(answers) if at != 2] == [(at, 0) for at in (0, 1, 3)]
    assert script.runs.most == 1
    assert "requests waited for a run() that was over its time" in capsys.readouterr().err
    assert [sorted(part) for part in script.parts] == [[2], [0, 1, 3]], "it is told at once, and the others after it"


def test_a_run_over_its_time_after_its_prediction_is_interrupted_alone() -> None:
    text = "def run(at):\n  answer = model.predict(rows[:1])[0]\n  while at == 0: pass\n  return at"
    script = Scripted(text, 0.3, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    answers = script.answers(0, 1, 2)
    assert isinstance(answers[0], TookTooLong) and answers[1:] == [1, 2]


@pytest.mark.slow
def test_time_that_others_take_is_nobodys() -> None:
    text = "import time\ndef run(at):\n  time.sleep(0.015)\n  model.predict(rows[:1])\n  time.sleep(0.3)\n  return at"
    script = Scripted(text, 1.0, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    assert script.answers(*range(4)) == [0, 1, 2, 3]
    assert script.runs.most > 1


def test_a_prediction_over_its_time_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(self: Kernel, questions: Any) -> Any:
        while True:
            pass

    script = Scripted(PREDICT, 0.2, model=copy.deepcopy(FITTED["linear"]))
    monkeypatch.setattr(Kernel, "joined", endless)
    began = time.monotonic()
    assert len(script.answers(ROWS[:1], ROWS[1:2])) == 2
    assert time.monotonic() - began < 5


def test_runs_interleave_where_they_predict_and_end_in_order_of_arrival() -> None:
    text = (
        "count = 0\ndef run(at):\n  global count\n  count += 1\n  before = count\n"
        "  model.predict(rows[:1])\n  return before, count"
    )
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    assert script.answers(*"abcd") == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [list(part) for part in script.parts] == [[0, 1, 2, 3]]


def test_a_script_that_asks_twice_is_joined_twice(joined: list[int]) -> None:
    text = "def run(rows): return model.predict(rows)[0], model.predict_proba(rows).tolist()"
    model = FITTED["linear"]
    script = Scripted(text, model=copy.deepcopy(model))
    questions = [ROWS[at : at + 1] for at in range(0, 100, 10)]
    assert script.answers(*questions) == [
        (model.predict(each)[0], model.predict_proba(each).tolist()) for each in questions
    ]
    assert joined == [10, 10]


def test_two_models_are_asked_apart(joined: list[int]) -> None:
    text = "def run(at): return (one if at % 2 else two).predict(rows[at:at + 1])[0]"
    one, two = FITTED["linear"], FITTED["regression"]
    script = Scripted(text, one=copy.deepcopy(one), two=copy.deepcopy(two), rows=ROWS)
    plain = [(one if at % 2 else two).predict(ROWS[at : at + 1])[0] for at in range(10)]
    assert script.answers(*range(10)) == plain
    assert joined == [5, 5]


def test_a_script_that_never_asks_answers(joined: list[int]) -> None:
    assert Scripted("def run(at): return at + 1", model=copy.deepcopy(FITTED["linear"])).answers(1, 2, 3) == [2, 3, 4]
    assert not joined


def test_a_model_that_is_replaced_while_it_runs_is_asked_from_then_on() -> None:
    text = "def run(at):\n  global model\n  if at == 1: model = other\n  return model.predict(rows[at:at + 1])[0]"
    one, other = FITTED["linear"], FITTED["forest"]
    script = Scripted(text, model=copy.deepcopy(one), rows=ROWS)
    script.module.other = copy.deepcopy(other)
    answers = script.answers(0, 1, 2)
    assert answers == [one.predict(ROWS[:1])[0], other.predict(ROWS[1:2])[0], other.predict(ROWS[2:3])[0]]


def test_a_model_whose_attributes_are_changed_while_it_runs_is_asked_as_it_is() -> None:
    script = Scripted(PREDICT, model=copy.deepcopy(FITTED["regression"]))
    changed = copy.deepcopy(FITTED["regression"])
    for model in (script.module.model, changed):
        model.coef_ = model.coef_ * 2
    answers = script.answers(ROWS[:1], ROWS[1:2])
    assert same(answers[0], changed.predict(ROWS[:1])) and same(answers[1], changed.predict(ROWS[1:2]))


def test_an_array_that_all_runs_write_to_is_read_when_they_ask() -> None:
    text = "def run(at):\n  buffer[:] = rows[at]\n  return model.predict(buffer)[0]"
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS, buffer=numpy.zeros((1, 4)))
    places = list(range(0, 150, 10))
    assert script.answers(*places) == [FITTED["linear"].predict(ROWS[at : at + 1])[0] for at in places]


def test_context_variables_are_each_runs_own() -> None:
    variable: ContextVar[Any] = ContextVar("variable", default=None)
    text = "def run(at):\n  variable.set(at)\n  model.predict(rows[:1])\n  return variable.get()"
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS, variable=variable)
    assert script.answers(1, 2, 3) == [1, 2, 3]
    assert variable.get() is None


def test_what_is_begun_again_knows_nothing_of_the_one_before() -> None:
    variable: ContextVar[Any] = ContextVar("variable", default=None)
    text = (
        "def run(at):\n  before = variable.get()\n  variable.set(at)\n  model.predict(rows[:1])\n"
        "  if at == 1: raise KeyError(at)\n  return before, variable.get()"
    )
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS, variable=variable)
    first, second = script.answers(0, 1, 2), script.answers(3, 4)
    assert isinstance(first[1], KeyError)
    assert [first[0], first[2], *second] == [(None, at) for at in (0, 2, 3, 4)]


def test_warnings_that_runs_hide_are_shown_again() -> None:
    text = (
        "import warnings\ndef run(at):\n  with warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n"
        "    model.predict(rows[:1])\n    hidden = len(warnings.filters)\n  return hidden"
    )
    before = list(warnings.filters)
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    assert len(set(script.answers(*range(5)))) == 1
    assert warnings.filters == before


def test_scripts_with_coroutines_and_threads_answer() -> None:
    text = (
        "import asyncio\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "async def asked(at): return model.predict(rows[at:at + 1])[0]\n"
        "def run(at):\n  with ThreadPoolExecutor(1) as pool:\n"
        "    return asyncio.run(asked(at)), pool.submit(lambda: model.predict(rows[at:at + 1])[0]).result()"
    )
    model = FITTED["forest"]
    script = Scripted(text, model=copy.deepcopy(model), rows=ROWS)
    plain = [model.predict(ROWS[at : at + 1])[0] for at in (0, 60, 140)]
    assert script.answers(0, 60, 140) == [(each, each) for each in plain]


def test_other_threads_are_answered_while_runs_wait() -> None:
    model = copy.deepcopy(FITTED["linear"])
    script = Scripted(PREDICT, model=model)
    heard: list[Any] = []
    thread = threading.Thread(target=lambda: heard.append(model.predict(ROWS[:1])))
    thread.start()
    thread.join()
    assert same(heard[0], FITTED["linear"].predict(ROWS[:1]))
    assert same(script.module.run(ROWS[:1]), heard[0]), "outside of joined runs it answers at once"


def test_the_model_stays_what_it_is() -> None:
    model, untouched = copy.deepcopy(FITTED["linear"]), copy.deepcopy(FITTED["linear"])
    script = Scripted(PREDICT, model=model)
    assert type(model) is LogisticRegression and isinstance(model, LogisticRegression)
    assert vars(model).keys() == vars(untouched).keys()
    assert pickle.dumps(model) == pickle.dumps(untouched)
    assert inspect.signature(model.predict) == inspect.signature(untouched.predict)
    assert model.predict.__name__ == "predict" and model.predict.__doc__ == untouched.predict.__doc__
    assert model.predict.__self__ is model
    assert copy.deepcopy(model).get_params() == untouched.get_params()
    assert same(copy.copy(model).predict(X=ROWS), untouched.predict(ROWS))
    assert same(model.predict(X=ROWS[:1]), untouched.predict(ROWS[:1]))
    assert same(pickle.loads(pickle.dumps(model)).predict(ROWS), untouched.predict(ROWS))
    with pytest.raises(TypeError, match="unexpected keyword"):
        model.predict(ROWS, strange=1)
    with pytest.raises(TypeError):
        model.predict()
    model.predict = lambda rows: "own"
    assert script.answers(ROWS[:1], ROWS[1:2]) == ["own", "own"]


def test_classes_are_as_before_when_nobody_watches() -> None:
    before = {name: vars(LogisticRegression).get(name) for name in ("predict", "predict_proba", "decision_function")}
    script = Scripted(PREDICT, model=copy.deepcopy(FITTED["linear"]))
    assert vars(LogisticRegression)["predict"] is not before["predict"]
    script.watch.close()
    assert {name: vars(LogisticRegression).get(name) for name in before} == before


def test_models_are_found_under_names_and_one_level_below() -> None:
    class Service:
        def __init__(self, model: Any) -> None:
            self.model = model

    fitted = [copy.deepcopy(FITTED["linear"]) for _ in range(5)]
    module = ModuleType("score")
    module.__dict__.update(a=fitted[0], b=[1, fitted[1]], c={"x": fitted[2]}, d=Service(fitted[3]), e=[[fitted[4]]])
    watch = found.watch([module])
    assert [watch.of(each, "predict") is not None for each in fitted] == [True, True, True, True, False]
    watch.close()


TABLE = pandas.DataFrame(ROWS, columns=NAMES).assign(city=[["Rome", "Oslo", "Lima"][at % 3] for at in range(len(ROWS))])
MIXED = make_pipeline(
    ColumnTransformer([("numbers", SimpleImputer(), NAMES), ("texts", OneHotEncoder(), ["city"])]),
    HistGradientBoostingClassifier(max_iter=5),
).fit(TABLE, KINDS)


@pytest.fixture
def joined_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []
    plain = RowByRow.joined

    def counted(self: RowByRow, questions: Any) -> Any:
        counts.append(len(questions))
        return plain(self, questions)

    monkeypatch.setattr(RowByRow, "joined", counted)
    return counts


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_tables_of_numbers_and_texts_are_joined_where_each_row_is_taken_by_itself(
    method: str, joined_rows: list[int]
) -> None:
    questions = [TABLE[at : at + 1 + at % 2].copy() for at in range(0, 100, 7)]
    questions[3].loc[21, "a"] = numpy.nan
    plain = [getattr(MIXED, method)(each) for each in questions]
    answers = Scripted(f"def run(rows): return model.{method}(rows)", model=copy.deepcopy(MIXED)).answers(*questions)
    assert all(same(one, other) for one, other in zip(answers, plain, strict=True))
    assert joined_rows == [15]


def test_a_category_that_the_model_never_saw_is_its_askers_alone(joined_rows: list[int]) -> None:
    questions = [TABLE[at : at + 1].copy() for at in range(4)]
    questions[1]["city"] = "Atlantis"
    answers = Scripted(PREDICT, model=copy.deepcopy(MIXED)).answers(*questions)
    assert isinstance(answers[1], ValueError) and "Atlantis" in str(answers[1])
    assert [each[0] for at, each in enumerate(answers) if at != 1] == [0, 0, 0]
    assert joined_rows == [4]


def test_tables_of_other_columns_or_types_are_joined_apart(joined_rows: list[int]) -> None:
    whole = [TABLE[at : at + 1].astype({"a": "int64"}) for at in range(2)]
    questions = [*whole, *(TABLE[at : at + 1] for at in range(3)), TABLE[:1].drop(columns="city")]
    answers = Scripted(PREDICT, model=copy.deepcopy(MIXED)).answers(*questions)
    assert [type(each) for each in answers] == [numpy.ndarray] * 5 + [ValueError]
    assert joined_rows == [2, 3]


@pytest.mark.parametrize("form", ["arrays", "lists"])
def test_boosted_trees_are_joined(form: str, joined_rows: list[int]) -> None:
    model = GradientBoostingClassifier(n_estimators=5).fit(ROWS, KINDS)
    questions = [ROWS[at : at + 1].tolist() if form == "lists" else ROWS[at : at + 1] for at in range(20)]
    plain = [model.predict_proba(each) for each in questions]
    bad = ROWS[:1].copy()
    bad[0, 0] = numpy.nan
    script = Scripted("def run(rows): return model.predict_proba(rows)", model=model)
    assert all(same(one, other) for one, other in zip(script.answers(*questions), plain, strict=True))
    assert joined_rows == [20]
    first, second = script.answers(ROWS[:1], bad)
    assert same(first, plain[0]) and isinstance(second, ValueError)


def test_models_that_are_not_known_to_be_equal_row_by_row_are_not_watched() -> None:
    module = ModuleType("score")
    module.__dict__.update(model=SVC().fit(ROWS, KINDS), unfitted=LogisticRegression(), kind=LogisticRegression)
    watch = found.watch([module])
    assert not watch._methods
    assert isinstance(watch, Watch)


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock, threading.Condition, threading.Semaphore])
def test_a_script_with_a_lock_is_known(kind: Any) -> None:
    module = ModuleType("score")
    assert not found.has_locks([module])
    module.__dict__.update(held={"lock": kind()})
    assert found.has_locks([module])


def test_runs_that_take_long_to_begin_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BEGINNING_SECONDS", 0.02)
    text = "import time\ndef run(at):\n  time.sleep(0.03)\n  model.predict(rows[:1])\n  return at"
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    assert script.answers(*range(5)) == [0, 1, 2, 3, 4]
    assert [len(part) for part in script.parts] == [1] * 5


@pytest.mark.slow
def test_runs_that_take_long_are_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "WHOLE_SECONDS", 0.25)
    text = "import time\ndef run(at):\n  model.predict(rows[:1])\n  time.sleep(0.05)\n  return at"
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    assert script.runs.most == 64
    script.runs(range(30))
    assert 1 <= script.runs.most <= 10


def test_a_script_with_an_alarm_of_its_own_is_not_joined_again() -> None:
    text = "import signal\ndef run(at):\n  signal.alarm(3)\n  model.predict(rows[:1])\n  signal.alarm(0)\n  return at"
    script = Scripted(text, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    assert script.answers(0, 1, 2) == [0, 1, 2]
    assert script.runs.most == 1


def test_time_is_kept_for_each_when_it_was_up_for_one() -> None:
    text = (
        "import time\ndef run(at):\n  began = time.perf_counter()\n  while at == 1 and time.perf_counter() < began + 0.2: pass\n"
        "  model.predict(rows[:1])\n  while at < 2: pass\n  return at"
    )
    script = Scripted(text, 0.3, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    began = time.monotonic()
    answers = script.answers(0, 1)
    assert [type(each) for each in answers] == [TookTooLong, TookTooLong]
    assert 0.55 < time.monotonic() - began < 5
    assert script.answers(2) == [2]


def test_a_run_is_interrupted_once_and_may_clean_up() -> None:
    text = (
        "import time\ndone = []\ndef run(at):\n  try:\n    model.predict(rows[:1])\n    while at == 0: pass\n"
        "  finally:\n    time.sleep(0.1)\n    done.append(at)\n  return at"
    )
    script = Scripted(text, 0.2, model=copy.deepcopy(FITTED["linear"]), rows=ROWS)
    answers = script.answers(0, 1)
    assert isinstance(answers[0], TookTooLong) and answers[1] == 1
    assert script.module.done == [0, 1]


def test_a_script_is_joined_where_it_can_be_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worth, "STOPPING_SECONDS", 1.0)  # a busy machine takes long for anything
    module = ModuleType("score")
    assert isinstance(joined_runner(len, [module], 5.0), Alone)
    module.__dict__["model"] = copy.deepcopy(FITTED["linear"])
    assert isinstance(joined_runner(len, [module], 5.0), Alone), "it costs less than to wait for others"
    module.__dict__["model"] = copy.deepcopy(FITTED["large"])
    monkeypatch.undo()
    assert isinstance(joined_runner(len, [module], 5.0), Interleaving)
    assert "one call of RandomForestClassifier" in capsys.readouterr().out
    module.__dict__["lock"] = threading.Lock()
    assert isinstance(joined_runner(len, [module], 5.0), Alone)
    assert "holds a lock" in capsys.readouterr().out


def test_without_greenlet_runs_go_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = ModuleType("score")
    module.__dict__["model"] = copy.deepcopy(FITTED["large"])
    monkeypatch.setitem(sys.modules, "greenlet", None)
    assert isinstance(joined_runner(len, [module], 5.0), Alone)
    assert "greenlet" in capsys.readouterr().out


def test_globals_that_stand_for_something_else_are_left_alone() -> None:
    class Moody:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("not now")

    module = ModuleType("score")
    module.__dict__.update(request=flask.request, moody=Moody(), model=copy.deepcopy(FITTED["large"]))
    assert isinstance(joined_runner(len, [module], 5.0), Interleaving)
