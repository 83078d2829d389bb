"""An input of a run: data by an address, whose scheme says where it lies and by whom it is brought."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from smalt.api.schema import Digest, ObjectName, SmaltModel, rule, rules

_OBJECT = "[a-z0-9]([-.a-z0-9]*[a-z0-9])?"
_NAME = "[a-z]([-a-z0-9]{0,50}[a-z0-9])?"
_KEY = "[A-Za-z_][A-Za-z0-9_]{0,62}"
RUN = rf"^run://(?P<run>{_NAME})/(?P<output>{_KEY})$"
MODEL = rf"^model://(?P<model>{_NAME})/(?P<version>[1-9][0-9]{{0,5}})$"
# The manifest's digest is part of the address: what was pushed stands there unchanged, or nothing does.
UPLOAD = r"^workspace://(?P<place>uploads/(?P<digest>[0-9a-f]{64})/[^/\x00-\x1f]{1,200})$"
# An address may hold no name or password, which every reader of the object would see.
HTTPS = r"https://[^@\s/]+/[^\s]*"
S3 = r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/[^/\x00-\x1f]+)*/?"
_PLACES = (
    rf"configmap://{_OBJECT}(/[-._A-Za-z0-9]+)?",
    rf"pvc://{_OBJECT}(/[-._A-Za-z0-9+ ]+)*/?",
    HTTPS,
    S3,
    *(re.sub(r"\?P<\w+>", "", each.strip("^$")) for each in (RUN, MODEL, UPLOAD)),
)
INPUT_PATH = f"^({'|'.join(_PLACES)})$"
_GOOD = (
    "write https://host/path, s3://bucket/key, pvc://claim/path, configmap://name/key, run://name/output, "
    "model://name/1, or what `python -m smalt push` printed"
)
_PRINTED = r"'^(configmap|pvc)://[^/]*/?$'"
_FOLDER_IN_S3 = r"'^s3://([^/]*|.*/)$'"


class Input(SmaltModel):
    """Data for the run."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                f"!(self.type == 'uriFile' || (has(self.unpack) && self.unpack)) || !self.path.matches({_PRINTED})",
                says='"\'" + self.path + "\' is a whole folder: name the file in it, such as configmap://name/key or '
                'pvc://claim/path, or write type: uriFolder without unpack"',
            ),
            rule(
                f"!(self.type == 'uriFile' || (has(self.unpack) && self.unpack)) || !self.path.matches({_FOLDER_IN_S3})",
                says='"\'" + self.path + "\' is a whole folder: name the object in it, such as s3://bucket/folder/file.csv, '
                'or write type: uriFolder without unpack"',
            ),
            rule(
                "self.type != 'uriFolder' || (has(self.unpack) && self.unpack) || "
                "!self.path.matches('^configmap://[^/]*/.')",
                says='"\'" + self.path + "\' is a single file: write type: uriFile, or the ConfigMap without a key, or '
                'unpack: true when it is an archive"',
            ),
            rule(
                "!has(self.unpack) || !self.unpack || self.type == 'uriFolder'",
                message="an archive becomes a folder: with unpack: true write type: uriFolder",
            ),
            rule(
                "!has(self.credentialsSecret) || self.path.startsWith('s3://') || self.path.startsWith('https://')",
                says='"credentialsSecret is for s3:// and https://, and \'" + self.path + "\' is neither: leave it out"',
            ),
        )
    }

    type: Literal["uriFile", "uriFolder"]
    """uriFile: the placeholder is a file's path; uriFolder: a folder's."""
    path: Annotated[
        str,
        Field(
            max_length=2048,
            json_schema_extra=rules(
                rule(
                    f"self.matches(r'{INPUT_PATH}') && !self.matches('/[.]{{1,2}}(/|$)')",
                    f"this is no place to read from: {_GOOD}",
                    says=f'"\'" + self + "\' is no place to read from: {_GOOD}"',
                )
            ),
        ),
    ]
    """https://host/path (one file), s3://bucket/key or s3://bucket/prefix, pvc://claim/path, configmap://name or
    configmap://name/key, run://run/output (waits for the run), model://name/version (waits for the model), or the
    workspace:// address that `python -m smalt push` printed."""
    digest: Digest | None = None
    """The digest that the data must have; another one fails the run before the script starts."""
    unpack: bool | None = None
    """The file is a tar or zip archive: the folder is what is in it. Its links and special files are refused."""
    credentials_secret: ObjectName | None = None
    """A Secret that only the container that fetches inputs sees. For s3://: `accessKeyId`, `secretAccessKey`, optionally
    `sessionToken`, `endpointUrl` and `region`; for https://: `token`, or `username` and `password`."""
    target: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The column to predict: the profile of a table says how every other column goes with it."""


class Needed(NamedTuple):
    """An object of the same namespace that an input is made by: a run with its output, or a Model."""

    run: str = ""
    output: str = ""
    model: str = ""


def needed(path: object) -> Needed | None:
    """What stands behind a run:// or model:// address; None for every other place, and for what is no address."""
    if not isinstance(path, str):
        return None
    if found := re.match(RUN, path):
        return Needed(run=found["run"], output=found["output"])
    if found := re.match(MODEL, path):
        return Needed(model=f"{found['model']}-{found['version']}")
    return None


def upload(path: str) -> tuple[str, str] | None:
    """The place in the workspace's store and the digest of what was pushed."""
    found = re.match(UPLOAD, path)
    return (found["place"], f"sha256:{found['digest']}") if found else None
