"""Rows of JSON against a schema: what fits becomes arrays, what does not is told with its row, column and type."""

from __future__ import annotations

import json
from typing import Any

import numpy
import pytest

from smalt_scorer.models.loaded import Batch, join, part
from smalt_scorer.models.schema import Input, Schema, parse
from smalt_scorer.protocols.question import BadRequest
from smalt_scorer.protocols.rows import batch_of, by_name, of_split
from smalt_scorer.protocols.texts import parsed, written

PLAIN = Schema((Input("input-0", "number", (2,)),))
TABLE = parse(
    {
        "inputs": [
            {"name": "age", "type": "integer", "nullable": False},
            {"name": "spend", "type": "number"},
            {"name": "city", "type": "category", "nullable": False},
            {"name": "since", "type": "datetime"},
            {"name": "member", "type": "boolean"},
        ]
    }
)
ROW = [31, 10.5, "Rome", "2024-05-01T12:00:00+02:00", True]
NUMBERS = Schema((Input("a", "number"), Input("b", "number", is_nullable=False)))
TEXTS = Schema((Input("input-0", "string", is_nullable=False),))
PICTURE = Schema((Input("x", "number", (2, 3), "float32"),))


def lists(batch: Batch) -> list[Any]:
    return [each.tolist() for each in batch.arrays]


def refusal(rows: Any, schema: Schema) -> str:
    with pytest.raises(BadRequest) as caught:
        batch_of(rows, schema, "'data'")
    return str(caught.value)


def test_a_table_of_numbers_is_one_array() -> None:
    (array,) = batch_of([[1, 2.5], [3, None]], PLAIN).arrays
    assert array.dtype == numpy.float64
    assert array[:, 0].tolist() == [1.0, 3.0]
    assert numpy.isnan(array[1, 1])


def test_every_column_has_the_type_that_training_had() -> None:
    arrays = batch_of([ROW, [45, None, "Oslo", None, None]], TABLE).arrays
    assert [each.dtype.str for each in arrays] == ["<i8", "<f8", "|O", "<M8[us]", "|O"]
    assert arrays[0].tolist() == [31, 45]
    assert str(arrays[3][0]) == "2024-05-01T10:00:00.000000"
    assert numpy.isnat(arrays[3][1])
    assert arrays[4][0] is True


def test_rows_as_objects_and_columns_in_another_order_are_the_same_rows() -> None:
    names = list(TABLE.names)
    expected = lists(batch_of([ROW], TABLE))
    record = dict(zip(names, ROW, strict=True))
    turned = dict(reversed(record.items()))
    assert lists(batch_of([record], TABLE)) == expected
    assert lists(batch_of([turned], TABLE)) == expected
    assert lists(of_split(list(turned), [list(turned.values())], TABLE, "x")) == expected
    assert lists(by_name({name: [value] for name, value in turned.items()}, TABLE, "x")) == expected


def test_a_whole_float_is_an_integer_and_a_text_alone_is_a_row() -> None:
    assert batch_of([[3.0, *ROW[1:]]], TABLE).arrays[0].dtype == numpy.int64
    assert lists(batch_of(["good", "bad"], TEXTS)) == [["good", "bad"]]
    assert lists(batch_of([["good"]], TEXTS)) == [["good"]]


