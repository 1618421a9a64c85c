"""The index from instance id to node, kept current by the watch on nodes."""

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Callable

from queue_processor.controller.waiting import ChangeSignal
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView


class NodeIndex:
    """Finds nodes by instance id without a request.

    It is filled by a complete list before the first message is judged, so "no such node"
    is a statement about the cluster and not about a call that failed.
    """

    def __init__(self) -> None:
        self._by_instance: dict[InstanceId, NodeView] = {}
        self._instance_of: dict[NodeName, InstanceId] = {}
        self._changes: defaultdict[InstanceId, ChangeSignal] = defaultdict(ChangeSignal)

    def __len__(self) -> int:
        return len(self._by_instance)

    def find(self, instance_id: InstanceId) -> NodeView | None:
        """Return the node that runs on an instance, if one does."""
        return self._by_instance.get(instance_id)

    def put(self, node: NodeView) -> None:
        """Take in a node as it is now."""
        before = self._instance_of.get(node.name)
        if before is not None and before != node.instance_id:
            self._drop(before)
        self._instance_of[node.name] = node.instance_id
        self._by_instance[node.instance_id] = node
        self._notify(node.instance_id)

    def remove(self, name: NodeName) -> None:
        """Forget a node that is gone, or not ours any more."""
        instance_id = self._instance_of.pop(name, None)
        if instance_id is not None:
            self._drop(instance_id)

    def forget(self, node: NodeView) -> None:
        """Remove a node that turned out to be gone, unless its name is another's by now."""
        if self._by_instance.get(node.instance_id) == node:
            self._drop(node.instance_id)
        if self._instance_of.get(node.name) == node.instance_id:
            del self._instance_of[node.name]

    async def until(
        self,
        instance_id: InstanceId,
        holds: Callable[[NodeView | None], bool],
        *,
        limit: dt.timedelta | None = None,
    ) -> NodeView | None:
        """Wait until something holds of an instance's node, looking at every change.

        Args:
            instance_id: The instance.
            holds: Looks at its node; None while it has none.
            limit: How long to wait; None waits without end.

        Returns:
            The node as it is then, or as it is at the limit.
        """
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        left = limit
        while not holds(node := self.find(instance_id)) and (left is None or left > dt.timedelta()):
            changed = self._changes[instance_id]
            await changed.wait(left)
            if limit is not None:
                left = limit - dt.timedelta(seconds=loop.time() - began_at)
            if not changed.has_waiters:
                self._changes.pop(instance_id, None)
        return node

    def _drop(self, instance_id: InstanceId) -> None:
        self._by_instance.pop(instance_id, None)
        self._notify(instance_id)

    def _notify(self, instance_id: InstanceId) -> None:
        if instance_id in self._changes:
            self._changes[instance_id].notify_all()
