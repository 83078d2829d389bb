"""What of a requirements file is honoured, and what is refused by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt_trainer.requirements import RequirementError
from smalt_trainer.requirements_file import RequirementsFileError, read_requirements

HASH = "sha256:" + "a" * 64


def read(folder: Path, files: dict[str, str]) -> tuple[list[str], list[str], bool]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    found = read_requirements(folder, next(iter(files)))
    return [each.requirement for each in found.entries], found.constraints, found.is_lock


@pytest.mark.parametrize(
    ("files", "requirements", "constraints"),
    [
        ({"r.txt": "# all\nsix\n\nnumpy >= 2  # fast\n"}, ["six", "numpy >= 2"], []),
        ({"r.txt": "\ufeffa[b] == 1 ; python_version > '3'\r\n"}, ["a[b] == 1 ; python_version > '3'"], []),
        ({"r.txt": "numpy \\\n  >= 2\nsix"}, ["numpy >= 2", "six"], []),
        ({"r.txt": "-r more/b.txt\na", "more/b.txt": "-r ../c.txt\nb", "c.txt": "c"}, ["c", "b", "a"], []),
        (
            {"r.txt": "-rb.txt\n--constraint=c.txt", "b.txt": "b", "c.txt": "-r d.txt\nc<2", "d.txt": "d<1"},
            ["b"],
            ["d<1", "c<2"],
        ),
        ({"r.txt": "a @ https://example.org/a.whl#sha256=12"}, ["a @ https://example.org/a.whl#sha256=12"], []),
        ({"r.txt": "# only words\\\nsix"}, ["six"], []),
        ({"r.txt": ""}, [], []),
    ],
)
def test_requirements_and_what_they_include(
    tmp_path: Path, files: dict[str, str], requirements: list[str], constraints: list[str]
) -> None:
    assert read(tmp_path, files) == (requirements, constraints, False)


@pytest.mark.parametrize(
    "text", [f"six==1 --hash={HASH}", f"six==1 \\\n    --hash={HASH} \\\n    --hash=sha256:{'b' * 64}\n"]
)
def test_a_file_with_hashes_is_a_lock(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, {"r.txt": text}) == (["six==1"], [], True)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"r.txt": "six\n-i https://packages.example"},
            "r.txt, line 2: -i is not taken from a file: set the index in the Workspace",
        ),
        ({"r.txt": "--extra-index-url=https://x"}, "line 1: --extra-index-url is not taken from a file"),
        ({"r.txt": "-e ."}, "line 1: -e cannot be locked"),
        ({"r.txt": "--pre"}, "line 1: --pre is not supported: remove the line"),
        ({"r.txt": "six --no-binary"}, "has an option behind its requirement"),
        ({"r.txt": "."}, "line 1: '.' is a folder or file"),
        ({"r.txt": "-r ../other.txt"}, "line 1: '../other.txt' is not a file of the code"),
        ({"r.txt": "-r /etc/passwd"}, "line 1: '/etc/passwd' is not a file of the code"),
        ({"r.txt": "-r https://example.org/r.txt"}, "is not a file of the code: copy it there"),
        ({"r.txt": "-r b.txt", "b.txt": "-r r.txt"}, "r.txt is included again and again"),
        ({"r.txt": "-r absent.txt"}, "'absent.txt' is not a file of the code"),
        ({"r.txt": f"six==1 --hash={HASH}\nnumpy==2\n"}, "'numpy==2' has no --hash, while others have"),
    ],
)
def test_what_is_refused_names_the_file_the_line_and_what_to_do(
    tmp_path: Path, files: dict[str, str], told: str
) -> None:
    with pytest.raises(RequirementError) as refused:
        read(tmp_path, files)
    assert told in str(refused.value)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_bytes(b"\xff\xfe\x00six")
    with pytest.raises(RequirementsFileError, match="is not UTF-8 text"):
        read_requirements(tmp_path, "r.txt")
