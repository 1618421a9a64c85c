"""A proxy in front of the API server, with faults: errors, delays, watches cut or silent."""

import asyncio
import contextlib
import dataclasses
import pathlib
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Self

import aiohttp
import multidict
import trustme
import yarl
from aiohttp import web

from tests.cluster import plane

_HOST = "127.0.0.1"
# Those of a connection, not of a request; the length of a body that we have read is set anew.
_OF_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


class ApiServerProxy:
    """Passes requests on, and counts those that it spoils.

    Attributes:
        access: Access to the API server through the proxy.
        status: The answer to every request; None passes requests on.
        delay_seconds: How long each request waits before it is passed on.
        count: How many requests and watches were spoilt so far.
    """

    def __init__(self, access: plane.Access, session: aiohttp.ClientSession) -> None:
        self.access = access
        self.status: int | None = None
        self.delay_seconds = 0.0
        self.count = 0
        self._session = session
        self._server = access.server
        self._watches: set[asyncio.Transport] = set()
        self._silent: set[asyncio.Transport] = set()
        self._silent_until = 0.0

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, access: plane.Access, folder: pathlib.Path) -> AsyncIterator[Self]:
        """Answer on a free port for as long as this lasts.

        Args:
            access: The API server, and the token of the requests.
            folder: Takes the certificate of the proxy.
        """
        authority = trustme.CA()
        ca_file = folder / "proxy.crt"
        authority.cert_pem.write_to_path(str(ca_file))
        ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(_HOST).configure_cert(ours)
        theirs = ssl.create_default_context(cafile=str(access.ca_file))
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=theirs),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        ) as session:
            proxy = cls(access, session)
            # Without it the API server would keep the watches of clients that are gone.
            runner = web.AppRunner(
                web.Application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
            )
            runner.app.router.add_route("*", "/{path:.*}", proxy._pass_on)
            await runner.setup()
            (port,) = plane.free_ports(1)
            await web.TCPSite(runner, _HOST, port, ssl_context=ours).start()
            proxy.access = dataclasses.replace(
                access, server=f"https://{_HOST}:{port}", ca_file=ca_file
            )
            try:
                yield proxy
            finally:
                await runner.cleanup()

    def cut_watches(self) -> None:
        """Break the connections of all watches."""
        self.count += len(self._watches)
        for transport in self._watches:
            transport.abort()

    def silence_watches(self, seconds: float) -> None:
        """Let nothing more arrive from the watches that are open now or soon; they stay open."""
        self.count += len(self._watches)
        self._silent |= self._watches
        self._silent_until = asyncio.get_running_loop().time() + seconds

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if self.delay_seconds:
            self.count += 1
            await asyncio.sleep(self.delay_seconds)
        if self.status is not None:
            self.count += 1
            return _refusal(self.status)
        try:
            return await self._answer(request)
        except aiohttp.ClientError:
            # The server is gone, or the client: the other one loses the connection as well.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        async with self._session.request(
            request.method,
            yarl.URL(self._server + request.raw_path, encoded=True),
            headers=_of_request(request.headers),
            data=await request.read() or None,
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_of_request(answer.headers))
            await response.prepare(request)
            if "watch" in request.query:
                await self._stream(request, answer, response)
            else:
                await response.write(await answer.read())
            await response.write_eof()
            return response

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        transport = request.transport
        if transport is None:
            return
        self._watches.add(transport)
        if asyncio.get_running_loop().time() < self._silent_until:
            self.count += 1
            self._silent.add(transport)
        try:
            async for chunk in answer.content.iter_any():
                if transport not in self._silent:
                    await response.write(chunk)
            if transport in self._silent:
                # The end of the watch does not arrive either.
                await asyncio.get_running_loop().create_future()
        finally:
            self._watches.discard(transport)
            self._silent.discard(transport)


def _of_request(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers without those of the connection; names may repeat."""
    kept = [(k, v) for k, v in headers.items() if k.lower() not in _OF_CONNECTION]
    return multidict.CIMultiDict(kept)


def _refusal(status: int) -> web.Response:
    """Return an error as the API server answers it; it asks to be left alone for a second."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    return web.json_response(body, status=status, headers={"Retry-After": "1"})
