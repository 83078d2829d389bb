"""Which files of a run are profiled, and what is said of those that cannot be."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pandas
import pytest

from smalt_trainer import profiles
from smalt_trainer.contract import Input
from smalt_trainer.outputs import Output
from smalt_trainer.profiles import Profiler, Table, input_tables, output_tables

# Each profiles tables in a process of its own.
pytestmark = pytest.mark.slow

CSV = "a,b,churned\n" + "".join(f"{number},{number % 3},{number % 2}\n" for number in range(50))


def mounted(path: Path, kind: str = "uriFile", inside: str = "/x") -> dict[str, Input]:
    """`inside` is the part of the address that leads from the volume's folder to the path."""
    return {"train": Input("train", kind, f"pvc://claim{inside}", mount=str(path))}


@pytest.mark.parametrize(
    "name", ["t.csv", "T.CSV", "t.tsv.gz", "t.parquet", "t.jsonl.zst", "t.ndjson", "t.csv.xz", "t.csv.bz2"]
)
def test_a_table_is_known_by_its_name(name: str) -> None:
    assert profiles.is_tabular(name)


@pytest.mark.parametrize("name", ["model.joblib", "t.txt", "csv", "t.csv.bak", "picture.png", "t.json"])
def test_other_names_say_nothing(name: str) -> None:
    assert not profiles.is_tabular(name)


@pytest.mark.parametrize(
    ("content", "is_table"),
    [
        (CSV.encode(), True),
        (b"PAR1\x00\x01", True),
        (b"a\tb\n1\t2\n", True),
        (b"a line of words, with a comma", False),
        (b"\x80\x04\x95,\n\x00joblib", False),
        (b'{"learning_rate": 0.1, "depth": 3}\n{}', False),
        (b"<html>,\n<body>", False),
        (b"", False),
    ],
)
def test_a_single_file_without_an_ending_is_looked_into(tmp_path: Path, content: bytes, is_table: bool) -> None:
    (tmp_path / "data").write_bytes(content)
    assert bool(list(input_tables(mounted(tmp_path / "data"), {}))) == is_table


def test_of_a_folder_the_first_tables_by_name_count(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for number in range(9):
        (tmp_path / "deep" / f"part-{number}.csv").write_text(CSV)
    (tmp_path / "readme.md").write_text("a,b\n1,2\n")
    found = list(input_tables(mounted(tmp_path, "uriFolder"), {}))
    assert [each.place for each in found] == [f"inputs/train/deep/part-{number}.csv" for number in range(5)]


def test_a_link_out_of_the_input_is_not_followed_and_those_of_a_config_map_are(tmp_path: Path) -> None:
    secret = tmp_path / "password.csv"
    secret.write_text(CSV)
    volume = tmp_path / "volume"
    version = volume / "..2026_11_26"
    version.mkdir(parents=True)
    (version / "good.csv").write_text(CSV)
    (volume / "..data").symlink_to("..2026_11_26")
    (volume / "good.csv").symlink_to("..data/good.csv")
    (volume / "stolen.csv").symlink_to(secret)
    assert [each.below for each in input_tables(mounted(volume, "uriFolder"), {})] == ["good.csv"]
    assert list(input_tables(mounted(volume / "stolen.csv"), {})) == []
    (volume / "way").symlink_to(tmp_path)
    assert list(input_tables(mounted(volume / "way/password.csv", inside="/way/password.csv"), {})) == []
    assert list(input_tables(mounted(volume / "way", "uriFolder", inside="/way"), {})) == []
    assert len(list(input_tables(mounted(volume / "good.csv"), {}))) == 1


def test_whoever_looks_for_tables_comes_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MOST_LOOKED_AT", 20)
    for number in range(30):
        (tmp_path / f"{number:02}.txt").touch()
    (tmp_path / "z.csv").write_text(CSV)
    assert list(input_tables(mounted(tmp_path, "uriFolder", ""), {})) == []
    monkeypatch.setattr(profiles, "MOST_LOOKED_AT", 40)
    assert [each.below for each in input_tables(mounted(tmp_path, "uriFolder", ""), {})] == ["z.csv"]


def test_looking_for_tables_that_goes_wrong_is_said_and_ends_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Table]:
        raise OSError("stale file handle")
        yield

    said: list[str] = []
    made = Profiler(tmp_path / "profiles", said.append)
    made.start(broken())
    made.finish(broken(), lambda: False)
    assert said == ["profiles: OSError: stale file handle; what is left is not profiled"] * 2 and not made.found


def test_a_file_that_takes_more_memory_than_there_is_for_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MEMORY_MIB", 320)
    pandas.DataFrame({"text": ["x" * 3000 + str(number) for number in range(150_000)]}).to_parquet(
        tmp_path / "greedy.parquet", row_group_size=150_000
    )
    (tmp_path / "fine.csv").write_text(CSV)
    tables = [Table("inputs", name, tmp_path / file) for name, file in (("a", "greedy.parquet"), ("b", "fine.csv"))]
    found = profiled(tmp_path, *tables).found["inputs"]
    assert "'greedy.parquet' takes more than the 320 MiB" in found["a"]["message"]
    assert found["b"]["rows"] == 50


