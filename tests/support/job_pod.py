"""The pod of a Job without a cluster: its containers as processes, one after the other, with its volumes as folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.paths import REPOSITORY

Json = dict[str, Any]
# The entrypoint of the trainer image.
IMAGE = REPOSITORY / "trainer_image/src"


class JobPod:
    """`secrets` are the values that variables take from Secrets, by key; `instead` replaces texts of the manifest."""

    def __init__(self, job: Json, folder: Path, secrets: Mapping[str, str], instead: Mapping[str, str]) -> None:
        text = json.dumps(job)
        for old, new in instead.items():
            text = text.replace(old, new)
        self.template: Json = json.loads(text)["spec"]["template"]
        self.root, self.secrets = folder, secrets
        self.said: dict[str, str] = {}
        for volume in self.template["spec"]["volumes"]:
            if "downwardAPI" not in volume:
                continue
            (item,) = volume["downwardAPI"]["items"]
            name = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
            (folder / volume["name"]).mkdir(parents=True)
            (folder / volume["name"] / item["path"]).write_text(self.template["metadata"]["annotations"][name])

    def run(self) -> Json:
        """The last words of the last container; fails with the log of one that does not end well."""
        spec = self.template["spec"]
        for each in (*spec["initContainers"], *spec["containers"]):
            (self.root / "termination-log").write_text("")
            ended = self._container(each)
            self.said[each["name"]] = ended.stdout + ended.stderr
            assert ended.returncode == 0, f"{each['name']}: {self.said[each['name']]}"
        words: Json = json.loads((self.root / "termination-log").read_text())
        return words

    def _container(self, container: Json) -> subprocess.CompletedProcess[str]:
        own = {at["name"] for at in container["volumeMounts"]}
        home = self.root / ("convert-tmp" if "convert-tmp" in own else "tmp")
        home.mkdir(exist_ok=True)
        command = container.get("command") or ["python3", "-s", "-u", str(IMAGE)]
        words = [self._placed(each, own) for each in (*command[1:], *container.get("args", []))]
        variables = {each["name"]: self._value(each, own) for each in container.get("env", [])}
        variables |= {"HOME": str(home), "TMPDIR": str(home), "SMALT_ROOT": str(self.root), "PATH": os.environ["PATH"]}
        variables |= {"PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([sys.executable, *words], env=variables, cwd=home, capture_output=True, text=True)

    def _placed(self, word: str, own: set[str]) -> str:
        """A path in a volume as the folder that stands for it; one of a volume that the container has not leads nowhere."""
        if not word.startswith("/smalt/"):
            return word
        volume, _, rest = word.removeprefix("/smalt/").partition("/")
        assert volume in own or volume == "smalt", f"{word} is in none of {own}"
        return str(self.root / volume / rest)

    def _value(self, variable: Json, own: set[str]) -> str:
        if "value" in variable:
            return self._placed(variable["value"].replace("$$", "$"), own | {"home"})
        return self.secrets[variable["valueFrom"]["secretKeyRef"]["key"]]
