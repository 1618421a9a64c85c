"""The HTTP server in front of moto."""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

from moto.moto_server import werkzeug_app
from werkzeug import serving

_LOG = logging.getLogger(__name__)
_LONGEST_STOP_SECONDS = 0.05


class _RequestHandler(werkzeug_app.MotoRequestHandler):
    """Answers without a line in the log, and without waiting to fill a packet."""

    # Header and body go out as two packets. Nagle's algorithm would hold back the second until
    # the client acknowledges the first, which takes it up to 40 ms.
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        _LOG.debug("%s %s %s", self.command, code, size)


class _Server(serving.ThreadedWSGIServer):
    """Knows its connections, so that it can end them: clients keep them open between calls."""

    def __init__(self, app: werkzeug_app.DomainDispatcherApplication) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__("127.0.0.1", 0, app, _RequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 as socketserver has it
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 as socketserver has it
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class MotoServer:
    """moto over HTTP on a free port of 127.0.0.1.

    It takes the place of moto's ThreadedMotoServer, which keeps its sockets open after the stop
    and logs every request to the standard error.
    """

    def __init__(self) -> None:
        app = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
        self._server = _Server(app)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        """Answer until the stop."""
        self._server.serve_forever(poll_interval=_LONGEST_STOP_SECONDS)

    def stop(self) -> None:
        """Answer nobody any more, and end the calls in hand."""
        self._server.shutdown()
        self._server.close_connections()


@contextlib.contextmanager
def running() -> Iterator[MotoServer]:
    """Answer, in a thread of its own, for as long as this lasts."""
    server = MotoServer()
    thread = threading.Thread(target=server.serve, name="aws-simulator", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
