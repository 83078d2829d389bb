"""Model files that are traps, in a real pod: it ends with a sentence about them, and has not taken the memory they ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from unit.scorer.test_models import TRAPS, archive, small

from support.resident import measured
from support.scoring_pod import ScoringPod

pytestmark = pytest.mark.slow


def ended(folder: Path, name: str, content: bytes) -> tuple[dict[str, str], int]:
    """The pod's last words, and the most memory that it has had, in bytes."""
    folder.mkdir()
    pod = ScoringPod(folder, None, {name: content})
    pod.started_by = lambda command: measured(command, folder / "resident")
    assert pod.start().wait(120) == 1, pod.log
    return pod.message, int((folder / "resident").read_text())


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What a pod takes that is refused a harmless file of the same kind; by "skops" one that skops itself has looked at."""
    folder = tmp_path_factory.mktemp("usual")
    kinds = {
        ".skops": b"no model",
        ".joblib": b"no model",
        ".onnx": b"no model",
        "skops": archive({"schema.json": b"{}"}),
    }
    return {kind: ended(folder / kind, f"m.{kind.lstrip('.')}", content)[1] for kind, content in kinds.items()}


@pytest.mark.parametrize(("name", "content", "told"), TRAPS, ids=range(len(TRAPS)))
def test_a_trap_ends_the_pod_with_words_and_unopened(
    tmp_path: Path, usual: dict[str, int], name: str, content: Callable[[], bytes], told: str
) -> None:
    message, memory = ended(tmp_path / "pod", name, content())
    assert message["reason"] == "ModelNotLoadable" and told in message["message"]
    assert name in message["message"]
    of = "skops" if "as a skops model" in told else Path(name).suffix
    assert memory - usual[of] < len(small()), "less than what it unpacks to"
    assert not list(tmp_path.rglob("x.npy")), "nothing is written where its members say"
