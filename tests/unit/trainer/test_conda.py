"""What the reader of conda files accepts, what it makes of it, and what it refuses by line."""

from __future__ import annotations

import pytest

from smalt_trainer.conda import CondaError, parse_conda
from smalt_trainer.requirements import RequirementError

AZURE = """\
# from an Azure ML project
name: churn-env
channels:
  - conda-forge
  - anaconda   # never asked
dependencies:
  - python=3.11
  - pip=23.0
  - numpy=2.4
  - "conda-forge::scikit-learn=1.9.1=py311_0"
  - pandas>=2,<4
  - pytorch
  - pip:
    - azureml-defaults
    - 'lightgbm==4.5'
    - requests[socks]>=2 ; python_version > "3.8"
"""


def test_an_azure_file_becomes_requirements_of_the_package_index() -> None:
    read = parse_conda(AZURE)
    assert (read.name, read.channels, read.python) == ("churn-env", ["conda-forge", "anaconda"], "=3.11")
    assert sorted(read.requirements) == sorted(
        [
            "numpy==2.4.*",
            "scikit-learn==1.9.1",
            "pandas>=2,<4",
            "torch",
            "azureml-defaults",
            "lightgbm==4.5",
            'requests[socks]>=2 ; python_version > "3.8"',
        ]
    )


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("dependencies:\n- six\n- pip:\n  - x==1\n- seven", ["x==1", "six", "seven"]),
        ("dependencies: [six, 'numpy>=2']", ["six", "numpy>=2"]),
        ("dependencies:\n  - pip: [a, b==2]\n", ["a", "b==2"]),
        ("\ufeffname: x\r\ndependencies:\r\n  - six\r\n", ["six"]),
        ("---\nprefix: /opt/x\ndependencies:\n\n  - numpy=2.4.*\n", ["numpy==2.4.*"]),
        ("dependencies: []", []),
        ("dependencies:\n- git+https://example.org/x.git\n", None),
    ],
)
def test_the_ways_a_list_is_written(text: str, requirements: list[str] | None) -> None:
    if requirements is None:
        with pytest.raises(CondaError, match="is not a package"):
            parse_conda(text)
    else:
        assert parse_conda(text).requirements == requirements


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there are no dependencies"),
        ("name: x", "there are no dependencies"),
        ("dependencies:\n  - a\n - b\n", "line 3: expected a list item"),
        ("dependencies:\n\t- a\n", "line 2: indented by a tab"),
        ("dependencies:\n  - pip:\n    - -r other.txt\n", "line 3: '-r other.txt' is not a package requirement"),
        ("dependencies:\n  - pip:\n    - --index-url=https://x\n", "Workspace's spec.packages.indexUrl"),
        ("dependencies:\n  - a\nvariables:\n  A: 1\n", "line 3: variables is not supported"),
        ("dependencies:\n  - a\ndependencies:\n  - b\n", "line 3: dependencies is given twice"),
        ("dependencies: six", "line 1: expected a list"),
        ("dependencies:\n  - {a: b}\n", "line 2"),
        ("dependencies:\n  - &x a\n", "line 2"),
        ("dependencies:\n  - numpy=\n", "line 2: 'numpy=' names no version"),
        ("dependencies:\n  - numpy=1|2\n", "line 2: alternatives"),
        ("name: a\n  b: c\ndependencies: []", "line 1: name must be a single value"),
        ("- a\n", "line 1: expected a key"),
    ],
)
def test_what_it_does_not_understand_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(RequirementError) as refused:
        parse_conda(text)
    assert told in str(refused.value)


def test_names_of_conda_become_the_names_of_the_index_and_keep_their_line() -> None:
    read = parse_conda("dependencies:\n- matplotlib-base=3.9\n- opencv\n- ruamel_yaml\n- msgpack-python>=1\n- mkl\n")
    assert read.requirements == ["matplotlib==3.9.*", "opencv-python-headless", "ruamel.yaml", "msgpack>=1", "mkl"]
    assert read.conda["opencv-python-headless"] == "opencv (line 3)"
    assert read.foreign == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cudatoolkit=11.8", "bring CUDA along, so remove the line"),
        ("pytorch-cuda=12.1", "bring CUDA along, so remove the line"),
        ("libgcc-ng", "bring what they need of it, so remove the line"),
        ("openssl", "bring what they need of it, so remove the line"),
        ("r-base", "choose an image that has it in environment.image"),
        ("gcc_linux-64", "choose an image that has it in environment.image"),
        ("git", "choose an image that has it in environment.image"),
        ("conda-build", "there is no conda here"),
    ],
)
def test_what_only_conda_has_is_told_with_its_line_and_what_to_do(name: str, told: str) -> None:
    read = parse_conda(f"dependencies:\n- six\n- {name}\n")
    assert read.requirements == ["six"]
    [words] = read.foreign
    assert words.startswith(f"{name.partition('=')[0]} (line 3): ") and told in words
