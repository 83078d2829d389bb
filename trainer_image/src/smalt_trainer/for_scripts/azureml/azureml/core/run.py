"""`Run.get_context()` and the functions that log, each by what the run has for it."""

from __future__ import annotations

import csv
import os
import shutil
from typing import Any, Dict, List, Mapping, Optional, Sequence

from smalt_trainer import run as recorded

_INSTEAD = {
    "upload_file": "write the file to ./outputs, or to a declared output's ${{outputs.<name>}}",
    "upload_files": "write the files to ./outputs, or to a declared output's ${{outputs.<name>}}",
    "upload_folder": "write the files to ./outputs, or to a declared output's ${{outputs.<name>}}",
    "register_model": "declare an output and name it in the TrainingRun's spec.register",
    "input_datasets": "name the data in the TrainingRun's spec.inputs, and its path as ${{inputs.<name>}} in command",
    "get_metrics": "mlflow.get_run(os.environ['SMALT_RUN_ID']).data.metrics",
    "tag": "mlflow.set_tag(name, value)",
    "set_tags": "mlflow.set_tags(tags)",
    "add_properties": "mlflow.set_tags(tags)",
    "child_run": "mlflow.start_run(nested=True)",
    "fail": "raise an exception, or exit with a code that is not 0",
    "cancel": "raise an exception, or exit with a code that is not 0",
    "log_accuracy_table": "run.log_table(name, value)",
    "log_confusion_matrix": "run.log_table(name, value), or run.log_image(name, plot=plt)",
    "log_predictions": "run.log_table(name, value)",
    "log_residuals": "run.log_table(name, value)",
}


class Run:
    """The run that the script belongs to."""

    def __init__(self) -> None:
        self.id = os.environ.get("SMALT_RUN_ID", "")
        self._columns: Dict[str, List[str]] = {}

    @classmethod
    def get_context(cls, allow_offline: bool = True, **_: Any) -> "Run":
        """The run; outside of one, what is logged is printed."""
        if not allow_offline and not os.environ.get("SMALT_RUN_ID"):
            raise RuntimeError(
                "this script does not run inside a training run; call Run.get_context() without allow_offline"
            )
        return _context

    def log(self, name: str, value: Any, description: str = "", step: Optional[int] = None) -> None:
        """A number is a value of a metric; a text is a tag of the run."""
        if isinstance(value, str):
            recorded.tag(name, value)
        else:
            recorded.log(name, value, step)

    def log_list(self, name: str, value: Sequence[Any], description: str = "") -> None:
        """The values of a metric, one after the other."""
        for each in value:
            self.log(name, each)

    def log_row(self, name: str, description: str = "", **columns: Any) -> None:
        """One row of a table: kept as `tables/<name>.csv`, its numbers as metrics `<name>/<column>`."""
        self._row(name, columns)

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """A table by its columns; a single value is a column of one row."""
        lists = {column: list(each) if isinstance(each, (list, tuple)) else [each] for column, each in value.items()}
        for number in range(max(map(len, lists.values()), default=0)):
            self._row(name, {column: each[number] for column, each in lists.items() if number < len(each)})

    def log_image(self, name: str, path: Optional[str] = None, plot: Any = None, description: str = "") -> None:
        """A file, or what `plot.savefig` draws; kept as `images/<name>`."""
        if (path is None) == (plot is None):
            raise ValueError("run.log_image wants either path or plot")
        ending = os.path.splitext(path)[1] if path else ".png"
        target = recorded.artifact(f"images/{name}" if name.endswith(ending) else f"images/{name}{ending}")
        if target is None:
            print(f"image {name}: kept only inside of a training run")
        elif path:
            recorded.put(target, lambda draft: shutil.copyfile(path, draft))
        else:
            recorded.put(target, lambda draft: plot.savefig(draft, format=ending[1:]))

    def complete(self, _set_status: bool = True) -> None:
        """Nothing: the run ends with its script."""

    def flush(self, timeout_seconds: int = 300) -> None:
        """Nothing: what is logged is written down at once."""

    def _row(self, name: str, columns: Mapping[str, Any]) -> None:
        for column, value in columns.items():
            if not isinstance(value, str) and value is not None:
                recorded.log(f"{name}/{column}", value)
        target = recorded.artifact(f"tables/{name}.csv")
        if target is None:
            return
        known = self._columns.setdefault(name, list(columns))
        is_new = not os.path.exists(target)
        more = [column for column in columns if column not in known]
        if more:
            known.extend(more)
            _widen(target, known)
        with open(target, "a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, known, restval="")
            if is_new:
                writer.writeheader()
            writer.writerow(columns)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        instead = _INSTEAD.get(name, "mlflow, which records into this run without any setup")
        raise AttributeError(f"Run.{name} of the Azure ML SDK is not offered by a training run; use {instead}")


def _widen(target: str, columns: Sequence[str]) -> None:
    """Write a table anew with columns that came later."""
    with open(target, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))

    def write(draft: str) -> None:
        with open(draft, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)

    recorded.put(target, write)


_context = Run()
