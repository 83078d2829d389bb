"""Where everything lies in the pod, in one value, so that a test can run it all in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Every path the wrapper reads or writes; the defaults are the pod's mounts."""

    root: Path = Path("/smalt")
    termination: Path = Path("/dev/termination-log")
    control_groups: Path = Path("/sys/fs/cgroup")

    @property
    def contract(self) -> Path:
        """The run's contract, mounted from the pod's annotation."""
        return self.root / "run" / "run.json"

    @property
    def password(self) -> Path:
        """The tracking server's password, kept up to date by the kubelet when the Secret is made anew."""
        return self.root / "tracking" / "runs-password"

    @property
    def work(self) -> Path:
        """Writable, and limited in size by the operator."""
        return self.root / "work"

    @property
    def code(self) -> Path:
        """The script's working directory."""
        return self.work / "code"

    @property
    def fetched(self) -> Path:
        """What the container `fetch` has brought; the script's container may only read it."""
        return self.root / "fetched"

    @property
    def fetched_code(self) -> Path:
        """Code from git or an archive."""
        return self.fetched / "code"

    @property
    def fetched_inputs(self) -> Path:
        """A folder for each input that was brought."""
        return self.fetched / "inputs"

    @property
    def fetched_facts(self) -> Path:
        """What is known of it, as JSON; written last, so that a folder with it is a complete one."""
        return self.fetched / "facts.json"

    @property
    def credentials(self) -> Path:
        """One folder for each Secret that fetching needs; not mounted where the script runs."""
        return self.root / "credentials"

    @property
    def outputs(self) -> Path:
        """One entry for each declared output."""
        return self.work / "outputs"

    @property
    def undeclared_outputs(self) -> Path:
        """`./outputs` of a script that declares nothing, as Azure's write it; kept apart from declared outputs."""
        return self.code / "outputs"

    @property
    def exchange(self) -> Path:
        """What the two containers of the pod tell each other."""
        return self.root / "exchange"

    @property
    def training_lock(self) -> Path:
        """Held for as long as the wrapper lives."""
        return self.exchange / "training.lock"

    @property
    def recorder_lock(self) -> Path:
        """Held for as long as the recorder lives."""
        return self.exchange / "recorder.lock"

    @property
    def facts(self) -> Path:
        """What the wrapper has found out so far."""
        return self.exchange / "facts.json"

    @property
    def admission(self) -> Path:
        """Where the script is to log, or why it may not start; the recorder's answer."""
        return self.exchange / "admission.json"

    @property
    def outcome(self) -> Path:
        """How preparation and script ended, in the wrapper's words."""
        return self.exchange / "outcome.json"

    @property
    def notes(self) -> Path:
        """What the recorder wants said in the script's own log, a line each."""
        return self.exchange / "notes.txt"

    @property
    def logs(self) -> Path:
        """Copies of what the script printed."""
        return self.exchange / "logs"

    @property
    def artifacts(self) -> Path:
        """What the script wants kept under a name of its own: images, tables."""
        return self.exchange / "artifacts"

    @property
    def spool(self) -> Path:
        """Metrics, one JSON line each, in the order they were logged."""
        return self.exchange / "metrics.jsonl"

    @property
    def shims(self) -> Path:
        """Holds `python` for images that only have `python3`."""
        return self.work / "bin"

    @property
    def home(self) -> Path:
        """The script's HOME."""
        return self.root / "home"

    @property
    def environment_record(self) -> Path:
        """What is kept of the environment: its lock, its packages, its log."""
        return self.exchange / "environment"

    @property
    def environment(self) -> Path:
        """A virtual environment, when the image lacks a package."""
        return self.root / "environment"
