"""The table of differences in the docs is the file that the contract test keeps."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_docs_name_every_deviation_with_its_reason_and_no_other() -> None:
    deviations = yaml.safe_load((ROOT / "tests/contract/deviations.yaml").read_text())
    rows = [f"| {each['name']} | {' '.join(each['reason'].split())} |" for each in deviations]
    table = (ROOT / "docs/score-scripts.md").read_text().partition("## What differs")[2]
    assert table.splitlines()[6:] == rows
