"""What every pod that we make has in common: no identity, no rights, nothing writable but what is named and bounded."""

from __future__ import annotations

import json

from smalt.api.schema import Json
from smalt.errors import TooLarge

USER = 10001
# The API server takes 256 KiB of annotations; the rest is for those that others put on our pods.
MOST_CONTRACT_BYTES = 252 * 1024
CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}


def pod_spec(service_account: str, volumes: list[Json], **rest: object) -> Json:
    """A restricted pod without a Kubernetes token; `rest` are its containers and the fields that differ."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "serviceAccountName": service_account,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": volumes,
        **rest,
    }


def container(name: str, image: str, pull_policy: str, mounts: list[Json], **rest: object) -> Json:
    """One container under the restrictions above."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": mounts,
        **rest,
    }


def scratch(name: str, size: str) -> Json:
    """A folder to write into, that ends with the pod."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def contract_text(contract: Json) -> str:
    """A contract as the annotation that carries it; TooLarge, with the next step, when the API server would refuse it."""
    text = json.dumps(contract, separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode())
    if size > MOST_CONTRACT_BYTES:
        raise TooLarge(
            f"inline code, environmentVariables and all else that goes to the pod are {size} bytes as JSON, in which line "
            f"breaks and quotes count twice, and a pod carries at most {MOST_CONTRACT_BYTES}: put the files into a "
            "ConfigMap and name it in code.configMap"
        )
    return text


def annotation_file(name: str, annotation: str, path: str) -> Json:
    """A volume with one file: the text of an annotation of the pod. The kubelet expands nothing in it."""
    field = {"fieldPath": f"metadata.annotations['{annotation}']"}
    return {"name": name, "downwardAPI": {"items": [{"path": path, "fieldRef": field}]}}


def config_map(name: str, config_map: str) -> Json:
    return {"name": name, "configMap": {"name": config_map}}


def secret(name: str, secret: str) -> Json:
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}


def secrets(name: str, *secrets: str) -> Json:
    """Several Secrets as one folder."""
    sources = [{"secret": {"name": each}} for each in secrets]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o440}}


def secret_file(name: str, secret: str, key: str, path: str = "") -> Json:
    """A volume with one key of a Secret, kept up to date; without the Secret it is empty until there is one."""
    items = [{"key": key, "path": path or key}]
    return {
        "name": name,
        "secret": {"secretName": secret, "items": items, "defaultMode": 0o440, "optional": True},
    }


def mount(name: str, path: str, read_only: bool = False) -> Json:
    return {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})


def variable(name: str, value: str) -> Json:
    """An environment variable. `$` is doubled: the kubelet would otherwise expand $(NAME) in it."""
    return {"name": name, "value": value.replace("$", "$$")}


def secret_variable(name: str, secret: str, key: str, optional: bool = False) -> Json:
    """An environment variable with one key of a Secret; without the key, the variable is not set when it is optional."""
    reference = {"name": secret, "key": key} | ({"optional": True} if optional else {})
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


# The user has a number but no name, which getpass and git would fail to find.
USER_NAME = [variable("USER", "smalt"), variable("LOGNAME", "smalt")]
