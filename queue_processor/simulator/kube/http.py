"""Serves the API server over HTTP on a socket of this machine."""

import json
import pathlib

from aiohttp import web

from queue_processor.simulator.kube import api, faults, requests, watches

_ADDRESS = "127.0.0.1"


class HttpServer:
    """Serves a ``SimulatedApiServer`` over HTTP; can play an outage on the same port."""

    def __init__(self, server: api.SimulatedApiServer) -> None:
        self._api = server
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Return the URL of the server, without a slash at the end."""
        return f"http://{_ADDRESS}:{self._port}"

    async def start(self, port: int = 0) -> str:
        """Listen on 127.0.0.1; port 0 takes a free one. Return the URL."""
        self._server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        self._port = port
        await self.resume()
        return self.url

    async def stop(self) -> None:
        """Cut all connections and stop for good."""
        if self._runner is not None:
            await self.pause()
            await self._runner.cleanup()
            self._runner = None

    async def pause(self) -> None:
        """Begin an outage: cut established connections, refuse new ones."""
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()
        for connection in self._server.connections if self._server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def resume(self) -> None:
        """End the outage: listen on the same port again."""
        if self._runner is None:
            raise RuntimeError("the server was not started")
        if self._site is None:
            site = web.TCPSite(self._runner, _ADDRESS, self._port, reuse_address=True)
            await site.start()
            self._site = site
            self._port = self._runner.addresses[0][1]

    def write_kubeconfig(self, path: pathlib.Path) -> pathlib.Path:
        """Write a kubeconfig file for this server (JSON is YAML); return the path."""
        name = "simulator"
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {"token": name}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
        path.write_text(json.dumps(body, indent=2))
        return path

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = requests.ApiRequest(
            method=request.method,
            path=request.path,
            query=dict(request.rel_url.query),
            headers={key.lower(): value for key, value in request.headers.items()},
            body=await request.read(),
        )
        try:
            response = await self._api.handle(call)
        except faults.ConnectionCutError:
            if request.transport is not None:
                request.transport.abort()
            # Never sent: the connection is cut.
            return web.Response(status=500)
        if isinstance(response.lines, watches.Watcher):
            return await self._stream(request, response.lines, dict(response.headers))
        return web.Response(
            status=response.status, headers=dict(response.headers), body=response.body
        )

    @staticmethod
    async def _stream(
        request: web.BaseRequest, watcher: watches.Watcher, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        try:
            await response.prepare(request)
            while chunk := await watcher.chunk():
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            # The client closed the connection between two events.
            pass
        finally:
            watcher.close()
        return response
