"""What runs and training share with serving: code, environments and resources."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from smalt.api.schema import Digest, Json, ObjectName, Quantity, RelativePath, SmaltModel, keys, rule, rules

# Client-side apply copies the object into an annotation of 256 KiB at most.
MOST_INLINE_BYTES = 131072
MOST_CONDA_BYTES = 32768
FILE_PATTERN = r"^[A-Za-z0-9_][-A-Za-z0-9_.+]*(/[A-Za-z0-9_][-A-Za-z0-9_.+]*)*$"

EnvironmentVariables = Annotated[
    dict[str, Annotated[str, Field(max_length=8192)]], keys("environmentVariables key", "OMP_NUM_THREADS", 64)
]
_RESOURCE = "k in ['cpu', 'memory', 'ephemeral-storage'] || k.startsWith('hugepages-') || k.contains('/')"
Quantities = Annotated[
    dict[str, Quantity],
    Field(
        max_length=16,
        json_schema_extra=rules(
            rule(
                f"self.all(k, {_RESOURCE})",
                says=f'"\'" + self.filter(k, !({_RESOURCE}))[0] + "\' is no resource: write cpu, memory, ephemeral-storage '
                'or one with its domain, such as nvidia.com/gpu"',
            )
        ),
    ),
]


_WITHIN_LIMIT = (
    "!(k in self.limits) || !isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || "
    "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0"
)


class MountedCode(SmaltModel):
    """The user's files; exactly one of `inline` and `configMap`."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.inline) != has(self.configMap)",
                message="code takes exactly one source: inline (file name to text) or configMap (the name of a ConfigMap)",
            )
        )
    }

    inline: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=MOST_INLINE_BYTES)]],
            Field(
                min_length=1,
                max_length=64,
                json_schema_extra=rules(
                    rule(
                        f"self.all(k, size(k) <= 255 && k.matches(r'{FILE_PATTERN}'))",
                        "a name of an inline file is no path inside the code: write it relative, without '..', such as train.py",
                        says=f"\"inline file '\" + self.filter(k, size(k) > 255 || !k.matches(r'{FILE_PATTERN}'))[0] + "
                        "\"' is no path inside the code: write it relative, without '..', such as train.py or src/train.py\"",
                    ),
                    rule(
                        f"self.map(k, size(self[k])).sum() <= {MOST_INLINE_BYTES}",
                        message="inline files are together longer than 131072 characters: put them in a ConfigMap and "
                        "name it in configMap",
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """Files by relative path, such as `train.py`, at most 128 KiB in all."""
    config_map: ObjectName | None = None
    """The name of a ConfigMap whose keys are the files."""


_HOST = r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_SERVICE = r"([a-z0-9]([-a-z0-9]*[a-z0-9])?\.){2}svc(\.cluster\.local)?(:[0-9]{1,5})?"
GIT_URL = rf"^(https://{_HOST}|http://{_SERVICE})(/[-A-Za-z0-9_.~%+]+)+/?$"
REVISION = r"^[A-Za-z0-9_]([-A-Za-z0-9_./+@]*[A-Za-z0-9_+@])?$"


class Git(SmaltModel):
    """A git repository, of which the files of one commit are fetched; no submodules, no Git LFS."""

    url: Annotated[
        str,
        Field(
            max_length=1024,
            json_schema_extra=rules(
                rule(
                    "!self.contains('@')",
                    message="an address holds no user and no password: name a Secret with username and password, or token, "
                    "in credentialsSecret; and write https://, since ssh is not used",
                ),
                rule(
                    f"self.contains('@') || self.matches(r'{GIT_URL}')",
                    "this is no repository: write https://host/team/repository.git, or http:// for a Service of the cluster",
                    says='"\'" + self + "\' is no repository: write https://host/team/repository.git, or http:// for a '
                    'Service of the cluster, such as http://git.team-a.svc/repository.git"',
                ),
            ),
        ),
    ]
    """https://host/repository.git; http:// only for a Service of the cluster, such as http://git.team-a.svc/repository.git."""
    revision: (
        Annotated[
            str,
            Field(
                max_length=255,
                json_schema_extra=rules(
                    rule(
                        f"self.matches(r'{REVISION}') && !self.contains('..') && !self.contains('//')",
                        "this is no revision: write a branch, a tag or a commit, such as v1.2",
                        says='"\'" + self + "\' is no revision: write a branch, a tag or a commit, such as v1.2"',
                    )
                ),
            ),
        ]
        | None
    ) = None
    """A branch, a tag, or a commit of at least 7 digits; the repository's default branch when absent."""
    path: RelativePath | None = None
    """The folder of the repository that is the code; all of it when absent."""
    credentials_secret: ObjectName | None = None
    """A Secret with `username` and `password`, or `token`; only the container that fetches the code sees it."""


_PUSHED = r"workspace://uploads/[0-9a-f]{64}/[^/\x00-\x1f]{1,200}"
CODE_URL = rf"^({_PUSHED}|https://[^@\s/?#]+/[^\s]*[^\s/]|s3://[a-z0-9][-.a-z0-9]{{1,61}}[a-z0-9](/[^/\x00-\x1f]+)+)$"
_GOOD_URL = "write https://host/code.tar.gz, s3://bucket/code.zip, or what `python -m smalt push` printed"
_SOURCES = ("inline", "configMap", "git", "url")
_COUNTED = " + ".join(f"(has(self.{each}) ? 1 : 0)" for each in _SOURCES)
# Sums of texts: a list that is joined has no bound that the API server could see.
_NAMED = " + ".join(f"(has(self.{each}) ? ' {each}' : '')" for each in _SOURCES)
_OF_URL = "has(self.digest) || has(self.path) || has(self.credentialsSecret)"


class Code(MountedCode):
    """The user's files; exactly one of `inline`, `configMap`, `git` and `url`."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                f"{_COUNTED} == 1",
                says="'code takes exactly one source: inline (file name to text), configMap (a name), git ({url, revision}) or url "
                f"(of an archive); this has' + ({_COUNTED} == 0 ? ' none' : {_NAMED})",
            ),
            rule(
                f"has(self.url) || !({_OF_URL})",
                says="'code.' + (has(self.digest) ? 'digest' : has(self.path) ? 'path' : 'credentialsSecret') + ' says more of "
                "the archive in code.url, and there is none: leave it out, or write it into code.git'",
            ),
            rule(
                "!has(self.credentialsSecret) || !has(self.url) || !self.url.startsWith('workspace://')",
                message="code.credentialsSecret is for s3:// and https://, and a workspace:// address needs none: leave it out",
            ),
        )
    }

    git: Git | None = None
    """A repository."""
    url: (
        Annotated[
            str,
            Field(
                max_length=2048,
                json_schema_extra=rules(
                    rule(
                        "!self.matches(r'^[a-z]+://[^/]*@')",
                        message="an address holds no user and no password: name a Secret in credentialsSecret",
                    ),
                    rule(
                        f"self.matches(r'^[a-z]+://[^/]*@') || self.matches(r'{CODE_URL}')",
                        f"this is no archive's address: {_GOOD_URL}",
                        says=f'"\'" + self + "\' is no archive\'s address: {_GOOD_URL}"',
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """The address of a tar or zip archive: https://host/code.tar.gz or s3://bucket/code.zip; or the workspace:// address
    of a folder or archive that `python -m smalt push` printed."""
    digest: Digest | None = None
    """With `url`: the digest that the archive must have; another one fails the run before anything of it is used."""
    path: RelativePath | None = None
    """With `url`: the folder in the archive that is the code; all of it when absent."""
    credentials_secret: ObjectName | None = None
    """With `url`: a Secret that only the container that fetches the code sees. For https://: `token`, or `username` and
    `password`; for s3://: `accessKeyId`, `secretAccessKey`, optionally `sessionToken`, `endpointUrl` and `region`."""


class Packages(SmaltModel):
    """Packages by at most one of four ways."""

    conda: Annotated[str, Field(max_length=MOST_CONDA_BYTES)] | None = None
    """A conda environment file, verbatim, at most 32 KiB."""
    conda_file: RelativePath | None = None
    """The path of a conda environment file in the code."""
    pip: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(min_length=1, max_length=200)] | None
    ) = None
    """Requirements as pip reads them, such as `lightgbm==4.5.0`."""
    requirements_file: RelativePath | None = None
    """The path of a requirements file in the code; one with hashes is a lock, from which exactly these files are
    installed. Every run keeps such a lock as its artifact `environment/requirements.lock`."""

    @property
    def has_any(self) -> bool:
        """Whether any are asked for."""
        return any((self.conda, self.conda_file, self.pip, self.requirements_file))


ONE_PACKAGE_SOURCE = rule(
    "[has(self.conda), has(self.condaFile), has(self.pip), has(self.requirementsFile)].filter(x, x).size() <= 1",
    message="environment takes at most one of conda (the file's text), condaFile (its path in the code), pip (a list) and "
    "requirementsFile (its path in the code)",
)


def file_among_inline(field: str, code: str, instead: str) -> Json:
    """The rule that a file which the environment names is one of the inline code's, where that is what there is."""
    return rule(
        f"!has(self.environment) || !has(self.environment.{field}) || !has(self.{code}.inline) || "
        f"self.environment.{field} in self.{code}.inline",
        says=f'"environment.{field} names \'" + self.environment.{field} + "\', which is not among {code}.inline: '
        f'add it there, or write {instead}"',
    )


CONDA_INSTEAD = "the file's text into environment.conda"
PIP_INSTEAD = "the requirements into environment.pip"


class Resources(SmaltModel):
    """What a container asks for and may use, as Kubernetes means it."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                f"!has(self.requests) || !has(self.limits) || self.requests.all(k, {_WITHIN_LIMIT})",
                "more is requested than the limit allows: raise limits or lower requests",
                says=f'"requests." + self.requests.filter(k, !({_WITHIN_LIMIT}))[0] + " is more than limits allow: '
                'raise limits or lower requests, such as {requests: {memory: 1Gi}, limits: {memory: 2Gi}}"',
            )
        )
    }

    requests: Quantities | None = None
    """What the node must have free, such as `{cpu: 500m, memory: 1Gi}`."""
    limits: Quantities | None = None
    """What may be used at most, such as `{memory: 2Gi}`."""
