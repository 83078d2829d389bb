"""The digest of a run: the same for the same on another day and node, and any change names its part.

What the trainer digests and what the operator makes of it are put together as in a real run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from smalt.api.training_run import TrainingRunSpec
from smalt.reconcilers.run_results import facts
from smalt_trainer.code import lay_out_inline
from smalt_trainer.digests import canonical_digest, manifest, manifest_digest
from smalt_trainer.lock import Entry, Lock
from support.resources import DIGEST, ended, job, pod, run

Json = dict[str, Any]
BASE: Json = {
    "code": {"train.py": "print(1)", "src/more.py": ""},
    "lock": (Entry("lightgbm==4.5.0", ("sha256:aa", "sha256:bb")), Entry("numpy==1.26.4", ("sha256:cc",))),
    "parameters": {"C": 1, "name": "x"},
    "train": "a,b\n1,2\n",
    "test": "a,b\n3,4\n",
    "command": "python train.py",
    "variables": {"A": "1", "B": "2"},
    "image": DIGEST,
}


def digests(folder: Path, given: Json) -> Json:
    """`status.digests` of a run with these ingredients."""
    data = {}
    for name in ("train", "test"):
        file = folder / name / "data.csv"
        file.parent.mkdir(parents=True)
        file.write_text(given[name])
        data[name] = manifest_digest(manifest(file.parent))
    report = {
        "digests": {
            "code": lay_out_inline(given["code"], folder / "code"),
            "environment": Lock.of(given["lock"]).digest,
            "parameters": canonical_digest(given["parameters"]),
            "data": data,
        }
    }
    inputs = {name: {"type": "uriFile", "path": f"https://data.example/{name}.csv"} for name in data}
    it = run(command=given["command"], environmentVariables=given["variables"], inputs=inputs)
    it["spec"]["parameters"] = given["parameters"]
    status = ended()
    for each in status["containerStatuses"]:
        each["imageID"] = f"docker.io/smalt/trainer@{given['image']}" if given["image"] else ""
    found = facts(report, pod(job(it), **status), TrainingRunSpec.model_validate(it["spec"]))["digests"]
    return {name: each for name, each in found.items() if name != "data"} | {
        f"data.{name}": each for name, each in found["data"].items()
    }


def test_the_same_is_the_same_on_another_day_and_node(tmp_path: Path) -> None:
    first = digests(tmp_path / "one", BASE)
    elsewhere = {
        **BASE,
        "code": dict(reversed(BASE["code"].items())),
        "parameters": {"name": "x", "C": 1.0},
        "variables": {"B": "2", "A": "1"},
        "lock": tuple(Entry(each.requirement, each.hashes[::-1]) for each in reversed(BASE["lock"])),
    }
    second = digests(tmp_path / "another" / "node", elsewhere)
    for path in (tmp_path / "another").rglob("*"):
        os.utime(path, (0, 0))
    assert first == second and first["run"].startswith("sha256:")


CHANGES = [
    ("code", {"train.py": "print(2)", "src/more.py": ""}, "code"),
    ("code", {"train.py": "print(1)", "src/other.py": ""}, "code"),
    (
        "lock",
        (Entry("lightgbm==4.5.0", ("sha256:aa", "sha256:bb")), Entry("numpy==2.0.0", ("sha256:dd",))),
        "environment",
    ),
    ("lock", BASE["lock"][:1], "environment"),
    ("lock", (BASE["lock"][0], Entry("numpy==1.26.4", ("sha256:ee",))), "environment"),
    ("parameters", {"C": 2, "name": "x"}, "parameters"),
    ("parameters", {"C": "1", "name": "x"}, "parameters"),
    ("train", "a,b\n1,3\n", "data.train"),
    ("test", "", "data.test"),
    ("command", "python train.py ", "command"),
    ("variables", {"A": "1"}, "variables"),
    ("image", "sha256:" + "0" * 64, "image"),
]


@pytest.mark.parametrize(("ingredient", "value", "part"), CHANGES)
def test_any_change_changes_the_whole_and_names_its_part(
    tmp_path: Path, ingredient: str, value: Any, part: str
) -> None:
    before, after = digests(tmp_path / "before", BASE), digests(tmp_path / "after", {**BASE, ingredient: value})
    assert {name for name in before if before[name] != after.get(name)} == {"run", part}


def test_what_is_not_known_in_full_has_no_digest_of_the_whole(tmp_path: Path) -> None:
    found = digests(tmp_path, {**BASE, "image": ""})
    assert "run" not in found and "code" in found, "or the next node, which tells its image, would give another one"