def test_a_process_that_comes_to_no_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smalt_profile").mkdir()
    (tmp_path / "smalt_profile/__init__.py").touch()
    (tmp_path / "smalt_profile/__main__.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: None)\nwhile True: time.sleep(1)\n"
    )
    monkeypatch.setattr(profiles, "_variables", lambda: {"PATH": "/usr/bin", "PYTHONPATH": str(tmp_path)})
    monkeypatch.setattr(profiles, "INPUT_SECONDS", 0.5)
    monkeypatch.setattr(profiles, "CLOSING_SECONDS", 0.2)
    made = profiled(tmp_path, Table("inputs", "train", tmp_path / "x.csv"))
    assert made.found == {"inputs": {"train": {"message": profiles.NO_TIME}}}


def test_models_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text(CSV)
    model = {"m": Input("m", "uriFolder", "model://churn/1", mount=str(tmp_path))}
    assert list(input_tables(model, {})) == []
    output = {"model": Output("model", tmp_path, ())}
    assert list(output_tables(output, {"model": "customModel"})) == []
    assert [each.place for each in output_tables(output, {"model": "uriFolder"})] == ["outputs/model/weights.csv"]


def profiled(folder: Path, *tables: Table) -> Profiler:
    made = Profiler(folder / "profiles", print)
    made.start(tables)
    made.finish((), lambda: False)
    return made


def test_of_inputs_a_sample_of_the_rows_is_kept_unless_it_is_turned_off(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    tables = [Table(kind, "train", tmp_path / "t.csv") for kind in ("inputs", "outputs")]
    profiled(tmp_path, *tables)
    assert json.loads((tmp_path / "profiles/inputs/train/sample.json").read_text())["rows"] == 50
    assert not (tmp_path / "profiles/outputs/train/sample.json").exists()
    made = Profiler(tmp_path / "without", print, keeps_rows=False)
    made.start(tables[:1])
    made.finish((), lambda: False)
    assert [each.name for each in sorted((tmp_path / "without/inputs/train").iterdir())] == [
        "profile.json",
        "report.html",
    ]


def test_a_table_is_profiled_with_its_target(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    made = profiled(tmp_path, Table("inputs", "train", tmp_path / "t.csv.gz", target="churned"))
    found = made.found["inputs"]["train"]
    assert {key: found[key] for key in ("rows", "columns", "missing")} == {"rows": 50, "columns": 3, "missing": 0}
    document = json.loads((tmp_path / "profiles/inputs/train/profile.json").read_text())
    assert document["target"]["name"] == "churned"
    assert "<html" in (tmp_path / "profiles/inputs/train/report.html").read_text()


def test_what_cannot_be_profiled_is_said_in_a_sentence_and_the_others_are_profiled(tmp_path: Path) -> None:
    files = {
        "binary": bytes(range(256)) * 40,
        "empty": b"",
        "header": b"a,b\n",
        "damaged": gzip.compress(CSV.encode() * 100)[:60],
        "good": CSV.encode(),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.csv").write_bytes(content)
    tables = [Table("inputs", name, tmp_path / f"{name}.csv") for name in files]
    found = profiled(tmp_path, *tables).found["inputs"]
    assert found["good"]["rows"] == 50
    words = {name: found[name]["message"] for name in files if name != "good"}
    assert "is binary, not a table" in words["binary"]
    assert "is empty" in words["empty"]
    assert "has a header and no rows" in words["header"]
    assert "is cut off or damaged" in words["damaged"]


def test_after_the_scripts_end_a_long_one_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "INPUT_SECONDS", 1.0)
    with (tmp_path / "long.csv").open("w") as stream:
        stream.write("a,b,c,d\n")
        for number in range(3_000_000):
            stream.write(f"{number},{number * 7 % 1001},{number % 3},x{number % 17}\n")
    tables = [Table("inputs", name, tmp_path / "long.csv") for name in ("train", "test")]
    found = profiled(tmp_path, *tables).found["inputs"]
    assert 0 < found["train"]["rows"] < 3_000_000
    assert "not all of it was read: the end of the time" in found["train"]["message"]
    assert found["test"] == {"message": "there was no time left to profile it after the script's end"}


def test_a_pod_that_is_to_end_waits_for_no_profile(tmp_path: Path) -> None:
    with (tmp_path / "long.csv").open("w") as stream:
        stream.writelines(f"{number},{number % 7}\n" for number in range(2_000_000))
    made = Profiler(tmp_path / "profiles", print)
    made.start([Table("inputs", "train", tmp_path / "long.csv")])
    began = time.monotonic()
    made.finish([Table("outputs", "clean", tmp_path / "long.csv")], lambda: True)
    assert time.monotonic() - began < profiles.INPUT_SECONDS / 3
    assert "outputs" not in made.found


def test_tables_of_one_folder_are_counted_together() -> None:
    one = {"rows": 10, "columns": 3, "missing": 1, "warnings": 0}
    other = {"rows": 5, "columns": 4, "missing": 2, "warnings": 1}
    assert profiles.added(one, other) == {"rows": 15, "columns": 4, "missing": 3, "warnings": 1}
    assert profiles.added({"message": "is empty"}, other) == {**other, "message": "is empty"}
