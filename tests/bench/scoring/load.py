"""wrk on loopback, with every answer looked at, and a probe asked beside it."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.rows import CannotMeasure
from bench.scoring.models import Iris
from bench.scoring.servers import Running

# Rows in turn; an answer must have one of the labels' forms. Spaces differ between servers, not within one.
LUA = """
local requests, number, answers = {{}}, 0, {{ {answers} }}
wrong = 0 -- global, as what is read from outside of a thread must be
init = function(arguments)
  for i, body in ipairs({{ {bodies} }}) do
    requests[i] = wrk.format("POST", "{path}", {{["Content-Type"] = "application/json"}}, body)
  end
end
request = function()
  number = number % #requests + 1
  return requests[number]
end
response = function(status, headers, body)
  if status == 200 then
    for _, answer in ipairs(answers) do if string.find(body, answer, 1, true) then return end end
  end
  wrong = wrong + 1
end
local threads = {{}}
setup = function(thread) table.insert(threads, thread) end
done = function(summary, latency, requests)
  local all = 0
  for _, thread in ipairs(threads) do all = all + thread:get("wrong") end
  print(string.format("RESULT %d %d %d %f %f", summary.requests, summary.duration, all,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What so many callers got."""

    per_second: float
    p50_ms: float
    p99_ms: float
    probe_p99_ms: float
    probes_failed: int


def loaded(server: Running, iris: Iris, callers: int, seconds: int) -> Load:
    """CannotMeasure when wrk is missing, or any answer was wrong."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise CannotMeasure("wrk is not installed: `apt-get install wrk`")
    with tempfile.TemporaryDirectory(prefix="bench-wrk-") as folder:
        script = Path(folder) / "score.lua"
        script.write_text(_lua(server, iris))
        command = [wrk, "-t1", f"-c{callers}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{server.port}"]
        with _Probing(server) as probing:
            said = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", said.stdout)
    if not found:
        raise CannotMeasure(f"wrk said: {said.stdout[-500:]}{said.stderr[-500:]}")
    count, duration, wrong, p50, p99 = (float(each) for each in found.groups())
    if wrong or "Socket errors" in said.stdout or not count:
        raise CannotMeasure(f"{wrong:.0f} of {count:.0f} answers were wrong: {said.stdout[-300:]}")
    return Load(count / duration * 1e6, p50 / 1000, p99 / 1000, probing.p99_ms(), probing.failed)


def _lua(server: Running, iris: Iris) -> str:
    spaced = ": " in server.ask(iris.rows[0]) or ", " in server.ask(iris.rows[0])
    answers = {server.kind.answer(label) for label in iris.labels}
    answers |= {each.replace(":", ": ") for each in answers} if spaced else set()
    bodies = (json.dumps(server.kind.body(row)) for row in iris.rows)
    return LUA.format(
        path=server.kind.path,
        answers=", ".join(map(json.dumps, sorted(answers))),
        bodies=", ".join(map(json.dumps, bodies)),
    )


class _Probing:
    """Asks the health route a hundred times a second, as a kubelet does now and then."""

    def __init__(self, server: Running) -> None:
        self._server, self._took, self.failed = server, list[float](), 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> _Probing:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()

    def p99_ms(self) -> float:
        """In milliseconds; infinite when nothing was answered."""
        took = sorted(self._took)
        return took[int(len(took) * 0.99)] * 1000 if took else float("inf")

    def _ask(self) -> None:
        while not self._ends.wait(0.01):
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=10)
            began = time.perf_counter()
            try:
                connection.request("GET", self._server.kind.health)
                self.failed += connection.getresponse().status != 200
                self._took.append(time.perf_counter() - began)
            except OSError:
                self.failed += 1
            finally:
                connection.close()
