"""Files of models, written by the libraries that write them, are told by structure; everything else is refused in a sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from skops import io as skops_io

from smalt_trainer.registration.formats.checking import Checked, check
from smalt_trainer.registration.refused import NotRegistered

ROWS = np.random.default_rng(1).normal(size=(80, 3))
TRUTH = (ROWS[:, 0] > 0).astype(int)
FRAME = pd.DataFrame({"income": ROWS[:, 0], "age": ROWS[:, 1], "city": np.where(ROWS[:, 2] > 0, "Bern", "Rom")})


def pipeline() -> Any:
    columns = ColumnTransformer([("n", StandardScaler(), ["income", "age"]), ("c", OneHotEncoder(), ["city"])])
    return Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(FRAME, TRUTH)


ESTIMATORS: dict[str, Callable[[], Any]] = {
    "a pipeline of a frame": pipeline,
    "a forest": lambda: RandomForestClassifier(5).fit(ROWS, TRUTH),
    "boosted trees": lambda: HistGradientBoostingClassifier(max_iter=5).fit(ROWS, TRUTH),
    "an isolation forest": lambda: IsolationForest(n_estimators=3).fit(ROWS),
    "neighbours": lambda: KNeighborsClassifier(algorithm="kd_tree").fit(ROWS, TRUTH),
    "a search": lambda: GridSearchCV(SVC(), {"C": [0.1, 1.0]}).fit(ROWS, TRUTH),
    "functions": lambda: make_pipeline(FunctionTransformer(np.log1p), StandardScaler()).fit(np.abs(ROWS)),
    "words": lambda: TfidfVectorizer().fit(["one two three", "two three four"]),
    "a process with a random state": lambda: GaussianProcessRegressor(random_state=np.random.RandomState(3)).fit(
        ROWS, TRUTH
    ),
    "arrays of many types": lambda: {
        "f": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "objects": np.array([{"a": 1}, None, "x", np.arange(3)], dtype=object),
        "texts": np.array(["a", "bcd"]),
        "bytes": np.array([b"a", b"bcd"]),
        "times": np.array(["2024-01-01"], dtype="datetime64[D]"),
        "records": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "record of objects": np.array([(1, {})], dtype=[("a", "i4"), ("b", "O")]),
        "truths": np.array([True]),
        "empty": np.zeros((0, 3)),
        "large": np.zeros(100_000),
        "masked": np.ma.masked_array([1, 2], [True, False]),
    },
    "a frame": lambda: FRAME.assign(when=pd.Timestamp("2024-01-01"), kind=FRAME.city.astype("category")),
    "ordinary values": lambda: [
        OrderedDict(a=1),
        {1, 2},
        frozenset({3}),
        b"x" * 1000,
        "y" * 1000,
        1 << 70,
        1.5,
        None,
        slice(1),
    ],
}


def checked(folder: Path, declared: str | None = None, allowed: list[str] | None = None) -> Checked:
    return check(folder, declared, allowed)


def refusal(folder: Path, declared: str | None = None, allowed: list[str] | None = None) -> NotRegistered:
    with pytest.raises(NotRegistered) as caught:
        check(folder, declared, allowed)
    assert len(caught.value.message) < 1000
    return caught.value


def alone(tmp_path: Path, content: bytes, name: str = "model.bin") -> Path:
    folder = tmp_path / "folder"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("packed", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 1), ("lzma", 1)], ids=str)
@pytest.mark.parametrize("what", ESTIMATORS)
def test_what_joblib_writes_is_joblib(tmp_path: Path, what: str, packed: Any) -> None:
    joblib.dump(ESTIMATORS[what](), tmp_path / "model.joblib", compress=packed)
    found = checked(tmp_path)
    assert (found.format, found.file) == ("joblib", "model.joblib")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("what", ESTIMATORS)
def test_a_plain_pickle_is_joblib_too(tmp_path: Path, what: str, protocol: int) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(ESTIMATORS[what](), protocol))
    assert checked(tmp_path).format == "joblib"
    assert checked(tmp_path, "pickle").format == "joblib"


def test_several_pickles_in_a_file_are_walked_to_the_last(tmp_path: Path) -> None:
    good, bad = pickle.dumps(pipeline()), pickle.dumps(os.system)
    assert checked(alone(tmp_path, good + good)).format == "joblib"
    assert "posix.system" in refusal(alone(tmp_path, good + bad)).message
    assert "follows its end" in refusal(alone(tmp_path, good + b"x")).message


class Calls:
    """A pickle that calls what it is given."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


