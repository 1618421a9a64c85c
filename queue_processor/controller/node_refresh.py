"""Lists all nodes anew: for the start, and where a watch that may be silently dead is no proof."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import structlog

from queue_processor.controller.node_index import NodeIndex
from queue_processor.domain import errors
from queue_processor.domain.nodes import NodeView, UnmappedNode
from queue_processor.retrying import retrying

_log = structlog.get_logger(__name__)

ListNodes: TypeAlias = Callable[[], AsyncIterator[NodeView | UnmappedNode]]
"""Yields every node as it is now: a consistent read, not one from a cache."""

INTERVAL = dt.timedelta(seconds=5)
_ATTEMPTS = 3
# Bounds the pauses, whatever `Retry-After` asks for: drains of two minutes may wait for the list.
_TIME_FOR_ATTEMPTS = dt.timedelta(minutes=1)


class NodeRefresh:
    """Replaces the index by a complete list on request.

    "No such node" is believed only after a list that began later than the question. One list serves
    all who asked before it began, and lists begin at intervals: a storm of events about instances
    of another cluster costs one list every few seconds.
    """

    def __init__(self, node_index: NodeIndex, list_nodes: ListNodes) -> None:
        self._node_index = node_index
        self._list_nodes = list_nodes
        self._requested = asyncio.Event()
        self._next_list: asyncio.Future[None] | None = None
        self._next_at = 0.0

    async def load(self) -> None:
        """List all nodes at once, and replace the index.

        Raises:
            TemporaryError: The list failed.
            PermanentError: The API server refuses us.
            WatchExpired: The list took so long that its version is not kept any more.
        """
        self._next_at = asyncio.get_running_loop().time() + INTERVAL.total_seconds()
        with self._node_index.journal() as changes:
            nodes = [node async for node in self._list_nodes()]
            self._node_index.replace(nodes, changes=changes)

    async def refresh(self) -> None:
        """Return when a list that began after the call has replaced the index; needs `run`.

        Raises:
            TemporaryError: Several lists in a row failed.
            PermanentError: The API server refuses us.
        """
        # One who waits may be cancelled; the others still wait.
        await asyncio.shield(self.request())

    def request(self) -> asyncio.Future[None]:
        """Ask for a list that begins later; one that fails is repeated until one succeeds.

        Returns:
            What `refresh` awaits.
        """
        if self._next_list is None:
            self._next_list = asyncio.get_running_loop().create_future()
            self._requested.set()
        return self._next_list

    async def run(self) -> None:
        """List whenever that is requested, until cancelled."""
        while True:
            await self._requested.wait()
            await self._until_due()
            self._requested.clear()
            waiting, self._next_list = self._next_list, None
            assert waiting is not None  # noqa: S101 - it was requested
            try:
                await self._load_with_retries()
            except errors.QueueProcessorError as error:
                waiting.set_exception(error)
                # It is read here, since there may be nobody who waits.
                waiting.exception()
                _log.info("nodes_not_listed", error=str(error))
                self.request()
            else:
                waiting.set_result(None)

    async def _load_with_retries(self) -> None:
        try:
            async for attempt in retrying(
                attempts=_ATTEMPTS,
                time_left=lambda: _TIME_FOR_ATTEMPTS,
                on=(errors.TemporaryError, errors.WatchExpired),
            ):
                with attempt:
                    await self._until_due()
                    await self.load()
        except errors.WatchExpired as expired:
            raise errors.TemporaryError(f"nodes cannot be listed: {expired}") from expired

    async def _until_due(self) -> None:
        await asyncio.sleep(self._next_at - asyncio.get_running_loop().time())
