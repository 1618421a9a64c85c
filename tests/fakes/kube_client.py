"""A client that calls the simulated API server in process and returns its responses."""

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping

from queue_processor.simulator.kube import api, objects, patches, requests


@dataclasses.dataclass(frozen=True, slots=True)
class ClientResponse:
    """A response with its JSON parsed."""

    status: int
    headers: Mapping[str, str]
    body: objects.JsonObject


class DirectClient:
    """Calls a `SimulatedApiServer` as one user agent."""

    def __init__(self, server: api.SimulatedApiServer, user_agent: str = "direct") -> None:
        self._server = server
        self._user_agent = user_agent

    async def get(self, path: str, **query: str) -> ClientResponse:
        """GET an object or a list."""
        return await self._send("GET", path, query)

    async def post(self, path: str, body: object, **query: str) -> ClientResponse:
        """POST an object, an eviction or a review."""
        return await self._send("POST", path, query, body)

    async def put(self, path: str, body: object, **query: str) -> ClientResponse:
        """Replace an object."""
        return await self._send("PUT", path, query, body)

    async def patch(
        self,
        path: str,
        body: object,
        kind: patches.PatchType = patches.PatchType.MERGE,
        **query: str,
    ) -> ClientResponse:
        """Patch an object."""
        return await self._send("PATCH", path, query, body, kind.value)

    async def delete(self, path: str, body: object = None, **query: str) -> ClientResponse:
        """Delete an object; the body is DeleteOptions."""
        return await self._send("DELETE", path, query, body)

    async def evict(
        self, name: str, *, namespace: str = "default", options: Mapping[str, object] | None = None
    ) -> ClientResponse:
        """Evict a pod; ``options`` are DeleteOptions."""
        body: objects.JsonObject = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        if options is not None:
            body["deleteOptions"] = dict(options)
        return await self.post(f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body)

    async def watch(self, path: str, **query: str) -> AsyncIterator[objects.JsonObject]:
        """Open a watch; the events come from the iterator, which ends with the watch."""
        response = await self._server.handle(self._request("GET", path, query | {"watch": "true"}))
        if response.lines is None:
            raise ValueError(response.body.decode())
        return _events(response.lines)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: object = None,
        content_type: str = "application/json",
    ) -> requests.ApiRequest:
        headers = {"user-agent": self._user_agent, "content-type": content_type}
        text = b"" if body is None else objects.to_json(body)
        return requests.ApiRequest(method, path, query, headers, text)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: object = None,
        content_type: str = "application/json",
    ) -> ClientResponse:
        request = self._request(method, path, query, body, content_type)
        response = await self._server.handle(request)
        return ClientResponse(response.status, response.headers, json.loads(response.body))


async def _events(lines: AsyncIterator[bytes]) -> AsyncIterator[objects.JsonObject]:
    async for line in lines:
        yield json.loads(line)
