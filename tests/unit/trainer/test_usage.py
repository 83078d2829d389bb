"""What a script uses of the machine, read from the control groups of either version, else from the machine's own files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from smalt_trainer.usage import Usage

MEMINFO = "MemTotal:        8000000 kB\nMemFree: 1 kB\nMemAvailable:    6000000 kB\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def sampled(tmp_path: Path, before: dict[str, str], after: dict[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    write(tmp_path, {"proc/meminfo": MEMINFO, **before})
    usage = Usage(tmp_path / "groups", found.__setitem__, tmp_path / "proc")
    time.sleep(0.02)
    write(tmp_path, after)
    usage.sample()
    return found


MEMORY_2 = {
    "groups/memory.current": "300000000\n",
    "groups/memory.stat": "anon 1\ninactive_file 50000000\n",
    "groups/memory.max": "500000000\n",
}
MEMORY_1 = {
    "groups/memory/memory.usage_in_bytes": "300000000\n",
    "groups/memory/memory.stat": "cache 1\ntotal_inactive_file 50000000\n",
    "groups/memory/memory.limit_in_bytes": "500000000\n",
}


@pytest.mark.parametrize("files", [MEMORY_2, MEMORY_1], ids=["version 2", "version 1"])
def test_memory_is_what_cannot_be_given_back_as_a_share_of_the_limit(tmp_path: Path, files: dict[str, str]) -> None:
    found = sampled(tmp_path, files, {})
    assert found["system/system_memory_usage_megabytes"] == 250.0
    assert found["system/system_memory_usage_percentage"] == 50.0


def test_without_a_limit_memory_is_a_share_of_the_machines(tmp_path: Path) -> None:
    found = sampled(tmp_path, {}, {})
    assert found["system/system_memory_usage_megabytes"] == 2048.0
    assert found["system/system_memory_usage_percentage"] == 25.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"groups/cpu.stat": "usage_usec 0\nuser_usec 0\n", "groups/cpu.max": "200000 100000\n"},
            {"groups/cpu.stat": "usage_usec 1000000000\n"},
        ),
        (
            {
                "groups/cpuacct/cpuacct.usage": "0\n",
                "groups/cpu/cpu.cfs_quota_us": "200000\n",
                "groups/cpu/cpu.cfs_period_us": "100000\n",
            },
            {"groups/cpuacct/cpuacct.usage": "1000000000000\n"},
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_cpu_is_a_share_of_the_cpus_that_the_container_may_use(
    tmp_path: Path, before: dict[str, str], after: dict[str, str]
) -> None:
    """A thousand seconds of work, of two CPUs, since the sample before."""
    began = time.monotonic()
    found = sampled(tmp_path, before, after)
    seconds = 1000 / (found["system/cpu_utilization_percentage"] / 100) / 2
    assert 0.02 <= seconds <= time.monotonic() - began


def test_where_there_is_no_control_group_the_machine_is_looked_at(tmp_path: Path) -> None:
    stat = "cpu  {} 0 0 1000 50 0 0 0 0 0\ncpu0 1 1 1 1\n"
    found = sampled(tmp_path, {"proc/stat": stat.format(0)}, {"proc/stat": stat.format(100)})
    assert found["system/cpu_utilization_percentage"] > 0


def test_gpus_are_asked_for_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "0, 75, 1000, 4000\\n1, [N/A], 1, 2\\n"
    write(tmp_path, {"bin/nvidia-smi": f"#!/bin/sh\nprintf '{told}'\n"})
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    found = sampled(tmp_path, {}, {})
    assert {name: value for name, value in found.items() if "gpu" in name} == {
        "system/gpu_0_utilization_percentage": 75.0,
        "system/gpu_0_memory_usage_megabytes": 1048.6,
        "system/gpu_0_memory_usage_percentage": 25.0,
    }


def test_a_tool_that_does_not_work_here_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"bin/nvidia-smi": "#!/bin/sh\necho no driver\nexit 9\n"})
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    found = sampled(tmp_path, MEMORY_2, {})
    assert not any("gpu" in name for name in found) and found["system/system_memory_usage_megabytes"] == 250.0
