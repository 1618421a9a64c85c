"""Local HTTP servers: instance metadata by a script, and an API server that records patches."""

import contextlib
import dataclasses
import http.server
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable

import trustme

from tests.watcher import scripted_imds
from tests.watcher.scripted_imds import Response, ScriptedImds


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A request, with the names of its headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class LocalServer:
    """A server in threads that answers with what a function returns.

    Attributes:
        connections: How many were opened.
    """

    def __init__(
        self,
        respond: Callable[[Received], Response],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._respond = respond
        self._released = threading.Event()
        self._answered = threading.Condition()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.connections = 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = _Server(family, (host, 0), self._handler())
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition that a request fulfils; return False if it takes too long."""
        with self._answered:
            return self._answered.wait_for(condition, seconds)

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self.close_connections()
        self._server.server_close()
        self._thread.join()

    def close_connections(self) -> None:
        """Close those that are open, as servers do when they are idle."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        local = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with local._lock:
                    local.connections += 1
                    local._open.add(self.connection)

            def finish(self) -> None:
                with local._lock:
                    local._open.discard(self.connection)
                super().finish()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Log nothing."""

            def _answer(self) -> None:
                received = Received(
                    self.command,
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(int(self.headers.get("Content-Length", 0))),
                )
                response = local._respond(received)
                with local._answered:
                    local._answered.notify_all()
                if response.hangs:
                    local._released.wait()
                    self.close_connection = True
                else:
                    self._send(response)

            def _send(self, response: Response) -> None:
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                announced = len(response.body) + response.missing_bytes
                self.send_header("Content-Length", str(announced))
                self.end_headers()
                self.wfile.write(response.body)
                if response.missing_bytes:
                    self.close_connection = True

            do_GET = do_PUT = do_PATCH = _answer  # noqa: N815 - what http.server calls

        return Handler


class _Server(http.server.ThreadingHTTPServer):
    """A server whose threads end with it."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int],
        handler: type[http.server.BaseHTTPRequestHandler],
    ) -> None:
        self.address_family = family
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away as they like, and some do not trust our certificate."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def imds_server(imds: ScriptedImds) -> LocalServer:
    """Serve scripted instance metadata."""

    def respond(received: Received) -> Response:
        return imds.respond(received.method, received.path, received.headers)

    return LocalServer(respond)


class FakeApiServer:
    """An API server that knows how to patch Nodes, over TLS.

    Attributes:
        nodes: The annotations of each Node.
        requests: All of them.
        refusal: Status and message of the answer to each request, if they are refused.
    """

    def __init__(self, authority: trustme.CA, *, host: str = "127.0.0.1") -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self.requests: list[Received] = []
        self.refusal: tuple[int, str] | None = None
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(tls)
        self.server = LocalServer(self._respond, tls=tls, host=host)

    def _respond(self, received: Received) -> Response:
        self.requests.append(received)
        if self.refusal is not None:
            return _status(*self.refusal)
        node = self.nodes.get(received.path.removeprefix("/api/v1/nodes/"))
        if node is None:
            return _status(404, f"{received.path!r} not found")
        if received.method != "PATCH":
            return _status(405, "only patches are known here")
        if received.headers["content-type"] != "application/merge-patch+json":
            return _status(415, "only merge patches are known here")
        node.update(json.loads(received.body)["metadata"]["annotations"])
        return scripted_imds.text(json.dumps({"kind": "Node", "metadata": {"annotations": node}}))


def _status(code: int, message: str) -> Response:
    body = json.dumps({"kind": "Status", "code": code, "message": message})
    return Response(status=code, body=body.encode())
