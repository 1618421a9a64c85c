"""The index from instance id to nodes, kept current by the watch on nodes."""

import asyncio
import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import structlog

from queue_processor.controller.waiting import ChangeSignal
from queue_processor.domain import versions
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView, UnmappedNode
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)

_Entry: TypeAlias = NodeView | UnmappedNode

Changes: TypeAlias = Mapping[str, _Entry | None]
"""Nodes by UID as they are now; None for one that was removed."""

_NO_CHANGES: Changes = {}
_HINT = (
    "set spec.providerID (the kubelet's --provider-id) or the label alpha.eksctl.io/instance-id;"
    " see the runbook"
)


class NodeIndex:
    """Finds nodes by instance id without a request.

    It is filled by a complete list before the first message is judged, so "no such node"
    is a statement about the cluster and not about a call that failed.

    A Node is identified by its UID: its name may be used again, and an instance may be registered
    under two names. Events of two Nodes may arrive in any order, those of one Node in their own.
    """

    def __init__(self, *, on_news: Callable[[], None] | None = None) -> None:
        """Build an empty index; `on_news` is called whenever something about nodes arrives."""
        self._on_news = on_news
        self._nodes: dict[str, NodeView] = {}
        self._unmapped: dict[str, UnmappedNode] = {}
        self._warned: set[str] = set()
        self._uids_by_name: dict[NodeName, str] = {}
        self._uids_by_instance: dict[InstanceId, set[str]] = {}
        self._journals: list[dict[str, _Entry | None]] = []
        self._listeners: list[Callable[[NodeView], None]] = []
        self._followers: defaultdict[InstanceId, list[Callable[[NodeView], None]]]
        self._followers = defaultdict(list)
        self._changes: defaultdict[InstanceId, ChangeSignal] = defaultdict(ChangeSignal)

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def has_new_nodes(self) -> bool:
        """True while there are nodes whose instance the cloud provider has not named yet."""
        return any(node.cause is None for node in self._unmapped.values())

    @property
    def unmapped(self) -> tuple[NodeName, ...]:
        """The names of the nodes that name no instance, in order."""
        return tuple(sorted(node.name for node in self._unmapped.values()))

    def get(self, uid: str) -> NodeView | None:
        """Return a node by its UID."""
        return self._nodes.get(uid)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[NodeView], None]) -> Iterator[None]:
        """Call a listener with every node, and from now on with each that is taken in."""
        self._listeners.append(listener)
        try:
            for node in tuple(self._nodes.values()):
                listener(node)
            yield
        finally:
            self._listeners.remove(listener)

    @contextlib.contextmanager
    def following(
        self, instance_id: InstanceId, follower: Callable[[NodeView], None]
    ) -> Iterator[None]:
        """Call a follower with every node of an instance, and with each that is taken in."""
        followers = self._followers[instance_id]
        followers.append(follower)
        try:
            for node in self.nodes_of(instance_id):
                follower(node)
            yield
        finally:
            followers.remove(follower)
            if not followers:
                self._followers.pop(instance_id, None)

    def nodes_of(self, instance_id: InstanceId) -> tuple[NodeView, ...]:
        """Return the nodes of an instance, ordered by name."""
        uids = self._uids_by_instance.get(instance_id, ())
        return tuple(sorted((self._nodes[uid] for uid in uids), key=lambda node: node.name))

    def find(self, instance_id: InstanceId) -> NodeView | None:
        """Return the node that runs on an instance, if one does; of several, one that is Ready."""
        nodes = self.nodes_of(instance_id)
        return next((node for node in nodes if node.is_ready), nodes[0] if nodes else None)

    def put(self, node: NodeView | UnmappedNode) -> None:
        """Take in a node as it is now, unless the index has a later version of it."""
        self._record(node.uid, node)
        self._add(node)
        self._observe()

    def update(self, node: NodeView) -> None:
        """Take in a node that we wrote, if it is in: the watch shows that a little later."""
        if node.uid in self._nodes:
            self.put(node)

    def remove(self, uid: str) -> None:
        """Forget a node that is gone, or not ours any more."""
        self._record(uid, None)
        self._drop(uid)
        self._observe()

    def forget(self, node: NodeView) -> None:
        """Remove a node that turned out to be gone."""
        self.remove(node.uid)

    @contextlib.contextmanager
    def journal(self) -> Iterator[Changes]:
        """Collect the changes that arrive while a list is read."""
        changes: dict[str, _Entry | None] = {}
        self._journals.append(changes)
        try:
            yield changes
        finally:
            # By identity: two journals may have the same entries.
            self._journals = [each for each in self._journals if each is not changes]

    def replace(
        self, nodes: Iterable[NodeView | UnmappedNode], *, changes: Changes = _NO_CHANGES
    ) -> None:
        """Take in a complete list: a node that is not in it is gone.

        Args:
            nodes: The list, which also rules over later versions: those of a cluster that was
                restored from a backup start again.
            changes: What arrived while the list was read. A page may be older than a change, and
                a delayed change may be older than a page.
        """
        self._nodes.clear()
        self._unmapped.clear()
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
        self._observe()

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

    def _add(self, node: _Entry) -> None:
        """Add a node unless a later version of it, or a later Node of its name, is in."""
        uid = self._uids_by_name.get(node.name, node.uid)
        rival = self._nodes.get(uid) or self._unmapped.get(uid)
        if rival is not None:
            if versions.is_later(rival.resource_version, node.resource_version):
                return
            self._drop(rival.uid)
        self._uids_by_name[node.name] = node.uid
        if isinstance(node, UnmappedNode):
            self._unmapped[node.uid] = node
            self._warn_once(node)
            return
        self._nodes[node.uid] = node
        self._uids_by_instance.setdefault(node.instance_id, set()).add(node.uid)
        self._notify(node.instance_id)
        for listener in (*self._listeners, *self._followers.get(node.instance_id, ())):
            listener(node)

    def _drop(self, uid: str) -> None:
        node = self._unmapped.pop(uid, None) or self._nodes.pop(uid, None)
        if node is None:
            return
        self._uids_by_name.pop(node.name, None)
        if isinstance(node, NodeView):
            uids = self._uids_by_instance[node.instance_id]
            uids.discard(uid)
            if not uids:
                del self._uids_by_instance[node.instance_id]
            self._notify(node.instance_id)

    def _observe(self) -> None:
        if self._on_news is not None:
            self._on_news()
        metrics.NODES_INDEXED.set(len(self._nodes))
        metrics.NODES_UNMAPPED.set(len(self._unmapped))
        if len(self._warned) > len(self._unmapped):
            self._warned &= self._unmapped.keys()

    def _warn_once(self, node: UnmappedNode) -> None:
        if node.cause is not None and node.uid not in self._warned:
            self._warned.add(node.uid)
            _log.warning("node_unmapped", node=node.name, cause=node.cause, hint=_HINT)

    def _record(self, uid: str, node: _Entry | None) -> None:
        for changes in self._journals:
            changes[uid] = node

    def _notify(self, instance_id: InstanceId) -> None:
        if instance_id in self._changes:
            self._changes[instance_id].notify_all()