HOSTILE: dict[str, Any] = {
    "posix.system": Calls(os.system, "echo"),
    "builtins.eval": Calls(eval, "1"),
    "builtins.exec": Calls(exec, "1"),
    "builtins.getattr": Calls(getattr, "x", "upper"),
    "builtins.__import__": Calls(__import__, "os"),
    "io.open": Calls(open, "/etc/passwd"),
    "joblib.numpy_pickle.load": Calls(joblib.load, "x"),
    "pandas.io.pickle.read_pickle": Calls(pd.read_pickle, "x"),
    "numpy.load": Calls(np.load, "x"),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("within", ["alone", "a list", "an array", "an estimator"])
def test_a_pickle_that_calls_something_is_refused_by_its_name(
    tmp_path: Path, name: str, within: str, protocol: int
) -> None:
    calls = HOSTILE[name]
    inside = {
        "alone": lambda: calls,
        "a list": lambda: [1, calls],
        "an array": lambda: {"a": np.arange(5.0), "b": np.array([calls], dtype=object)},
        "an estimator": lambda: StandardScaler(copy=calls),
    }[within]()
    path = tmp_path / "model.joblib"
    if protocol == 4:
        joblib.dump(inside, path)
    else:
        path.write_bytes(pickle.dumps(inside, protocol))
    found = refusal(tmp_path)
    assert found.reason == "ModelRefused"
    # Protocol 2 gives builtins the name that Python 2 had for them.
    plain = name.rpartition(".")[2]
    assert plain in found.message
    assert "skops.io.dump" in found.message


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x04\x8c\x0dsklearn.utils\x8c\x09os.system\x93.",  # an attribute of an attribute
        b"\x80\x02csklearn.datasets\nload_files\n)R.",
        b"\x80\x02csklearn.metrics\naccuracy_score\n)R.",  # may be named, not called
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        b"\x80\x02X\x01\x00\x00\x00a)R.",  # calls a text
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x02Pabc\n.",  # a persistent identifier
        b"\x80\x05\x97.",  # a buffer from elsewhere
        b"\x80\x02csklearn.x\nMemory\n)R.",
        b"\x80\x02csklearn.callback._transport\nClient\n)R.",
        b"\x80\x02ccopyreg\n__newobj__\ncsklearn.metrics\naccuracy_score\n\x85R.",  # by way of another
        b"\x80\x02ccopyreg\n__newobj__\n)R.",
    ],
)
def test_ways_around_names_are_refused(tmp_path: Path, stream: bytes) -> None:
    assert refusal(alone(tmp_path, stream)).reason == "ModelRefused"


def test_nothing_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    joblib.dump(Calls(os.mkdir, str(target)), tmp_path / "model.joblib")
    refusal(tmp_path)
    assert not target.exists()


def test_onnx_is_told_whatever_its_name(tmp_path: Path) -> None:
    model = to_onnx(RandomForestClassifier(5).fit(ROWS, TRUTH), ROWS[:1], options={"zipmap": False})
    (tmp_path / "any name").write_bytes(model.SerializeToString())
    found = checked(tmp_path, "onnx")
    assert (found.format, found.file) == ("onnx", "any name")