def test_rows_of_any_shape_are_checked_by_shape() -> None:
    (array,) = batch_of([[[1, 2, 3], [4, 5, 6]]], PICTURE).arrays
    assert (array.shape, array.dtype) == ((1, 2, 3), numpy.float32)
    assert "rows of 'data' have the shape [3], the model takes [2, 3]" in refusal([[1, 2, 3]], PICTURE)
    assert "shape [2, 3]" in refusal([[[1, 2, 3], [4, 5]]], PICTURE)
    assert "not a number" in refusal([[[1, 2, 3], [4, 5, "6"]]], PICTURE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({0: "31"}, "row 1, column 'age': \"31\" is a text, the model takes an integer"),
        ({0: 31.5}, "row 1, column 'age': 31.5 is a number, the model takes an integer"),
        ({0: None}, "row 1, column 'age': it is missing, the model takes an integer"),
        ({0: True}, "row 1, column 'age': true is a boolean, the model takes an integer"),
        ({0: 2**70}, "is a number beyond 64 bits, the model takes an integer"),
        ({0: 1e300}, "is a number beyond 64 bits, the model takes an integer"),
        ({1: "much"}, "row 1, column 'spend': \"much\" is a text, the model takes a number"),
        ({1: [1]}, "row 1, column 'spend': it is a list, the model takes a number"),
        ({1: 10**400}, "row 1, column 'spend': 1000"),
        ({2: 7}, "row 1, column 'city': 7 is a number, the model takes a text"),
        ({2: float("nan")}, "row 1, column 'city': it is missing, the model takes a text"),
        ({2: {}}, "row 1, column 'city': it is an object, the model takes a text"),
        ({3: "yesterday"}, "row 1, column 'since': \"yesterday\" is a text, the model takes a time such as"),
        ({4: 1}, "row 1, column 'member': 1 is a number, the model takes true or false"),
        ({4: "x" * 500}, "…"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_row_column_and_type(change: dict[int, Any], told: str) -> None:
    wrong = [change.get(place, value) for place, value in enumerate(ROW)]
    message = refusal([ROW, wrong], TABLE)
    assert told in message
    assert len(message) < 250


@pytest.mark.parametrize(
    ("rows", "schema", "told"),
    [
        ([], PLAIN, "'data' has no rows"),
        ("x", PLAIN, "'data' is no list of rows: send {\"data\": [[1.0, 1.0]]}"),
        ([1, 2], PLAIN, "row 0 of 'data' is no list of values (1 is a number)"),
        ([[1, 2], 3], PLAIN, "row 1 of 'data' is no list"),
        ([[1, 2], [1]], PLAIN, "row 1 of 'data' has 1 values, the model takes 2"),
        ([[1, 2], [1, "x"]], PLAIN, 'row 1, value 1: "x" is a text, the model takes a number'),
        ([[1, True]], PLAIN, "row 0, value 1: true is a boolean, the model takes a number"),
        ([[1, 10**400]], PLAIN, "beyond what a float holds, the model takes a number"),
        ([{"a": 1}], PLAIN, "the model was trained without names: send rows as lists"),
        ([[1, 2, 3]], NUMBERS, "row 0 of 'data' has 3 values, the model takes 2 (a, b)"),
        ([[1, 2], [None, None]], NUMBERS, "row 1, column 'b': it is missing, the model takes a number"),
        ([[1, 2], [0, float("nan")]], NUMBERS, "row 1, column 'b': it is missing, the model takes a number"),
        ([{"a": 1, "b": 2}, {"a": 1}], NUMBERS, "row 1 of 'data' has no column 'b' (a number): the model takes a, b"),
        (
            [{"a": 1, "b": 2, "c": 3}],
            NUMBERS,
            "row 0 of 'data' has a column 'c', which the model does not know: it takes a, b",
        ),
        ([{"a": 1, "b": 2}, [1, 2]], NUMBERS, "row 1 of 'data' is no object (it is a list)"),
        ([{"a": 1, "b": "2"}], NUMBERS, "row 0, column 'b': \"2\" is a text, the model takes a number"),
        ([1], TEXTS, "row 0, column 'input-0': 1 is a number, the model takes a text"),
    ],
)
def test_rows_that_do_not_fit_are_told_why(rows: Any, schema: Schema, told: str) -> None:
    assert told in refusal(rows, schema)


@pytest.mark.parametrize(
    ("columns", "rows", "told"),
    [
        (["a", "c"], [[1, 2]], "x has a column 'c', which the model does not know"),
        (["a"], [[1]], "x has no column 'b'"),
        (["b", "a", "a"], [[1, 2, 3]], "x has column 'a' twice"),
        (["b", "a"], [[1]], "row 0 of x.data has 1 values, and there are 2 columns"),
        (["b", "a"], [], "x.data has no rows"),
        ("ab", [[1, 2]], "x.columns is no list of names"),
        (["b", "a"], 5, "x.data is no list of rows"),
        (["b", "a"], [["z", 2]], "row 0, column 'b': \"z\" is a text, the model takes a number"),
    ],
)
def test_a_table_with_wrong_columns_is_told_why(columns: Any, rows: Any, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        of_split(columns, rows, NUMBERS, "x")
    assert told in str(caught.value)


def test_columns_of_different_length_are_told() -> None:
    with pytest.raises(BadRequest, match=r"2 \('a'\), 1 \('b'\)"):
        by_name({"a": [1, 2], "b": [1]}, NUMBERS, "x")


def test_a_graph_for_one_row_takes_no_two() -> None:
    with pytest.raises(BadRequest, match="exactly 1 rows in a request, and got 2"):
        batch_of([[1.0], [2.0]], Schema((Input("x", "number", (1,), "float32", fixed_rows=1),)))


def test_batches_of_one_form_join_and_come_apart_in_order() -> None:
    batches = [batch_of([[1, 2]], PLAIN), batch_of([[3, 4], [5, 6]], PLAIN)]
    assert batches[0].form == batches[1].form != batch_of([ROW], TABLE).form
    joined = join(batches)
    assert (joined.rows, joined.arrays[0].tolist()) == (3, [[1, 2], [3, 4], [5, 6]])
    assert part({"y": numpy.array([7, 8, 9])}, 1, 3)["y"].tolist() == [8, 9]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[" * 10_000, b"[" * 10_000 + b"]" * 10_000, b"NaN" + b"[" * 10_000, b"1e400", b"9" * 5000],
    ids=["empty", "open", "no UTF-8", "deep", "deep and closed", "NaN and deep", "too large", "too long"],
)
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(BadRequest, match="the body is no JSON"):
        parsed(body)


def test_python_clients_may_send_nan_and_never_get_it() -> None:
    assert lists(batch_of(parsed(json.dumps([[1.0, float("inf")]]).encode()), PLAIN)) == [[[1.0, float("inf")]]]
    assert numpy.isnan(batch_of(parsed(b"[[1.0, NaN]]"), PLAIN).arrays[0][0, 1])
    assert written({"a": numpy.array([1.0, numpy.nan, numpy.inf])}) == b'{"a":[1.0,null,null]}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (numpy.array(["a", "é"]), '["a","é"]'),
        (numpy.array(["a", None], dtype=object), '["a",null]'),
        (numpy.array([b"a"]), '["a"]'),
        (numpy.array([1.5], dtype="float16"), "[1.5]"),
        (numpy.array([[1, 2]], dtype="int8"), "[[1,2]]"),
        (numpy.array([[1, 2], [3, 4]]).T, "[[1,3],[2,4]]"),
        (numpy.array(["2024-05-01"], dtype="datetime64[D]"), '["2024-05-01T00:00:00"]'),
        (numpy.array([True]), "[true]"),
        (numpy.float32(0.5), "0.5"),
    ],
    ids=str,
)
def test_whatever_a_model_gives_is_written(value: Any, text: str) -> None:
    assert written(value).decode() == text
