"""The kopf handlers: the login, and the node events that keep the index current.

Only `on.event`: handlers that detect changes would annotate every Node, and daemons,
timers and deletion handlers would put a finalizer on it, which blocks its deletion.
"""

import itertools
from collections.abc import Iterator

import kopf

from queue_processor.adapters.kube.connection import Connection
from queue_processor.adapters.kube.nodes import NodeReader
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.controller.node_index import NodeIndex


class _EndlessBackoff:
    """Delays between attempts of kopf's own requests: an outage is waited out."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1, 2), itertools.repeat(3))


class Shared:
    """kopf copies its memo for every object that it sees; this one is shared."""

    def __copy__(self) -> "Shared":
        return self


def settings() -> kopf.OperatorSettings:
    """Return the settings of kopf itself."""
    kopf_settings = kopf.OperatorSettings()
    # Its log records would become Events on the nodes.
    kopf_settings.posting.enabled = False
    # Nodes are not a custom resource: nothing has to be discovered while we run.
    kopf_settings.scanning.disabled = True
    kopf_settings.networking.error_backoffs = _EndlessBackoff()
    kopf_settings.networking.connect_timeout = 3
    kopf_settings.networking.request_timeout = 30
    # A watch whose server is gone is silent; this bounds for how long.
    kopf_settings.watching.server_timeout = 120
    kopf_settings.watching.client_timeout = 125
    kopf_settings.watching.connect_timeout = 3
    # Memory: kopf lists nodes page by page, and a worker that waits keeps the node's last event.
    kopf_settings.watching.chunk_size = 500
    kopf_settings.queueing.idle_timeout = 0.1
    kopf_settings.queueing.exit_timeout = 0.5
    return kopf_settings


def registry(
    connection: Connection, *, reader: NodeReader, node_index: NodeIndex
) -> kopf.OperatorRegistry:
    """Return the handlers, bound to the index that they feed."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: object) -> kopf.ConnectionInfo:
        configuration = connection.configuration
        header = await configuration.get_api_key_with_prefix("BearerToken") or ""
        *scheme, token = header.split(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme[0].capitalize() if scheme else None,
            token=token or None,
            proxy_url=configuration.proxy,
            trust_env=True,
        )

    @kopf.on.event("nodes", registry=handlers)
    async def node_changed(event: kopf.RawEvent, **_: object) -> None:
        take_in(event["type"], {**event["object"]}, reader=reader, node_index=node_index)

    return handlers


def take_in(
    change: str | None, node: JsonObject, *, reader: NodeReader, node_index: NodeIndex
) -> None:
    """Bring the index up to date with one watch event about a node.

    Args:
        change: ADDED, MODIFIED or DELETED; None for a node of the first list.
        node: The Node as the event has it.
        reader: Selects and reads nodes.
        node_index: The index.
    """
    read = None if change == "DELETED" else reader.read(node)
    if read is None:
        node_index.remove(node["metadata"]["uid"])
    else:
        node_index.put(read)
