"""The API server as the operator uses it: plain dictionaries, one connection pool, a time-out on every call.

The only module that knows the official client; its answers become our own errors here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import aiohttp
from kubernetes.aio import client, config

from smalt.api.kinds import Kind
from smalt.api.schema import Json
from smalt.errors import AlreadyExists, ApiError, Conflict, NotFound, Refused, Unavailable

MANAGER = "smalt"
STATUS_MANAGER = "smalt-status"
TIMEOUT_SECONDS = 30.0
# Lists are held as a whole while they are parsed: small pages keep that small.
CHUNK = 100
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class RequestObserver(Protocol):
    """What metrics want to know of a request; `code` is the status, or the error's name when there was no answer."""

    def requested(self, method: str, host: str, code: str) -> None: ...


class Cluster:
    """One connection pool to one API server."""

    def __init__(self, api: client.ApiClient, observer: RequestObserver) -> None:
        self._api, self._observer = api, observer
        self._host = str(api.configuration.host).rstrip("/")
        self._netloc = urlsplit(self._host).netloc

    @classmethod
    async def connect(cls, observer: RequestObserver) -> Cluster:
        """With the pod's service account, else with the kubeconfig. Nothing is sent yet."""
        configuration = client.Configuration()
        if _in_a_pod():
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
        # With trust_env, aiohttp reads netrc and proxy settings anew, in a thread, for every request.
        configuration.client_session_kwargs = {"trust_env": False}
        return cls(client.ApiClient(configuration), observer)

    async def close(self) -> None:
        await self._api.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """The object. NotFound when there is none."""
        return await self.request("GET", kind.path(namespace, name))

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The object, or None."""
        try:
            return await self.get(kind, namespace, name)
        except NotFound:
            return None

    async def select(self, kind: Kind, namespace: str, **query: str) -> Json:
        """A short list by `labelSelector` or `fieldSelector`."""
        return await self.request("GET", kind.path(namespace), query=query)

    async def pages(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Json]:
        """All objects by label and field, list by list; each item with the type that the API server leaves out of lists."""
        query = {"limit": str(CHUNK)} | ({"labelSelector": selector} if selector else {})
        query |= {"fieldSelector": fields} if fields else {}
        while True:
            found = await self.request("GET", kind.path(namespace), query=query)
            for item in found.get("items") or []:
                item.update({"apiVersion": kind.api_version, "kind": kind.kind})
            yield found
            following = found.get("metadata", {}).get("continue")
            if not following:
                return
            query["continue"] = following

    async def create(self, kind: Kind, manifest: Json) -> Json:
        """Makes the object. AlreadyExists when its name is taken."""
        path = kind.path(manifest["metadata"]["namespace"])
        return await self.request("POST", path, manifest, query={"fieldManager": MANAGER})

    async def apply(self, kind: Kind, manifest: Json) -> Json:
        """Server-side apply: the fields in the manifest are ours, all others stay. Conflict when a given UID is another's."""
        path = kind.path(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self.request("PATCH", path, manifest, query=query, content_type=_APPLY)

    async def patch_status(self, kind: Kind, resource: Json, difference: Json) -> Json:
        """Merges into the status of the object as it was seen. Conflict when it has changed since, or is another one."""
        metadata = resource["metadata"]
        seen = {key: metadata[key] for key in ("uid", "resourceVersion")}
        body = {"metadata": seen, "status": difference}
        path = kind.path(metadata["namespace"], metadata["name"], "status")
        return await self.request("PATCH", path, body, query={"fieldManager": STATUS_MANAGER}, content_type=_MERGE)

    async def replace(self, kind: Kind, manifest: Json) -> Json:
        """PUT with the manifest's resource version. Conflict when somebody was faster."""
        path = kind.path(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        return await self.request("PUT", path, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, version: str) -> None:
        """Deletes the object as it was seen. Conflict when it has changed since, NotFound when it is gone."""
        body = {"preconditions": {"uid": uid, "resourceVersion": version}, "propagationPolicy": "Background"}
        await self.request("DELETE", kind.path(namespace, name), body)

    async def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Json:
        """One request. ApiError for every answer but a good one."""
        headers = {"Accept": _JSON, "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=aiohttp.ClientTimeout(total=timeout)
            )
            content = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._observer.requested(method, self._netloc, type(error).__name__)
            raise Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from error
        self._observer.requested(method, self._netloc, str(answer.status))
        if answer.status >= 400:
            raise _error(method, path, answer.status, content, answer.headers.get("Retry-After"))
        found: Json = json.loads(content) if content else {}
        return found


def _in_a_pod() -> bool:
    return _SERVICE_ACCOUNT.exists()


def _error(method: str, path: str, status: int, content: bytes, retry_after: str | None) -> ApiError:
    """The API server's answer as one of our errors."""
    try:
        said: Any = json.loads(content)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    words = str(said.get("message") or content[:200].decode(errors="replace"))
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    text = f"{method} {path}: {words}"
    if status == 404:
        return NotFound(text, status)
    if status == 409:
        return (AlreadyExists if said.get("reason") == "AlreadyExists" else Conflict)(text, status)
    if status == 429 or status >= 500:
        return Unavailable(text, status, seconds)
    return Refused(words, status)
