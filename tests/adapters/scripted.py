"""A server on a socket that answers whatever a test writes down, HTTP or not."""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator


class Ending(enum.Enum):
    """The fate of the connection after the answer."""

    CLOSE = "it is closed in good order"
    RESET = "it is cut"
    HANG = "it stays, and nothing more comes"


class Server:
    """Reads a request, sends the scripted bytes, and ends the connection as scripted.

    Attributes:
        url: Where it listens.
        heads: The request lines and headers that came.
    """

    def __init__(self, answer: bytes, ending: Ending) -> None:
        self.url = ""
        self.heads: list[str] = []
        self._answer = answer
        self._ending = ending
        self._released = asyncio.Event()
        self._request_came = asyncio.Event()

    async def until_received(self, count: int) -> None:
        """Wait until so many requests came."""
        while len(self.heads) < count:
            self._request_came.clear()
            await self._request_came.wait()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Server"]:
        """Answer for as long as this lasts."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        address, port = server.sockets[0].getsockname()
        self.url = f"http://{address}:{port}"
        try:
            yield self
        finally:
            self._released.set()
            server.close()
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            self._request_came.set()
            _, _, length = head.lower().partition("content-length:")
            await reader.readexactly(int(length.split()[0]) if length else 0)
            writer.write(self._answer)
            await writer.drain()
        if self._ending is Ending.HANG:
            await self._released.wait()
        if self._ending is Ending.RESET:
            writer.transport.abort()
        else:
            writer.close()


def http(status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> bytes:
    """An answer; `length` may promise more than there is."""
    lines = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json"]
    lines.append("Connection: close")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join((*lines, "", "")).encode() + body


def chunked(body: bytes, *, is_whole: bool) -> bytes:
    """An answer whose length is not known beforehand, as that of a watch; it may break off."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
    return head + chunk + (b"0\r\n\r\n" if is_whole else b"")
