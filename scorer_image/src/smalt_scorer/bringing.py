"""What is brought, and proven, before the server begins: a model's files, its schema, and the lock of its packages."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from smalt_scorer import contract as contracts
from smalt_scorer.contract import Model, RegistryFile
from smalt_scorer.failures import Failure
from smalt_scorer.fetch import Server, fetch
from smalt_scorer.models import schema as schemas
from smalt_scorer.registry_file import LOCK, fetch_file


def artifacts() -> Server:
    """The tracking server, as the container's variables name it."""
    # As process 1 of a container it would not be ended by a signal that nobody handles.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    uri = os.environ.get("SMALT_TRACKING_URI")
    if not uri:
        raise Failure(
            "InternalError", "SMALT_TRACKING_URI is not set: operator and scorer image must be of the same release"
        )
    # An MLflow server that somebody else runs may ask for no name.
    names = ("SMALT_TRACKING_USERNAME", "SMALT_TRACKING_PASSWORD", "SMALT_TRUST_BUNDLE")
    return Server(uri, *(os.environ.get(name, "") for name in names))


def fetch_packages(options: argparse.Namespace) -> None:
    """The lock alone, for whoever builds an image from it."""
    of = Model(options.model, 0, options.model, options.uri, options.digest, "")
    lock = RegistryFile(options.uri, options.digest)
    fetch_file(lock, options.lock_into / LOCK, of, artifacts(), options.patience)


def fetch_model(options: argparse.Namespace) -> None:
    server = artifacts()
    contract = contracts.read(options.contract)
    folder = fetch(contract.model, options.into, server, options.patience)
    print(f"Model '{contract.model.object_name}' is verified ({contract.model.digest}) in {folder}", flush=True)
    if contract.lock:
        fetch_file(contract.lock, options.lock_into / LOCK, contract.model, server, options.patience)
    if contract.schema:
        fetch_file(contract.schema, options.into / schemas.FILE, contract.model, server, options.patience)
    if contract.is_signed:
        # Imported when wanted: it takes long to load.
        from smalt_scorer.signature import prove

        by = prove(contract.model, folder, options.signing_key, server, options.patience)
        print(f"Model '{contract.model.object_name}' is signed by {by} of {options.signing_key}", flush=True)
