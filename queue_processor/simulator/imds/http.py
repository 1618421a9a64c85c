"""Serves instance metadata and the control API on a socket."""

import asyncio
import http
import socket

from aiohttp import web

from queue_processor.domain import errors
from queue_processor.simulator.imds import control
from queue_processor.simulator.imds.control import ControlApi
from queue_processor.simulator.imds.service import (
    MetadataRequest,
    MetadataResponse,
    MetadataService,
)

_STOP_SECONDS = 0.1


class MetadataServer:
    """Listens on one address."""

    def __init__(
        self, service: MetadataService, control_api: ControlApi, *, hop_limit: int | None = None
    ) -> None:
        """Build a server.

        Args:
            service: Answers everything outside of the control API.
            control_api: Announces interruptions.
            hop_limit: How many hops the packets of a response with a token may travel. None does
                not limit them.
        """
        self._service = service
        self._control_api = control_api
        self._hop_limit = hop_limit
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Begin to listen; return the port, which may be a free one for port 0.

        Raises:
            ConfigurationError: The address cannot be used.
        """
        runner = web.ServerRunner(
            web.Server(self._handle, access_log=None), shutdown_timeout=_STOP_SECONDS
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as cause:
            await runner.cleanup()
            raise errors.ConfigurationError(
                f"cannot listen on {host} port {port}: {cause.strerror or cause}; choose another"
                " address with --listen"
            ) from cause
        self._runner = runner
        bound: int = runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == control.PATH:
            return await self._control(request)
        response = self._service.respond(
            MetadataRequest(
                method=request.method,
                path=request.rel_url.raw_path,
                headers=request.headers,
                caller=request.remote or "",
                at=asyncio.get_running_loop().time(),
            )
        )
        if response.is_token and self._hop_limit is not None:
            _limit_hops(request, self._hop_limit)
        return _web_response(response)

    async def _control(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            return web.Response(
                status=http.HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"}
            )
        if request.content_type != control.CONTENT_TYPE:
            return web.Response(
                status=http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                text=f"the content type has to be {control.CONTENT_TYPE}\n",
            )
        body = (await request.read()).decode(errors="replace")
        status, answer = self._control_api.post(body)
        return web.Response(status=status, text=answer, content_type=control.CONTENT_TYPE)


def _web_response(response: MetadataResponse) -> web.Response:
    headers = {**response.headers, "Content-Type": response.content_type}
    return web.Response(status=response.status, headers=headers, body=response.body.encode())


def _limit_hops(request: web.BaseRequest, limit: int) -> None:
    """Let the packets of this connection travel so many hops from now on, as those of EC2 do.

    It stays so for later responses on the connection: who received the token receives them, too.
    """
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is None:
        return
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, limit)
    else:
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, limit)
