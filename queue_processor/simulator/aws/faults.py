"""Fault injection: errors and broken connections instead of, or after, what AWS does.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html
"""

import contextlib
import enum
import json
import random
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_JSON = "application/x-amz-json"
_XML = (
    "<ErrorResponse><Error><Type>{type}</Type><Code>{code}</Code>"
    "<Message>injected</Message></Error><RequestId>injected</RequestId></ErrorResponse>"
)


class AwsFault(enum.Enum):
    """Faults of AWS, or of the network before it."""

    INTERNAL_ERROR = "500"
    THROTTLED = "throttled"
    EXPIRED = "expired credentials"
    RESET = "reset"
    """The connection breaks before the request has had its effect."""
    LOST_REPLY = "lost reply"
    """The connection breaks after the request has had its effect."""


# Status, and code in the JSON protocol and in the query protocol.
_RESPONSES = {
    AwsFault.INTERNAL_ERROR: ("500 Internal Server Error", "InternalFailure", "InternalFailure"),
    AwsFault.THROTTLED: ("400 Bad Request", "RequestThrottled", "Throttling"),
    AwsFault.EXPIRED: ("403 Forbidden", "ExpiredTokenException", "ExpiredToken"),
}


class AwsFaults:
    """Lets a share of the requests fail, each with one of the injected faults.

    Attributes:
        count: How many requests failed so far.
    """

    def __init__(self, seed: int = 0) -> None:
        self.count = 0
        self._random = random.Random(seed)  # noqa: S311 not for secrets
        self._lock = threading.Lock()
        self._injected: tuple[AwsFault, ...] = ()
        self._share = 0.0

    @contextlib.contextmanager
    def injected(self, *faults: AwsFault, share: float = 1.0) -> Iterator[None]:
        """Let this share of the requests fail for as long as this lasts."""
        self._injected, self._share = faults, share
        try:
            yield
        finally:
            self._injected = ()

    def around(self, app: "WSGIApplication") -> "WSGIApplication":
        """Return the application, with faults."""

        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            fault = self._draw()
            if fault is None:
                return app(environ, start_response)
            if fault is AwsFault.LOST_REPLY:
                b"".join(app(environ, lambda *_: lambda _: None))
            else:
                # What is left unread would be taken for the next request.
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if fault not in _RESPONSES:
                _break(environ)
            return _refuse(fault, environ, start_response)

        return answer

    def _draw(self) -> AwsFault | None:
        with self._lock:
            if not self._injected or self._random.random() >= self._share:
                return None
            self.count += 1
            return self._random.choice(self._injected)


def _refuse(
    fault: AwsFault, environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes]:
    status, json_code, query_code = _RESPONSES[fault]
    party = "Receiver" if fault is AwsFault.INTERNAL_ERROR else "Sender"
    content_type = str(environ.get("CONTENT_TYPE", ""))
    if content_type.startswith(_JSON):
        text = json.dumps({"__type": f"com.amazonaws.sqs#{json_code}", "message": "injected"})
    else:
        content_type, text = "text/xml", _XML.format(type=party, code=query_code)
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(text)))])
    return [text.encode()]


def _break(environ: "WSGIEnvironment") -> None:
    """Close the connection without a response."""
    connection: socket.socket = environ["werkzeug.socket"]
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("injected")
