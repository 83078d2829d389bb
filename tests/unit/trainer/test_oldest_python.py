"""The trainer runs in other people's images: nothing in it is newer than the oldest Python it promises to work with."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = REPOSITORY / "trainer_image/src"
# What a run's pod gets: the program and its package. `smalt_profile` runs in Smalt's own image alone.
FILES = [SOURCES / "__main__.py", *sorted((SOURCES / "smalt_trainer").rglob("*.py"))]
# What only runs in our own image may use its libraries, by an import where it is used: the file itself can be loaded anywhere.
LIBRARIES = {
    "s3.py": {"obstore"},
    "mlflow.py": {"yaml"},
    "signing.py": {"cryptography", "model_signing"},
    # Of a model's own environment, in which it is loaded.
    "loading.py": {"joblib", "skops", "sklearn"},
    "conversion.py": {"numpy", "pandas", "sklearn", "skl2onnx", "onnxruntime"},
    "image_building.py": {"docker", "requests"},
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCES).as_posix())
def test_a_file_of_the_trainer_is_python_3_9(file: Path) -> None:
    tree = ast.parse(file.read_text(), str(file), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    libraries = LIBRARIES.get(file.name, set())
    assert imported - {""} <= sys.stdlib_module_names | {"smalt_trainer"} | libraries
    assert not libraries & {name for node in tree.body for name in at_once(node)}


def at_once(node: ast.stmt) -> set[str]:
    """What a statement of the module itself imports."""
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return {alias.name.partition(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()


def test_the_promise_is_the_same_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "trainer_image/pyproject.toml").read_text())["project"]
    assert (project["requires-python"], project["dependencies"]) == (">=3.9", [])
    ruff = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]
    assert ruff["per-file-target-version"]["trainer_image/**"] == "py39"


def test_a_newer_word_would_be_found() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("match x:\n    case 1: pass\n", feature_version=(3, 9))
