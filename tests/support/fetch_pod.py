"""The container that fetches, without a cluster: as a process in a folder of its own, with the contract the operator writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.run_pod import SOURCE


@dataclass
class FetchPod:
    """The container `fetch` as a process, in a folder of its own."""

    folder: Path
    log: str = ""
    # Of the container, besides those that it always has.
    variables: dict[str, str] = field(default_factory=dict)

    def fetch(self, code: dict[str, Any], secret: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        """Run it for this code, with the Secret mounted that the code names; its last words."""
        contract = contract_of(code, **changes)
        self.write(contract, secret)
        out, err = self.start().communicate(timeout=120)
        self.log = out + err
        return self.message

    def write(self, contract: dict[str, Any], secret: dict[str, str] | None = None) -> None:
        """What is mounted."""
        (self.folder / "run").mkdir(parents=True, exist_ok=True)
        (self.folder / "run/run.json").write_text(json.dumps(contract))
        for key, value in (secret or {}).items():
            (self.folder / "credentials/code").mkdir(parents=True, exist_ok=True)
            (self.folder / "credentials/code" / key).write_text(value)

    def start(self) -> subprocess.Popen[str]:
        """The process."""
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-u", str(SOURCE), "fetch"],
            env={
                "PATH": os.environ["PATH"],
                "SMALT_ROOT": str(self.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                **self.variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    @property
    def message(self) -> dict[str, Any]:
        """The last words, with which the exit code must agree."""
        message = json.loads((self.folder / "termination-log").read_bytes())
        assert isinstance(message, dict)
        assert (self.process.wait(10) == 0) == (message["outcome"] == "succeeded"), self.log
        return message

    @property
    def files(self) -> dict[str, str]:
        """What lies there as code."""
        code = self.folder / "fetched/code"
        return {path.relative_to(code).as_posix(): path.read_text() for path in code.rglob("*") if path.is_file()}


def contract_of(code: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The smallest contract with this code."""
    return {
        "version": 1,
        "run": {"namespace": "team-a", "name": "churn-1", "uid": str(uuid.uuid4()), "attempt": 1},
        "workspace": "lab",
        "experiment": "churn",
        "command": "python train.py",
        "code": code,
        "image": "smalt/trainer:0.1.0",
        "limits": {"timeoutSeconds": 60, "finalizingSeconds": 60},
        **changes,
    }
