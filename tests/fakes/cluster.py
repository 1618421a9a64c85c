"""A transport that calls the simulated API server in process, for loops with virtual time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping

import multidict

from queue_processor.adapters.kube.transport import Answer, Request
from queue_processor.domain import errors
from queue_processor.simulator.kube import api, faults, requests, watches

_SILENCE_SECONDS = 5.0


class DirectTransport:
    """Does what `HttpTransport` does, by calls.

    Attributes:
        is_reachable: Cleared for an outage: every request fails.
    """

    def __init__(
        self, server: api.SimulatedApiServer, *, user_agent: str, is_alive: asyncio.Event
    ) -> None:
        self._server = server
        self._user_agent = user_agent
        self._is_alive = is_alive
        self.is_reachable = True
        # In order, so that runs in virtual time repeat exactly.
        self._requests: dict[asyncio.Timeout, None] = {}
        self._streams: dict[_Stream, None] = {}

    def cut(self) -> None:
        """Begin an outage: cut requests and watches, and let every other request fail."""
        self.is_reachable = False
        for request in self._requests:
            request.reschedule(asyncio.get_running_loop().time())
        for stream in self._streams:
            stream.cut()

    async def send(self, request: Request) -> Answer:
        async with self._limited(request.limit_seconds, f"{request.method} {request.path}"):
            answer = await self._handle(request)
        return Answer(answer.status, multidict.CIMultiDict(answer.headers), answer.body)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], server_timeout_seconds: int
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        query = {**query, "timeoutSeconds": str(server_timeout_seconds)}
        async with self._limited(server_timeout_seconds + _SILENCE_SECONDS, f"watch {path}"):
            answer = await self._handle(Request("GET", path, query=query))
        head = Answer(answer.status, multidict.CIMultiDict(answer.headers), answer.body)
        if not isinstance(answer.lines, watches.Watcher):
            yield head, _nothing()
            return
        stream = _Stream(answer.lines, path)
        self._streams[stream] = None
        try:
            yield head, stream.lines()
        finally:
            self._streams.pop(stream, None)
            answer.lines.close()

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float, call: str) -> AsyncIterator[None]:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._requests[limit] = None
                yield
        except TimeoutError as cause:
            raise errors.TemporaryError(f"{call}: timed out, or cut") from cause
        finally:
            self._requests.pop(limit, None)

    async def _handle(self, request: Request) -> api.ApiResponse:
        if not self._is_alive.is_set():
            await asyncio.get_running_loop().create_future()
        # A request takes a moment: other tasks go on in it, as they do over a socket.
        await asyncio.sleep(0.001)
        if not self.is_reachable:
            raise errors.TemporaryError(f"{request.method} {request.path}: connection refused")
        call = requests.ApiRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query or {}),
            headers={"content-type": request.content_type, "user-agent": self._user_agent},
            body=b"" if request.body is None else json.dumps(request.body).encode(),
        )
        try:
            return await self._server.handle(call)
        except faults.ConnectionCutError as cause:
            raise errors.TemporaryError(
                f"{request.method} {request.path}: connection cut"
            ) from cause


class _Stream:
    """The client's side of an open watch."""

    def __init__(self, watcher: watches.Watcher, path: str) -> None:
        self._watcher = watcher
        self._path = path
        self._is_cut = False

    def cut(self) -> None:
        self._is_cut = True
        self._watcher.close()

    async def lines(self) -> AsyncIterator[bytes]:
        async for line in self._watcher:
            if self._is_cut:
                break
            yield line
        if self._is_cut:
            raise errors.TemporaryError(f"watch {self._path}: connection cut")


async def _nothing() -> AsyncIterator[bytes]:
    lines: tuple[bytes, ...] = ()
    for line in lines:
        yield line
