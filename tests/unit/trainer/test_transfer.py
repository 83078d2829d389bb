"""What a broken connection costs, with a source that breaks when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smalt_trainer import transfer as module
from smalt_trainer.progress import Progress, amount
from smalt_trainer.transfer import Answer, FetchFailed, Interrupted, patiently, transfer


@dataclass
class Breaking:
    """Sends `content` in pieces of ten; each of `breaks` ends a try after so many bytes, in the source's own words."""

    content: bytes
    breaks: list[int | Interrupted] = field(default_factory=list)
    tag: str = '"1"'
    resumes: bool = True
    asked: list[tuple[int, str]] = field(default_factory=list)
    shown: str = "https://h/a"

    @contextmanager
    def open(self, start: int, tag: str) -> Iterator[Answer]:
        self.asked.append((start, tag))
        end = self.breaks.pop(0) if self.breaks else len(self.content)
        if isinstance(end, Interrupted):
            raise end
        begin = start if self.resumes and tag == self.tag else 0
        at = [begin]

        def read(size: int) -> bytes:
            piece = self.content[at[0] : min(at[0] + 10, begin + end)]
            at[0] += len(piece)
            return piece

        yield Answer(read, begin, len(self.content) - begin, self.tag)


def fetched(source: Breaking, into: Path, said: list[str] | None = None, tries: int = 3) -> bytes:
    progress = Progress("inputs.train", (said if said is not None else []).append)
    transfer(source, into / "a.csv", progress, tries=tries, pause=0.0)
    return (into / "a.csv").read_bytes()


CONTENT = bytes(range(100))


def test_what_came_before_the_break_is_not_asked_for_again(tmp_path: Path) -> None:
    source, said = Breaking(CONTENT, [30, 20]), []
    assert fetched(source, tmp_path, said) == CONTENT
    assert source.asked == [(0, ""), (30, '"1"'), (50, '"1"')]
    assert "after 30 bytes; going on from there" in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_without_a_tag_and_where_nothing_is_resumed_it_begins_again(tmp_path: Path) -> None:
    untagged, said = Breaking(CONTENT, [30], tag=""), []
    assert fetched(untagged, tmp_path, said) == CONTENT
    assert untagged.asked == [(0, ""), (0, "")]
    assert "beginning again" in said[0]
    assert fetched(Breaking(CONTENT, [30], resumes=False), tmp_path) == CONTENT


def test_a_version_that_replaced_the_first_is_fetched_from_its_start(tmp_path: Path) -> None:
    source = Breaking(CONTENT, [30, Interrupted("it was replaced", afresh=True)])
    assert fetched(source, tmp_path) == CONTENT
    assert source.asked == [(0, ""), (30, '"1"'), (0, "")]


def test_tries_that_get_no_further_than_the_best_are_counted(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="3 times in a row"):
        fetched(Breaking(CONTENT, [50, 40, 50, 45], resumes=False), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetched(Breaking(CONTENT, [10] * 9), tmp_path) == CONTENT


def test_a_server_that_never_answers_is_asked_so_many_times(tmp_path: Path) -> None:
    source = Breaking(CONTENT, [Interrupted("no answer")] * 5)
    with pytest.raises(FetchFailed, match="no answer, 3 times in a row"):
        fetched(source, tmp_path)
    assert len(source.asked) == 3


def test_pauses_double_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    with pytest.raises(FetchFailed):
        transfer(Breaking(CONTENT, [Interrupted("no")] * 9), tmp_path / "a", Progress("x", print), tries=9)
    assert slept == [1, 2, 4, 8, 16, 30, 30, 30]


def test_what_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = Breaking(CONTENT)
    with pytest.raises(FetchFailed, match=r"'a\.csv' cannot be written"):
        transfer(source, tmp_path / "file/a.csv", Progress("x", print))
    assert source.asked == []


def test_a_long_name_is_no_trouble(tmp_path: Path) -> None:
    transfer(Breaking(CONTENT), tmp_path / ("x" * 255), Progress("x", print))
    assert (tmp_path / ("x" * 255)).read_bytes() == CONTENT


def test_small_answers_are_awaited_patiently() -> None:
    answers: list[str | Interrupted] = [Interrupted("starting"), "ready"]

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Interrupted):
            raise answer
        return answer

    assert patiently(ask, pause=0.0) == "ready"
    answers.extend([Interrupted("down")] * 2)
    with pytest.raises(FetchFailed, match="down, 2 times in a row"):
        patiently(ask, tries=2, pause=0.0)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (12 << 30, "12 GiB"), (3 << 50, "3072 TiB")],
)
def test_amounts_are_read_by_people(size: int, words: str) -> None:
    assert amount(size) == words


def test_progress_is_told_every_ten_seconds_with_share_and_speed() -> None:
    said: list[str] = []
    now = [0.0]
    progress = Progress("inputs.train", said.append, clock=lambda: now[0])
    progress.begins(0, 4 << 20)
    progress.advance(1 << 20)
    assert said == []
    now[0] = 10.0
    progress.advance(1 << 20)
    progress.advance(1 << 20)
    assert said == ["inputs.train: 2.0 MiB of 4.0 MiB (50%), 205 KiB/s"]
    now[0] = 12.5
    progress.done(1, 4 << 20)
    assert said[-1] == "inputs.train: 1 file, 4.0 MiB in 12.5 s"


def test_progress_of_many_files_counts_them_together() -> None:
    said: list[str] = []
    now = [0.0]
    progress = Progress("inputs.all", said.append, clock=lambda: now[0])
    progress.of_many(100)
    for _ in range(2):
        progress.begins(0, 40)
        progress.advance(40)
    now[0] = 20.0
    progress.advance(10)
    assert said == ["inputs.all: 90 bytes of 100 bytes (90%), 4 bytes/s"]
