"""The kopf handlers: the login, and the node events that keep the index current.

Only `on.event`: handlers that detect changes would annotate every Node, and daemons,
timers and deletion handlers would put a finalizer on it, which blocks its deletion.
"""

import asyncio
import datetime as dt
import http
import itertools
from collections.abc import Iterator

import aiohttp
import kopf

from queue_processor.adapters.kube.connection import Connection
from queue_processor.adapters.kube.nodes import NodeReader
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.domain import errors
from queue_processor.retrying import Backoff

_LOGIN_HOLDS_SECONDS = 60.0
_LONGEST_LOGIN_DELAY = dt.timedelta(seconds=15)
_LONGEST_PAUSE = dt.timedelta(seconds=10)


class _EndlessBackoff:
    """Delays between attempts of kopf's own requests: an outage is waited out."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1, 2), itertools.repeat(3))


class Shared:
    """kopf copies its memo for every object that it sees; this one is shared."""

    def __copy__(self) -> "Shared":
        return self


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers no state of an object: no handler of ours asks kopf what has changed.

    kopf compares the states at each event, and would copy the whole Node for it, twice.
    """

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        return None


def settings() -> kopf.OperatorSettings:
    """Return the settings of kopf itself."""
    kopf_settings = kopf.OperatorSettings()
    kopf_settings.persistence.diffbase_storage = _NoDiffBase()
    # Its log records would become Events on the nodes.
    kopf_settings.posting.enabled = False
    # Nodes are not a custom resource: nothing has to be discovered while we run.
    kopf_settings.scanning.disabled = True
    kopf_settings.networking.error_backoffs = _EndlessBackoff()
    kopf_settings.networking.connect_timeout = 3
    kopf_settings.networking.request_timeout = 30
    # A watch whose server is gone is silent. The server ends one that is merely quiet before we do.
    kopf_settings.watching.server_timeout = 30
    kopf_settings.watching.inactivity_timeout = 35
    kopf_settings.watching.connect_timeout = 3
    # It kills the process some minutes after kopf ended by itself, and kopf is started again.
    kopf_settings.process.ultimate_exiting_timeout = None
    # Memory: kopf lists nodes page by page, and a worker that waits keeps the node's last event.
    kopf_settings.watching.chunk_size = 200
    kopf_settings.queueing.idle_timeout = 0.1
    kopf_settings.queueing.exit_timeout = 0.5
    return kopf_settings


def registry(
    connection: Connection,
    *,
    reader: NodeReader,
    node_index: NodeIndex,
    node_refresh: NodeRefresh,
) -> kopf.OperatorRegistry:
    """Return the handlers, bound to the index that they feed."""
    handlers = kopf.OperatorRegistry()
    logins = _Logins(connection)

    @kopf.on.login(registry=handlers)
    async def login(**_: object) -> kopf.AiohttpSession:
        return await logins.open()

    @kopf.on.event("nodes", registry=handlers)
    async def node_changed(event: kopf.RawEvent, **_: object) -> None:
        take_in(event["type"], {**event["object"]}, reader=reader, node_index=node_index)
        if event["type"] is None:
            # kopf has begun with a list, which does not show what went since its last event.
            node_refresh.request()

    return handlers


class _Logins:
    """Opens a session for kopf whenever it begins, or the server has refused the last one.

    It is our session, with the trust, the proxy and the token of all other requests. kopf would
    ask for a login again at once, however often it is refused.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._backoff = Backoff(longest=_LONGEST_LOGIN_DELAY)
        self._count = 0
        self._last_at = -_LOGIN_HOLDS_SECONDS

    async def open(self) -> kopf.AiohttpSession:
        now = asyncio.get_running_loop().time()
        is_repeated = now < self._last_at + _LOGIN_HOLDS_SECONDS
        self._count = self._count + 1 if is_repeated else 0
        if self._count:
            await asyncio.sleep(self._backoff.after(self._count).total_seconds())
        self._last_at = asyncio.get_running_loop().time()
        return kopf.AiohttpSession(
            server=self._connection.configuration.host,
            aiohttp_session=self._connection.transport.open_session(_bound_pauses),
        )


async def _bound_pauses(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Wait here when the server asks for a pause: kopf would wait for as long as it asks."""
    response = await send(request)
    if response.status != http.HTTPStatus.TOO_MANY_REQUESTS:
        return response
    response.close()
    pause = errors.parse_retry_after(response.headers.get("Retry-After", ""))
    await asyncio.sleep(min(pause or dt.timedelta(), _LONGEST_PAUSE).total_seconds())
    raise aiohttp.ClientConnectionError(f"{request.method} {request.url}: too many requests")


def take_in(
    change: str | None, node: JsonObject, *, reader: NodeReader, node_index: NodeIndex
) -> None:
    """Bring the index up to date with one watch event about a node.

    Args:
        change: ADDED, MODIFIED or DELETED; None for a node of a list of kopf.
        node: The Node as the event has it.
        reader: Selects and reads nodes.
        node_index: The index.
    """
    read = None if change == "DELETED" else reader.read(node)
    if read is None:
        node_index.remove(node["metadata"]["uid"])
    else:
        node_index.put(read)
