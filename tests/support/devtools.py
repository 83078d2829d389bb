"""A page in a real browser, driven over the browser's own protocol; nothing but what runs on this machine is reachable."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import websocket

from support.run_pod import wait_until


class Page:
    """One page: what it shows, what it asked for, and what its console was told."""

    def __init__(self, program: str, folder: Path, url: str) -> None:
        self._program, self._folder, self._url = program, folder / "browser", url
        self._numbers = itertools.count(1)
        self.asked: set[str] = set()
        self.complaints: list[str] = []

    def __enter__(self) -> Page:
        command = [
            self._program,
            "--headless",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--remote-debugging-port=0",
            "--remote-allow-origins=*",
            f"--user-data-dir={self._folder}",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        environment = {**os.environ, "HOME": str(self._folder.parent)}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = self._folder / "DevToolsActivePort"
            wait_until(lambda: port_file.exists() and "\n" in port_file.read_text(), "the browser's start", 60)
            self._socket = websocket.create_connection(self._target(int(port_file.read_text().split()[0])), timeout=30)
            for domain in ("Page", "Network", "Log", "Runtime"):
                self._call(f"{domain}.enable")
            self._call("Page.navigate", url=self._url)
            wait_until(
                lambda: self.run("location.href") == self._url and self.run("document.readyState") == "complete",
                "the page",
                30,
            )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _target(self, port: int) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/json/list")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return next(str(each["webSocketDebuggerUrl"]) for each in found if each["type"] == "page")

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._heard(message.get("method"), message.get("params", {}))

    def _heard(self, event: str | None, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent" and not told["request"]["url"].startswith("data:"):
            self.asked.add(urlsplit(told["request"]["url"]).netloc)
        if event == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        if event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))

    def run(self, script: str) -> Any:
        """What a script in the page comes to."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def colours(self, scheme: str) -> None:
        """What somebody prefers: light or dark."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path, width: int, height: int) -> None:
        """The page as it is seen."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))
