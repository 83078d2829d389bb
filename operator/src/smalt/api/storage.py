"""Where a Workspace keeps things: a volume or a bucket for artifacts, SQLite or a database for history, or another's MLflow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smalt.api.schema import ObjectName, Quantity, SmaltModel, rule, rules

DEFAULT_SIZE = "10Gi"


class Storage(SmaltModel):
    """Where outputs, data and models lie: a volume behind the tracking server, or a bucket."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.size) || (type(self.size) == int ? self.size > 0 : "
                "(!isQuantity(self.size) || quantity(self.size).isGreaterThan(quantity('0'))))",
                message="storage.size must be more than nothing, such as 10Gi",
            ),
            rule(
                "has(self.url) == has(self.credentialsSecret)",
                message="storage.url and storage.credentialsSecret go together: a bucket, and the Secret whose keys "
                "accessKeyId and secretAccessKey open it",
            ),
        )
    }

    size: Quantity | None = None
    """How large the volume is; 10Gi when absent. Without a bucket it holds the artifacts, without a database the history."""
    storage_class_name: ObjectName | None = None
    """The StorageClass; the cluster's default one when absent."""
    reclaim_policy: Literal["Retain", "Delete"] | None = None
    """What becomes of the volume when the Workspace is deleted: Retain (the default) keeps it, and a Workspace of the
    same name takes it up again. A bucket is always kept."""
    url: (
        Annotated[
            str,
            Field(
                max_length=1024,
                json_schema_extra=rules(
                    rule(
                        r"self.matches(r'^s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/[-A-Za-z0-9_.=]+)*/?$') && "
                        "!self.contains('..')",
                        "this is no bucket: write it as s3://bucket/prefix",
                        says='"\'" + self + "\' is no bucket: write it as s3://bucket/prefix"',
                    )
                ),
            ),
        ]
        | None
    ) = None
    """A bucket, as s3://bucket/prefix, that holds the artifacts instead of the volume."""
    credentials_secret: ObjectName | None = None
    """The Secret that opens the bucket: accessKeyId and secretAccessKey, and if need be sessionToken, region, and
    endpointUrl for a server that is not Amazon's."""


class ExternalTracking(SmaltModel):
    """An MLflow server that somebody else runs."""

    uri: Annotated[
        str,
        Field(
            max_length=1024,
            json_schema_extra=rules(
                rule(
                    r"self.matches(r'^https?://[^@/\s?#]+(/[^@\s?#]*)?$')",
                    "this is no address of an MLflow server: write it with https:// and without credentials",
                    says='"\'" + self + "\' is no address of an MLflow server: write it with https:// and without '
                    'credentials, such as https://mlflow.example"',
                )
            ),
        ),
    ]
    """Its address, without credentials. It must serve its artifacts itself (MLflow's --serve-artifacts, its default)."""
    credentials_secret: ObjectName | None = None
    """The Secret with `username` and `password`; absent for a server that asks for none."""


class TrackingServer(SmaltModel):
    """Where the history of runs is kept: by an MLflow server that the operator runs, or by another one."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.external) || !has(self.databaseSecret)",
                message="tracking takes one of databaseSecret (a database of the server that Smalt runs) and external "
                "(a server that somebody else runs)",
            ),
        )
    }

    database_secret: ObjectName | None = None
    """The Secret whose key `uri` holds postgresql://user:password@host/database; absent, history is in SQLite on the
    volume."""
    external: ExternalTracking | None = None
    """An MLflow server that somebody else runs; the operator then runs none."""
