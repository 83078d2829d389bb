"""https of the scoring server: with whose certificate, what of TLS is taken, and renewal while it is asked."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from smalt_scorer.certificate import LOOK_SECONDS
from support.certificates import Certificates
from support.run_pod import wait_until
from support.scoring_pod import PRIMARY, SOURCE, ScoringPod
from support.tracking import free_port

SCRIPT = "import os, time\ndef run(raw_data):\n    time.sleep(0.01)\n    return os.getpid()\n"


def as_secret(folder: Path, certificates: Certificates, version: str) -> Path:
    """Files as the kubelet mounts a Secret: links to a link, of which the latter is turned."""
    real = folder / f"..{version}"
    real.mkdir(parents=True)
    shutil.copy(certificates.certificate, real / "tls.crt")
    shutil.copy(certificates.key, real / "tls.key")
    turned = folder / "..data_tmp"
    turned.symlink_to(real.name)
    turned.rename(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return folder


def trusting(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates.authority))


def scored(port: int, context: ssl.SSLContext) -> tuple[int, Any]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    try:
        headers = {"Authorization": f"Bearer {PRIMARY}", "Content-Type": "application/json"}
        connection.request("POST", "/score", b'"well"', headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.made(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.made(tmp_path_factory.mktemp("second"))


@pytest.fixture(params=["one process", "two workers"])
def pod(request: pytest.FixtureRequest, tmp_path: Path, first: Certificates) -> Iterator[ScoringPod]:
    secret = as_secret(tmp_path / "tls", first, "one")
    number = 2 if request.param == "two workers" else 1
    variables = {"WORKER_COUNT": str(number)}
    made = ScoringPod(tmp_path, SCRIPT, {"model.joblib": b"x"}, environmentVariables=variables)
    made.start("--tls", str(secret))

    def are_all_there() -> bool:
        with ThreadPoolExecutor(4) as askers:
            return len({each for each in askers.map(lambda _: who(made.port, first), range(8)) if each}) == number

    try:
        wait_until(lambda: made.exit_code is not None or are_all_there(), "https being answered by all")
        assert made.exit_code is None, made.log
        yield made
        made.terminate()
        assert made.wait() == 0, made.log
    finally:
        made.end()


def who(port: int, certificates: Certificates) -> int:
    """The process that has answered; 0 when none does to those who trust this authority."""
    try:
        code, found = scored(port, trusting(certificates))
    except OSError:
        return 0
    return int(found) if code == 200 else 0


def answers(port: int, certificates: Certificates) -> bool:
    return who(port, certificates) != 0


def test_it_is_asked_by_https_alone_and_renewed_without_losing_a_request(
    pod: ScoringPod, tmp_path: Path, first: Certificates, second: Certificates
) -> None:
    assert answers(pod.port, first)
    with pytest.raises((OSError, http.client.HTTPException)):
        pod.get("/healthz")
    both = ssl.create_default_context(cafile=str(first.authority))
    both.load_verify_locations(cafile=str(second.authority))
    found: list[int] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            found.append(scored(pod.port, both)[0])

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for each in asking:
        each.start()
    try:
        as_secret(tmp_path / "tls", second, "two")
        wait_until(lambda: answers(pod.port, second), "the renewed certificate", 10 * LOOK_SECONDS)
    finally:
        is_over.set()
        for each in asking:
            each.join()
    assert len(found) > 20 and set(found) == {200}
    assert "was renewed, and is used from now on" in pod.log


def test_what_is_no_pair_is_told_and_the_certificate_of_before_stays(
    pod: ScoringPod, tmp_path: Path, first: Certificates, second: Certificates
) -> None:
    mixed = Certificates(second.authority, second.certificate, first.key)
    as_secret(tmp_path / "tls", mixed, "mixed")
    wait_until(lambda: "the certificate of before is still used" in pod.log, "it being told", 10 * LOOK_SECONDS)
    assert answers(pod.port, first) and "key values mismatch" in pod.log


def test_old_versions_of_tls_and_callers_that_do_not_go_on_hold_up_nobody(pod: ScoringPod, first: Certificates) -> None:
    silent = [socket.create_connection(("127.0.0.1", pod.port)) for _ in range(50)]
    old = trusting(first)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        scored(pod.port, old)
    with socket.create_connection(("127.0.0.1", pod.port)) as nonsense:
        nonsense.sendall(b"\x16\x03\x01" + b"nonsense" * 100)
    assert answers(pod.port, first)
    for each in silent:
        each.close()


@pytest.mark.parametrize(
    ("files", "reason"), [((), "CertificateMissing"), (("tls.crt", "tls.key"), "CertificateInvalid")]
)
def test_a_certificate_that_is_missing_or_none_is_the_pods_last_word(
    tmp_path: Path, files: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "tls").mkdir()
    for name in files:
        (tmp_path / "tls" / name).write_text("nonsense")
    pod = ScoringPod(tmp_path, SCRIPT, {"model.joblib": b"x"}).start("--tls", str(tmp_path / "tls"))
    try:
        assert pod.wait() == 1
    finally:
        pod.end()
    assert pod.message["reason"] == reason and "tls.crt" in pod.message["message"]


def test_on_a_laptop_it_is_named_as_elsewhere(tmp_path: Path, first: Certificates) -> None:
    (tmp_path / "score.py").write_text(SCRIPT)
    port = free_port()
    command = [sys.executable, "-m", "smalt_scorer", "--scoring-script", "score.py", "--port", str(port)]
    command += ["--ssl-certfile", str(first.certificate), "--termination-log", str(tmp_path / "log")]
    variables = {"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    half = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert half.returncode == 1 and "name both --ssl-certfile and --ssl-keyfile" in half.stderr
    with subprocess.Popen(
        [*command, "--ssl-keyfile", str(first.key)], env=variables, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == f"https://127.0.0.1:{port}/score\n"
            wait_until(lambda: answers(port, first), "https being answered")
        finally:
            process.terminate()
