"""The index from instance id to nodes, kept current by the watch on nodes."""

import asyncio
import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from queue_processor.controller.waiting import ChangeSignal
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView

_NO_CHANGES: Mapping[str, NodeView | None] = {}


class NodeIndex:
    """Finds nodes by instance id without a request.

    It is filled by a complete list before the first message is judged, so "no such node"
    is a statement about the cluster and not about a call that failed.

    A Node is identified by its UID: its name may be used again, and an instance may be registered
    under two names. Events of two Nodes may arrive in any order, those of one Node in their own.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, NodeView] = {}
        self._uids_by_name: dict[NodeName, str] = {}
        self._uids_by_instance: dict[InstanceId, set[str]] = {}
        self._journals: list[dict[str, NodeView | None]] = []
        self._changes: defaultdict[InstanceId, ChangeSignal] = defaultdict(ChangeSignal)

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> NodeView | None:
        """Return a node by its UID."""
        return self._nodes.get(uid)

    def nodes_of(self, instance_id: InstanceId) -> tuple[NodeView, ...]:
        """Return the nodes of an instance, ordered by name."""
        uids = self._uids_by_instance.get(instance_id, ())
        return tuple(sorted((self._nodes[uid] for uid in uids), key=lambda node: node.name))

    def find(self, instance_id: InstanceId) -> NodeView | None:
        """Return the node that runs on an instance, if one does; of several, one that is Ready."""
        nodes = self.nodes_of(instance_id)
        return next((node for node in nodes if node.is_ready), nodes[0] if nodes else None)

    def put(self, node: NodeView) -> None:
        """Take in a node as it is now, unless the index has a later version of it."""
        self._record(node.uid, node)
        if self._add(node):
            self._notify(node.instance_id)

    def remove(self, uid: str) -> None:
        """Forget a node that is gone, or not ours any more."""
        self._record(uid, None)
        node = self._drop(uid)
        if node is not None:
            self._notify(node.instance_id)

    def forget(self, node: NodeView) -> None:
        """Remove a node that turned out to be gone."""
        self.remove(node.uid)

    @contextlib.contextmanager
    def journal(self) -> Iterator[Mapping[str, NodeView | None]]:
        """Collect the changes by UID that arrive while a list is read; None for a removal."""
        changes: dict[str, NodeView | None] = {}
        self._journals.append(changes)
        try:
            yield changes
        finally:
            # By identity: two journals may have the same entries.
            self._journals = [each for each in self._journals if each is not changes]

    def replace(
        self,
        nodes: Iterable[NodeView],
        *,
        changes: Mapping[str, NodeView | None] = _NO_CHANGES,
    ) -> None:
        """Take in a complete list: a node that is not in it is gone.

        Args:
            nodes: The list, which also rules over later versions: those of a cluster that was
                restored from a backup start again.
            changes: What arrived while the list was read. A page may be older than a change, and
                a delayed change may be older than a page.
        """
        self._nodes.clear()
        self._uids_by_name.clear()
        self._uids_by_instance.clear()
        for node in nodes:
            self._add(node)
        for uid, changed in changes.items():
            if changed is None:
                self._drop(uid)
            else:
                self._add(changed)
        for instance_id in tuple(self._changes):
            self._notify(instance_id)

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
            try:
                await changed.wait(left)
            finally:
                if not changed.has_waiters:
                    self._changes.pop(instance_id, None)
            if limit is not None:
                left = limit - dt.timedelta(seconds=loop.time() - began_at)
        return node

    def _add(self, node: NodeView) -> bool:
        """Add a node, and return True unless a later version or a later Node of its name is in."""
        rival = self._nodes.get(self._uids_by_name.get(node.name, node.uid))
        if rival is not None and _is_later(rival, node):
            return False
        if rival is not None and rival.uid != node.uid:
            self._drop(rival.uid)
            self._notify(rival.instance_id)
        before = self._nodes.get(node.uid)
        if before is not None and before.instance_id != node.instance_id:
            self._drop(node.uid)
            self._notify(before.instance_id)
        self._nodes[node.uid] = node
        self._uids_by_name[node.name] = node.uid
        self._uids_by_instance.setdefault(node.instance_id, set()).add(node.uid)
        return True

    def _drop(self, uid: str) -> NodeView | None:
        node = self._nodes.pop(uid, None)
        if node is None:
            return None
        if self._uids_by_name.get(node.name) == uid:
            del self._uids_by_name[node.name]
        uids = self._uids_by_instance[node.instance_id]
        uids.discard(uid)
        if not uids:
            del self._uids_by_instance[node.instance_id]
        return node

    def _record(self, uid: str, node: NodeView | None) -> None:
        for changes in self._journals:
            changes[uid] = node

    def _notify(self, instance_id: InstanceId) -> None:
        if instance_id in self._changes:
            self._changes[instance_id].notify_all()


def _is_later(node: NodeView, other: NodeView) -> bool:
    """Compare two versions of one resource, which are numbers; other texts compare as equal.

    https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/5504-comparable-resource-version
    """
    versions = (node.resource_version, other.resource_version)
    if not all(version.isascii() and version.isdecimal() for version in versions):
        return False
    return int(versions[0]) > int(versions[1])
