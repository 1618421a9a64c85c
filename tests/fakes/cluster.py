"""The way to the simulated API server without sockets, for loops with virtual time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping

import multidict

from queue_processor.adapters.kube.transport import Answer, JsonObject
from queue_processor.domain import errors
from queue_processor.simulator.kube import api, faults

_TIMEOUT_SECONDS = 10.0


class DirectTransport:
    """What `HttpTransport` does, by calling the simulated API server.

    Attributes:
        is_reachable: Cleared for an outage: every request fails, and watches are cut.
    """

    def __init__(self, server: api.ApiServer, *, user_agent: str, is_alive: asyncio.Event) -> None:
        self._server = server
        self._user_agent = user_agent
        self._is_alive = is_alive
        self.is_reachable = True
        self._streams: set[asyncio.Timeout] = set()

    def cut(self) -> None:
        """Begin an outage."""
        self.is_reachable = False
        for stream in self._streams:
            stream.reschedule(asyncio.get_running_loop().time())

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                answer = await self._handle(method, path, query, body, content_type)
        except TimeoutError as cause:
            raise errors.TemporaryFault(f"{method} {path}: timed out") from cause
        return Answer(answer.status, multidict.CIMultiDict(answer.headers), answer.body)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], server_timeout_seconds: int
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        query = {**query, "timeoutSeconds": str(server_timeout_seconds)}
        answer = await self._handle("GET", path, query, None, "application/json")
        head = Answer(answer.status, multidict.CIMultiDict(answer.headers), answer.body)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._streams.add(limit)
                yield head, answer.lines or _nothing()
        except TimeoutError as cause:
            raise errors.TemporaryFault(f"watch {path}: cut") from cause
        finally:
            self._streams.discard(limit)

    async def _handle(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: JsonObject | None,
        content_type: str,
    ) -> api.ApiResponse:
        if not self._is_alive.is_set():
            await asyncio.get_running_loop().create_future()
        # A request takes a moment: other tasks go on in it, as they do over a socket.
        await asyncio.sleep(0.001)
        if not self.is_reachable:
            raise errors.TemporaryFault(f"{method} {path}: connection refused")
        request = api.ApiRequest(
            method=method,
            path=path,
            query=dict(query or {}),
            headers={"content-type": content_type, "user-agent": self._user_agent},
            body=b"" if body is None else json.dumps(body).encode(),
        )
        try:
            return await self._server.handle(request)
        except faults.ConnectionCutError as cause:
            raise errors.TemporaryFault(f"{method} {path}: connection cut") from cause


async def _nothing() -> AsyncIterator[bytes]:
    lines: tuple[bytes, ...] = ()
    for line in lines:
        yield line
