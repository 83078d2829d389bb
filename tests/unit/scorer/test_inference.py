"""The Open Inference Protocol's bodies, as bytes in and bytes out."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy
import pytest

from smalt_scorer.models.loaded import Batch
from smalt_scorer.models.schema import Input, Output, Schema
from smalt_scorer.protocols import inference
from smalt_scorer.protocols.question import BadRequest, Reply


class Sum:
    """Gives each row's sum, and what it was given."""

    platform = "test"
    is_joinable = takes_singles = True

    def __init__(self, *inputs: Input) -> None:
        self.schema = Schema(inputs)
        self.outputs: tuple[Output, ...] = (Output("sum", "number", (), "float64"), Output("echo", "any"))
        self.usual: tuple[str, ...] = ("sum",)

    def predict_singly(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any] | None:
        return None

    def predict(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any]:
        if batch.arrays[0].dtype == object:
            return {"echo": batch.arrays[0], "sum": numpy.array([len(each) for each in batch.arrays[0].ravel()])}
        whole = numpy.column_stack([each.reshape(batch.rows, -1) for each in batch.arrays])
        return {"sum": whole.sum(axis=1), "echo": batch.arrays[0]}


PLAIN = Sum(Input("input-0", "number", (2,)))
SINGLE = Sum(Input("x", "number", (2,), "float32"))
TABLE = Sum(Input("age", "integer", is_nullable=False), Input("spend", "number"))
TEXTS = Sum(Input("input-0", "string", is_nullable=False))


def ask(model: Sum, body: Any, raw: bytes = b"", **further: Any) -> Reply:
    head = json.dumps(body | further).encode()
    length = str(len(head)) if raw else None
    question = inference.question(head + raw, length, "churn", "3", model)
    return question.reply(model.predict(question.batch, question.wanted))


def tensor(data: Any, kind: str = "FP64", name: str = "input-0", shape: Any = None, **more: Any) -> dict[str, Any]:
    shape = list(numpy.shape(data)) if shape is None else shape
    return {"name": name, "datatype": kind, "shape": shape, **({} if data is None else {"data": data}), **more}


def sums(reply: Reply) -> list[float]:
    return json.loads(reply.body)["outputs"][0]["data"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "kind", ["FP64", "FP32", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"]
)
@pytest.mark.parametrize("data", [[[1, 2], [3, 4]], [1, 2, 3, 4]], ids=["nested", "flat"])
def test_every_number_is_taken_nested_and_flat(data: Any, kind: str) -> None:
    assert sums(ask(PLAIN, {"inputs": [tensor(data, kind, shape=[2, 2])]})) == [3.0, 7.0]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int32", "uint8"])
def test_every_number_is_taken_as_bytes(kind: str) -> None:
    array = numpy.array([[1, 2], [3, 4]], dtype=kind)
    names = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "int32": "INT32", "uint8": "UINT8"}
    described = tensor(None, names[kind], shape=[2, 2], parameters={"binary_data_size": array.nbytes})
    assert sums(ask(PLAIN, {"inputs": [described]}, array.tobytes())) == [3.0, 7.0]


def test_texts_are_taken_as_json_and_as_bytes_and_go_back_as_both() -> None:
    raw = b"".join(len(each).to_bytes(4, "little") + each for each in ("ä".encode(), b""))
    described = tensor(None, "BYTES", shape=[2], parameters={"binary_data_size": len(raw)})
    outputs = [{"name": "echo", "parameters": {"binary_data": True}}]
    reply = ask(TEXTS, {"inputs": [described], "outputs": outputs}, raw)
    length = int(reply.headers["Inference-Header-Content-Length"])
    assert reply.content_type == "application/octet-stream"
    assert reply.body[length:] == raw
    as_json = ask(TEXTS, {"inputs": [tensor(["ä", ""], "BYTES")], "outputs": [{"name": "echo"}]})
    assert json.loads(as_json.body)["outputs"] == [
        {"name": "echo", "shape": [2], "datatype": "BYTES", "data": ["ä", ""]}
    ]