def outer(tmp_path: Path, location: str, offset: int = 0, size: int = 24) -> Path:
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 3], [1.0] * 6)
    del weights.float_data[:]
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(size))):
        weights.external_data.add(key=key, value=value)
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None, s]) for n, s in (("x", 2), ("y", 3)))
    graph = onnx.helper.make_graph([node], "g", [x], [y], [weights])
    folder = alone(tmp_path, onnx.helper.make_model(graph).SerializeToString(), "model.onnx")
    (folder / "weights.bin").write_bytes(bytes(24))
    return folder


def test_weights_of_onnx_beside_it_are_its_own(tmp_path: Path) -> None:
    found = checked(outer(tmp_path, "weights.bin"))
    assert (found.format, found.file) == ("onnx", "model.onnx")
    assert found.files[0][1].needs == ("weights.bin",)


@pytest.mark.parametrize(
    ("location", "more", "words"),
    [
        ("../../etc/passwd", {}, "outside of the model's folder"),
        ("/etc/passwd", {}, "outside of the model's folder"),
        ("", {}, "outside of the model's folder"),
        ("other.bin", {}, "not in the model's folder"),
        ("weights.bin", {"size": 25}, "end beyond"),
        ("weights.bin", {"offset": 8}, "end beyond"),
    ],
)
def test_weights_of_onnx_elsewhere_are_refused(tmp_path: Path, location: str, more: dict[str, int], words: str) -> None:
    assert words in refusal(outer(tmp_path, location, **more)).message


def test_safetensors_is_told(tmp_path: Path) -> None:
    save_file(
        {"a": np.zeros((2, 3)), "b": np.ones(4, "int8"), "none": np.zeros(0)}, tmp_path / "m.safetensors", {"k": "v"}
    )
    assert checked(tmp_path, "safetensors").format == "safetensors"


def tensors(header: Any, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tensors({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}), "as its shape needs"),
        (tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(9)), "the file holds 9"),
        (tensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}), "begins at byte 4"),
        (tensors({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}), "dtype"),
        (tensors({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}), "dtype"),
        (tensors({"a": {"dtype": "U8", "shape": [1 << 62] * 60, "data_offsets": [0, 8]}}), "as its shape needs"),
        (tensors(b'{"a": 1, "a": 2}'), "twice"),
        (tensors(b"{" * 100), "no JSON"),
        (tensors(b'{"a":' * 100_000), "no JSON"),
        (struct.pack("<Q", 1 << 20) + b'{"a"', "its header is said to have"),
    ],
)
def test_safetensors_that_contradict_themselves_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    found = refusal(alone(tmp_path, content, "m.safetensors"))
    assert found.reason == "ModelDamaged"
    assert words in found.message


def test_skops_is_told_with_its_types(tmp_path: Path) -> None:
    skops_io.dump(pipeline(), tmp_path / "model.skops")
    found = checked(tmp_path, "skops")
    assert found.format == "skops"
    assert "sklearn.linear_model._logistic.LogisticRegression" in found.types


