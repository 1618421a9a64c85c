"""SQS over HTTP: its JSON protocol, and the server that the whole simulated AWS answers on.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
"""

import base64
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from werkzeug import serving

from queue_processor.simulator.aws import sqs
from queue_processor.simulator.aws.checks import SqsError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    Authorize: TypeAlias = Callable[[str, str, WSGIEnvironment, bytes], None]
    """Takes the action and the resource as IAM names them, the request, and its body."""

_LOG = logging.getLogger(__name__)
_LONGEST_STOP_SECONDS = 0.05
_JSON = "application/x-amz-json-1.0"
_TARGET = "HTTP_X_AMZ_TARGET"
_PREFIX = "AmazonSQS."


class HttpSqs:
    """The queues and their waiters, in many threads; a WSGI application."""

    def __init__(self, authorize: "Authorize | None" = None) -> None:
        """Build the application.

        Args:
            authorize: Raises SqsError for a request that its sender is not allowed.
        """
        self._authorize = authorize
        self._changed = threading.Condition()
        self._service = sqs.SimulatedSqs()

    @contextlib.contextmanager
    def locked(self) -> "Iterator[sqs.SimulatedSqs]":
        """Give the queues to one caller, and let every long poll look again afterwards."""
        with self._changed:
            yield self._service
            self._changed.notify_all()

    def call(self, action: str, **parameters: object) -> dict[str, Any]:
        """Answer one request that does not wait.

        Raises:
            SqsError: SQS refuses the request.
        """
        with self.locked() as service:
            return service.call(action, parameters, time.time())

    def close(self) -> None:
        """Forget every queue, and end every long poll."""
        with self.locked() as service:
            service.queues.clear()

    @staticmethod
    def action_of(environ: "WSGIEnvironment") -> str | None:
        """Return the action that a request asks of SQS; None for a request to another service."""
        target = str(environ.get(_TARGET, ""))
        return target.removeprefix(_PREFIX) if target.startswith(_PREFIX) else None

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        action = self.action_of(environ) or ""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = [("Content-Type", _JSON)]
        try:
            parameters = json.loads(body, object_hook=_decoded)
            if self._authorize is not None:
                name = str(parameters.get("QueueUrl", parameters.get("QueueName", "*")))
                arn = sqs.SimulatedSqs.arn_of(name.rpartition("/")[2])
                # A batch needs the permission for the single call.
                # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
                self._authorize(action.removesuffix("Batch"), arn, environ, body)
            status, answer = "200 OK", self._answer(action, parameters, environ)
        except SqsError as error:
            status = "400 Bad Request"
            answer = {"__type": f"com.amazonaws.sqs#{error.shape}", "message": error.message}
            headers.append(("x-amzn-query-error", f"{error.query_code};Sender"))
        text = json.dumps(answer, default=lambda value: base64.b64encode(value).decode()).encode()
        start_response(status, [*headers, ("Content-Length", str(len(text)))])
        return [text]

    def _answer(
        self, action: str, parameters: Mapping[str, Any], environ: "WSGIEnvironment"
    ) -> dict[str, Any]:
        if action != "ReceiveMessage":
            return self.call(action, **parameters)
        with self._changed:
            ends_at = time.time() + self._service.wait_seconds(parameters)
            while not _is_abandoned(environ):
                now = time.time()
                answer = self._service.call(action, parameters, now)
                if answer or now >= ends_at:
                    # Dead letters may have moved.
                    self._changed.notify_all()
                    return answer
                next_at = self._service.queue(parameters).next_available_at
                self._changed.wait(min(next_at, ends_at) - now)
        return {}


def _is_abandoned(environ: "WSGIEnvironment") -> bool:
    """Return whether the sender of a request has gone.

    A long poll outlives a client that was killed. What it took then would stay hidden until its
    visibility timeout ends, and no client would have it.
    """
    connection: socket.socket = environ["werkzeug.socket"]
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _decoded(value: dict[str, Any]) -> dict[str, Any]:
    if "BinaryValue" in value:
        value["BinaryValue"] = base64.b64decode(value["BinaryValue"])
    return value


class _RequestHandler(serving.WSGIRequestHandler):
    """Answers without a line in the log, and without waiting to fill a packet."""

    # Header and body go out as two packets. Nagle's algorithm would hold back the second until
    # the client acknowledges the first, which takes it up to 40 ms.
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        _LOG.debug("%s %s %s", self.command, code, size)


class _Server(serving.ThreadedWSGIServer):
    """Knows its connections, so that it can end them: clients keep them open between calls."""

    def __init__(self, app: "WSGIApplication", port: int) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__("127.0.0.1", port, app, _RequestHandler)

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


class WsgiServer:
    """A WSGI application on a port of 127.0.0.1.

    It takes the place of moto's ThreadedMotoServer, which keeps its sockets open after the stop
    and logs every request to the standard error.
    """

    def __init__(self, app: "WSGIApplication", port: int = 0) -> None:
        self._server = _Server(app, port)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        """Answer until the stop."""
        self._server.serve_forever(poll_interval=_LONGEST_STOP_SECONDS)

    def stop(self) -> None:
        """Stop answering, and end the calls under way."""
        self._server.shutdown()
        self._server.close_connections()


@contextlib.contextmanager
def running(app: "WSGIApplication") -> Iterator[WsgiServer]:
    """Answer, in a thread of its own, for as long as this lasts."""
    server = WsgiServer(app)
    thread = threading.Thread(target=server.serve, name="aws-simulator", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
