"""What the administrator of the installation decides, read once from SMALT_* variables."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

PREFIX = "SMALT_"


class Settings(BaseModel):
    """The operator's settings; the variable of a field is SMALT_ and its name in capitals."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    namespace: str = ""
    """The one namespace that is served; all of them when empty."""
    trainer_image: str = "smalt/trainer:0.1.0"
    """The image that runs train in, unless they name one, and that brings the wrapper into others."""
    scorer_image: str = "smalt/scorer:0.1.0"
    """The image of scoring pods."""
    tracking_image: str = "smalt/tracking:0.1.0"
    """The image of the tracking server."""
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """How nodes fetch the images above."""
    docker_hosts: str = ""
    """Docker Engines that a Workspace may have images built by, as host:port separated by commas; * stands for any part of
    a name. None when empty."""
    docker_without_tls: bool = False
    """Whether an engine may be used that asks for no certificate."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    """How many objects are reconciled at a time."""
    lease_name: str = "smalt-operator"
    """The Lease by which replicas agree who leads."""
    lease_namespace: str = "smalt-system"
    """Where that Lease lies."""
    identity: str = ""
    """This replica's name in the Lease; the host's name and a random part when empty."""
    cluster_domain: str = "cluster.local"
    """The domain of Services."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """The port of /metrics, /healthz and /readyz; 0 for any free one."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Settings from SMALT_* variables; ValidationError names a variable's field and value."""
        names = {name: PREFIX + name.upper() for name in cls.model_fields}
        given = {name: environment[variable] for name, variable in names.items() if environment.get(variable)}
        made = cls.model_validate(given)
        return made.model_copy(update={"identity": unique_identity(made.identity or socket.gethostname())})


def unique_identity(name: str) -> str:
    """Two processes of one name are still two: a restarted container must not believe that it already leads."""
    return f"{name}_{uuid.uuid4().hex[:8]}"