def archive(*members: tuple[str, bytes], link: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members:
            opened.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            opened.writestr(info, "/etc/passwd")
    return made.getvalue()


SCHEMA = json.dumps({"__loader__": "ObjectNode", "__class__": "A", "__module__": "m", "protocol": 2}).encode()


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (archive(("schema.json", SCHEMA), ("../x", b"")), "ModelRefused", "outside"),
        (archive(("schema.json", SCHEMA), ("/etc/x", b"")), "ModelRefused", "outside"),
        (archive(("schema.json", SCHEMA), ("C:\\x", b"")), "ModelRefused", "outside"),
        (archive(("schema.json", SCHEMA), link="x"), "ModelRefused", "a link"),
        (archive(("schema.json", SCHEMA), ("x.npy", bytes(100 << 20))), "ModelRefused", "unpack to far more"),
        (archive(("schema.json", b"[]")), "ModelDamaged", "not what skops writes"),
        (archive(("schema.json", b"{" * 50)), "ModelDamaged", "damaged"),
        (archive(("schema.json", b"[" * 100_000)), "ModelDamaged", "damaged"),
        (
            archive(("schema.json", SCHEMA[:-1] + b', "x": {"__loader__": "N", "file": "1.npy"}}')),
            "ModelDamaged",
            "1.npy",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_archives_that_are_no_skops_model_are_refused(tmp_path: Path, content: bytes, reason: str, words: str) -> None:
    found = refusal(alone(tmp_path, content, "model.skops"))
    assert found.reason == reason
    assert words in found.message


@pytest.mark.slow
def test_a_pickle_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    joblib.dump(np.zeros(60_000_000), tmp_path / "model.joblib", compress=("zlib", 9))
    assert "200 times its size" in refusal(tmp_path).message


def mlflow_folder(folder: Path, described: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(described if isinstance(described, str) else yaml.safe_dump(described))
    joblib.dump(pipeline(), folder / "model.pkl")
    return folder


@pytest.mark.slow
def test_a_folder_that_mlflow_writes_is_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.sklearn

    monkeypatch.chdir(tmp_path)
    mlflow.sklearn.save_model(pipeline(), tmp_path / "m", serialization_format="pickle", pip_requirements=[])
    found = checked(tmp_path / "m", "mlflow")
    assert found.format == "mlflow"
    assert "model.pkl" in dict(found.files)["MLmodel"].needs


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"flavors": {"sklearn": {"pickled_model": "other.pkl"}}}, "'other.pkl', which is not in"),
        ({"flavors": {"sklearn": {"pickled_model": "../model.pkl"}}}, "outside"),
        ({"flavors": {"onnx": {}}}, "'model.onnx', which is not in"),
        ({"flavors": {}}, "no flavors"),
        ({"flavors": {"sklearn": "x"}}, "no mapping"),
        ("a: &a [1]\nb: *a\n", "aliases"),
        ("a: [1", "no YAML"),
        ("[" * 500_000, "64 levels deep"),
        ("- 1", "mapping"),
        ("x" * (2 << 20), "bytes"),
    ],
)
def test_a_description_of_mlflow_that_is_wrong_is_refused(tmp_path: Path, described: Any, words: str) -> None:
    assert words in refusal(mlflow_folder(tmp_path / "m", described)).message


def test_the_pickle_in_a_folder_of_mlflow_is_walked_too_and_must_be_allowed(tmp_path: Path) -> None:
    folder = mlflow_folder(tmp_path / "m", {"flavors": {"sklearn": {"pickled_model": "model.pkl"}}})
    assert checked(folder, None, ["mlflow", "joblib"]).format == "mlflow"
    found = refusal(folder, None, ["mlflow"])
    assert (found.reason, "model.pkl" in found.message) == ("FormatNotAllowed", True)
    (folder / "model.pkl").write_bytes(pickle.dumps(Calls(os.system, "x")))
    assert refusal(folder).reason == "ModelRefused"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GGUF" + bytes(20), "a GGUF file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (archive(("model/data.pkl", b"")), "torch.save"),
        (archive(("a", b"")), "a zip archive"),
        (b'{"a": 1}', "JSON"),
        (b"just text", "of no format"),
    ],
)
def test_what_a_score_script_loads_in_its_own_way_is_registered_and_not_called_a_known_format(
    tmp_path: Path, content: bytes, words: str
) -> None:
    folder = alone(tmp_path, content)
    assert (checked(folder).format, checked(folder, "lightgbm").format) == ("other", "other")
    assert refusal(folder, None, ["joblib"]).reason == "FormatNotAllowed"
    assert words in refusal(folder, "joblib").message
    (folder / "model.bin").rename(folder / "model.joblib")
    assert words in refusal(folder).message


