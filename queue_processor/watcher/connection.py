"""One connection to an HTTP server, with limits to what it waits for and what it reads."""

import dataclasses
import http.client
from collections.abc import Mapping

from queue_processor.domain import errors

# The longest answer that means something is a list of scheduled events, about 300 bytes each.
_LONGEST_BODY = 16 * 1024


class RequestTimedOut(errors.TemporaryError):
    """The server did not answer in time."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """The answer to a request.

    Attributes:
        body: At most 16 KiB of it.
        is_complete: False if there is more.
        headers: By their names in lower case.
    """

    status: int
    body: bytes = b""
    is_complete: bool = True
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class KeepAliveConnection:
    """A connection that stays open between requests, and opens again when it has to.

    It takes the timeout from the connection of `http.client`. That limits each wait for the server;
    an answer that arrives byte by byte is limited by the liveness probe.
    """

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        """Send a request that has the same effect when it is sent twice.

        Raises:
            RequestTimedOut: The server did not answer in time.
            TemporaryError: There was no answer of HTTP.
        """
        is_reused = self._connection.sock is not None
        try:
            try:
                return self._exchange(method, path, headers, body)
            except ConnectionError:
                # Servers close connections that are idle, and the client learns it too late.
                if not is_reused:
                    raise
                self.close()
                return self._exchange(method, path, headers, body)
        except TimeoutError as cause:
            self.close()
            raise RequestTimedOut(f"no answer within {self._connection.timeout:g} s") from cause
        except (OSError, http.client.HTTPException) as cause:
            self.close()
            raise errors.TemporaryError(f"{type(cause).__name__}: {cause}") from cause

    def close(self) -> None:
        """Close the connection; the next request opens it."""
        self._connection.close()

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> HttpAnswer:
        self._connection.request(method, path, body, dict(headers))
        response = self._connection.getresponse()
        try:
            content = _read(response)
        finally:
            if not response.isclosed():
                # What was not read is in the way of the next answer.
                response.close()
                self.close()
        return HttpAnswer(
            status=response.status,
            body=content[:_LONGEST_BODY],
            is_complete=len(content) <= _LONGEST_BODY,
            headers={name.lower(): value for name, value in response.getheaders()},
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read a body, or one byte more than the longest."""
    if response.length is None or response.length > _LONGEST_BODY:
        return response.read(_LONGEST_BODY + 1)
    # Unlike a read with a limit, it raises IncompleteRead if bytes are missing.
    return response.read()
