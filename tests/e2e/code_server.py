"""Runs in a pod of the end-to-end tests: two repositories and an archive, over http and over https; `move` goes on with one.

The folder it lies in also holds git_server.py.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import threading
from pathlib import Path

from git_server import GitServer, Repository

ROOT = Path("/tmp/git")


def serve(http: int, https: int) -> None:
    """Make what is served, print the commits, and serve for as long as the pod lives."""
    files = {"churn/train.py": os.environ["TRAIN"], "churn/version.txt": "one"}
    login = (os.environ["GIT_USER"], os.environ["GIT_PASSWORD"])
    (ROOT / "files").mkdir(parents=True)
    with tarfile.open(ROOT / "files/code.tar.gz", "w:gz") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text.encode()))
    certificate = (Path("/tls/tls.crt"), Path("/tls/tls.key"))
    with (
        GitServer(ROOT, "0.0.0.0", http) as plain,
        GitServer(ROOT, "0.0.0.0", https, certificate, private={"private.git": login}) as secured,
    ):
        public = plain.repository("public.git").commit(files)
        plain.private = secured.private
        print("commits", public, plain.repository("private.git").commit(files | {"of.txt": "ada"}), flush=True)
        threading.Event().wait()


def move() -> None:
    """A further commit on the public branch, and a file that says so."""
    print(Repository(ROOT / "public.git").commit({"churn/version.txt": "two"}))
    (ROOT / "files/moved").write_text("now")


if __name__ == "__main__":
    {"serve": serve, "move": move}[sys.argv[1]](*(int(port) for port in sys.argv[2:]))