def test_columns_come_as_tensors_of_their_own_or_as_one() -> None:
    columns = [tensor([1.5, 2.5], name="spend"), tensor([[30], [40]], "INT32", "age")]
    assert sums(ask(TABLE, {"inputs": columns})) == [31.5, 42.5]
    assert sums(ask(TABLE, {"inputs": [tensor([[30, 1], [40, 2]], "INT64", "all")]})) == [31, 42]


def test_the_only_input_may_have_any_name() -> None:
    assert sums(ask(SINGLE, {"inputs": [tensor([[1, 2]], "FP32", "whatever")]})) == [3.0]


def test_an_answer_says_which_model_and_which_request() -> None:
    answer = json.loads(ask(PLAIN, {"inputs": [tensor([[1, 2]])]}, id="42").body)
    assert answer == {
        "model_name": "churn",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "sum", "shape": [1], "datatype": "FP64", "data": [3.0]}],
    }


def test_all_outputs_are_bytes_when_the_request_says_so_except_those_that_do_not() -> None:
    outputs = [{"name": "sum"}, {"name": "echo", "parameters": {"binary_data": False}}]
    reply = ask(PLAIN, {"inputs": [tensor([[1, 2]])], "outputs": outputs}, parameters={"binary_data_output": True})
    length = int(reply.headers["Inference-Header-Content-Length"])
    told = json.loads(reply.body[:length])["outputs"]
    assert told[0]["parameters"] == {"binary_data_size": 8}
    assert told[1]["data"] == [1.0, 2.0]
    assert numpy.frombuffer(reply.body[length:]).tolist() == [3.0]


def test_a_body_without_json_is_the_only_input() -> None:
    raw = numpy.array([[1, 2], [3, 4]], dtype="float32").tobytes()
    question = inference.question(raw, "0", "churn", "3", SINGLE)
    reply = question.reply(SINGLE.predict(question.batch, question.wanted))
    length = int(reply.headers["Inference-Header-Content-Length"])
    assert numpy.frombuffer(reply.body[length:], dtype="float32").tolist() == [3.0, 7.0]


def test_metadata_names_types_and_shapes() -> None:
    found = inference.metadata("churn", "3", TABLE)
    assert found["inputs"] == [
        {"name": "age", "datatype": "INT64", "shape": [-1]},
        {"name": "spend", "datatype": "FP64", "shape": [-1]},
    ]
    assert found["outputs"] == [
        {"name": "sum", "datatype": "FP64", "shape": [-1]},
        {"name": "echo", "datatype": "BYTES", "shape": [-1]},
    ]
    assert (found["platform"], found["versions"]) == ("test", ["3"])
    assert inference.metadata("churn", "", SINGLE)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