@pytest.mark.parametrize(
    ("content", "words"), [(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"), (b"", "empty")]
)
def test_files_that_are_not_there_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(alone(tmp_path, content)).message


def test_a_packed_archive_is_no_pickle(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        made.addfile(tarfile.TarInfo("../x"))
    for number, name in enumerate(("model.tar.gz", "model.bin")):
        folder = alone(tmp_path / str(number), packed.getvalue(), name)
        assert checked(folder).format == "other"
        assert "tar archive" in refusal(folder, "joblib").message


def test_what_is_declared_must_be_what_is_there(tmp_path: Path) -> None:
    joblib.dump(pipeline(), tmp_path / "model.joblib")
    found = refusal(tmp_path, "onnx")
    assert found.reason == "FormatMismatch"
    assert "format says 'onnx', and 'model.joblib' is joblib" in found.message
    assert "format: joblib" in found.message


def test_a_model_may_have_other_files_beside_it_and_of_two_one_must_be_named(tmp_path: Path) -> None:
    joblib.dump(pipeline(), tmp_path / "model.joblib")
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/readme.txt").write_text("x")
    assert checked(tmp_path).file == "model.joblib"
    save_file({"a": np.zeros(2)}, tmp_path / "w.safetensors")
    assert checked(tmp_path).format == "other", "nobody says which of them is the model"
    assert "joblib, safetensors" in refusal(tmp_path, "onnx").message
    assert checked(tmp_path, "joblib").file == "model.joblib"
    joblib.dump(1, tmp_path / "second.joblib")
    assert checked(tmp_path, "joblib").file is None


def test_a_format_that_the_workspace_does_not_allow_is_refused(tmp_path: Path) -> None:
    joblib.dump(pipeline(), tmp_path / "model.joblib")
    found = refusal(tmp_path, None, ["onnx", "skops"])
    assert found.reason == "FormatNotAllowed"
    assert "spec.policy.modelFormats allows onnx, skops" in found.message
    assert checked(tmp_path, None, ["pickle"]).format == "joblib"


def test_links_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").symlink_to("/etc/passwd")
    assert "is a link" in refusal(tmp_path).message
    (tmp_path / "model.joblib").unlink()
    os.mkfifo(tmp_path / "model.joblib")
    assert "a pipe" in refusal(tmp_path).message


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "no files" in refusal(tmp_path).message


def samples() -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    plain, packed = io.BytesIO(), io.BytesIO()
    joblib.dump(pipeline(), plain)
    joblib.dump(pipeline(), packed, compress=3)
    made["joblib"], made["packed"] = plain.getvalue(), packed.getvalue()
    made["pickle"] = pickle.dumps(pipeline())
    made["gzip"] = gzip.compress(pickle.dumps(pipeline()))
    made["onnx"] = to_onnx(LogisticRegression().fit(ROWS, TRUTH), ROWS[:1]).SerializeToString()
    made["skops"] = skops_io.dumps(pipeline())
    made["safetensors"] = tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
    return made


SAMPLES = samples()
NAMES = {"packed": "model.joblib", "gzip": "model.joblib"}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_file_that_is_cut_short_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    content = SAMPLES[kind]
    step = max(1, len(content) // 60)
    for length in [*range(0, len(content), step), len(content) - 1]:
        found = refusal(alone(tmp_path, content[:length], NAMES.get(kind, f"model.{kind}")))
        assert found.reason in ("ModelDamaged", "FormatMismatch", "ModelRefused"), (length, found.message)


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=150, deadline=5000)
@given(data=st.data())
@pytest.mark.slow
def test_whatever_is_changed_in_a_file_it_is_a_model_or_refused(
    kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["change", "remove", "insert", "huge"])):
            case "change":
                content[at] = data.draw(st.integers(0, 255))
            case "remove":
                del content[at : at + data.draw(st.integers(1, 20))]
                content = content or bytearray(b"x")
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=20))
            case _:
                content[at : at + 8] = b"\xff" * 8
    folder = tmp_path_factory.mktemp("changed")
    try:
        check(alone(folder, bytes(content)), None, None)
    except NotRegistered as error:
        assert error.message
