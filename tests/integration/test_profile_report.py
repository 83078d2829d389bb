"""A browser opens the report: nothing is asked of any network, nothing is complained about, and every section is to be seen."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.paths import REPOSITORY
from support.tables import planted, wide, write_csv

SECTIONS = ("Overview", "Warnings", "Target", "Columns", "Missing values", "Correlations", "Column details")
PICTURES = REPOSITORY / "build/profile"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return made(write_csv(planted(), folder / "customers.csv"), folder / "out", "--target", "churned")


def made(table: Path, into: Path, *more: str) -> Path:
    command = [sys.executable, "-m", "smalt_profile", str(table), "--out", str(into), *more]
    subprocess.run(command, env={"PYTHONPATH": str(REPOSITORY / "trainer_image/src")}, check=True)
    return into / "report.html"


class Browser:
    """Chromium without a window, each time with a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder

    def __call__(self, url: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            self.program,
            "--headless",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--enable-logging=stderr",
            f"--user-data-dir={self.folder / 'browser'}",
            # What the browser asks for itself goes nowhere.
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *more,
            url,
        ]
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(self.folder)}
        )
        shutil.rmtree(self.folder / "browser", ignore_errors=True)
        assert finished.returncode == 0, finished.stderr
        return finished

    def complaints(self, finished: subprocess.CompletedProcess[str]) -> list[str]:
        """What the page's console was told."""
        return [line for line in finished.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def browser(chromium: str, tmp_path: Path) -> Browser:
    return Browser(chromium, tmp_path)


class Site(http.server.ThreadingHTTPServer):
    """Serves one page, and remembers what is asked for."""

    def __init__(self, content: bytes) -> None:
        asked = self.asked = list[str]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200 if self.path == "/report.html" else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                if self.path == "/report.html":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def served(content: bytes) -> Iterator[Site]:
    server = Site(content)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_browser_asks_for_the_page_alone_and_complains_of_nothing(browser: Browser, report: Path) -> None:
    with served(report.read_bytes()) as site:
        finished = browser(f"http://127.0.0.1:{site.server_port}/report.html", "--dump-dom")
    # A browser asks every site for its icon, whatever the page says.
    assert [path for path in site.asked if path != "/favicon.ico"] == ["/report.html"]
    assert browser.complaints(finished) == []
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", finished.stdout)
    assert titles[: len(SECTIONS)] == list(SECTIONS)


def test_a_script_that_got_in_all_the_same_would_not_run(browser: Browser, report: Path) -> None:
    intruder = b"<script>document.title = 'intruder'</script><img src='/intruder.png'></body>"
    with served(report.read_bytes().replace(b"</body>", intruder)) as site:
        finished = browser(f"http://127.0.0.1:{site.server_port}/report.html", "--dump-dom")
    assert "/intruder.png" not in site.asked
    assert "<title>intruder</title>" not in finished.stdout
    # And that is how a complaint would have been seen above.
    assert [line for line in browser.complaints(finished) if "Content Security Policy" in line]


@pytest.mark.parametrize(
    ("name", "width", "height", "more"),
    [
        ("laptop", 1280, 9000, ()),
        ("phone", 500, 14000, ()),
        ("dark", 1280, 3000, ("--blink-settings=preferredColorScheme=0",)),
    ],
)
def test_it_is_pictured(
    browser: Browser, report: Path, name: str, width: int, height: int, more: tuple[str, ...]
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = PICTURES / f"{name}.png"
    picture.unlink(missing_ok=True)
    browser(report.as_uri(), f"--window-size={width},{height}", f"--screenshot={picture}", *more)
    content = picture.read_bytes()
    assert struct.unpack(">II", content[16:24]) == (width, height)
    # A page without its style, or without its plots, would be a fraction of it.
    assert len(content) > 100_000


def test_a_link_into_folded_details_opens_them(browser: Browser, tmp_path: Path) -> None:
    page = made(write_csv(wide(300, 40), tmp_path / "wide.csv"), tmp_path / "out")
    folded = browser(page.as_uri(), "--dump-dom").stdout
    opened = browser(f"{page.as_uri()}#column-250", "--dump-dom").stdout
    assert '<details class="column" open' not in folded
    assert opened.count('<details class="column" open') == 1
