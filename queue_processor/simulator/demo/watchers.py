"""The watchers of all nodes of a scenario in one process: `python -m` with URLs and node names.

Each is the watcher that runs on a node; only the way to the API server differs, which has neither
TLS nor service accounts here.
"""

import datetime as dt
import heapq
import http.client
import itertools
import sys
import time
import urllib.parse
from collections.abc import Sequence

from queue_processor.simulator.demo.scenario import WATCHER_POLL_SECONDS
from queue_processor.watcher import node_patcher
from queue_processor.watcher.connection import KeepAliveConnection
from queue_processor.watcher.imds import MetadataClient, MetadataEndpoint
from queue_processor.watcher.json_log import JsonLog
from queue_processor.watcher.metadata_watcher import MetadataWatcher, Polling, WatcherClock
from queue_processor.watcher.node_patcher import NodePatcher

READY = "watching"


class PlainAccess:
    """The access to the simulated API server."""

    def __init__(self, url: str) -> None:
        self._host = urllib.parse.urlsplit(url).netloc

    def read_token(self) -> str:
        """Return the user that the simulated API server records."""
        return "watcher"

    def connect(self) -> KeepAliveConnection:
        """Return a connection that opens with its first request."""
        return KeepAliveConnection(
            http.client.HTTPConnection(self._host, timeout=node_patcher.TIMEOUT_SECONDS)
        )


def _watcher(node: str, *, metadata_url: str, api_url: str) -> MetadataWatcher:
    endpoint = MetadataEndpoint.parse(f"{metadata_url}/nodes/{node}")
    log = JsonLog(sys.stderr, logger="queue_processor.watcher", node=node)
    client = MetadataClient(
        endpoint.connect(), log=log, monotonic=time.monotonic, base_path=endpoint.base_path
    )
    return MetadataWatcher(
        client,
        NodePatcher(PlainAccess(api_url), node),
        polling=Polling(interval_seconds=WATCHER_POLL_SECONDS),
        clock=WatcherClock(now=lambda: dt.datetime.now(dt.UTC), monotonic=time.monotonic),
        log=log,
    )


def main(arguments: Sequence[str]) -> None:
    """Watch until killed; print READY once every node has been polled.

    Args:
        arguments: The URL of the metadata, that of the API server, and the names of the nodes.
    """
    metadata_url, api_url, *names = arguments
    order = itertools.count()
    due = []
    for node in names:
        watcher = _watcher(node, metadata_url=metadata_url, api_url=api_url)
        due.append((time.monotonic() + watcher.turn(), next(order), watcher))
    heapq.heapify(due)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    while True:
        at, _, watcher = due[0]
        time.sleep(max(0.0, at - time.monotonic()))
        heapq.heapreplace(due, (time.monotonic() + watcher.turn(), next(order), watcher))


if __name__ == "__main__":
    main(sys.argv[1:])
