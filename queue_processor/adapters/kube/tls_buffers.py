"""Limits the memory of TLS connections.

asyncio gives each TLS connection a buffer of 256 KiB for what it receives, and fills it with zeros,
so that all of it is resident. In a storm there are as many connections as slots, and their buffers
were the largest part of what the process had beyond its imports: 22 MiB with 89 connections. A
record of TLS has 16 KiB, and that is what one read returns, however large the buffer is.

The size is an attribute of asyncio's protocol, which all event loops of the process use. A loop of
our own that sets it for each connection was rejected: it would copy a private method.

https://datatracker.ietf.org/doc/html/rfc8446#section-5.1
"""

from asyncio import sslproto

# Two records: answers of more than one are mostly lists, and these are few.
BUFFER_BYTES = 32 * 1024


def limit() -> None:
    """Give all TLS connections that this process opens from now on a small buffer."""
    sslproto.SSLProtocol.max_size = BUFFER_BYTES
