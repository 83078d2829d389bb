"""The API server by HTTPS alone: what a test asks ten times a second should not cost a process each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
# Plural to the path below the namespace's.
_PATHS = {
    "jobs": "apis/batch/v1",
    "pods": "api/v1",
    "secrets": "api/v1",
    "persistentvolumeclaims": "api/v1",
    "deployments": "apis/apps/v1",
    "workspaces": "apis/smalt.dev/v1alpha1",
    "experiments": "apis/smalt.dev/v1alpha1",
    "trainingruns": "apis/smalt.dev/v1alpha1",
    "models": "apis/smalt.dev/v1alpha1",
    "modeldeployments": "apis/smalt.dev/v1alpha1",
}


class RequestRefused(AssertionError):
    """The API server said no; the text is what it said."""


class Rest:
    """One connection with a kubeconfig's certificate, to be used from one thread."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server, self._namespace = cluster["server"], namespace
        self._session = requests.Session()
        # Not the machine's proxy: the server is on loopback.
        self._session.trust_env = False
        self._session.verify = cluster["certificate-authority"]
        self._session.cert = (user["client-certificate"], user["client-key"])

    def list(self, plural: str, selector: str = "") -> list[Json]:
        """The namespace's objects of that kind, each with its kind, which lists leave out."""
        found = self._request("GET", plural, params={"labelSelector": selector} if selector else {})
        kind = found["kind"].removesuffix("List")
        return [item | {"kind": kind, "apiVersion": found["apiVersion"]} for item in found["items"]]

    def create(self, plural: str, manifest: Json, rest: str = "") -> Json:
        """`rest` is the path below the collection, for what belongs to an object."""
        return self._request("POST", plural, rest, body=manifest)

    def delete(self, plural: str, name: str, options: Json) -> Json:
        return self._request("DELETE", plural, f"/{name}", body=options)

    def apply(self, plural: str, manifest: Json, dry_run: bool = False) -> Json:
        """Server-side apply, as a manager of its own."""
        params = {"fieldManager": "test"} | ({"dryRun": "All"} if dry_run else {})
        name = f"/{manifest['metadata']['name']}"
        return self._request("PATCH", plural, name, params, manifest, "application/apply-patch+yaml")

    def patch_status(self, plural: str, name: str, status: Json) -> Json:
        return self._request("PATCH", plural, f"/{name}/status", body={"status": status}, content_type=MERGE)

    def _request(
        self,
        method: str,
        plural: str,
        rest: str = "",
        params: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        url = f"{self._server}/{_PATHS[plural]}/namespaces/{self._namespace}/{plural}{rest}"
        content = json.dumps(body) if body is not None else None
        answer = self._session.request(
            method, url, params=params, data=content, headers={"Content-Type": content_type}, timeout=30
        )
        if answer.status_code >= 300:
            raise RequestRefused(f"{method} {url}: {answer.status_code} {answer.text[:20000]}")
        found: Json = answer.json()
        return found
