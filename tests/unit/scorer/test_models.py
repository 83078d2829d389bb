"""Models of every format are loaded by what they are; what they are not is refused in words."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from smalt_scorer.failures import Failure
from smalt_scorer.models import load
from smalt_scorer.models.loaded import LoadedModel, Refused
from smalt_scorer.protocols import invocations, score
from smalt_scorer.protocols.question import BadRequest, UnsupportedType
from support import served_models as made

TWO = numpy.array([[0.0, 0.0]], dtype="float32")


def linear() -> bytes:
    return made.joblib_file(made.linear())


def loaded(folder: Path, files: dict[str, bytes], named: str | None = None) -> LoadedModel:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return load(folder, named)


def refused(folder: Path, files: dict[str, bytes], named: str | None = None) -> str:
    with pytest.raises(Failure) as caught:
        loaded(folder, files, named)
    assert caught.value.reason == "ModelNotLoadable"
    assert len(str(caught.value)) < 900
    return str(caught.value)


def answer(model: LoadedModel, body: Any) -> Any:
    question = score.question(json.dumps(body).encode(), model)
    return json.loads(question.reply(model.predict(question.batch, question.wanted)).body)


def rounded(answered: Any) -> Any:
    return {name: numpy.round(numpy.array(values), 5).tolist() for name, values in answered.items()}


# Made when asked for: whoever collects tests need not wait for it.
SUMS: dict[str, Callable[[], dict[str, bytes]]] = {
    "joblib": lambda: {"model.joblib": linear()},
    "packed": lambda: {"deep/er/model.joblib": made.joblib_file(made.linear(), 3)},
    "xz": lambda: {"model.pkl": made.joblib_file(made.linear(), ("xz", 3))},
    "pickle": lambda: {"model.pkl": made.pickle_file(made.linear()), "README.md": b"about"},
    "any name": lambda: {"weights": linear()},
    "skops": lambda: {"model.skops": made.skops_file(made.linear())},
    "onnx": lambda: {"model.onnx": made.onnx_file(made.linear(), TWO)},
    "named": lambda: {"model.joblib": made.joblib_file(made.named())},
}


@pytest.mark.parametrize("files", SUMS.values(), ids=SUMS)
def test_a_model_of_any_format_predicts(files: Callable[[], dict[str, bytes]], tmp_path: Path) -> None:
    assert rounded(answer(loaded(tmp_path, files()), {"data": [[1, 1], [2, 0]]})) == {"predictions": [3.0, 2.0]}


@pytest.mark.parametrize(
    "body", [[[1, 1]], {"inputs": [[1, 1]]}, {"input_data": {"columns": [0, 1], "index": [0], "data": [[1, 1]]}}]
)
def test_rows_come_in_all_the_usual_bodies(body: Any, tmp_path: Path) -> None:
    assert rounded(answer(loaded(tmp_path, SUMS["joblib"]()), body)) == {"predictions": [3.0]}


@pytest.mark.parametrize("body", [{"inputs": {"visits": [1], "age": [1]}}, {"data": [{"visits": 1, "age": 1}]}])
@pytest.mark.filterwarnings("error")
def test_a_model_of_a_dataframe_gets_named_columns(body: Any, tmp_path: Path) -> None:
    assert rounded(answer(loaded(tmp_path, SUMS["named"]()), body)) == {"predictions": [3.0]}


CUSTOMER = [31, 10.5, "Rome"]
CUSTOMERS: dict[str, tuple[Callable[[], dict[str, bytes]], str | None]] = {
    "joblib": (lambda: {"model.joblib": made.joblib_file(made.customers())}, None),
    "with a schema": (
        lambda: {"model.joblib": made.joblib_file(made.customers()), "schema.json": made.schema_file()},
        None,
    ),
    "skops": (lambda: {"model.skops": made.skops_file(made.customers())}, "skops"),
    "onnx": (lambda: {"model.onnx": made.onnx_customers()}, "onnx"),
    "onnx with a schema": (lambda: {"model.onnx": made.onnx_customers(), "schema.json": made.schema_file()}, "onnx"),
}


@pytest.mark.parametrize(("files", "named"), CUSTOMERS.values(), ids=CUSTOMERS)
def test_a_pipeline_of_texts_and_numbers_answers_as_the_estimator_does(
    files: Callable[[], dict[str, bytes]], named: str | None, tmp_path: Path
) -> None:
    model, expected = loaded(tmp_path, files(), named), made.customers()
    rows = [
        [int(age), None if numpy.isnan(spend) else spend, city] for age, spend, city in made.CUSTOMERS.values.tolist()
    ]
    assert answer(model, {"data": rows}) == {"predictions": expected.predict(made.CUSTOMERS).tolist()}
    likely = answer(model, {"data": rows, "method": "predict_proba"})["probabilities"]
    assert numpy.allclose(likely, expected.predict_proba(made.CUSTOMERS), atol=1e-5)
    assert [each.name for each in model.outputs] == ["predictions", "probabilities"]


@pytest.mark.parametrize(("files", "named"), CUSTOMERS.values(), ids=CUSTOMERS)
def test_a_wrong_type_is_told_by_column_even_without_a_schema(
    files: Callable[[], dict[str, bytes]], named: str | None, tmp_path: Path
) -> None:
    model = loaded(tmp_path, files(), named)
    with pytest.raises(BadRequest, match="row 1, column 'city': 7 is a number, the model takes a text"):
        answer(model, {"data": [CUSTOMER, [31, 10.5, 7]]})
    with pytest.raises(BadRequest, match="row 0, column 'age': \"old\" is a text, the model takes a"):
        answer(model, {"data": [["old", 10.5, "Rome"]]})


def test_texts_several_numbers_and_several_classes(tmp_path: Path) -> None:
    texts = loaded(tmp_path / "texts", {"m.pkl": made.pickle_file(made.comments())})
    assert (
        answer(texts, {"data": ["very good", "bad"]}) == answer(texts, ["very good", "bad"]) == {"predictions": [1, 0]}
    )
    assert answer(texts, {"inputs": [["very good"]], "method": "predict_proba"})["probabilities"][0][1] > 0.5
    numbers = loaded(tmp_path / "numbers", {"m.joblib": made.joblib_file(made.several_numbers())})
    assert rounded(answer(numbers, {"data": [[1, 1]]})) == {"predictions": [[3.0, 1.0]]}
    classes = loaded(tmp_path / "classes", {"m.joblib": made.joblib_file(made.several_classes())})
    assert answer(classes, {"data": [[1, 1]]}) == {"predictions": [["b", "y"]]}
    graph = loaded(tmp_path / "graph", {"m.onnx": made.onnx_file(made.several_numbers(), TWO)})
    assert rounded(answer(graph, {"data": [[1, 1]]})) == {"predictions": [[3.0, 1.0]]}


def test_a_graph_with_several_inputs_and_outputs_of_its_own_names(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N", 2]) for name in ("a", "b", "plus", "minus")]
    nodes = [helper.make_node("Add", ["a", "b"], ["plus"]), helper.make_node("Sub", ["a", "b"], ["minus"])]
    graph = helper.make_graph(nodes, "g", values[:2], values[2:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model = loaded(tmp_path, {"m.onnx": proto.SerializeToString()})
    expected = {"plus": [[4, 6]], "minus": [[-2, -2]]}
    assert answer(model, {"inputs": [{"a": [1, 2], "b": [3, 4]}]}) == expected
    assert answer(model, {"inputs": {"a": [[1, 2]], "b": [[3, 4]]}}) == expected
    assert model.is_joinable
    with pytest.raises(BadRequest, match="'inputs' has no column 'b'"):
        answer(model, {"inputs": {"a": [[1, 2]]}})


def test_a_graph_for_a_single_row_is_not_joined(tmp_path: Path) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    files = {"m.onnx": made.onnx_file(made.linear(), None, initial_types=[("x", FloatTensorType([1, 2]))])}
    assert not loaded(tmp_path, files).is_joinable


@pytest.mark.parametrize(
    ("flavor", "content"),
    [
        ("pickled_model: model.pkl, serialization_format: cloudpickle", made.pickle_file(made.customers())),
        (
            "pickled_model: model.pkl, serialization_format: skops, skops_trusted_types: [x.Y]",
            made.skops_file(made.customers()),
        ),
    ],
    ids=["cloudpickle", "skops"],
)
def test_an_mlflow_folder_is_served_by_its_description(flavor: str, content: bytes, tmp_path: Path) -> None:
    files = {"MLmodel": f"flavors:\n  sklearn: {{{flavor}}}\n".encode(), "model.pkl": content, "conda.yaml": b""}
    model = loaded(tmp_path / "model", files)
    assert answer(model, {"data": [CUSTOMER]}) == {"predictions": ["stays"]}
    nested = loaded(tmp_path / "nested", {f"model/{name}": content for name, content in files.items()}, "mlflow")
    assert answer(nested, {"data": [CUSTOMER]}) == {"predictions": ["stays"]}


def mlmodel(text: str) -> dict[str, bytes]:
    return {
        "MLmodel": text.encode(),
        "model.pkl": made.joblib_file(made.named()),
        "model.onnx": SUMS["onnx"]()["model.onnx"],
    }


SKLEARN = "flavors:\n  sklearn: {pickled_model: model.pkl}\n"


def test_the_signature_of_mlflow_checks_requests(tmp_path: Path) -> None:
    inputs = [
        {"type": "long", "name": "age", "required": True},
        {"type": "double", "name": "visits", "required": False},
    ]
    text = f"{SKLEARN}signature:\n  inputs: '{json.dumps(inputs)}'\n"
    model = loaded(tmp_path, mlmodel(text))
    assert rounded(answer(model, {"data": [{"age": 1, "visits": 1.0}]})) == {"predictions": [3.0]}
    with pytest.raises(BadRequest, match=r"row 0, column 'age': 1.5 is a number, the model takes an integer"):
        answer(model, {"data": [[1.5, 1.0]]})


def test_the_onnx_flavor_of_mlflow_is_served(tmp_path: Path) -> None:
    assert loaded(tmp_path, mlmodel("flavors:\n  onnx: {data: model.onnx}\n")).platform == "onnx_onnxv1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "flavors: {sklearn: {pickled_model: ../../model.pkl}}",
            "names '../../model.pkl', which lies outside of the model's folder",
        ),
        ("flavors: {sklearn: {pickled_model: /etc/passwd}}", "lies outside of the model's folder"),
        ("flavors: {sklearn: {pickled_model: gone.pkl}}", "names 'gone.pkl', which is not in the model's folder"),
        ("flavors: {sklearn: 5}", "'sklearn' of MLmodel is no mapping"),
        ("flavors: {spark: {}}", "MLmodel has the flavors spark, and sklearn, onnx and python_function are served"),
        ("{}", "'flavors' of MLmodel is no mapping"),
        ("- 1", "MLmodel is no YAML mapping"),
        ("{{{", "MLmodel cannot be read"),
        ("[" * 5000, "MLmodel cannot be read"),
        ("a: &a [1]\nb: [*a, *a]", "YAML aliases"),
        ("!!python/object/apply:os.system ['true']", "MLmodel cannot be read"),
        ("x: " + "y" * (1 << 20), "more than 1048576 bytes"),
        (SKLEARN + "signature: {inputs: '[{]'}", "the signature of MLmodel cannot be read"),
        (SKLEARN + "signature: {inputs: '[5]'}", "the signature of MLmodel cannot be read"),
    ],
)
def test_a_description_that_cannot_be_followed_is_told(text: str, told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path, mlmodel(text))


def test_an_mlflow_model_of_another_kind_says_which_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "flavors:\n  xgboost: {}\n  python_function: {loader_module: mlflow.xgboost}\n"
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert "flavor xgboost, which needs the package mlflow (or mlflow-skinny) and xgboost's own: add them" in refused(
        tmp_path, mlmodel(text)
    )


def test_a_format_that_is_said_is_the_only_one_that_is_tried(tmp_path: Path) -> None:
    assert "register a ModelProto" in refused(tmp_path, {"model": linear()}, "onnx")
    assert "'model.joblib' cannot be loaded as a joblib model: it is an ONNX model" in refused(
        tmp_path / "a", {"model.joblib": SUMS["onnx"]()["model.onnx"]}
    )
    assert "it is a skops file" in refused(tmp_path / "b", {"model.pkl": SUMS["skops"]()["model.skops"]})
    assert "'model.onnx' cannot be loaded as an ONNX model: it is a pickle" in refused(
        tmp_path / "c", {"model.onnx": linear()}
    )
    assert "'model.skops' cannot be loaded as a skops model: it is a pickle" in refused(
        tmp_path / "d", {"model.skops": linear()}
    )
    assert "has no file MLmodel" in refused(tmp_path / "e", {"model.skops": linear()}, "mlflow")
    assert "format is 'h5', and joblib, mlflow, onnx, pickle, skl" in refused(
        tmp_path / "f", {"m.h5": b"\x89HDF"}, "h5"
    )


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"README.md": b"about", "b": b"x"}, "it has none"),
        ({"a.joblib": linear(), "b.pkl": linear()}, "it has a.joblib, b.pkl"),
        ({"a.joblib": linear(), "b.onnx": linear()}, "it has a.joblib, b.onnx"),
        ({"a.joblib": made.joblib_file({"not": "a model"})}, "holds a dict, which has no predict()"),
        ({"a.joblib": b""}, "'a.joblib' is empty"),
        ({"a.joblib": b"no pickle"}, "it is no such file (it begins with b'no pickl')"),
        ({"a.pt": b"PK\x05\x06" + b"\0" * 18}, "of no format that is served without a score script"),
        ({"a.safetensors": b"\x08\0\0\0\0\0\0\0{}"}, "of no format"),
        ({"a.onnx": b"version https://git-lfs.github.com/spec/v1\n"}, "a pointer of Git LFS, not the file itself"),
        ({"a.h5": b"\x89HDF\r\n\x1a\n"}, "it is an HDF5 file"),
    ],
)
def test_what_is_no_model_is_told(files: dict[str, bytes], told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path, files)


WHOLE: dict[str, Callable[[], bytes]] = {
    "model.joblib": lambda: made.joblib_file(made.customers()),
    "model.pkl": lambda: made.pickle_file(made.customers()),
    "packed.joblib": lambda: made.joblib_file(made.customers(), 3),
    "xz.joblib": lambda: made.joblib_file(made.customers(), ("xz", 3)),
    "model.skops": lambda: made.skops_file(made.customers()),
    "model.onnx": lambda: made.onnx_file(made.classes(), TWO),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0.1, 0.5, 1])
def test_a_file_that_is_cut_short_is_told(name: str, share: float, tmp_path: Path) -> None:
    content = WHOLE[name]()[:-1]
    assert f"'{name}'" in refused(tmp_path, {name: content[: int(len(content) * share)]})


def archive(members: dict[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", packed) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return written.getvalue()


def small() -> bytes:
    return b"\0" * (65 << 20)


TRAPS: list[tuple[str, Callable[[], bytes], str]] = [
    ("m.skops", lambda: archive({"schema.json": b"{}", "1.npy": small()}), "more than 200 times its size"),
    ("m.skops", lambda: archive({"schema.json": b"{}", "../../x.npy": b""}), "'../../x.npy', which lies outside"),
    ("m.skops", lambda: archive({"schema.json": b"{}", "/etc/x": b""}), "'/etc/x', which lies outside"),
    ("m.skops", lambda: archive({"schema.json": b"{}"}), "cannot be loaded as a skops model"),
    ("m.skops", lambda: archive({"schema.json": b"[" * 100_000}), "cannot be loaded as a skops model"),
    ("m.skops", lambda: archive({"model.pkl": linear()}), "it is a zip archive"),
    ("m.joblib", lambda: zlib.compress(small()), "more than 200 times its size"),
    ("m.joblib", lambda: gzip.compress(small()), "more than 200 times its size"),
    ("m.joblib", lambda: bz2.compress(small()), "more than 200 times its size"),
    ("m.joblib", lambda: lzma.compress(small()), "more than 200 times its size"),
    ("m.joblib", lambda: gzip.compress(b"no pickle"), "cannot be loaded as a joblib model"),
    ("m.onnx", lambda: b"\x08\x09" + b"\xff" * 100, "cannot be loaded as an ONNX model"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "content", "told"), TRAPS, ids=range(len(TRAPS)))
def test_a_trap_is_not_opened(name: str, content: Callable[[], bytes], told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path, {name: content()})


def test_a_graph_whose_weights_lie_outside_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../secret")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "w"], ["b"])], "g", values[:1], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "secret").write_bytes(b"\0\0\x80?")
    assert onnx.__version__
    assert "'m.onnx' cannot be loaded" in refused(tmp_path / "a/b", {"m.onnx": model.SerializeToString()})


class Own(LinearRegression):
    """A type that skops does not know."""


def test_a_type_that_nobody_trusts_is_named_and_only_loaded_when_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"m.skops": made.skops_file(Own().fit([[0.0], [1.0]], [0.0, 1.0]))}
    name = f"{Own.__module__}.Own"
    message = refused(tmp_path, content)
    assert f"holds types that skops does not trust: {name}" in message
    assert f"environmentVariables, SKOPS_TRUSTED_TYPES: {name}" in message
    monkeypatch.setitem(sys.modules, Own.__module__, sys.modules[__name__])
    monkeypatch.setenv("SKOPS_TRUSTED_TYPES", f"{name}, other.Type")
    assert rounded(answer(loaded(tmp_path, content), {"data": [[1]]})) == {"predictions": [1.0]}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (b"{", "schema.json of the model cannot be used"),
        (b"[" * 100_000, "schema.json of the model cannot be used"),
        (b"{}", "it has no list 'inputs'"),
        (b'{"inputs": [5]}', "inputs[0] has no name"),
        (b'{"inputs": [{"name": "age", "type": "odd"}]}', "type of column 'age' is 'odd', and must be one of integer"),
        (b'{"inputs": [{"name": "a", "type": "text"}, {"name": "a", "type": "text"}]}', "column 'a' is there twice"),
        (b'{"inputs": [{"name": "age", "type": "number"}]}', "has no column 'spend', which the model was trained with"),
    ],
)
def test_a_schema_that_does_not_fit_is_told(schema: bytes, told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path, {"model.joblib": WHOLE["model.joblib"](), "schema.json": schema})


def test_a_schema_gives_names_to_a_model_of_arrays(tmp_path: Path) -> None:
    columns = {"inputs": [{"name": "age", "type": "integer"}, {"name": "visits", "type": "number"}]}
    model = loaded(tmp_path, {"m.joblib": linear(), "schema.json": made.schema_file(columns)})
    assert rounded(answer(model, {"data": [{"visits": 1.0, "age": 1}]})) == {"predictions": [3.0]}
    columns["inputs"].append({"name": "target", "type": "number"})
    assert "has 3 columns, and the model was trained with 2" in refused(
        tmp_path, {"schema.json": made.schema_file(columns)}
    )


FRAME = pandas.DataFrame(
    {
        "n": [1.0, 2.0, 3.0, 4.0],
        "t": ["a", "b", "a", "b"],
        "w": ["good", "bad", "good day", "bad day"],
        "k": [1, 2, 1, 2],
    }
)


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        ([("x", StandardScaler(), ["n"]), ("y", OneHotEncoder(), ["t", "k"])], ["number", "string", "any", "number"]),
        ([("x", TfidfVectorizer(), "w"), ("y", "drop", ["n"])], ["any", "any", "string", "any"]),
        ([("x", "passthrough", [0]), ("y", OrdinalEncoder(), slice(1, 3))], ["any", "string", "string", "any"]),
        (
            [("x", make_pipeline(SimpleImputer(), PCA(1)), [True, False, False, True])],
            ["number", "any", "any", "number"],
        ),
        ([("x", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["t"])], ["any"] * 4),
        ([("x", FunctionTransformer(lambda x: x[["n"]]), ["n", "t"])], ["any"] * 4),
        ([("x", StandardScaler(), ["n"]), ("y", OneHotEncoder(), ["n"])], ["number", "any", "any", "any"]),
    ],
)
def test_what_a_fitted_transformer_remembers_of_its_columns(steps: Any, kinds: list[str]) -> None:
    from smalt_scorer.models.estimators import remembered

    fitted = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(FRAME, [0, 1, 0, 1])
    assert [each.type for each in remembered(fitted).inputs] == kinds


def test_boosting_on_categories_takes_texts() -> None:
    from smalt_scorer.models.estimators import remembered

    frame = FRAME[["n", "t"]].astype({"t": "category"})
    fitted = HistGradientBoostingClassifier(categorical_features="from_dtype").fit(frame, [0, 1, 0, 1])
    assert [each.type for each in remembered(fitted).inputs] == ["any", "any"]


def test_a_value_that_only_the_model_can_refuse_is_the_callers_affair(tmp_path: Path) -> None:
    model = loaded(tmp_path, SUMS["joblib"]())
    with pytest.raises(Refused, match="Input X contains NaN"):
        answer(model, {"data": [[1, None]]})
    strict = make_pipeline(ColumnTransformer([("x", OneHotEncoder(), ["t"])]), LogisticRegression()).fit(
        FRAME, [0, 1, 0, 1]
    )
    fitted = loaded(tmp_path / "strict", {"m.pkl": pickle.dumps(strict)})
    with pytest.raises(Refused, match=r"Found unknown categories \['z'\]"):
        answer(fitted, {"data": [[1, "z", "w", 1]]})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", 'the body is empty: send {"data": [[1.0, 1.0]]} with Content-Type: application/json'),
        (b"{", "no JSON"),
        (b"5", "neither an object nor a list"),
        (b'{"rows": [[1, 1]]}', "none of data, input_data, inputs"),
        (b'{"data": 5}', "'data' is no list of rows"),
        (b'{"data": [[1, 1]], "params": {"a": 1}}', "'params' is not read"),
        (b'{"data": [[1, 1]], "method": "transform"}', "'method' is 'transform', and the model has predict"),
        (b'{"data": [[1, 1]], "method": "predict_proba"}', "and the model has predict"),
        (
            b'{"input_data": {"columns": [0], "data": [[1]]}}',
            "row 0 of 'input_data'.data has 1 values, the model takes 2",
        ),
    ],
)
def test_a_body_that_cannot_be_scored_is_told_why(body: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        score.question(body, loaded(tmp_path, SUMS["joblib"]()))
    assert told in str(caught.value)


def invoke(model: LoadedModel, body: bytes, kind: str = "application/json") -> Any:
    question = invocations.question(body, kind, model)
    return json.loads(question.reply(model.predict(question.batch, question.wanted)).body)


ROW = {"age": 31, "spend": None, "city": "Rome"}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": list(ROW), "index": [0], "data": [list(ROW.values())]}},
        {"dataframe_split": {"data": [list(ROW.values())]}},
        {"dataframe_records": [ROW]},
        {"instances": [ROW]},
        {"instances": [list(ROW.values())], "params": {}},
        {"inputs": {name: [value] for name, value in ROW.items()}},
        "city,age,spend\nRome,31,\n",
        '\ufeffcity,age,spend\r\n"Rome",31,NaN\r\n',
    ],
)
@pytest.mark.parametrize("schema", [True, False])
def test_every_body_of_mlflow_is_taken(body: Any, schema: bool, tmp_path: Path) -> None:
    model = loaded(tmp_path, CUSTOMERS["with a schema" if schema else "joblib"][0]())
    is_csv = isinstance(body, str)
    sent = body.encode() if is_csv else json.dumps(body).encode()
    assert invoke(model, sent, "text/csv; charset=utf-8" if is_csv else "application/json") == {
        "predictions": ["stays"]
    }


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (
            b"{}",
            "application/json",
            "exactly one of dataframe_split, dataframe_records, instances, inputs, and has none",
        ),
        (b'{"inputs": [], "instances": []}', "application/json", "and has instances, inputs"),
        (b"[]", "application/json", "the body is no object"),
        (b"", "application/json", "the body is no object"),
        (b'{"instances": [], "params": {"a": 1}}', "application/json", "'params' is not read"),
        (b'{"dataframe_split": []}', "application/json", "'dataframe_split' is no object"),
        (b'{"dataframe_records": [[1]]}', "application/json", "'dataframe_records' is no list of objects"),
        (b"age,spend,city", "text/csv", "at least one row"),
        (b"age,spend,city\n1,2\n", "text/csv", "row 0 of the body has 2 values, and there are 3 columns"),
        (b"age,spend,town\n1,2,Rome\n", "text/csv", "the body has a column 'town'"),
        (
            b"age,spend,city\nold,2,Rome\n",
            "text/csv",
            "row 0, column 'age': \"old\" is a text, the model takes an integer",
        ),
        (b'age,spend,city\n1,2,"Ro', "text/csv", "the body is no CSV"),
        (b"\xff", "text/csv", "the body is no CSV"),
    ],
)
def test_a_body_of_mlflow_that_cannot_be_predicted_is_told_why(
    body: bytes, kind: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest) as caught:
        invoke(loaded(tmp_path, CUSTOMERS["with a schema"][0]()), body, kind)
    assert told in str(caught.value)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/xml", "text/csv; charset=latin-1"])
def test_another_content_type_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedType):
        invoke(loaded(tmp_path, SUMS["joblib"]()), b"{}", kind)


def test_several_outputs_are_an_object_for_each_row(tmp_path: Path) -> None:
    reply = invocations.reply({"a": numpy.array([1, 2]), "b": numpy.array([[3], [4]])}, ("a", "b"))
    assert json.loads(reply.body) == {"predictions": [{"a": 1, "b": [3]}, {"a": 2, "b": [4]}]}
