"""kubectl as its user has it: their kubeconfig, context and rights, whatever way they log in to their cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from smalt.api.schema import Json
from smalt.cli.errors import CommandFailed, Interrupted

_ANSWER_SECONDS = 60.0
_FORWARD_SECONDS = 30.0
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class NotFound(Exception):
    """There is no such object."""


class Forbidden(Exception):
    """The user may not do this; the text is the API server's."""


@dataclass(frozen=True)
class Kubectl:
    """One namespace of one cluster, by the options that kubectl takes."""

    program: str
    options: tuple[str, ...]
    namespace: str

    @classmethod
    def find(cls, context: str | None, namespace: str | None) -> Kubectl:
        """The program on the user's PATH; the namespace is that of their context when they name none."""
        program = shutil.which("kubectl")
        if program is None:
            raise CommandFailed(
                "kubectl is not installed, or not on PATH: install it, and check it with `kubectl version`"
            )
        options = ("--context", context) if context else ()
        return cls(program, options, namespace or _present_namespace(cls(program, options, "")))

    def get(self, kind: str, name: str = "") -> Json:
        """One object, or the list of them."""
        found: Json = json.loads(self.output("get", kind, *([name] if name else []), "-o", "json"))
        return found

    def output(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                self.command(*arguments), capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(
                f"kubectl gave no answer within {_ANSWER_SECONDS:g} s: check the cluster with `kubectl get namespace`"
            ) from error
        if done.returncode == 0:
            return done.stdout
        raise _meaning(done.stderr.strip() or done.stdout.strip())

    def command(self, *arguments: str) -> list[str]:
        namespace = ("-n", self.namespace) if self.namespace else ()
        return [self.program, *self.options, *namespace, *arguments]

    def forward(self, target: str, port: int) -> Forward:
        return Forward(self, target, port)


def _present_namespace(kubectl: Kubectl) -> str:
    try:
        return kubectl.output("config", "view", "--minify", "-o", "jsonpath={..namespace}").strip() or "default"
    except CommandFailed as error:
        raise CommandFailed(
            "kubectl knows no cluster, or not the one that --context names: set KUBECONFIG, or choose one with `kubectl "
            "config use-context`"
        ) from error


def _meaning(said: str) -> Exception:
    if "(NotFound)" in said:
        return NotFound(said)
    if "(Forbidden)" in said:
        return Forbidden(said)
    if "doesn't have a resource type" in said:
        return CommandFailed(
            "this cluster knows no Workspace: install Smalt in it (kubectl apply -k manifests), or choose another cluster "
            "with --context"
        )
    return CommandFailed(f"kubectl cannot reach the cluster: {_last_line(said)}; check it with `kubectl get namespace`")


def _last_line(said: str) -> str:
    """kubectl tells the same thing several times, and the sentence for people last."""
    return said.splitlines()[-1].strip() if said else "it says nothing"


class Forward:
    """`kubectl port-forward` for as long as the block, started anew when its connection is lost."""

    def __init__(self, kubectl: Kubectl, target: str, port: int) -> None:
        self.kubectl, self.target, self.port = kubectl, target, port
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._local = 0

    @property
    def url(self) -> str:
        """The way in; a forward that has ended is started again. Interrupted when none comes about."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        return f"http://127.0.0.1:{self._local}"

    def close(self) -> None:
        """The next one who asks gets a new one."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Forward:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self.close()
        self._lines, self._local = [], 0
        command = self.kubectl.command("port-forward", "--address", "127.0.0.1", self.target, f":{self.port}")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        until = time.monotonic() + _FORWARD_SECONDS
        while not self._local:
            ended = self._process.poll() is not None
            if ended or time.monotonic() > until:
                self.close()
                said = _last_line("\n".join(self._lines))
                if "(Forbidden)" in said or "forbidden" in said:
                    raise CommandFailed(
                        f"you may not forward a port to {self.target} in namespace '{self.kubectl.namespace}' ({said}): ask "
                        "for the right to create pods/portforward"
                    )
                raise Interrupted(f"no port could be forwarded to {self.target}: {said}")
            time.sleep(0.02)

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Until its end, or it would wait for us; the port is in the first line."""
        assert process.stdout is not None
        for line in process.stdout:
            self._lines = [*self._lines[-20:], line.strip()]
            found = _FORWARDING.search(line)
            if found and process is self._process:
                self._local = int(found[1])
