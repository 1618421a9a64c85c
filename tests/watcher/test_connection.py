import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from queue_processor.domain import errors
from queue_processor.watcher.connection import KeepAliveConnection, RequestTimedOut
from tests.watcher import scripted_imds
from tests.watcher.scripted_imds import Response
from tests.watcher.servers import LocalServer, Received

# No test waits for it, but for those in which nothing ever comes.
_LONG, _SHORT = 60.0, 0.05


class Scripted:
    """A server whose next answers are set by a test."""

    def __init__(self) -> None:
        self.response = scripted_imds.text("hello")
        self.server = LocalServer(self._respond)

    def _respond(self, received: Received) -> Response:
        del received
        return self.response


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    started = Scripted()
    with contextlib.closing(started.server):
        yield started


@contextlib.contextmanager
def connected(port: int, *, timeout: float = _LONG) -> Iterator[KeepAliveConnection]:
    connection = KeepAliveConnection(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout))
    with contextlib.closing(connection):
        yield connection


def test_many_requests_share_one_connection(scripted: Scripted) -> None:
    with connected(scripted.server.port) as connection:
        bodies = {connection.request("GET", "/", {}).body for _ in range(20)}

    assert bodies == {b"hello"}
    assert scripted.server.connections == 1


def test_a_connection_that_the_server_has_closed_opens_again(scripted: Scripted) -> None:
    with connected(scripted.server.port) as connection:
        connection.request("GET", "/", {})
        scripted.server.close_connections()

        assert connection.request("GET", "/", {}).body == b"hello"
    assert scripted.server.connections == 2


def test_an_answer_that_does_not_come_times_out(scripted: Scripted) -> None:
    scripted.response = scripted_imds.HANGS
    with (
        connected(scripted.server.port, timeout=_SHORT) as connection,
        pytest.raises(RequestTimedOut, match=r"no answer within 0\.05 s"),
    ):
        connection.request("GET", "/", {})


def test_a_body_that_ends_early_is_no_answer(scripted: Scripted) -> None:
    scripted.response = Response(body=b'{"action"', missing_bytes=30)
    with connected(scripted.server.port) as connection:
        with pytest.raises(errors.TemporaryError, match="IncompleteRead"):
            connection.request("GET", "/", {})

        scripted.response = scripted_imds.text("hello")
        assert connection.request("GET", "/", {}).body == b"hello"


def test_of_an_endless_body_sixteen_kibibytes_are_read(scripted: Scripted) -> None:
    scripted.response = Response(body=b"x" * 10 * 2**20)
    with connected(scripted.server.port) as connection:
        answer = connection.request("GET", "/", {})
        assert len(answer.body) == 16 * 1024
        assert not answer.is_complete

        scripted.response = scripted_imds.text("hello")
        assert connection.request("GET", "/", {}).body == b"hello"


def test_nobody_who_listens_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            connected(unused.getsockname()[1]) as connection,
            pytest.raises(errors.TemporaryError, match="ConnectionRefusedError"),
        ):
            connection.request("GET", "/", {})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 OK\r\n\r\n", id="no status"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200, id="endless headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000, id="an endless line"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="no size of a chunk"
        ),
    ],
)
def test_what_is_not_http_is_no_answer(answer: bytes, raw_server: "RawServer") -> None:
    port = raw_server(answer)
    with connected(port) as connection, pytest.raises(errors.TemporaryError):
        connection.request("GET", "/", {})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            id="chunked",
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nhello", id="until the end of the connection"),
    ],
)
def test_bodies_without_a_length_are_read(answer: bytes, raw_server: "RawServer") -> None:
    port = raw_server(answer)
    with connected(port) as connection:
        assert connection.request("GET", "/", {}).body == b"hello"


RawServer = Callable[[bytes], int]


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    """A server that sends these bytes to each connection, and closes it."""
    with contextlib.ExitStack() as stack:

        def serve(answer: bytes) -> int:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=_send_to_all, args=(listener, answer))
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return int(listener.getsockname()[1])

        yield serve


def _send_to_all(listener: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(answer)
