"""Chooses the buffers of TLS connections: small ones for answers, large ones for streams.

asyncio gives each TLS connection a buffer of 256 KiB for what it receives, and fills it with zeros,
so that all of it is resident. In a storm there are as many connections as slots, and their buffers
were the largest part of what the process had beyond its imports: 22 MiB with 89 connections. A
record of TLS has 16 KiB, and most answers have one.

A turn of the event loop fills the buffer of a connection once. In a storm on a busy machine a turn
takes a tenth of a second, and 32 KiB are ten events of a watch: less than what happens meanwhile.
Then the API server ends the watch of a client that does not keep up, and what comes next is known
ten seconds late. So watches and lists, which are few, get the large buffer back.

The size is an attribute of asyncio's protocol, which all event loops of the process use. A loop of
our own that sets it for each connection was rejected: it would copy a private method.

https://datatracker.ietf.org/doc/html/rfc8446#section-5.1
"""

import asyncio
from asyncio import sslproto

# Two records.
BUFFER_BYTES = 32 * 1024
# As asyncio has it.
STREAM_BUFFER_BYTES = 256 * 1024


def limit() -> None:
    """Give all TLS connections that this process opens from now on a small buffer."""
    sslproto.SSLProtocol.max_size = BUFFER_BYTES


def enlarge(connection: asyncio.BaseTransport | None) -> None:
    """Give one connection a large buffer from its next read on; a no-op without TLS."""
    protocol = getattr(connection, "_ssl_protocol", None)
    if isinstance(protocol, sslproto.SSLProtocol):
        # Of this instance: types have it for the class only.
        vars(protocol)["max_size"] = STREAM_BUFFER_BYTES
