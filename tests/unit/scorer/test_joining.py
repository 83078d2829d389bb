"""Requests that are predicted together: each gets what it would have got alone, to the bit, from every estimator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy
import pandas
import pytest
from sklearn.base import ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import all_estimators

from smalt_scorer.direct import Predicting, together
from smalt_scorer.models.estimators import Estimator
from smalt_scorer.models.loaded import PREDICTIONS, PROBABILITIES, Refused
from smalt_scorer.protocols.question import Question, Reply
from smalt_scorer.protocols.rows import batch_of

FEATURES = 6
OF_CLASSES = make_classification(90, FEATURES, n_informative=4, n_classes=3, random_state=0)
OF_NUMBERS = make_regression(90, FEATURES, random_state=0)


def question(model: Estimator, rows: Any, *wanted: str) -> Question:
    """Its reply is the arrays themselves, bit by bit."""
    names = wanted or model.usual
    return Question(
        batch_of(rows, model.schema),
        names,
        lambda outputs: Reply(b"".join(shown(outputs[name]) for name in names)),
    )


def shown(array: Any) -> bytes:
    content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    return f"{array.dtype}{array.shape}".encode() + content


def fitted(kind: Any) -> Any:
    """The estimator on data that it takes; None for one that needs another estimator, or several targets."""
    try:
        estimator = kind(**({"n_estimators": 5} if "n_estimators" in kind().get_params() else {}))
    except TypeError:
        return None
    features, target = OF_CLASSES if issubclass(kind, ClassifierMixin) else OF_NUMBERS
    for rows, wanted in ((features, target), (abs(features), target), (abs(features), abs(target) + 1)):
        try:
            return clone(estimator).fit(rows, wanted)
        except (ValueError, AttributeError):
            continue
    return None


def mixed(model: Estimator, drawn: Any) -> list[Question]:
    """Questions of one row and of several, of whole numbers too, and some with a hole."""
    has_probabilities = len(model.outputs) > 1
    made = []
    for _ in range(int(drawn.integers(2, 20))):
        count = int(drawn.choice([1, 1, 1, 1, 2, 7]))
        rows = abs(drawn.normal(size=(count, FEATURES)) * drawn.choice([0.1, 1, 10])).tolist()
        if drawn.random() < 0.2:
            rows = [[int(value) for value in row] for row in rows]
        if drawn.random() < 0.05:
            rows[0][0] = None
        wanted = (PROBABILITIES,) if has_probabilities and drawn.random() < 0.3 else (PREDICTIONS,)
        made.append(question(model, rows, *wanted))
    return made


def outcome(answer: Reply | Refused) -> object:
    return answer.body if isinstance(answer, Reply) else str(answer)


def alone(model: Estimator, asked: Question) -> object:
    try:
        return outcome(Predicting(model)([asked])[0])
    except Exception as error:
        return type(error)


def joined(model: Estimator, asked: list[Question]) -> list[object]:
    """As the scoring thread does it: so many at a time as are taken together, and each by itself after an error."""
    predicting, made = Predicting(model), list[object]()
    for start in range(0, len(asked), predicting.most):
        batch = asked[start : start + predicting.most]
        try:
            made += [outcome(each) for each in predicting(batch)]
        except Exception:
            made += [alone(model, each) for each in batch]
    return made


def check(model: Estimator, rounds: int, seed: int = 0) -> None:
    drawn = numpy.random.default_rng(seed)
    for _ in range(rounds):
        questions = mixed(model, drawn)
        assert joined(model, questions) == [alone(model, each) for each in questions]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for kind in ("classifier", "regressor") for name, _ in all_estimators(kind)])
def test_joined_answers_of_every_estimator_are_those_it_gives_alone(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = fitted(dict(all_estimators())[name])
        if estimator is None:
            pytest.skip("it needs another estimator, or data of another kind")
        check(Estimator(estimator, "sklearn_joblib"), 12)


JOINED = [
    RandomForestClassifier(5, random_state=0).fit(*OF_CLASSES),
    RandomForestRegressor(5, random_state=0).fit(*OF_NUMBERS),
    GradientBoostingRegressor(n_estimators=5).fit(*OF_NUMBERS),
    make_pipeline(StandardScaler(), RandomForestRegressor(5, random_state=0)).fit(*OF_NUMBERS),
]


@pytest.mark.parametrize("estimator", JOINED, ids=lambda each: type(each).__name__)
def test_trees_take_any_rows_together(estimator: Any) -> None:
    model = Estimator(estimator, "sklearn_joblib")
    assert model.is_joinable
    check(model, 10)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression().fit(*OF_CLASSES), LinearRegression().fit(*OF_NUMBERS)], ids=repr
)
def test_products_are_rounded_as_those_of_a_single_row(estimator: Any) -> None:
    model = Estimator(estimator, "sklearn_joblib")
    assert not model.is_joinable and model.takes_singles and Predicting(model).most > 1
    check(model, 30)


def test_a_model_of_which_nothing_is_known_is_asked_for_one_after_the_other() -> None:
    model = Estimator(MLPRegressor(max_iter=5).fit(*OF_NUMBERS), "sklearn_joblib")
    assert Predicting(model).most == 1
    check(model, 3)


def test_tables_of_words_and_numbers_are_joined_where_each_value_is_encoded_by_itself() -> None:
    table = pandas.DataFrame({"city": ["Rome", "Oslo", "Bern"] * 10, "age": range(30)})
    columns = make_column_transformer((OneHotEncoder(), ["city"]), (StandardScaler(), ["age"]))
    pipeline = make_pipeline(columns, RandomForestClassifier(5, random_state=0)).fit(table, [0, 1, 1] * 10)
    model = Estimator(pipeline, "sklearn_joblib")
    assert model.is_joinable
    given: list[list[Any]] = [["Rome", 3], ["Oslo", 20], ["nowhere", 1], ["Bern", 29]]
    answers = Predicting(model)([question(model, [row]) for row in given])
    assert [outcome(each) for each in answers] == [alone(model, question(model, [row])) for row in given]
    assert [isinstance(each, Refused) for each in answers] == [False, False, True, False]


def test_only_rows_of_one_form_and_few_enough_go_together() -> None:
    model = Estimator(JOINED[0], "sklearn_joblib")
    rows = [[0.5] * FEATURES]
    asked = [question(model, rows), question(model, rows * 40), question(model, rows, PROBABILITIES)]
    asked += [question(model, rows * 30), question(model, rows)]
    assert together(asked, is_joinable=True) == [[0, 1], [2], [3, 4]]
    assert together(asked, is_joinable=False) == [[0, 4], [1], [2], [3]]


def test_without_joining_each_is_asked_for_alone() -> None:
    assert Predicting(Estimator(JOINED[0], "sklearn_joblib"), is_joining=False).most == 1
