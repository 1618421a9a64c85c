"""Keeps kopf's watch of nodes alive for as long as the program runs.

kopf ends for good when the API server answers its watch with 400, 404 or 410, sends an error other
than 410 in the stream, or sends something that kopf does not expect. That is temporary like any
other failure of the API server, and must not touch drains in progress. So kopf is a part that is
started again, and two of its habits are kept from the rest of the process:

- When kopf ends, it waits for every task that began after it, and cancels those that are left: our
  drains. `kopf.run_tasks` leaves alone what it is told to ignore, and is told to ignore everything;
  kopf's own tasks are stopped by those that started them.
- kopf takes SIGINT and SIGTERM for itself whenever it starts. They are taken back at once.

A watch shows changes, and cannot show what changed while there was none. After each start, and
after each list that kopf makes when its watch has expired, a complete list replaces the index.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Collection, Iterator

import kopf
import structlog

from queue_processor import handlers
from queue_processor.adapters.kube.connection import Connection
from queue_processor.adapters.kube.nodes import NodeReader
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.observability.health import Liveness
from queue_processor.retrying import Backoff

_log = structlog.get_logger(__name__)

_LONGEST_DELAY = dt.timedelta(seconds=30)
# A watch that ends after that has worked.
_HOLDS_SECONDS = 60.0
# Kubelets report every five minutes, so that only a small cluster is silent for so long.
_LONGEST_SILENCE = dt.timedelta(minutes=2)
_SILENCE_CHECK_SECONDS = 20.0


class NodeWatch:
    """Runs kopf, again and again."""

    def __init__(
        self,
        connection: Connection,
        *,
        reader: NodeReader,
        node_index: NodeIndex,
        node_refresh: NodeRefresh,
        identity: str,
    ) -> None:
        """Start nothing yet.

        Args:
            connection: The way to the API server.
            reader: Selects and reads nodes.
            node_index: Gets the changes.
            node_refresh: Replaces the index when changes may have been missed.
            identity: Names this process.
        """
        self._registry = handlers.registry(
            connection, reader=reader, node_index=node_index, node_refresh=node_refresh
        )
        self._node_refresh = node_refresh
        self._identity = identity

    async def run(self, *, on_start: Callable[[], None] = lambda: None) -> None:
        """Watch until cancelled.

        Args:
            on_start: Called whenever kopf has started.
        """
        loop, backoff = asyncio.get_running_loop(), Backoff(longest=_LONGEST_DELAY)
        attempt = 0
        while True:
            began_at = loop.time()
            cause = await self._watch(on_start)
            attempt = 1 if loop.time() > began_at + _HOLDS_SECONDS else attempt + 1
            _log.warning("node_watch_restarted", cause=str(cause) or repr(cause), attempt=attempt)
            await asyncio.sleep(backoff.after(attempt).total_seconds())
            self._node_refresh.request()

    async def refresh_when_silent(self, liveness: Liveness) -> None:
        """List nodes whenever there was no news for long, until cancelled."""
        while True:
            silence = liveness.node_silence
            if silence is not None and silence > _LONGEST_SILENCE:
                self._node_refresh.request()
            await asyncio.sleep(_SILENCE_CHECK_SECONDS)

    async def _watch(self, on_start: Callable[[], None]) -> BaseException | None:
        """Run kopf until it ends; return its error."""
        stop = asyncio.Event()
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=handlers.settings(),
            memo=handlers.Shared(),
            # Else kopf asks for the name of the user, and the one in a container has none.
            identity=self._identity,  # type: ignore[arg-type]  # kopf does not export its type
            clusterwide=True,
            standalone=True,
            stop_flag=stop,
        )
        on_start()
        running = asyncio.create_task(kopf.run_tasks(tasks, ignored=_Everything()), name="kopf")
        try:
            await asyncio.wait((running,))
        finally:
            stop.set()
            (result,) = await asyncio.gather(running, return_exceptions=True)
        return result


class _Everything(Collection[asyncio.Task[object]]):
    """Contains every task."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[asyncio.Task[object]]:
        return iter(asyncio.all_tasks())

    def __len__(self) -> int:
        return len(asyncio.all_tasks())
