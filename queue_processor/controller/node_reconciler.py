"""Brings nodes in line with the holds that are written on them, without any message.

A message starts work; what is written on a Node goes on with it. So this follows the node index, as
a controller follows its informer, and acts on nodes whose holds ask for what nobody does:

- A drain that another process left behind. Its message may come back in half a minute, or never,
  where the queue did not keep it until a change that was announced two weeks ahead.
- A hold that the node refutes: its instance was stopped, and runs again.
- A node that is Ready again and still out of service, which would lose its next pods by force.
- A node whose holds somebody has damaged.
- A Node that was deleted and registered again while its instance was still being taken away.

It acts on what the index shows, and reads each node again before it changes anything, since the
index may be older than our own last write.
"""

import asyncio
import datetime as dt

import structlog

from queue_processor.controller.drain_coordinator import DrainCoordinator
from queue_processor.controller.node_index import NodeIndex
from queue_processor.domain import intent
from queue_processor.domain.nodes import NodeView
from queue_processor.retrying import Backoff

_log = structlog.get_logger(__name__)

_LONGEST_PAUSE = dt.timedelta(seconds=30)


class NodeReconciler:
    """Acts on nodes whose holds ask for something that nobody does."""

    def __init__(self, *, node_index: NodeIndex, coordinator: DrainCoordinator) -> None:
        self._node_index = node_index
        self._coordinator = coordinator
        self._working: dict[str, asyncio.Task[None]] = {}
        self._backoff = Backoff(longest=_LONGEST_PAUSE)

    async def run(self) -> None:
        """Follow all nodes until cancelled."""
        async with asyncio.TaskGroup() as group:

            def start(node: NodeView) -> None:
                if node.uid not in self._working and self._needs_work(node):
                    self._working[node.uid] = group.create_task(
                        self._reconcile(node), name=f"reconcile {node.name}"
                    )

            with self._node_index.listening(start):
                await asyncio.Event().wait()

    def _needs_work(self, node: NodeView) -> bool:
        return self._coordinator.has_lost_plans(node) or intent.needs_work(
            node, is_active=self._coordinator.is_active(node)
        )

    async def _reconcile(self, node: NodeView) -> None:
        """Work on a node until it needs no more; what changes meanwhile starts no second task."""
        failures = 0
        current: NodeView | None = node
        try:
            while current is not None and self._needs_work(current):
                node = current
                try:
                    await self._coordinator.reconcile(node)
                except Exception as error:  # noqa: BLE001 - it is logged, and costs one node a pause
                    failures += 1
                    _log.warning("node_not_reconciled", node=node.name, error=repr(error))
                    await asyncio.sleep(self._backoff.after(failures, error).total_seconds())
                    current = self._node_index.get(node.uid)
                else:
                    # Our own write comes back later, and starts this again if it has to.
                    current = self._node_index.get(node.uid)
                    if current is node:
                        return
        finally:
            del self._working[node.uid]