@pytest.mark.parametrize(
    ("model", "inputs", "told"),
    [
        (PLAIN, [], "no list 'inputs'"),
        (PLAIN, [5], "inputs[0] has no name"),
        (PLAIN, [tensor([[1, 2]], "FP8")], "datatype of input 'input-0' is 'FP8', and must be one of BOOL"),
        (PLAIN, [tensor([[1, 2]], [])], "datatype of input 'input-0' is '[]'"),
        (PLAIN, [tensor([[1, 2]], shape=[1, -2])], "shape of input 'input-0' is no list of sizes"),
        (PLAIN, [tensor([[1, 2]], shape=[1, True])], "shape of input 'input-0' is no list of sizes"),
        (PLAIN, [tensor([[1, 2]], shape=[2**62, 2**62])], "more than any body holds"),
        (PLAIN, [tensor([[1, 2]], shape=[2, 2])], "data of input 'input-0' has 2 values, and its shape [2, 2] is 4"),
        (PLAIN, [tensor(None, shape=[1, 2])], "data of input 'input-0' is no list"),
        (PLAIN, [tensor([[1, "2"]], shape=[1, 2])], "value 1 of input 'input-0' is '2', and its datatype is FP64"),
        (PLAIN, [tensor([[1, 2.5]], "INT64")], "value 1 of input 'input-0' is '2.5', and its datatype is INT64"),
        (PLAIN, [tensor([[1, True]], "INT64")], "value 1 of input 'input-0' is 'True', and its datatype is INT64"),
        (PLAIN, [tensor([[1, 300]], "INT8")], "does not fit INT8"),
        (PLAIN, [tensor([[1, 2, 3]])], "rows of input 'input-0' have the shape [3], the model takes [2]"),
        (PLAIN, [tensor([["a", "b"]], "BYTES")], "input 'input-0' is BYTES, the model takes FP64"),
        (PLAIN, [tensor([[True, False]], "BOOL")], "input 'input-0' is BOOL, the model takes FP64"),
        (PLAIN, [tensor([[1, 2]]), tensor([[1, 2]])], "input 'input-0' is there twice"),
        (PLAIN, [tensor([[1, 2]]), tensor([[1, 2]], name="b")], "the model takes a single input, and got input-0, b"),
        (PLAIN, [tensor([], shape=[0, 2])], "the same number of rows"),
        (TABLE, [tensor([1], "INT64", "age"), tensor([1, 2], name="spend")], "the same number of rows"),
        (TABLE, [tensor([1], "INT64", "age")], "'inputs' has no column 'spend' (a number): the model takes age, spend"),
        (
            TABLE,
            [tensor([1], "INT64", "age"), tensor([1], name="x")],
            "'inputs' has a column 'x', which the model does not know",
        ),
        (TABLE, [tensor([1.0], name="age"), tensor([1], name="spend")], "input 'age' is FP64, the model takes INT64"),
        (TABLE, [tensor([2**63], "UINT64", "age"), tensor([1], name="spend")], "values beyond the model's INT64"),
        (TABLE, [tensor([[1, 2, 3]], name="all")], "input 'all' has the shape [1, 3], the model takes [-1, 2]"),
        (
            TABLE,
            [tensor([[1, 2]], "INT64", "age"), tensor([1], name="spend")],
            "input 'age' has the shape [1, 2], the model takes [1] or",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_told_why(model: Sum, inputs: Any, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ask(model, {"inputs": inputs})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("size", "raw", "told"),
    [
        (16, b"x" * 8, "binary_data_size of input 'input-0' is 16, and 8 bytes are left"),
        (-1, b"x" * 8, "binary_data_size of input 'input-0' is -1"),
        ("8", b"x" * 8, "binary_data_size of input 'input-0' is 8"),
        (8, b"x" * 8, "input 'input-0' has 8 bytes, and FP64 of the shape [1, 2] is 16"),
        (16, b"x" * 17, "1 bytes are left over"),
    ],
)
def test_bytes_that_do_not_fit_are_told_why(size: Any, raw: bytes, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ask(PLAIN, {"inputs": [tensor(None, shape=[1, 2], parameters={"binary_data_size": size})]}, raw)
    assert told in str(caught.value)


@pytest.mark.parametrize("raw", [b"\x05\0\0\0ab", b"\x05", b"\x01\0\0\0\xff", b"", b"\x01\0\0\0a\x01\0\0\0b"])
def test_texts_that_are_cut_short_are_told(raw: bytes) -> None:
    described = tensor(None, "BYTES", shape=[1], parameters={"binary_data_size": len(raw)})
    with pytest.raises(BadRequest, match="input 'input-0'"):
        ask(
            TEXTS,
            {
                "inputs": [
                    described,
                ]
            },
            raw,
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outputs": [{"name": "no"}]}, "there is no output 'no': the model has echo, sum"),
        ({"outputs": 5}, "'outputs' is no list"),
        ({"outputs": [{"name": "sum"}, {"name": "sum"}]}, "asked for twice"),
        ({"outputs": [{"name": "sum", "parameters": {"classification": 2}}]}, "as a classification"),
        ({"id": 5}, "'id' is no text"),
    ],
)
def test_wishes_that_cannot_be_met_are_told(change: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ask(PLAIN, {"inputs": [tensor([[1, 2]])]}, **change)
    assert told in str(caught.value)


@pytest.mark.parametrize("header", ["-1", "99999", "x", "1e3", "٣", "9" * 20])
def test_a_length_of_json_that_cannot_be_is_told(header: str) -> None:
    with pytest.raises(BadRequest, match="Inference-Header-Content-Length is"):
        inference.question(b"{}", header, "churn", "3", PLAIN)


@pytest.mark.parametrize("raw", [b"x" * 3, b"x" * 8])
def test_a_raw_body_needs_one_input_and_whole_rows(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        inference.question(raw, "0", "churn", "3", TABLE if len(raw) == 8 else SINGLE)
